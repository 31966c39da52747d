/*
 * Lending to Redis: all that the granter has queued, together. op/PROTOCOL.md 3.1 and 3.6.
 *
 * A quota that has no row yet is made with its first lease, in one statement for all of them and a
 * transaction of its own. Quotas with rows follow in a second one. Under the locks, per quota: due old
 * leases are closed; a lease of an earlier epoch, or one whose key Redis lost, is set aside and a new one
 * begun; then each grant in order takes what earlier ones of this batch have left over and asks the root
 * for the rest.
 */
#include "ledger/ledger.h"
#include "ledger/locked.h"
#include "ledger/rows.h"
#include "quota/lease.h"

#include "base/amount.h"

struct granting {
    struct arena *arena;
    struct ledger_grant *grants;
    size_t count;
    struct rows_ref *refs;
    size_t refs_count;
    struct rows_making making; /* of rows that were absent; the grants that it served are `made` */
    bool no_memory;
    struct book book;
    int64_t *spares;         /* per quota of the book: lent here and not yet spoken for */
    struct lease_row *begun; /* to be inserted into old_lease */
    size_t begun_count;
    struct lease_row *closed; /* to be deleted from it */
    size_t closed_count;
};

static void close_due(struct granting *granting)
{
    struct book *book = &granting->book;

    for (size_t i = 0; i < book->leases_count; i++) {
        struct lease_row *lease = &book->leases[i];
        struct quota_row *quota = book_find_quota(book, lease->tenant_id, lease->ref);

        if (quota && lease_close(quota, lease, book->now_ms))
            granting->closed[granting->closed_count++] = *lease;
    }
}

static void set_aside(struct granting *granting, struct quota_row *quota)
{
    struct lease_row old;

    lease_begin(quota, &old);
    granting->spares[quota - granting->book.quotas] = 0; /* it was of the lease set aside */
    /* Where it is over it comes back at once: who asks now must not be refused for it. */
    if (old.lease_id != 0 && !lease_close(quota, &old, granting->book.now_ms))
        granting->begun[granting->begun_count++] = old;
}

static int64_t rest_of(const struct lease_row *lease)
{
    return lease->granted - lease->returned - lease->spent;
}

static int64_t old_leases_units(const struct granting *granting, const struct quota_row *quota)
{
    int64_t units = 0;

    for (size_t i = 0; i < granting->book.leases_count; i++) {
        const struct lease_row *lease = &granting->book.leases[i];

        if (lease->tenant_id == quota->tenant_id && quota_ref_equal(lease->ref, quota->ref))
            units += rest_of(lease); /* 0 when it was closed here */
    }
    for (size_t i = 0; i < granting->begun_count; i++)
        if (granting->begun[i].tenant_id == quota->tenant_id &&
            quota_ref_equal(granting->begun[i].ref, quota->ref))
            units += rest_of(&granting->begun[i]);
    return units;
}

static void push_deadline(struct quota_row *quota, int64_t deadline_ms)
{
    if (quota->lease_deadline_ms >= deadline_ms)
        return;
    quota->lease_deadline_ms = deadline_ms;
    quota->dirty = true;
}

/* The lease's size follows what was held lately; it shrinks by halves. */
static void size_lease(struct quota_row *quota, int64_t outstanding)
{
    int64_t target = amount_max(lease_target(&quota->stops, outstanding), quota->lease_target / 2);

    quota->lease_target = amount_min(target, quota->stops.cap);
    quota->dirty = true;
}

static void lend(struct granting *granting, struct ledger_grant *grant, struct quota_row *quota)
{
    int64_t *spare = &granting->spares[quota - granting->book.quotas];
    int64_t from_spare = amount_min(*spare, grant->needed), left = grant->needed - from_spare;
    int64_t lent = 0;

    push_deadline(quota, grant->deadline_ms);
    if (grant->needed == 0)
        return;
    if (left > 0) {
        size_lease(quota, grant->outstanding);
        lent = lease_raise(quota, left, grant->deadline_ms);
    }
    *spare += lent - from_spare;
    *spare = amount_max(*spare - amount_min(left, lent), 0);
    grant->granted_units = from_spare + lent;
}

/* What the making of rows has not done. */
static bool is_left(const struct ledger_grant *grant)
{
    return !grant->made && !grant->only_new;
}

static void serve(struct granting *granting, struct ledger_grant *grant)
{
    struct quota_row *quota = book_find_quota(&granting->book, grant->tenant_id, grant->ref);

    grant->missing = !quota || quota->state != QUOTA_OPEN ||
                     (granting->book.now_ms >= quota->period_end_ms && !grant->over_too);
    grant->epoch_changed = false;
    grant->granted_units = 0;
    grant->kept = false;
    grant->bad = book_is_bad(&granting->book, grant->tenant_id);
    if (grant->missing)
        return;
    /* A lease of a later epoch than the shard's: the row of the shard went back. */
    grant->epoch_changed =
        quota->epoch != grant->epoch || lease_epoch(quota->lease_id) > quota->epoch;
    if (!grant->epoch_changed && grant->deadline_ms > 0) {
        bool begins = lease_is_stale(quota) || (grant->vanished_lease_id != 0 &&
                                                grant->vanished_lease_id == quota->lease_id);

        grant->epoch_changed = begins && !lease_may_begin(quota);
        if (grant->epoch_changed)
            return;
        if (begins || lease_is_worn_out(quota))
            set_aside(granting, quota);
        if (grant->seen_returned > quota->returned)
            lease_return(quota, grant->seen_lease_id, grant->seen_returned);
        lend(granting, grant, quota);
        grant->kept = grant->kept_lease_id != 0 &&
                      lease_keep(&granting->book, quota, grant->kept_lease_id, grant->deadline_ms);
    }
}

