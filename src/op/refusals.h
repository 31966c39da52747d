/*
 * The root's latest no, per quota, believed for 20 ms, so that an exhausted tenant does not cost a
 * transaction per call. A script still runs before anyone is rejected. Belongs to one thread.
 */
#ifndef HOLDFAST_OP_REFUSALS_H
#define HOLDFAST_OP_REFUSALS_H

#include "base/check.h"
#include "quota/settle.h"

#include <stdbool.h>
#include <stdint.h>

struct refusals;

struct refusals *refusals_create(void);
void refusals_destroy(struct refusals *refusals); /* accepts NULL */

/* The row when the root had nothing left to lend. Its names are not kept. */
void refusals_put(struct refusals *refusals, const struct settle_quota *row,
                  int64_t old_leases_units, int64_t mono_us);

MUST_CHECK bool refusals_get(const struct refusals *refusals, int64_t tenant_id,
                             struct quota_ref ref, int64_t mono_us, struct settle_quota *ret_row,
                             int64_t *ret_old_leases_units);

#endif
