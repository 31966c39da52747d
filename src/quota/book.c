#include "quota/book.h"

#include "base/amount.h"
#include "quota/lease.h"

#include <inttypes.h>
#include <stdio.h>

static int64_t lent(const struct quota_row *quota)
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
static size_t first_quota(const struct book *book, int64_t tenant_id, struct quota_ref ref)
{
    size_t low = 0;
    size_t high = book->quotas_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct quota_row *quota = &book->quotas[middle];

        if (order(quota->tenant_id, quota->ref, tenant_id, ref) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct quota_row *book_find_quota(struct book *book, int64_t tenant_id, struct quota_ref ref)
{
    size_t at = first_quota(book, tenant_id, ref);
    struct quota_row *quota = &book->quotas[at];

    if (at == book->quotas_count || order(quota->tenant_id, quota->ref, tenant_id, ref) != 0)
        return NULL;
    return quota;
}

/* Index of the first lease of a quota, or of where it would be. */
static size_t first_lease(const struct book *book, int64_t tenant_id, struct quota_ref ref)
{
    size_t low = 0;
    size_t high = book->leases_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct lease_row *lease = &book->leases[middle];

        if (order(lease->tenant_id, lease->ref, tenant_id, ref) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_lease_of(const struct lease_row *lease, int64_t tenant_id, struct quota_ref ref)
{
    return lease->tenant_id == tenant_id && quota_ref_equal(lease->ref, ref);
}

struct lease_row *book_find_lease(struct book *book, int64_t tenant_id, struct quota_ref ref,
                                  int64_t lease_id)
{
    for (size_t i = first_lease(book, tenant_id, ref);
         i < book->leases_count && is_lease_of(&book->leases[i], tenant_id, ref); i++)
        if (book->leases[i].lease_id == lease_id)
            return &book->leases[i];
    return NULL;
}

static bool lease_is_sound(int64_t granted, int64_t returned, int64_t spent)
{
    return granted <= AMOUNT_MAX && returned >= 0 && returned <= granted && spent >= 0 &&
           spent <= granted - returned;
}

bool book_balances(const struct book *book, const struct quota_row *quota)
{
    int64_t leased = 0;

    if (!lease_is_sound(quota->granted, quota->returned, quota->spent) ||
        !amount_valid(quota->committed) || !amount_valid(quota->debt) ||
        !amount_valid(quota->pg_held) || !amount_valid(quota->leased))
        return false;
    leased = lent(quota);
    for (size_t i = first_lease(book, quota->tenant_id, quota->ref);
         i < book->leases_count && is_lease_of(&book->leases[i], quota->tenant_id, quota->ref);
         i++) {
        const struct lease_row *lease = &book->leases[i];

        if (!lease_is_sound(lease->granted, lease->returned, lease->spent))
            return false;
        leased += lease->granted - lease->returned - lease->spent;
        if (leased > AMOUNT_MAX)
            return false;
    }
    return leased == quota->leased &&
           quota->committed + quota->debt + quota->pg_held + quota->leased <= AMOUNT_MAX;
}

void book_check(const struct book *book, const struct quota_row *quota)
{
    CHECK_MSG(book_balances(book, quota),
              "tenant=%" PRId64 " limit=%" PRId64 " period=%" PRId64 " leased=%" PRId64,
              quota->tenant_id, quota->ref.limit_id, quota->ref.period_start_ms, quota->leased);
}

bool book_is_bad(const struct book *book, int64_t tenant_id)
{
    for (size_t i = 0; i < book->bad_count; i++)
        if (book->bad[i] == tenant_id)
            return true;
    return false;
}

/* Quotas are sorted by tenant, so the list is too. */
static bool add_bad(struct book *book, const struct quota_row *quota, char *what, size_t what_bytes)
{
    if (!book->bad) {
        book->bad = arena_array(book->arena, book->quotas_count, sizeof(*book->bad));
        if (!book->bad)
            return false;
        snprintf(what, what_bytes,
                 "quota limit_id=%" PRId64 " period_start_ms=%" PRId64 ": leased=%" PRId64
                 " is not the sum of its leases, or a number is out of range",
                 quota->ref.limit_id, quota->ref.period_start_ms, quota->leased);
    }
    if (book->bad_count == 0 || book->bad[book->bad_count - 1] != quota->tenant_id)
        book->bad[book->bad_count++] = quota->tenant_id;
    return true;
}

static void take_out_bad(struct book *book)
{
    size_t kept = 0;

    for (size_t i = 0; i < book->quotas_count; i++)
        if (!book_is_bad(book, book->quotas[i].tenant_id))
            book->quotas[kept++] = book->quotas[i];
    book->quotas_count = kept;
    kept = 0;
    for (size_t i = 0; i < book->leases_count; i++)
        if (!book_is_bad(book, book->leases[i].tenant_id))
            book->leases[kept++] = book->leases[i];
    book->leases_count = kept;
}

/* A shard that began an epoch above such a lease would have no numbers left for others. */
static bool lease_can_be(const struct quota_row *quota)
{
    return quota->lease_id >= 0 &&
           (quota->epoch == 0 || lease_epoch(quota->lease_id) - quota->epoch <= LEASE_EPOCHS_AHEAD);
}

bool book_audit(struct book *book, char *what, size_t what_bytes)
{
    book->bad = NULL;
    book->bad_count = 0;
    for (size_t i = 0; i < book->quotas_count; i++)
        if (!(book_balances(book, &book->quotas[i]) && lease_can_be(&book->quotas[i])) &&
            !add_bad(book, &book->quotas[i], what, what_bytes))
            return false;
    if (book->bad_count > 0)
        take_out_bad(book);
    return true;
}

int64_t book_room(const struct quota_row *quota)
{
    return quota->stops.cap - quota->committed - quota->debt - quota->pg_held - quota->leased;
}

int64_t book_reaped_to_ms(struct book *book, int64_t tenant_id, const struct hold *hold)
{
    int64_t reaped_to_ms = 0;

    for (size_t i = 0; i < hold->quotas_count; i++) {
        const struct quota_row *quota = book_find_quota(book, tenant_id, hold->quotas[i].quota);

        if (quota && quota->reaped_to_ms > reaped_to_ms)
            reaped_to_ms = quota->reaped_to_ms;
    }
    return reaped_to_ms;
}

/* The latest period of a limit that has begun and is not closed; NULL if no such row is locked. */
static struct quota_row *current_period(struct book *book, int64_t tenant_id, int64_t limit_id)
{
    struct quota_row *current = NULL;

    for (size_t i = first_quota(book, tenant_id, (struct quota_ref){limit_id, 0});
         i < book->quotas_count; i++) {
        struct quota_row *quota = &book->quotas[i];

        if (quota->tenant_id != tenant_id || quota->ref.limit_id != limit_id ||
            quota->ref.period_start_ms > book->now_ms)
            break;
        if (quota->state != QUOTA_CLOSED)
            current = quota;
    }
    return current;
}

/* True if the lease of a hold has the units; *ret_lease is NULL for the current one. */
static bool lease_covers(struct book *book, const struct quota_row *quota, int64_t lease_id,
                         int64_t units, struct lease_row **ret_lease)
{
    struct lease_row *lease;

    *ret_lease = NULL;
    if (quota->lease_id == lease_id)
        return quota->granted - quota->returned - quota->spent >= units;
    lease = book_find_lease(book, quota->tenant_id, quota->ref, lease_id);
    if (!lease || lease->granted - lease->returned - lease->spent < units)
        return false;
    *ret_lease = lease;
    return true;
}

bool book_covers(struct book *book, int64_t tenant_id, const struct hold_quota *held, int64_t units)
{
    const struct quota_row *quota = book_find_quota(book, tenant_id, held->quota);
    struct lease_row *lease;

    if (!quota || quota->state == QUOTA_CLOSED)
        return false;
    if (held->lease_id == 0)
        return quota->pg_held >= held->units;
    return units == 0 || lease_covers(book, quota, held->lease_id, units, &lease);
}

struct booking book_place(struct book *book, int64_t tenant_id, const struct hold_quota *held,
                          int64_t units, bool own)
{
    struct booking booking = {.meter = held->meter};
    struct quota_row *quota = book_find_quota(book, tenant_id, held->quota);

    if (quota && quota->state != QUOTA_CLOSED) {
        booking.quota = quota;
        if (!own)
            return booking;
        if (held->lease_id == 0 && quota->pg_held >= held->units) {
            booking.placed = held->units;
            booking.spend = units;
        } else if (lease_covers(book, quota, held->lease_id, units, &booking.lease))
            booking.spend = units;
        else
            booking.forced = units;
        return booking;
    }
    booking.quota = current_period(book, tenant_id, held->quota.limit_id);
    booking.forced = own ? units : 0;
    return booking;
}

void book_apply(const struct booking *booking)
{
    struct quota_row *quota = booking->quota;

    if (!quota)
        return;
    if (booking->placed > 0) {
        quota->pg_held -= booking->placed;
    } else if (booking->lease && booking->spend > 0) {
        booking->lease->spent += booking->spend;
        booking->lease->dirty = true;
        quota->leased -= booking->spend;
    } else {
        quota->spent += booking->spend;
        quota->leased -= booking->spend;
    }
    quota->committed += booking->spend + booking->forced + booking->excess - booking->debt;
    quota->debt += booking->debt;
    quota->recall |= booking->debt > 0 && lent(quota) > 0 && !lease_is_stale(quota);
    quota->ledger_seq++;
    quota->dirty = true;
}

void book_close_due(struct book *book, struct quota_row *quota, const struct lease_row *keep)
{
    for (size_t i = first_lease(book, quota->tenant_id, quota->ref);
         i < book->leases_count && is_lease_of(&book->leases[i], quota->tenant_id, quota->ref);
         i++) {
        struct lease_row *lease = &book->leases[i];

        if (lease != keep && lease->granted > lease->returned + lease->spent)
            (void)lease_close(quota, lease, book->now_ms);
    }
}

void book_refill(struct book *book, struct quota_row *quota, int64_t deadline_ms)
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
    more = amount_min(quota->lease_target - lent(quota), book_room(quota));
    more = amount_min(more, AMOUNT_MAX - quota->granted);
    if (more <= 0 || quota->recall)
        return;
    quota->granted += more;
    quota->leased += more;
    quota->dirty = true;
}

struct event_row *book_event(struct book *book, int64_t tenant_id, enum event_kind kind,
                             struct slice job_id, struct attempt attempt)
{
    struct event_row *event = arena_zalloc(book->arena, sizeof(*event));

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

void book_cross(struct book *book, struct quota_row *quota, struct slice job_id,
                struct attempt attempt)
{
    struct crossing crossings[CROSSINGS_MAX];
    int64_t use = quota->committed + quota->debt;
    size_t count = threshold_cross(&quota->stops, use, &quota->level, crossings);

    for (size_t i = 0; i < count; i++) {
        struct event_row *event =
            book_event(book, quota->tenant_id, crossings[i].kind, job_id, attempt);

        event->direction = crossings[i].up ? 1 : 2;
        event->quota = quota;
        event->committed = quota->committed;
        event->debt = quota->debt;
        event->ledger_seq = quota->ledger_seq;
        event->level = threshold_level(&quota->stops, use);
        quota->dirty = true;
    }
}
