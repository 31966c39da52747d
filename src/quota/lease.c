#include "quota/lease.h"

#include "base/amount.h"

/* What an unlimited quota is lent at a time. */
#define TARGET_UNLIMITED (INT64_C(1) << 40)

enum { TARGET_MIN_PERCENT = 1, TARGET_MAX_PERCENT = 25 };

static int64_t lent(const struct quota_row *quota)
{
    return quota->granted - quota->returned - quota->spent;
}

bool lease_is_stale(const struct quota_row *quota)
{
    return quota->lease_id == 0 || lease_epoch(quota->lease_id) < quota->epoch;
}

bool lease_may_begin(const struct quota_row *quota)
{
    return quota->epoch > 0 && lease_epoch(quota->lease_id) <= quota->epoch &&
           lease_epoch(quota->lease_id + 1) <= quota->epoch;
}

bool lease_is_worn(const struct quota_row *quota)
{
    return quota->granted > AMOUNT_MAX / 2;
}

bool lease_is_worn_out(const struct quota_row *quota)
{
    return lease_is_worn(quota) && lent(quota) == 0 && lease_may_begin(quota);
}

void lease_begin(struct quota_row *quota, struct lease_row *ret_old)
{
    int64_t first_id = quota->epoch * LEASE_IDS_PER_EPOCH;

    CHECK(lease_may_begin(quota));
    *ret_old = (struct lease_row){.tenant_id = quota->tenant_id, .ref = quota->ref};
    if (lent(quota) > 0) {
        ret_old->lease_id = quota->lease_id;
        ret_old->granted = quota->granted;
        ret_old->returned = quota->returned;
        ret_old->spent = quota->spent;
        ret_old->deadline_ms = quota->lease_deadline_ms;
        ret_old->dirty = true;
    }
    quota->lease_id = quota->lease_id < first_id ? first_id : quota->lease_id + 1;
    quota->granted = quota->returned = quota->spent = 0;
    quota->lease_deadline_ms = 0;
    quota->recall = false; /* an old lease comes back by its deadline, an empty one has nothing */
    quota->dirty = true;
}

int64_t lease_raise(struct quota_row *quota, int64_t needed, int64_t deadline_ms)
{
    /* Beyond what is needed nothing is lent while idle capacity is being taken back. */
    bool exactly = needed == 0 || quota->recall;
    int64_t wanted = exactly ? needed : amount_max(needed, quota->lease_target);
    int64_t units = amount_min(wanted, book_room(quota));

    CHECK(needed >= 0);
    if (quota->state != QUOTA_OPEN || quota->lease_id == 0 ||
        lease_epoch(quota->lease_id) != quota->epoch)
        return 0;
    units = amount_max(amount_min(units, AMOUNT_MAX - quota->granted), 0);
    quota->granted += units;
    quota->leased += units;
    if (quota->lease_deadline_ms < deadline_ms)
        quota->lease_deadline_ms = deadline_ms;
    quota->dirty = true;
    return units;
}

void lease_return(struct quota_row *quota, int64_t lease_id, int64_t returned)
{
    int64_t total = amount_min(returned, quota->granted - quota->spent);
    bool recall;

    if (lease_id == 0 || lease_id != quota->lease_id)
        return;
    if (total > quota->returned) {
        quota->leased -= total - quota->returned;
        quota->returned = total;
        CHECK(quota->leased >= lent(quota));
        quota->dirty = true;
    }
    /* Over the cap, what holds give back later must not be lent out again either. */
    recall = lent(quota) > 0 && book_room(quota) < 0;
    if (recall != quota->recall) {
        quota->recall = recall;
        quota->dirty = true;
    }
}

void lease_ebb(struct quota_row *quota, int64_t lease_id, int64_t returned, int64_t deadline_ms,
               bool still)
{
    bool news = lease_id != 0 && lease_id == quota->lease_id && returned > quota->returned &&
                returned <= quota->granted - quota->spent;

    lease_return(quota, lease_id, returned);
    if (!news)
        return;
    if (deadline_ms > 0 && deadline_ms < quota->lease_deadline_ms)
        quota->lease_deadline_ms = deadline_ms;
    if (still)
        quota->lease_target = amount_min(quota->lease_target, lent(quota));
}

bool lease_close(struct quota_row *quota, struct lease_row *lease, int64_t now_ms)
{
    int64_t rest = lease->granted - lease->returned - lease->spent;

    CHECK(lease->tenant_id == quota->tenant_id && quota_ref_equal(lease->ref, quota->ref));
    CHECK(lease->lease_id != quota->lease_id);
    if (now_ms <= lease->deadline_ms)
        return false;
    CHECK(rest >= 0 && quota->leased >= rest);
    quota->leased -= rest;
    if (quota->reaped_to_ms < now_ms)
        quota->reaped_to_ms = now_ms;
    quota->dirty = true;
    lease->returned += rest;
    lease->dirty = true;
    return true;
}

bool lease_keep(struct book *book, struct quota_row *quota, int64_t lease_id, int64_t deadline_ms)
{
    struct lease_row *lease;

    if (quota->lease_id == lease_id) {
        quota->dirty |= quota->lease_deadline_ms < deadline_ms;
        quota->lease_deadline_ms = amount_max(quota->lease_deadline_ms, deadline_ms);
        return true;
    }
    lease = book_find_lease(book, quota->tenant_id, quota->ref, lease_id);
    if (!lease || book->now_ms > lease->deadline_ms)
        return false;
    lease->dirty |= lease->deadline_ms < deadline_ms;
    lease->deadline_ms = amount_max(lease->deadline_ms, deadline_ms);
    return true;
}

int64_t lease_target(const struct stops *stops, int64_t outstanding_max)
{
    int64_t least, most, target;

    if (stops->unlimited || stops->cap >= AMOUNT_MAX)
        return TARGET_UNLIMITED;
    least = amount_mul_percent_ceil(stops->amount, TARGET_MIN_PERCENT);
    most = amount_mul_percent_floor(stops->amount, TARGET_MAX_PERCENT);
    target = amount_add_saturated(outstanding_max, outstanding_max);
    target = amount_min(amount_max(target, least), most);
    return amount_max(target, 1);
}
