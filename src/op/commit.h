/*
 * Commit and Release: what happens around the committer.
 *
 *     token, before its deadline ──────────────────────────> committer ──> a worker: answer, notify
 *     job_id alone, or token past its deadline: look Redis up ──^               |
 *                       ^── WANTS_LOOKUP: its deadline passed under the locks ──┤
 *                                 ^── WANTS_RECALL, once: granter, reap, recall ┘
 *
 * The committer only commits; if it answered too, its next batch would wait for the answers to this one.
 * So only workers write to callers' connections, and no two threads contend for one.
 */
#ifndef HOLDFAST_OP_COMMIT_H
#define HOLDFAST_OP_COMMIT_H

#include "op/op.h"

/* What Redis said: entry empty and asked true: it holds nothing; asked false: Redis is away. */
void commit_looked_up(struct op_commit *op, bool asked, struct slice entry);

/*
 * Redis was not asked, or is not what this server believed of it: a desk finds out what it is, asks,
 * and goes on.
 */
void commit_look_up_elsewhere(struct op_commit *op);

/* To the committer; answers OVERLOADED if that is full. */
void commit_submit(struct op_commit *op);

/* The committer's callback; user is the struct services. */
void commit_done(void *user, struct commit_item *const *items, size_t count);

/* Answers the caller if that is not done yet, with these held units; the op is notified. */
void commit_notified(struct op_commit *op);

/* The same, and Redis could not be told: if that has to be made up for, it is kept for notify_marks. */
void commit_not_notified(struct op_commit *op);

#endif
