/*
 * Quotas of some limits of a tenant, read from both stores. For desk code.
 */
#ifndef HOLDFAST_OP_USAGE_H
#define HOLDFAST_OP_USAGE_H

#include "base/check.h"
#include "op/op.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct usage {
    struct op_quota *quotas; /* in the order asked */
    int64_t event_seq;
    int64_t config_version; /* another one than op->plan's: limits have changed meanwhile */
    bool redis_away;        /* held is an upper bound: everything that is lent */
    bool recovering;        /* why, if so */
};

/*
 * The current periods of these limits of op->plan, and op->now_ms, which is in them. Redis is read first:
 * a commit in between counts twice for a moment rather than not at all. False: the op has failed.
 */
MUST_CHECK bool usage_read(struct op *op, struct stores *stores, const struct limit *const *limits,
                           size_t count, struct usage *ret_usage);

#endif