/* Rows that are about to be made. */
static void serve_made(void *user, struct book *book)
{
    struct granting *granting = user;

    granting->book = *book; /* the rows themselves are the book's */
    granting->begun_count = granting->closed_count = 0;
    granting->spares = arena_array(granting->arena, book->quotas_count + 1, sizeof(int64_t));
    granting->begun = arena_array(granting->arena, granting->count + 1, sizeof(*granting->begun));
    granting->no_memory = !granting->spares || !granting->begun;
    for (size_t i = 0; i < granting->count && !granting->no_memory; i++)
        if (book_find_quota(book, granting->grants[i].tenant_id, granting->grants[i].ref))
            serve(granting, &granting->grants[i]);
}

static enum status grant_body(struct database *db, void *user)
{
    struct granting *granting = user;
    size_t leases_max;
    enum status status;

    granting->book = (struct book){.arena = granting->arena};
    granting->begun_count = granting->closed_count = 0;
    status = rows_lock(db, &granting->book, granting->refs, granting->refs_count);
    if (status != STATUS_OK)
        return status;
    leases_max = granting->book.leases_count + granting->count + 1;
    granting->begun = arena_array(granting->arena, leases_max, sizeof(*granting->begun));
    granting->closed = arena_array(granting->arena, leases_max, sizeof(*granting->closed));
    granting->spares =
        arena_array(granting->arena, granting->book.quotas_count + 1, sizeof(int64_t));
    if (!granting->begun || !granting->closed || !granting->spares)
        return STATUS_EXHAUSTED;
    close_due(granting);
    for (size_t i = 0; i < granting->count; i++)
        if (is_left(&granting->grants[i]))
            serve(granting, &granting->grants[i]);
    status = rows_write(db, &granting->book);
    if (status == STATUS_OK)
        status = rows_leases_insert(db, granting->arena, granting->begun, granting->begun_count);
    if (status == STATUS_OK)
        status = rows_leases_delete(db, granting->arena, granting->closed, granting->closed_count);
    return status;
}

static void show_rows(struct granting *granting, bool made)
{
    for (size_t i = 0; i < granting->count; i++) {
        struct ledger_grant *grant = &granting->grants[i];
        const struct quota_row *quota =
            book_find_quota(&granting->book, grant->tenant_id, grant->ref);

        if (!quota || grant->made != made || (!made && !is_left(grant)))
            continue;
        grant->quota = *quota;
        grant->old_leases_units = old_leases_units(granting, quota);
    }
}

static void mark_locked(struct database *db, struct granting *granting)
{
    const struct rows_locked locked =
        rows_locked_find(db, granting->arena, granting->refs, granting->refs_count);

    for (size_t i = 0; i < granting->count; i++)
        granting->grants[i].locked = rows_locked_has(&locked, granting->grants[i].tenant_id);
}

/* Makes absent rows, and serves the grants of these. */
static enum status make_rows(struct database *db, struct granting *granting)
{
    struct rows_making *making = &granting->making;
    enum status status;

    *making = (struct rows_making){.arena = granting->arena, .fill = serve_made, .user = granting};
    status = rows_make_filled(db, making, granting->refs, granting->refs_count);
    if (status == STATUS_OK && granting->no_memory)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < granting->count && status == STATUS_OK; i++) {
        struct ledger_grant *grant = &granting->grants[i];
        const struct quota_row *quota =
            book_find_quota(&making->book, grant->tenant_id, grant->ref);

        grant->made = quota && making->made[quota - making->book.quotas];
    }
    return status;
}

/* The quotas of the grants that are left. */
static void collect_refs(struct granting *granting)
{
    granting->refs_count = 0;
    for (size_t i = 0; i < granting->count; i++)
        if (is_left(&granting->grants[i]))
            granting->refs[granting->refs_count++] =
                (struct rows_ref){.tenant_id = granting->grants[i].tenant_id,
                                  .ref = granting->grants[i].ref};
    granting->refs_count = rows_refs_sort(granting->refs, granting->refs_count);
}

static void begin(struct granting *granting)
{
    for (size_t i = 0; i < granting->count; i++) {
        struct ledger_grant *grant = &granting->grants[i];

        grant->made = grant->missing = grant->bad = grant->epoch_changed = false;
        grant->kept = grant->locked = false;
        grant->granted_units = 0;
        granting->refs[i] = (struct rows_ref){.tenant_id = grant->tenant_id, .ref = grant->ref};
    }
    granting->refs_count = rows_refs_sort(granting->refs, granting->count);
}

enum status ledger_grant_run(struct database *db, struct arena *arena, struct ledger_grant *grants,
                             size_t count, int64_t *ret_now_ms)
{
    struct granting granting = {.arena = arena, .grants = grants, .count = count};
    enum status status;

    if (count == 0)
        return STATUS_OK;
    granting.refs = arena_array(arena, count, sizeof(*granting.refs));
    if (!granting.refs)
        return STATUS_EXHAUSTED;
    begin(&granting);
    status = make_rows(db, &granting);
    if (status == STATUS_OK) {
        show_rows(&granting, true);
        collect_refs(&granting);
    }
    if (status == STATUS_OK && granting.refs_count > 0)
        status = database_transact(db, grant_body, &granting);
    if (status == STATUS_CONFLICT)
        mark_locked(db, &granting);
    if (status != STATUS_OK)
        return status;
    show_rows(&granting, false);
    *ret_now_ms = granting.book.now_ms;
    return STATUS_OK;
}
