/*
 * A worker: one thread that serves calls, with its own Redis connection and scratch memory.
 *
 * It takes what has arrived from the completion queue; what needs Redis waits until no batch is
 * outstanding, and then goes out in one round trip: one script per shard for the settles and one for
 * the Reserves, one look per Commit that names its job only. Until the answer comes it goes on taking
 * calls and collects the next batch. Answers are given inline. What Redis cannot decide moves on to the
 * granter and never comes back; a commit moves on to the committer and comes back, to whichever worker
 * takes it first (op/returns.h), to be answered and settled. protocol.md 3.10 has the measurements
 * behind this shape.
 */
#ifndef HOLDFAST_OP_WORKER_H
#define HOLDFAST_OP_WORKER_H

#include "op/op.h"

#include <stdbool.h>

struct stub_server;
struct worker;

struct worker *worker_create(struct services *services, struct stub_server *server);
void worker_destroy(struct worker *worker); /* accepts NULL */

/* Serves until the server is stopped; the body of the worker's thread. */
void worker_run(struct worker *worker);

/* [the worker's thread] The op goes with the next batch; answers OVERLOADED when that is full. */
void worker_add_reserve(struct worker *worker, struct op_reserve *op);

/* [the worker's thread] What Redis holds for the op's job, then commit_looked_up (op/commit.h). */
void worker_add_lookup(struct worker *worker, struct op_commit *op);

#endif
