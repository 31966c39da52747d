/*
 * Reserves that Redis alone could not answer: the granter's part of Reserve.
 *
 * Every op goes round until it is answered, all ops of a turn together, each pass at most one facts
 * read, one reap per tenant in need, one grant transaction, and one round trip to Redis:
 *
 *     last answer    what the pass does before the script runs again
 *     none, STALE    loads the plan; brings its version to Redis
 *     KNOWN, FINAL   reads the ledger: committed -> ALREADY_COMMITTED; that attempt fenced -> the
 *                    script is preceded by its removal; neither -> replay
 *                    (a hold that an Extend supersedes is removed likewise)
 *     DUE            reaps the tenant's due holds
 *     SHORT          asks the root for what is missing; what it lends goes to Redis with the script
 *
 * REJECT is said only if a script that ran after the root's no still falls short, and after the
 * tenant's due holds were reaped. Three grants without success: ABORTED, nothing was held.
 */
#ifndef HOLDFAST_OP_GRANT_H
#define HOLDFAST_OP_GRANT_H

#include "base/arena.h"
#include "counter/counter.h"
#include "ledger/database.h"
#include "op/op.h"
#include "op/services.h"

struct refusals;

/* What the granter's stories share; belongs to its thread. */
struct grant_context {
    struct services *services;
    struct database *db;
    struct counter *counter;
    struct arena scratch; /* of one pass */
    struct refusals *refusals;
    void (*collect)(void *user); /* takes in and settles what has arrived meanwhile */
    void *user;
};

struct refusals *refusals_create(void);
void refusals_destroy(struct refusals *refusals);

/* Answers all; at most GRANT_OPS_MAX at a time. */
enum { GRANT_OPS_MAX = 128 };
void grant_reserves(struct grant_context *context, struct op_reserve **ops, size_t count);

#endif
