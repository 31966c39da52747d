/*
 * Making a shard usable: protocol.md 3.7, items 2 and 5. On any thread with its own connections.
 *
 *     row == Redis (replid, epoch, nonce)      adopt: nothing was lost
 *     otherwise                                bump the epoch by compare and set, init Redis with a
 *                                              fresh nonce, activate; the loser of the race re-reads
 *
 * A crash between bump and activate leaves state I, which the next comer waits for up to 1 s and
 * then bumps again. The old epoch's leases are set aside lazily, quota by quota, by the grants.
 */
#ifndef HOLDFAST_OP_RECOVER_H
#define HOLDFAST_OP_RECOVER_H

#include "base/check.h"
#include "counter/counter.h"
#include "ledger/database.h"
#include "op/services.h"

#include <stdbool.h>

enum recovery {
    RECOVERED,           /* authority_get gives a view that Redis agreed with a moment ago */
    RECOVERY_NO_REDIS,
    RECOVERY_NO_POSTGRES,
    RECOVERY_BUSY,       /* another server is at it, longer than this call may wait */
};

/* doubted: the view that Redis refused, or NULL if there is none yet. Waits 1.5 s at most. */
MUST_CHECK enum recovery recover_shard(struct services *services, struct database *db,
                                       struct counter *counter, int shard,
                                       const struct shard_view *doubted);

/*
 * Runs the calls, each with the current view of its own view.shard, in one round trip; shards that
 * lost the guard (or are not known yet) are recovered and their calls run again, twice at most.
 * True: every call has STATUS_OK and passed the guard. Otherwise look at each; *ret_reason says what
 * stood in the way of the first that failed.
 */
bool run_counter_calls(struct services *services, struct database *db, struct counter *counter,
                       struct counter_call *const *calls, size_t count,
                       enum recovery *ret_reason);

enum { RUN_CALLS_MAX = 512 };

#endif
