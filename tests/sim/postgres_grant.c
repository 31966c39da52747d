/*
 * Lending and taking back: ledger/grant.c and ledger/giveback.c over pretended rows.
 */
#include "tests/sim/postgres_rows.h"

#include "base/amount.h"
#include "base/check.h"
#include "quota/lease.h"
#include "tests/sim/mutants.h"

/* A period closes when no hold of it can be live or committed on time any more (op/PROTOCOL.md 3.5). */

struct granting {
    struct arena *arena;
    struct ledger_grant *grants;
    size_t count;
    struct pg_ref *refs;
    size_t refs_count;
    struct book book;
    int64_t *spares;
    struct lease_row *begun;
    size_t begun_count;
};

static int64_t rest_of(const struct lease_row *lease)
{
    return lease->granted - lease->returned - lease->spent;
}

static void close_due(struct pg_tx *tx, struct book *book)
{
    for (size_t i = 0; i < book->leases_count; i++) {
        struct lease_row *lease = &book->leases[i];
        struct quota_row *quota = book_find_quota(book, lease->tenant_id, lease->ref);

        if (!quota || !lease_close(quota, lease, book->now_ms))
            continue;
        lease->dirty = false;
        pg_add(tx, PG_DROP_LEASE, lease->tenant_id)->lease = *lease;
    }
}

static void set_aside(struct granting *granting, struct pg_tx *tx, struct quota_row *quota)
{
    struct lease_row old;

    lease_begin(quota, &old);
    granting->spares[quota - granting->book.quotas] = 0;
    if (old.lease_id == 0 || lease_close(quota, &old, granting->book.now_ms))
        return;
    granting->begun[granting->begun_count++] = old;
    pg_add(tx, PG_PUT_LEASE, old.tenant_id)->lease = old;
}

static void lend(struct granting *granting, struct ledger_grant *grant, struct quota_row *quota)
{
    int64_t *spare = &granting->spares[quota - granting->book.quotas];
    int64_t from_spare = amount_min(*spare, grant->needed), left = grant->needed - from_spare;
    int64_t lent = 0;

    if (quota->lease_deadline_ms < grant->deadline_ms) {
        quota->lease_deadline_ms = grant->deadline_ms;
        quota->dirty = true;
    }
    if (grant->needed == 0)
        return;
    if (left > 0) {
        int64_t target =
            amount_max(lease_target(&quota->stops, grant->outstanding), quota->lease_target / 2);

        quota->lease_target = amount_min(target, quota->stops.cap);
        quota->dirty = true;
        lent = lease_raise(quota, left, grant->deadline_ms);
        if (lent < left && mutant_is(MUTANT_ROOT_WITHOUT_CAP)) {
            quota->granted += left - lent;
            quota->leased += left - lent;
            lent = left;
        }
    }
    *spare += lent - from_spare;
    *spare = amount_max(*spare - amount_min(left, lent), 0);
    grant->granted_units = from_spare + lent;
}

static void serve(struct granting *granting, struct pg_tx *tx, struct ledger_grant *grant)
{
    struct quota_row *quota = book_find_quota(&granting->book, grant->tenant_id, grant->ref);

    if (grant->only_new && !grant->made)
        return;
    grant->missing = !quota || quota->state != QUOTA_OPEN ||
                     (granting->book.now_ms >= quota->period_end_ms &&
                      (!grant->over_too || mutant_is(MUTANT_PERIOD_ENDS_LEASES)));
    grant->epoch_changed = false;
    grant->granted_units = 0;
    grant->kept = false;
    if (grant->missing)
        return;
    grant->epoch_changed = quota->epoch != grant->epoch;
    if (grant->epoch_changed || grant->deadline_ms == 0)
        return;
    if (lease_is_stale(quota) || lease_is_worn_out(quota) ||
        (grant->vanished_lease_id != 0 && grant->vanished_lease_id == quota->lease_id))
        set_aside(granting, tx, quota);
    if (grant->seen_returned > quota->returned)
        lease_return(quota, grant->seen_lease_id, grant->seen_returned);
    lend(granting, grant, quota);
    grant->kept = grant->kept_lease_id != 0 &&
                  lease_keep(&granting->book, quota, grant->kept_lease_id, grant->deadline_ms);
}

