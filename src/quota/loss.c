#include "quota/loss.h"

#include "base/amount.h"
#include "quota/lease.h"

static bool can_be(const struct loss_seen *seen)
{
    return seen->lease_id >= 0 && amount_valid(seen->granted) && amount_valid(seen->returned) &&
           amount_valid(seen->spent) && amount_valid(seen->used) && amount_valid(seen->used_seq) &&
           seen->returned <= seen->granted && seen->spent <= seen->granted - seen->returned;
}

bool loss_suspect(const struct quota_row *quota, const struct loss_seen *seen)
{
    if (!can_be(seen) || seen->lease_id < quota->lease_id)
        return can_be(seen) && seen->used_seq > quota_told_seq(quota);
    return seen->used_seq > quota_told_seq(quota) || seen->lease_id > quota->lease_id ||
           seen->granted > quota->granted || seen->spent > quota->spent ||
           (seen->returned >= quota->returned &&
            seen->lease_deadline_ms > quota->lease_deadline_ms);
}

/* What the row has spent of the lease that Redis shows; -1: it does not know the lease any more. */
static int64_t spent_of(struct book *book, const struct quota_row *quota, int64_t lease_id)
{
    const struct lease_row *lease;

    if (lease_id == quota->lease_id)
        return quota->spent;
    if (lease_id > quota->lease_id)
        return 0;
    lease = book_find_lease(book, quota->tenant_id, quota->ref, lease_id);
    return lease ? lease->spent : -1;
}

bool loss_prove(struct book *book, const struct quota_row *quota, const struct loss_seen *seen,
                int64_t accepted_seq, struct loss *ret)
{
    int64_t known = spent_of(book, quota, seen->lease_id);
    int64_t spent = known >= 0 ? amount_max(seen->spent - known, 0) : 0;
    bool entries = seen->used_seq > amount_max(quota_told_seq(quota), accepted_seq);
    int64_t used = entries ? amount_max(seen->used - quota->committed - quota->debt, 0) : 0;

    if (!can_be(seen) || (!entries && spent == 0))
        return false;
    *ret = (struct loss){
        .tenant_id = quota->tenant_id,
        .ref = quota->ref,
        .lease_id = spent > 0 ? seen->lease_id : 0,
        .spent = spent,
        .units = amount_max(used, spent),
        .seq = quota_told_seq(quota),
        .seen_seq = seen->used_seq,
    };
    return true;
}

bool loss_grown(const struct loss *before, struct loss *now)
{
    bool same_lease = now->lease_id == before->lease_id;

    if (now->seen_seq <= before->seen_seq && (same_lease ? now->spent <= before->spent : true))
        return false;
    now->units = amount_max(now->units, before->units);
    now->seen_seq = amount_max(now->seen_seq, before->seen_seq);
    now->seq = amount_min(now->seq, before->seq);
    if (now->lease_id == 0 || (same_lease && now->spent < before->spent)) {
        now->lease_id = before->lease_id;
        now->spent = before->spent;
    }
    return true;
}

static bool fits(const struct quota_row *quota, int64_t more)
{
    return more <= AMOUNT_MAX - quota->committed - quota->debt - quota->pg_held - quota->leased;
}

bool loss_adopt(struct quota_row *quota, const struct loss_seen *seen, struct lease_row *ret_old)
{
    int64_t lent = quota->granted - quota->returned - quota->spent;
    int64_t more = seen->granted - quota->granted;
    bool later = seen->lease_id > quota->lease_id;
    bool longer =
        seen->lease_deadline_ms > quota->lease_deadline_ms && seen->returned >= quota->returned;

    *ret_old = (struct lease_row){.tenant_id = quota->tenant_id, .ref = quota->ref};
    if (later)
        more = seen->granted - seen->returned;
    if (!can_be(seen) || seen->lease_id < quota->lease_id || seen->lease_id == 0 ||
        !fits(quota, amount_max(more, 0)) || (!later && more <= 0 && !longer) ||
        lease_epoch(seen->lease_id) > quota->epoch + LEASE_EPOCHS_AHEAD)
        return false;
    if (later && lent > 0)
        *ret_old = (struct lease_row){.tenant_id = quota->tenant_id,
                                      .ref = quota->ref,
                                      .lease_id = quota->lease_id,
                                      .granted = quota->granted,
                                      .returned = quota->returned,
                                      .spent = quota->spent,
                                      .deadline_ms = quota->lease_deadline_ms,
                                      .dirty = true};
    if (later) {
        quota->lease_id = seen->lease_id;
        quota->returned = seen->returned;
        quota->spent = quota->lease_deadline_ms = 0;
    }
    if (later || more > 0) {
        quota->granted = seen->granted;
        quota->leased += more;
    }
    if (later || longer)
        quota->lease_deadline_ms = seen->lease_deadline_ms;
    quota->dirty = true;
    lease_return(quota, quota->lease_id, seen->returned);
    return true;
}

struct booking loss_book(struct book *book, struct quota_row *quota, const struct loss *loss)
{
    struct booking booking = {.quota = quota};
    int64_t left = quota->granted - quota->returned - quota->spent;
    int64_t most = AMOUNT_MAX - quota->committed - quota->debt - quota->pg_held - quota->leased;

    if (loss->lease_id != quota->lease_id) {
        booking.lease = book_find_lease(book, quota->tenant_id, quota->ref, loss->lease_id);
        left = booking.lease
                   ? booking.lease->granted - booking.lease->returned - booking.lease->spent
                   : 0;
    }
    booking.spend = amount_min(loss->spent, left);
    booking.forced = amount_min(loss->units - booking.spend, most);
    booking.debt =
        amount_min(booking.forced, amount_max(booking.forced - amount_max(book_room(quota), 0), 0));
    return booking;
}

/* A number that a hand wrote must not leave Redis without any to go on with. */
void loss_renumber(struct quota_row *quota, const struct loss *loss)
{
    int64_t lost = loss->seen_seq - quota->ledger_seq;

    if (loss->seen_seq <= AMOUNT_MAX / 2 && lost > quota->seq_lost) {
        quota->seq_lost = lost;
        quota->dirty = true;
    }
}
