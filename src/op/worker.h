/*
 * A worker: one thread that serves calls, with its own Redis connection and scratch memory.
 *
 * It takes what has arrived from the completion queue; what needs Redis waits until no batch is
 * outstanding, and then goes out in one round trip: one script per tag of shards for the notifies and
 * one for the Reserves, one look per tenant for Commits that name their job only. Until the answer comes
 * it goes on taking calls and collects the next batch. Answers are given inline. What Redis cannot decide
 * moves on to the granter and never comes back; a commit moves on to the committer and comes back, to
 * whichever worker takes it first (op/returns.h), to be answered and notified.
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

#endif