static enum status grant_body(struct database *db, void *user)
{
    struct granting *granting = user;
    struct pg_tx tx;
    enum status status = pg_begin(db, &tx, granting->arena, 0);

    if (status != STATUS_OK)
        return status;
    granting->book = (struct book){.arena = granting->arena};
    granting->begun_count = 0;
    status = pg_lock(&tx, db, &granting->book, granting->refs, granting->refs_count);
    if (status != STATUS_OK) {
        pg_rollback(&tx);
        return status;
    }
    granting->begun = pg_alloc(granting->arena, granting->count + 1, sizeof(*granting->begun));
    granting->spares = pg_alloc(granting->arena, granting->book.quotas_count + 1, sizeof(int64_t));
    close_due(&tx, &granting->book);
    for (size_t i = 0; i < granting->count; i++)
        serve(granting, &tx, &granting->grants[i]);
    pg_write(&tx, &granting->book);
    return pg_commit(&tx);
}

static int64_t old_units(const struct granting *granting, const struct quota_row *quota)
{
    int64_t units = 0;

    for (size_t i = 0; i < granting->book.leases_count; i++)
        if (granting->book.leases[i].tenant_id == quota->tenant_id &&
            quota_ref_equal(granting->book.leases[i].ref, quota->ref))
            units += rest_of(&granting->book.leases[i]);
    for (size_t i = 0; i < granting->begun_count; i++)
        if (granting->begun[i].tenant_id == quota->tenant_id &&
            quota_ref_equal(granting->begun[i].ref, quota->ref))
            units += rest_of(&granting->begun[i]);
    return units;
}

enum status sim_grant_run(struct database *db, struct arena *arena, struct ledger_grant *grants,
                          size_t count, int64_t *ret_now_ms)
{
    struct granting granting = {.arena = arena, .grants = grants, .count = count};
    enum status status;

    if (count == 0)
        return STATUS_OK;
    granting.refs = pg_alloc(arena, count, sizeof(*granting.refs));
    for (size_t i = 0; i < count; i++)
        granting.refs[i] = (struct pg_ref){grants[i].tenant_id, grants[i].ref};
    granting.refs_count = pg_refs_sort(granting.refs, count);
    for (size_t i = 0; i < count; i++)
        grants[i].made =
            !pg_find_quota(postgres_tenant(db->pg, grants[i].tenant_id), grants[i].ref);
    status = pg_make(db, arena, granting.refs, granting.refs_count);
    if (status == STATUS_OK)
        status = pg_transact(db, grant_body, &granting);
    for (size_t i = 0; i < count; i++)
        grants[i].locked = status == STATUS_CONFLICT && pg_is_locked(db->pg, grants[i].tenant_id);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        const struct quota_row *quota =
            book_find_quota(&granting.book, grants[i].tenant_id, grants[i].ref);

        grants[i].made = grants[i].made && quota;
        if (!quota || (grants[i].only_new && !grants[i].made))
            continue;
        grants[i].quota = *quota;
        grants[i].old_leases_units = old_units(&granting, quota);
    }
    *ret_now_ms = granting.book.now_ms;
    return status;
}

/* --- giving back -------------------------------------------------------------------------------- */

struct returning {
    struct arena *arena;
    struct ledger_return *returns;
    size_t count;
    struct pg_ref *refs;
    size_t refs_count;
    struct book book;
};

static enum status return_body(struct database *db, void *user)
{
    struct returning *returning = user;
    struct pg_tx tx;
    enum status status = pg_begin(db, &tx, returning->arena, 0);

