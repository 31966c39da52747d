/*
 * Notifies: telling Redis what has been committed and released. Totals are cumulative and jobs are
 * named by attempt, so losing or repeating a notify does no harm; the reap brings what was lost.
 */
#ifndef HOLDFAST_OP_NOTIFY_H
#define HOLDFAST_OP_NOTIFY_H

#include "op/authority.h"
#include "op/op.h"
#include "op/stores.h"

enum notify_grouping {
    NOTIFY_BY_SHARD, /* each call can be run with recovery of its shard */
    NOTIFY_BY_TAG,   /* fewer calls; one is about all shards of a tag that ops are of */
};

/* Notifies on their way to Redis: some calls. Memory is the caller's arena. */
struct notify_part;
struct notify_turn {
    enum notify_grouping grouping;
    struct op_commit **ops;
    size_t ops_count;
    struct notify_part *parts;
    size_t parts_count;
    size_t *part_of; /* each op's, by number */
    bool lost;       /* by a fault: nothing is sent */
};

/* ops: decided; at most STORES_CALLS_MAX. Of each call's view, and of its views, only the shard is set. */
void notify_turn_begin(struct notify_turn *turn, enum notify_grouping grouping,
                       struct services *services, struct arena *arena, struct op_commit **ops,
                       size_t count);

/* All views of the call become what is believed. False: some shard cannot be asked from here. */
MUST_CHECK bool notify_turn_ready(struct notify_turn *turn, size_t i, struct authority *authority);
struct counter_call *notify_turn_call(struct notify_turn *turn, size_t i);

/* After the calls ran. True: Redis has ops[i], and its quotas show what is held now. */
bool notify_turn_done(const struct notify_turn *turn, size_t i);

/* One round trip for all ops (op_commit, decided); answers those whose callers still wait. */
void notify_ops(struct stores *stores, struct op_commit **ops, size_t count);

/*
 * The marks that notifies.h keeps, some of them: Redis is told again. True: there may be more. For whoever
 * comes by often; a mark is given up when Redis would have forgotten it.
 */
bool notify_marks(struct stores *stores);

/* Fills totals from a row. */
struct counter_totals totals_from_row(const struct quota_row *row);

/*
 * The grant tells the root what Redis has given back, as it showed when these totals were brought. While
 * the root does not know it, Redis takes no deadline from it (counter/lua/totals.lua).
 */
void grant_show(struct ledger_grant *grant, const struct counter_totals *brought);
bool grant_is_behind(const struct counter_totals *brought);

#endif
