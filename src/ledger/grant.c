/*
 * Lending to Redis: all that the granter has queued, in one transaction. protocol.md 3.4 and 3.7.
 *
 * Rows are made first, in a transaction of their own. Under the locks, per quota: due old leases are
 * closed; a lease of an earlier epoch, or one whose key Redis lost, is set aside and a new one begun;
 * then each grant in order takes what earlier ones of this batch have left over and asks the root for
 * the rest.
 */
#include "ledger/ledger.h"
#include "ledger/rows.h"
#include "quota/lease.h"

#include "base/amount.h"

struct granting {
    struct arena *arena;
    struct ledger_grant *grants;
    size_t count;
    struct rows_ref *refs;
    size_t refs_count;
    struct settle_book book;
    int64_t *spares;               /* per quota of the book: lent here and not yet spoken for */
    struct settle_lease *begun;    /* to be inserted into old_lease */
    size_t begun_count;
    struct settle_lease *closed;   /* to be deleted from it */
    size_t closed_count;
};

static void close_due(struct granting *granting)
{
    struct settle_book *book = &granting->book;

    for (size_t i = 0; i < book->leases_count; i++) {
        struct settle_lease *lease = &book->leases[i];
        struct settle_quota *quota = settle_find_quota(book, lease->tenant_id, lease->ref);

        if (quota && lease_close(quota, lease, book->now_ms))
            granting->closed[granting->closed_count++] = *lease;
    }
}

static void set_aside(struct granting *granting, struct settle_quota *quota)
{
    struct settle_lease old;

    lease_begin(quota, &old);
    granting->spares[quota - granting->book.quotas] = 0; /* it was of the lease set aside */
    if (old.lease_id != 0)
        granting->begun[granting->begun_count++] = old;
}

static int64_t rest_of(const struct settle_lease *lease)
{
    return lease->granted - lease->returned - lease->spent;
}

static int64_t old_leases_units(const struct granting *granting, const struct settle_quota *quota)
{
    int64_t units = 0;

    for (size_t i = 0; i < granting->book.leases_count; i++) {
        const struct settle_lease *lease = &granting->book.leases[i];

        if (lease->tenant_id == quota->tenant_id && quota_ref_equal(lease->ref, quota->ref))
            units += rest_of(lease); /* 0 when it was closed here */
    }
    for (size_t i = 0; i < granting->begun_count; i++)
        if (granting->begun[i].tenant_id == quota->tenant_id &&
            quota_ref_equal(granting->begun[i].ref, quota->ref))
            units += rest_of(&granting->begun[i]);
    return units;
}

static void push_deadline(struct settle_quota *quota, int64_t deadline_ms)
{
    if (quota->lease_deadline_ms >= deadline_ms)
        return;
    quota->lease_deadline_ms = deadline_ms;
    quota->dirty = true;
}

/* The lease's size follows what was held lately; it shrinks by halves. */
static void size_lease(struct settle_quota *quota, int64_t outstanding)
{
    int64_t target = amount_max(lease_target(&quota->stops, outstanding), quota->lease_target / 2);

    quota->lease_target = amount_min(target, quota->stops.cap);
    quota->dirty = true;
}

static void lend(struct granting *granting, struct ledger_grant *grant,
                 struct settle_quota *quota)
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

static void serve(struct granting *granting, struct ledger_grant *grant)
{
    struct settle_quota *quota =
        settle_find_quota(&granting->book, grant->tenant_id, grant->ref);

    grant->missing = !quota || quota->state != QUOTA_OPEN ||
                     granting->book.now_ms >= quota->period_end_ms;
    grant->epoch_changed = false;
    grant->granted_units = 0;
    if (grant->missing)
        return;
    grant->epoch_changed = quota->epoch != grant->epoch;
    if (!grant->epoch_changed && grant->deadline_ms > 0) {
        if (lease_is_stale(quota) || (grant->vanished_lease_id != 0 &&
                                      grant->vanished_lease_id == quota->lease_id))
            set_aside(granting, quota);
        lend(granting, grant, quota);
    }
}

static enum status grant_body(struct database *db, void *user)
{
    struct granting *granting = user;
    size_t leases_max;
    enum status status;

    granting->book = (struct settle_book){.arena = granting->arena};
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
        serve(granting, &granting->grants[i]);
    status = rows_write(db, &granting->book);
    if (status == STATUS_OK)
        status = rows_leases_insert(db, granting->arena, granting->begun, granting->begun_count);
    if (status == STATUS_OK)
        status = rows_leases_delete(db, granting->arena, granting->closed, granting->closed_count);
    return status;
}

static void show_rows(struct granting *granting)
{
    for (size_t i = 0; i < granting->count; i++) {
        struct ledger_grant *grant = &granting->grants[i];
        const struct settle_quota *quota =
            settle_find_quota(&granting->book, grant->tenant_id, grant->ref);

        if (!quota)
            continue;
        grant->quota = *quota;
        grant->old_leases_units = old_leases_units(granting, quota);
    }
}

enum status ledger_grant_run(struct database *db, struct arena *arena,
                             struct ledger_grant *grants, size_t count, int64_t *ret_now_ms)
{
    struct granting granting = {.arena = arena, .grants = grants, .count = count};
    enum status status;

    if (count == 0)
        return STATUS_OK;
    granting.refs = arena_array(arena, count, sizeof(*granting.refs));
    if (!granting.refs)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < count; i++)
        granting.refs[i] =
            (struct rows_ref){.tenant_id = grants[i].tenant_id, .ref = grants[i].ref};
    granting.refs_count = rows_refs_sort(granting.refs, count);
    status = rows_make(db, arena, granting.refs, granting.refs_count, NULL);
    if (status == STATUS_OK)
        status = database_transact(db, grant_body, &granting);
    if (status != STATUS_OK)
        return status;
    show_rows(&granting);
    *ret_now_ms = granting.book.now_ms;
    return STATUS_OK;
}