    if (status != STATUS_OK)
        return status;
    returning->book = (struct book){.arena = returning->arena};
    status = pg_lock(&tx, db, &returning->book, returning->refs, returning->refs_count);
    if (status != STATUS_OK) {
        pg_rollback(&tx);
        return status;
    }
    for (size_t i = 0; i < returning->count; i++) {
        struct quota_row *quota = book_find_quota(&returning->book, returning->returns[i].tenant_id,
                                                  returning->returns[i].ref);

        if (quota && mutant_is(MUTANT_EBB_WITHOUT_NEWS) && returning->returns[i].deadline_ms > 0 &&
            returning->returns[i].deadline_ms < quota->lease_deadline_ms &&
            returning->returns[i].lease_id == quota->lease_id) {
            quota->lease_deadline_ms = returning->returns[i].deadline_ms;
            quota->dirty = true;
        }
        if (quota && !mutant_is(MUTANT_RETURN_IS_FORGOTTEN))
            lease_ebb(quota, returning->returns[i].lease_id, returning->returns[i].returned,
                      returning->returns[i].deadline_ms, returning->returns[i].still);
    }
    pg_write(&tx, &returning->book);
    return pg_commit(&tx);
}

enum status sim_return_run(struct database *db, struct arena *arena, struct ledger_return *returns,
                           size_t count)
{
    struct returning returning = {.arena = arena, .returns = returns, .count = count};
    enum status status;

    if (count == 0)
        return STATUS_OK;
    returning.refs = pg_alloc(arena, count, sizeof(*returning.refs));
    for (size_t i = 0; i < count; i++)
        returning.refs[i] = (struct pg_ref){returns[i].tenant_id, returns[i].ref};
    returning.refs_count = pg_refs_sort(returning.refs, count);
    status = pg_transact(db, return_body, &returning);
    for (size_t i = 0; i < count; i++)
        returns[i].locked = status == STATUS_CONFLICT && pg_is_locked(db->pg, returns[i].tenant_id);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        const struct quota_row *quota =
            book_find_quota(&returning.book, returns[i].tenant_id, returns[i].ref);

        if (quota)
            returns[i].quota = *quota;
    }
    return status;
}

static bool is_recalled(const struct postgres *pg, const struct pg_tenant *tenant,
                        const struct quota_row *row)
{
    const struct pg_authority *authority = &pg->authority[tenant->shard];

    return row->recall && authority->view.active &&
           row->lease_id / LEASE_IDS_PER_EPOCH == authority->view.epoch;
}

enum status sim_recalls(struct database *db, struct arena *arena, size_t max,
                        struct quota_row **ret, size_t *ret_count)
{
    struct postgres *pg = db->pg;
    enum status status = pg_ask(db);

    *ret_count = 0;
    *ret = pg_alloc(arena, max, sizeof(**ret));
    if (status != STATUS_OK)
        return status;
    for (const struct pg_tenant *tenant = pg->tenants; tenant; tenant = tenant->next)
        for (const struct pg_quota *quota = tenant->quotas; quota; quota = quota->next) {
            struct quota_row *row = &(*ret)[*ret_count];

            if (*ret_count == max || !is_recalled(pg, tenant, &quota->row) ||
                pg_is_locked(pg, tenant->info.tenant_id))
                continue;
            *row = quota->row;
            row->shard = tenant->shard;
            row->epoch = pg->authority[tenant->shard].view.epoch;
            ++*ret_count;
        }
    return STATUS_OK;
}

static int compare_keys(const struct ledger_key *a, const struct ledger_key *b)
{
    if (a->tenant_id != b->tenant_id)
        return a->tenant_id < b->tenant_id ? -1 : 1;
    return quota_ref_compare(a->ref, b->ref);
}

static bool is_lent(const struct quota_row *row)
{
    return row->granted > row->returned + row->spent;
}

/* The first row with something lent behind a key; NULL: there is none. */
static const struct quota_row *next_lent(const struct postgres *pg, const struct ledger_key *after,
                                         const struct pg_tenant **ret_tenant)
{
    struct ledger_key best = {0};
    const struct quota_row *found = NULL;

    for (const struct pg_tenant *tenant = pg->tenants; tenant; tenant = tenant->next)
        for (const struct pg_quota *quota = tenant->quotas; quota; quota = quota->next) {
            struct ledger_key key = {quota->row.tenant_id, quota->row.ref};

            if (!is_lent(&quota->row) || compare_keys(&key, after) <= 0 ||
                (found && compare_keys(&key, &best) >= 0))
                continue;
            best = key;
            found = &quota->row;
            *ret_tenant = tenant;
        }
    return found;
}

