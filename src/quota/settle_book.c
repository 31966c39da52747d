#include "quota/settle_book.h"

#include "base/amount.h"
#include "quota/lease.h"

#include <inttypes.h>

static int64_t lent(const struct settle_quota *quota)
{
    return quota->granted - quota->returned - quota->spent;
}

static int order(int64_t tenant_a, struct quota_ref a, int64_t tenant_b, struct quota_ref b)
{
    if (tenant_a != tenant_b)
        return tenant_a < tenant_b ? -1 : 1;
    return quota_ref_compare(a, b);
}

/* Index of the first quota that is not before (tenant_id, ref). */
static size_t first_quota(const struct settle_book *book, int64_t tenant_id, struct quota_ref ref)
{
    size_t low = 0;
    size_t high = book->quotas_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct settle_quota *quota = &book->quotas[middle];

        if (order(quota->tenant_id, quota->ref, tenant_id, ref) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct settle_quota *settle_find_quota(struct settle_book *book, int64_t tenant_id,
                                       struct quota_ref ref)
{
    size_t at = first_quota(book, tenant_id, ref);
    struct settle_quota *quota = &book->quotas[at];

    if (at == book->quotas_count || order(quota->tenant_id, quota->ref, tenant_id, ref) != 0)
        return NULL;
    return quota;
}

/* Index of the first lease of a quota, or of where it would be. */
static size_t first_lease(const struct settle_book *book, int64_t tenant_id, struct quota_ref ref)
{
    size_t low = 0;
    size_t high = book->leases_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct settle_lease *lease = &book->leases[middle];

        if (order(lease->tenant_id, lease->ref, tenant_id, ref) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_lease_of(const struct settle_lease *lease, int64_t tenant_id, struct quota_ref ref)
{
    return lease->tenant_id == tenant_id && quota_ref_equal(lease->ref, ref);
}

struct settle_lease *settle_find_lease(struct settle_book *book, int64_t tenant_id,
                                       struct quota_ref ref, int64_t lease_id)
{
    for (size_t i = first_lease(book, tenant_id, ref);
         i < book->leases_count && is_lease_of(&book->leases[i], tenant_id, ref); i++)
        if (book->leases[i].lease_id == lease_id)
            return &book->leases[i];
    return NULL;
}

void settle_book_check(struct settle_book *book, const struct settle_quota *quota)
{
    int64_t leased = lent(quota);

    CHECK(quota->committed >= 0 && quota->debt >= 0 && quota->pg_held >= 0);
    CHECK(quota->returned >= 0 && quota->spent >= 0 && leased >= 0);
    for (size_t i = first_lease(book, quota->tenant_id, quota->ref);
         i < book->leases_count && is_lease_of(&book->leases[i], quota->tenant_id, quota->ref);
         i++) {
        const struct settle_lease *lease = &book->leases[i];
        int64_t rest = lease->granted - lease->returned - lease->spent;

        CHECK(lease->returned >= 0 && lease->spent >= 0 && rest >= 0);
        leased += rest;
    }
    CHECK_MSG(leased == quota->leased,
              "tenant=%" PRId64 " limit=%" PRId64 " period=%" PRId64 " leased=%" PRId64
              " leases=%" PRId64,
              quota->tenant_id, quota->ref.limit_id, quota->ref.period_start_ms, quota->leased,
              leased);
}

int64_t settle_room(const struct settle_quota *quota)
{
    return quota->stops.cap - quota->committed - quota->debt - quota->pg_held - quota->leased;
}

int64_t settle_book_reaped_to_ms(struct settle_book *book, int64_t tenant_id,
                                 const struct hold *hold)
{
    int64_t reaped_to_ms = 0;

    for (size_t i = 0; i < hold->quotas_count; i++) {
        const struct settle_quota *quota =
            settle_find_quota(book, tenant_id, hold->quotas[i].quota);

        if (quota && quota->reaped_to_ms > reaped_to_ms)
            reaped_to_ms = quota->reaped_to_ms;
    }
    return reaped_to_ms;
}

/* The latest period of a limit that has begun and is not closed; NULL if no such row is locked. */
static struct settle_quota *current_period(struct settle_book *book, int64_t tenant_id,
                                           int64_t limit_id)
{
    struct settle_quota *current = NULL;

    for (size_t i = first_quota(book, tenant_id, (struct quota_ref){limit_id, 0});
         i < book->quotas_count; i++) {
        struct settle_quota *quota = &book->quotas[i];

        if (quota->tenant_id != tenant_id || quota->ref.limit_id != limit_id ||
            quota->ref.period_start_ms > book->now_ms)
            break;
        if (quota->state != QUOTA_CLOSED)
            current = quota;
    }
    return current;
}

/* True if the lease of a hold has the units; *ret_lease is NULL for the current one. */
static bool lease_covers(struct settle_book *book, const struct settle_quota *quota,
                         int64_t lease_id, int64_t units, struct settle_lease **ret_lease)
{
    struct settle_lease *lease;

    *ret_lease = NULL;
    if (quota->lease_id == lease_id)
        return quota->granted - quota->returned - quota->spent >= units;
    lease = settle_find_lease(book, quota->tenant_id, quota->ref, lease_id);
    if (!lease || lease->granted - lease->returned - lease->spent < units)
        return false;
    *ret_lease = lease;
    return true;
}

struct settle_booking settle_book_place(struct settle_book *book, int64_t tenant_id,
                                        const struct hold_quota *held, int64_t units, bool late)
{
    struct settle_booking booking = {.meter = held->meter};
    struct settle_quota *quota = settle_find_quota(book, tenant_id, held->quota);

    if (quota && quota->state != QUOTA_CLOSED) {
        booking.quota = quota;
        settle_book_check(book, quota);
        if (late)
            return booking;
        if (lease_covers(book, quota, held->lease_id, units, &booking.lease))
            booking.spend = units;
        else
            booking.forced = units;
        return booking;
    }
    booking.quota = current_period(book, tenant_id, held->quota.limit_id);
    if (booking.quota)
        settle_book_check(book, booking.quota);
    booking.forced = late ? 0 : units;
    return booking;
}

void settle_book_apply(const struct settle_booking *booking)
{
    struct settle_quota *quota = booking->quota;

    if (!quota)
        return;
    if (booking->lease && booking->spend > 0) {
        booking->lease->spent += booking->spend;
        booking->lease->dirty = true;
    } else {
        quota->spent += booking->spend;
    }
    quota->leased -= booking->spend;
    quota->committed += booking->spend + booking->forced + booking->excess - booking->debt;
    quota->debt += booking->debt;
    quota->recall |= booking->debt > 0 && lent(quota) > 0 && !lease_is_stale(quota);
    quota->ledger_seq++;
    quota->dirty = true;
}

void settle_refill(struct settle_book *book, struct settle_quota *quota, int64_t deadline_ms)
{
    int64_t more;

    if (quota->state != QUOTA_OPEN || book->now_ms >= quota->period_end_ms ||
        quota->lease_id == 0 || lease_epoch(quota->lease_id) != quota->epoch)
        return;
    if (quota->lease_deadline_ms < deadline_ms) {
        quota->lease_deadline_ms = deadline_ms;
        quota->dirty = true;
    }
    /* What is being taken back is not lent again in the same breath. */
    more = amount_min(quota->lease_target - lent(quota), settle_room(quota));
    more = amount_min(more, AMOUNT_MAX - quota->granted);
    if (more <= 0 || quota->recall)
        return;
    quota->granted += more;
    quota->leased += more;
    quota->dirty = true;
}

struct settle_event *settle_book_event(struct settle_book *book, int64_t tenant_id,
                                       enum event_kind kind, struct slice job_id,
                                       struct attempt attempt)
{
    struct settle_event *event = arena_zalloc(book->arena, sizeof(*event));

    CHECK(event);
    event->tenant_id = tenant_id;
    event->kind = kind;
    event->job_id = job_id;
    event->attempt = attempt;
    if (!book->events_tail)
        book->events_tail = &book->events;
    *book->events_tail = event;
    book->events_tail = &event->next;
    return event;
}

void settle_cross(struct settle_book *book, struct settle_quota *quota, struct slice job_id,
                  struct attempt attempt)
{
    struct crossing crossings[CROSSINGS_MAX];
    int64_t use = quota->committed + quota->debt;
    size_t count = threshold_cross(&quota->stops, use, &quota->level, crossings);

    for (size_t i = 0; i < count; i++) {
        struct settle_event *event =
            settle_book_event(book, quota->tenant_id, crossings[i].kind, job_id, attempt);

        event->direction = crossings[i].up ? 1 : 2;
        event->quota = quota;
        event->committed = quota->committed;
        event->debt = quota->debt;
        event->ledger_seq = quota->ledger_seq;
        event->level = threshold_level(&quota->stops, use);
        quota->dirty = true;
    }
}
