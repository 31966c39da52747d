/*
 * Quotas as a reply shows them, from what the stores said.
 */
#ifndef HOLDFAST_OP_QUOTAS_H
#define HOLDFAST_OP_QUOTAS_H

#include "counter/counter.h"
#include "op/op.h"

/* From a limit and its state in Redis, which keeps use and debt apart. */
void quota_from_counter(struct op_quota *quota, const struct limit *limit, struct quota_ref ref,
                        const struct counter_quota *state);

/*
 * From a locked row. What is lent under the lease of this epoch counts as held (an upper bound) until
 * quota_set_held; the rest of what is lent is set aside.
 */
void quota_from_row(struct op_quota *quota, const struct plan *plan, const struct quota_row *row);

/* held, set_aside and until when, as quota_from_row sets them. */
void quota_set_lent(struct op_quota *quota, const struct quota_row *row);

/*
 * Live holds: Redis was asked, and this is what it said. If it has lost the quota's key, what is lent is
 * set aside.
 */
void quota_set_held(struct op_quota *quota, const struct quota_row *row,
                    const struct counter_quota *state);

#endif
