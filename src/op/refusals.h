/*
 * What the root has refused lately, so that an exhausted tenant does not cost a transaction per call.
 * A script still runs before anyone is rejected. Belongs to one thread.
 *
 * A refusal says no more than the root said: of this quota, under this version of the tenant's
 * configuration, to whoever lacks at least as many units as the root could not lend. It is believed
 * for 20 ms. Only what was asked for may be put here: a request that the root was shown without being
 * asked to lend (an amount above the cap) was not refused by it.
 */
#ifndef HOLDFAST_OP_REFUSALS_H
#define HOLDFAST_OP_REFUSALS_H

#include "base/check.h"
#include "quota/book.h"

#include <stdbool.h>
#include <stdint.h>

struct refusals;

struct refusals *refusals_create(void);
void refusals_destroy(struct refusals *refusals); /* accepts NULL */

/* What a refusal is about. */
struct refusal_key {
    int64_t tenant_id;
    struct quota_ref ref;
    int64_t config_version; /* of the plan that the request went by */
    int64_t lacks;          /* units: asked of the root and not lent; at least 1 */
};

/* The row as it was when the root had nothing left to lend. Its names are not kept. */
void refusals_put(struct refusals *refusals, const struct refusal_key *key,
                  const struct quota_row *row, int64_t old_leases_units, int64_t mono_us);

/* True: the root would say no again to somebody who lacks key->lacks. */
MUST_CHECK bool refusals_get(const struct refusals *refusals, const struct refusal_key *key,
                             int64_t mono_us, struct quota_row *ret_row,
                             int64_t *ret_old_leases_units);

#endif
