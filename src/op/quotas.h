/*
 * Quotas as a reply shows them, from what the stores said.
 */
#ifndef HOLDFAST_OP_QUOTAS_H
#define HOLDFAST_OP_QUOTAS_H

#include "counter/counter.h"
#include "op/op.h"

/* From a limit and Redis' state of it, which has use and debt apart. */
void quota_from_counter(struct op_quota *quota, const struct limit *limit, struct quota_ref ref,
                        const struct counter_quota *state);

/* From a locked row; held is what is lent (an upper bound) until quota_set_held. */
void quota_from_row(struct op_quota *quota, const struct plan *plan,
                    const struct settle_quota *row);

/* The live balance, if Redis' key is of the row's current lease. */
void quota_set_held(struct op_quota *quota, const struct settle_quota *row,
                    const struct counter_quota *state, int64_t old_leases_units);

#endif
