/*
 * Making a shard usable: PROTOCOL.md 3.6. On any thread with its own stores.
 * stores_run (op/stores.h) calls this where a script lost the guard.
 *
 *     row == Redis (replid, epoch, nonce)      adopt: nothing was lost
 *     otherwise                                bump the epoch by compare and set, init Redis with a
 *                                              fresh nonce, activate; the loser of the race re-reads
 *
 * The database may go back: a failover that lost its last transactions, a restore, a row that somebody
 * changed. Then the row has an earlier epoch than this server believes, or the same with another
 * nonce, or there is none. Then neither Redis nor the row is believed: an epoch above both is begun, so
 * that no lease or hold is taken for one that was there before.
 *
 * Only what a fresh connection reaches may begin an epoch: two Redis may stand behind one address, a newer
 * one for whoever connects now, and an older one that goes on answering whoever was connected before.
 *
 * A server that would take a shard back to the Redis where it was before waits first (WAY_BACK_FIRST_MS
 * to WAY_BACK_MAX_MS): an old primary may live on for it while others use the new one, and the two would
 * take the shard from each other for ever. Meanwhile its callers get UNAVAILABLE.
 *
 * A crash between bump and activate leaves state I, which the next server waits for up to
 * AUTHORITY_MAKING_MS and then bumps again. The old epoch's leases are set aside lazily, quota by quota,
 * by the grants.
 */
#ifndef HOLDFAST_OP_RECOVER_H
#define HOLDFAST_OP_RECOVER_H

#include "base/check.h"
#include "op/stores.h"

/*
 * Reads the row and believes it; begins a new epoch if the database went back. Call it when the row turns
 * out not to be what is believed.
 */
void recover_look(struct stores *stores, int shard);

/*
 * The same with every row, as read by ledger_authority_all after `before` was copied from what is
 * believed. A database that went back is waited for here and in the other two by hurried stores as well.
 */
void recover_all(struct stores *stores, const struct shard_view *before, const bool *before_known,
                 const struct shard_view *rows, const bool *rows_known);

/*
 * Something of this epoch or a later one was seen (a lease, a version) that the database does not
 * know: begins one above it. Harmless if somebody has done so already.
 */
void recover_above(struct stores *stores, int shard, int64_t epoch, const char *seen);

#endif
