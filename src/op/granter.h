/*
 * The granter: one thread for what Reserve, Extend and settles need of both stores.
 *
 * Its own blocking connections to Redis and Postgres. Each turn takes everything that has arrived:
 * settles first (they free capacity in Redis; those that no worker has taken yet, and those that a
 * worker could not bring), then recalls, extends, and Reserves, all of them in as few transactions
 * and round trips as there are steps (op/grant.c).
 */
#ifndef HOLDFAST_OP_GRANTER_H
#define HOLDFAST_OP_GRANTER_H

#include "base/check.h"
#include "op/op.h"

#include <stdbool.h>

struct granter;

/* Starts the thread. */
struct granter *granter_create(struct services *services);

/* Takes no more, answers everything queued and joins the thread; later pushes are refused. */
void granter_stop(struct granter *granter);

/* After granter_stop, when nobody can push any more. Accepts NULL. */
void granter_destroy(struct granter *granter);

/* [any thread] op->run is one of the functions below. False: full; the op stays with the caller. */
MUST_CHECK bool granter_push(struct granter *granter, struct op *op);

void granter_run_reserve(struct op *op, void *granter);
void granter_run_extend(struct op *op, void *granter);
void granter_run_settle(struct op *op, void *granter);
void granter_run_recall(struct op *op, void *granter);

#endif