enum status sim_lent(struct database *db, struct arena *arena, struct ledger_key *after, size_t max,
                     struct quota_row **ret, size_t *ret_count, bool *ret_more)
{
    struct postgres *pg = db->pg;
    enum status status = pg_ask(db);
    const struct pg_tenant *tenant = NULL;
    const struct quota_row *row;
    size_t looked = 0;

    *ret_count = 0;
    *ret = pg_alloc(arena, max, sizeof(**ret));
    if (status != STATUS_OK)
        return status;
    while (looked < max && (row = next_lent(pg, after, &tenant))) {
        const struct pg_authority *authority = &pg->authority[tenant->shard];

        *after = (struct ledger_key){row->tenant_id, row->ref};
        looked++;
        if (!authority->view.active)
            continue;
        (*ret)[*ret_count] = *row;
        (*ret)[*ret_count].shard = tenant->shard;
        (*ret)[(*ret_count)++].epoch = authority->view.epoch;
    }
    *ret_more = looked == max;
    return STATUS_OK;
}

/* --- closing ------------------------------------------------------------------------------------ */

struct closing {
    struct arena *arena;
    struct pg_ref *refs;
    size_t count;
};

static enum status close_leases(struct database *db, void *user)
{
    struct closing *closing = user;
    struct book book = {.arena = closing->arena};
    struct pg_tx tx;
    enum status status = pg_begin(db, &tx, closing->arena, 0);

    if (status != STATUS_OK)
        return status;
    status = pg_lock(&tx, db, &book, closing->refs, closing->count);
    if (status != STATUS_OK) {
        pg_rollback(&tx);
        return status;
    }
    close_due(&tx, &book);
    pg_write(&tx, &book);
    return pg_commit(&tx);
}

static void close_row(struct quota_row *quota, int64_t now_ms)
{
    if (quota->state == QUOTA_CLOSED)
        return;
    quota->returned = quota->granted - quota->spent;
    quota->leased = 0;
    quota->recall = false;
    quota->reaped_to_ms = amount_max(quota->reaped_to_ms, now_ms);
    quota->state = QUOTA_CLOSED;
    quota->dirty = true;
}

static enum status close_periods(struct database *db, void *user)
{
    struct closing *closing = user;
    struct book book = {.arena = closing->arena};
    struct pg_tx tx;
    enum status status = pg_begin(db, &tx, closing->arena, 0);

    if (status != STATUS_OK)
        return status;
    status = pg_lock(&tx, db, &book, closing->refs, closing->count);
    if (status != STATUS_OK) {
        pg_rollback(&tx);
        return status;
    }
    for (size_t i = 0; i < book.quotas_count; i++)
        close_row(&book.quotas[i], book.now_ms);
    for (size_t i = 0; i < book.leases_count; i++)
        pg_add(&tx, PG_DROP_LEASE, book.leases[i].tenant_id)->lease = book.leases[i];
    pg_write(&tx, &book);
    return pg_commit(&tx);
}

static void find_old(struct database *db, struct closing *closing, size_t max)
{
    int64_t now_ms = db->pg->now_ms(db->pg->user);

    closing->refs = pg_alloc(closing->arena, max, sizeof(*closing->refs));
    closing->count = 0;
    for (const struct pg_tenant *tenant = db->pg->tenants; tenant; tenant = tenant->next)
        for (const struct pg_lease *lease = tenant->leases; lease; lease = lease->next)
            if (lease->row.deadline_ms < now_ms && closing->count < max)
                closing->refs[closing->count++] =
                    (struct pg_ref){tenant->info.tenant_id, lease->row.ref};
    closing->count = pg_refs_sort(closing->refs, closing->count);
}

static void find_over(struct database *db, struct closing *closing, size_t max)
{
    int64_t before_ms = db->pg->now_ms(db->pg->user) - PERIOD_GRACE_MS;

    closing->refs = pg_alloc(closing->arena, max, sizeof(*closing->refs));
    closing->count = 0;
    for (const struct pg_tenant *tenant = db->pg->tenants; tenant; tenant = tenant->next)
        for (const struct pg_quota *quota = tenant->quotas; quota; quota = quota->next)
            if (quota->row.state != QUOTA_CLOSED && quota->row.period_end_ms < before_ms &&
                closing->count < max)
                closing->refs[closing->count++] =
                    (struct pg_ref){tenant->info.tenant_id, quota->row.ref};
    closing->count = pg_refs_sort(closing->refs, closing->count);
}

