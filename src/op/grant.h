/*
 * Reserves that Redis alone could not answer: the granter's part of Reserve.
 *
 * Every op goes round until it is answered, all ops of a turn together, each pass at most one facts
 * read, one reap per tenant in need, one grant transaction, and one round trip to Redis:
 *
 *     last answer    what the pass does before the script runs again
 *     none, STALE    loads the plan; brings its version to Redis. A quota without a row is lent its
 *                    first lease at once: Redis cannot have it
 *     KNOWN, FINAL   reads the ledger: committed -> ALREADY_COMMITTED; that attempt fenced -> the
 *                    script is preceded by its removal; neither -> replay
 *     DUE            reaps the tenant's due holds
 *     SHORT          asks the root for what is missing; what it lends goes to Redis with the script
 *
 * REJECT is said only if a script that ran after the root's no still falls short, and after the
 * tenant's due holds were reaped. Three grants without success: ABORTED, nothing was held.
 */
#ifndef HOLDFAST_OP_GRANT_H
#define HOLDFAST_OP_GRANT_H

#include "op/granting.h"
#include "op/op.h"

/*
 * At most GRANT_OPS_MAX at a time. Answers all but those of tenants with locked rows, which are set aside
 * (op/aside.h): they are ops[0 .. n - 1] then, and n is returned.
 */
enum { GRANT_OPS_MAX = 256 };
size_t grant_reserves(struct granting *granting, struct op_reserve **ops, size_t count);

#endif
