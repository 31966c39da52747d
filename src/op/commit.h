/*
 * Commit and Release: what happens around the committer.
 *
 *     token, before its deadline ──────────────────────────> committer ──> a worker: answer, settle
 *     job_id alone, or token past its deadline: look Redis up ──^               |
 *                                         ^── WANTS_RECALL, once: granter ──────┘
 *
 * The committer does nothing but commit: its next batch would wait for the answers to this one. And
 * only workers write to callers' connections then, which two threads would contend for; with both,
 * measured, 11 % less CPU for a Reserve and its Commit.
 */
#ifndef HOLDFAST_OP_COMMIT_H
#define HOLDFAST_OP_COMMIT_H

#include "op/op.h"

/* What Redis said: entry empty and asked true: it holds nothing; asked false: Redis is away. */
void commit_looked_up(struct op_commit *op, bool asked, struct slice entry);

/* To the committer; answers OVERLOADED if that is full. */
void commit_submit(struct op_commit *op);

/* The committer's callback; user is the struct services. */
void commit_done(void *user, struct commit_item *const *items, size_t count);

/* Answers the caller if that is not done yet, with these held units; the op is settled. */
void commit_settled(struct op_commit *op);

#endif
