/*
 * Settles: telling Redis what has been committed and released. Totals are cumulative and jobs are
 * named by attempt, so losing or repeating a settle does no harm; the reap brings what was lost.
 */
#ifndef HOLDFAST_OP_SETTLE_H
#define HOLDFAST_OP_SETTLE_H

#include "op/grant.h"

/* Settles on their way to Redis: one call for each shard. Memory is the caller's arena. */
struct shard_settle;
struct settle_turn {
    struct op_commit **ops;
    size_t ops_count;
    struct shard_settle *shards;
    size_t shards_count;
};

/* ops: decided; at most RUN_CALLS_MAX. Of each call's view only the shard is set. */
void settle_turn_begin(struct settle_turn *turn, struct services *services, struct arena *arena,
                       struct op_commit **ops, size_t count);
struct counter_call *settle_turn_call(struct settle_turn *turn, size_t i);

/* After the calls ran. True: Redis has it, and the op's quotas show what is held now. */
bool settle_turn_done(const struct settle_turn *turn, struct op_commit *op);

/* One round trip for all ops (op_commit, decided); answers those whose callers still wait. */
void settle_ops(struct grant_context *context, struct op_commit **ops, size_t count);

/* WANTS_RECALL: takes idle capacity back to the root, then the op goes to the committer again. */
void recall_op(struct grant_context *context, struct op_commit *op);

/* Fills totals from a row. */
struct counter_totals totals_from_row(const struct settle_quota *row);

#endif
