/*
 * WANTS_RECALL: an excess does not fit at the root while capacity is lent. What is due is reaped, what
 * is idle is taken back, and then the committer decides, as the ops say: recall_done. Where something
 * came back the op may ask again, a few times: somebody else may have borrowed it before the decision.
 *
 * All ops that wait go together, whatever their number: one list of due holds, one round trip to Redis
 * for every shard, one transaction for what came back. A tenant goes once in a turn, however many
 * commits of it wait, and with a share of the due holds. Where a store does not answer, nothing comes
 * back and the committer decides on what there is.
 *
 * Redis raises its cumulative `returned` first, then the database takes it. Between the two the capacity
 * is nobody's; the next grant or recall of the quota, of any server, brings it (ledger_grant carries the
 * `returned` that Redis shows, and the number only rises).
 *
 * Likewise for recall flags that nobody served (duty_recall.c): recall_rows; and for what nobody has used
 * lately (duty_idle.c): recall_idle.
 */
#ifndef HOLDFAST_OP_RECALL_H
#define HOLDFAST_OP_RECALL_H

#include "op/op.h"
#include "op/stores.h"

#include <stdbool.h>
#include <stddef.h>

enum { RECALL_OPS_MAX = 128 };

/*
 * At most RECALL_OPS_MAX; all go to the committer again, but for those that hurried stores leave to the
 * patient granter (op/stores.h).
 */
void recall_ops(struct stores *stores, struct op_commit **ops, size_t count);

enum { RECALL_ROWS_MAX = 512 };

/*
 * Takes back what is idle of these quotas, at most RECALL_ROWS_MAX, each with its shard; the root hears
 * also of those that had nothing idle, which clears their flags. A flag stays where Redis cannot take
 * it back now, and where a row of the tenant is locked: it is set aside. A failure is the database's.
 */
MUST_CHECK enum status recall_rows(struct stores *stores, const struct quota_row *rows,
                                   size_t count);

/*
 * For a correction that does not fit while capacity is lent: what is due of the rows' tenant is reaped, what
 * is idle taken back. rows: of one tenant, each with its shard; beyond RECALL_ROWS_MAX none is looked at.
 * True: something came back.
 */
MUST_CHECK bool recall_tenant(struct stores *stores, const struct quota_row *rows, size_t count);

struct recall_want {
    const struct quota_row *row; /* with its shard */
    enum counter_recall_how how;
};

/* Of each what `how` says, at most RECALL_ROWS_MAX; the root hears where something came back. As above. */
MUST_CHECK enum status recall_idle(struct stores *stores, const struct recall_want *wants,
                                   size_t count);

#endif
