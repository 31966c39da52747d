/*
 * Settles: telling Redis what has been committed and released. Totals are cumulative and jobs are
 * named by attempt, so losing or repeating a settle does no harm; the reap brings what was lost.
 */
#ifndef HOLDFAST_OP_SETTLE_H
#define HOLDFAST_OP_SETTLE_H

#include "op/grant.h"

/* One round trip for all ops (op_commit, decided); answers those whose callers still wait. */
void settle_ops(struct grant_context *context, struct op_commit **ops, size_t count);

/* WANTS_RECALL: takes idle capacity back to the root, then the op goes to the committer again. */
void recall_op(struct grant_context *context, struct op_commit *op);

/* Fills totals from a row. */
struct counter_totals totals_from_row(const struct settle_quota *row);

#endif
