/*
 * Lending: how a quota row's current lease is begun, raised, returned and closed. Pure, on rows that
 * the caller has locked. op/PROTOCOL.md 3.1 and 3.6.
 *
 * lease_id = epoch * 2^20 + n, so that a later lease of a quota has the larger id.
 */
#ifndef HOLDFAST_QUOTA_LEASE_H
#define HOLDFAST_QUOTA_LEASE_H

#include "quota/book.h"

#define LEASE_IDS_PER_EPOCH 1048576

/*
 * An epoch that a store shows so far ahead of the shard's row is a hand's: no database forgets so many. The
 * numbers of leases end with 2^33 epochs, so one that anybody may write must not be followed.
 */
#define LEASE_EPOCHS_AHEAD 1048576

static inline int64_t lease_epoch(int64_t lease_id)
{
    return lease_id / LEASE_IDS_PER_EPOCH;
}

/*
 * True if the row has no lease, or one of an earlier epoch than quota->epoch: the caller then calls
 * lease_begin. Before that nothing of the lease may go to Redis, neither a grant nor a recall: what
 * a new incarnation calls idle was promised to holds that it does not know. False for a lease of a
 * later epoch than the caller knows: the caller reads authority again.
 */
bool lease_is_stale(const struct quota_row *quota);

/*
 * Has the epoch another id for this quota? False too for a lease of a later epoch. Numbers come from
 * stores: whoever begins a lease asks first, and begins a new epoch of the shard if there is none.
 */
bool lease_may_begin(const struct quota_row *quota);

/*
 * So much has been granted under it, since all that came back counts too, that the numbers may end before the
 * lease does. With nothing lent the next one begins; until then nothing more should come back.
 */
bool lease_is_worn(const struct quota_row *quota);

/* The next grant begins another: the lease is worn, nothing of it is lent, and there is an id. */
bool lease_is_worn_out(const struct quota_row *quota);

/*
 * After lease_may_begin. Sets the current lease aside and begins an empty one of the current epoch,
 * with nothing to recall. *ret_old is to be inserted into old_lease; lease_id 0: nothing to insert,
 * because all that it lent has come back.
 */
void lease_begin(struct quota_row *quota, struct lease_row *ret_old);

/*
 * Lends more: at least `needed` units if the root has room for that, up to the target beyond, never
 * past the root's condition. Less than needed is lent too. Returns the units lent, 0 or
 * more. deadline_ms: the lease lasts at least until then. Nothing beyond `needed` is lent while a
 * recall is wanted, or if only the deadline is to move (needed 0); nothing at all in a quota that is
 * not open, or under a lease of another epoch.
 */
int64_t lease_raise(struct quota_row *quota, int64_t needed, int64_t deadline_ms);

/*
 * Redis gave capacity back: its cumulative counter. Clamped to granted - spent; leased falls. Sets
 * recall to whether more is to be taken back: yes while the quota is over its cap and still has
 * something lent, because what its holds give back later must be recalled too. Nothing happens if
 * lease_id is not the current lease: an old one ends by its deadline.
 */
void lease_return(struct quota_row *quota, int64_t lease_id, int64_t returned);

/*
 * Idle capacity came back of a lease that nothing has moved lately, or whose deadline was far behind its
 * holds: lease_return, and the deadline falls to what Redis made of it. It does so only where `returned` is
 * news: then nothing that this row said before can raise the deadline in Redis again, since Redis does not
 * take it from a row that knows less of what has come back (counter/lua/totals.lua). deadline_ms 0: it did
 * not fall. still: the next refill is no larger than what is left.
 */
void lease_ebb(struct quota_row *quota, int64_t lease_id, int64_t returned, int64_t deadline_ms,
               bool still);

/*
 * Closes an old lease whose deadline has passed (now_ms > deadline): its rest leaves leased and
 * counts as returned, and reaped_to rises to now_ms; the caller removes its row. False: not due.
 */
bool lease_close(struct quota_row *quota, struct lease_row *lease, int64_t now_ms);

/*
 * A hold under this lease, the current one or one set aside, lasts until deadline_ms: so does the lease.
 * False: it is over.
 */
bool lease_keep(struct book *book, struct quota_row *quota, int64_t lease_id, int64_t deadline_ms);

/*
 * clamp(2 x outstanding_max, 1 % .. 25 % of the limit), at least 1; for an unlimited quota or cap
 * 2^40. outstanding_max: the most that was held under the lease lately.
 */
int64_t lease_target(const struct stops *stops, int64_t outstanding_max);

#endif