static enum status close_some(struct database *db, size_t max, bool *ret_more,
                              void (*find)(struct database *db, struct closing *closing,
                                           size_t max),
                              enum status (*close)(struct database *db, void *user))
{
    struct arena arena;
    struct closing closing = {.arena = &arena};
    enum status status = pg_ask(db);

    *ret_more = false;
    if (status != STATUS_OK)
        return status;
    arena_init(&arena, 64 * 1024, 64u << 20);
    find(db, &closing, max);
    *ret_more = closing.count == max;
    if (closing.count > 0)
        status = pg_transact(db, close, &closing);
    arena_done(&arena);
    return status;
}

enum status sim_close_leases(struct database *db, size_t max, bool *ret_more)
{
    return close_some(db, max, ret_more, find_old, close_leases);
}

enum status sim_close_periods(struct database *db, size_t max, bool *ret_more)
{
    return close_some(db, max, ret_more, find_over, close_periods);
}

/* The period after this one is the current one, and this one was used. */
static bool is_to_be_followed(struct pg_tenant *tenant, const struct pg_quota *quota, int64_t now_ms)
{
    const struct pg_limit *limit = pg_limit_by_id(tenant, quota->row.ref.limit_id);
    const struct calendar *calendar = limit ? &limit->limit.calendar : NULL;

    return quota->row.ledger_seq > 0 && quota->row.period_end_ms <= now_ms &&
           calendar_start_ms(calendar, quota->row.period, now_ms) == quota->row.period_end_ms;
}

enum status sim_periods_follow(struct database *db, struct arena *arena, size_t max, bool *ret_more)
{
    struct pg_ref *refs = pg_alloc(arena, max, sizeof(*refs));
    enum status status = pg_ask(db);
    int64_t now_ms = db->pg->now_ms(db->pg->user);
    size_t count = 0;

    *ret_more = false;
    for (struct pg_tenant *tenant = db->pg->tenants; tenant; tenant = tenant->next)
        for (const struct pg_quota *quota = tenant->quotas; quota; quota = quota->next)
            if (is_to_be_followed(tenant, quota, now_ms) && count < max)
                refs[count++] =
                    (struct pg_ref){tenant->info.tenant_id,
                                    {quota->row.ref.limit_id, quota->row.period_end_ms}};
    count = pg_refs_sort(refs, count);
    return status == STATUS_OK && count > 0 ? pg_make(db, arena, refs, count) : status;
}

/* Seals only read what is recorded: nothing here would notice. It costs no round trip, so no dice. */
enum status sim_seal_run(struct database *db, struct arena *arena, struct ledger_sealing *sealing)
{
    (void)db, (void)arena;
    sealing->more = false;
    return STATUS_OK;
}

enum status sim_seals_read(struct database *db, struct ledger_seals *ret)
{
    (void)db;
    *ret = (struct ledger_seals){0};
    return STATUS_OK;
}

/* Nobody asks: truth.c knows more. */
enum status sim_verify(struct database *db, const struct ledger_verifying *how,
                       struct ledger_verified *ret)
{
    (void)db, (void)how;
    *ret = (struct ledger_verified){0};
    return STATUS_UNAVAILABLE;
}

/* Nobody's hand is in these books. */
enum status sim_repair(struct database *db, struct arena *arena, const struct ledger_repairing *how,
                       struct ledger_repaired **ret, enum ledger_admin *ret_admin)
{
    (void)db, (void)arena, (void)how;
    *ret = NULL;
    *ret_admin = ADMIN_DONE;
    return STATUS_UNAVAILABLE;
}

/* What is past its time does no harm here: a run is short. */
enum status sim_retention(struct database *db, enum ledger_kept what, int64_t events_keep_ms,
                          size_t max, bool *ret_more)
{
    (void)what, (void)events_keep_ms, (void)max;
    *ret_more = false;
    return pg_ask(db);
}
