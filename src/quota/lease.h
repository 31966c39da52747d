/*
 * Lending: how a quota row's current lease is begun, raised, returned and closed. Pure, on rows that
 * the caller has locked. protocol.md 3.4 and 3.7.
 *
 * lease_id = epoch * 2^20 + n, so that a later lease of a quota has the larger id.
 */
#ifndef HOLDFAST_QUOTA_LEASE_H
#define HOLDFAST_QUOTA_LEASE_H

#include "quota/settle.h"

#define LEASE_IDS_PER_EPOCH (INT64_C(1) << 20)

static inline int64_t lease_epoch(int64_t lease_id)
{
    return lease_id / LEASE_IDS_PER_EPOCH;
}

/*
 * True if the row's lease is none or of an earlier epoch than quota->epoch: the caller then calls
 * lease_begin. Until then nothing of the lease may go to Redis, neither a grant nor a recall: what
 * a new incarnation calls idle was promised to holds that it does not know. A lease of a later
 * epoch than the caller knows: false, the caller re-reads authority.
 */
bool lease_is_stale(const struct settle_quota *quota);

/*
 * Sets the current lease aside (*ret_old, to be inserted into old_lease, if it lent anything that is
 * not back; lease_id 0: nothing to insert) and begins an empty one of the current epoch,
 * of which nothing is to be recalled.
 */
void lease_begin(struct settle_quota *quota, struct settle_lease *ret_old);

/*
 * Lends more: at least `needed` units if the root has room for that, up to the target beyond, never
 * past the root's condition. Also what is less than needed is lent. Returns the units lent, 0 or
 * more. deadline_ms: the lease lasts at least until then. Nothing beyond `needed` is lent while a
 * recall is wanted, or if only the deadline is to move (needed 0); nothing at all in a quota that is
 * not open, or under a lease of another epoch.
 */
int64_t lease_raise(struct settle_quota *quota, int64_t needed, int64_t deadline_ms);

/*
 * Redis gave capacity back: its cumulative counter. Clamped to granted - spent; leased falls. Sets
 * recall to whether more is to be taken back: yes while the quota is over its cap and still has
 * something lent, because what its holds give back later must be recalled too. Nothing happens if
 * lease_id is not the current lease: an old one ends by its deadline.
 */
void lease_return(struct settle_quota *quota, int64_t lease_id, int64_t returned);

/*
 * Closes an old lease whose deadline has passed (now_ms > deadline): its rest leaves leased and
 * counts as returned, and reaped_to rises to now_ms; the caller removes its row. False: not due.
 */
bool lease_close(struct settle_quota *quota, struct settle_lease *lease, int64_t now_ms);

/*
 * clamp(2 x outstanding_max, 1 % .. 25 % of the limit), at least 1; for an unlimited quota or cap
 * 2^40. outstanding_max: the most that was held under the lease lately.
 */
int64_t lease_target(const struct stops *stops, int64_t outstanding_max);

#endif
