/*
 * Levels of what is reserved: ledger/crossings.c over pretended rows.
 */
#include "tests/sim/postgres_rows.h"

#include "base/check.h"

struct landing {
    struct quota_ref ref;
    struct reserved_level level;
};

static void land_level(struct postgres *pg, struct pg_change *change)
{
    const struct landing *landing = change->user;
    struct pg_quota *quota = pg_find_quota(postgres_tenant(pg, change->tenant_id), landing->ref);

    CHECK(quota);
    quota->reserved = landing->level;
}

static struct reserved_level level_of(const struct pg_tx *tx, const struct quota_row *row)
{
    return pg_find_quota(postgres_tenant(tx->pg, row->tenant_id), row->ref)->reserved;
}

static void put_level(struct pg_tx *tx, const struct quota_row *row, struct reserved_level level)
{
    struct landing *landing = pg_alloc(&tx->pg->storage, 1, sizeof(*landing));
    struct pg_change *change = pg_add(tx, PG_CALL, row->tenant_id);

    *landing = (struct landing){row->ref, level};
    change->call = land_level;
    change->user = landing;
}

void pg_reserved_drop(struct pg_tx *tx, struct book *book)
{
    for (size_t i = 0; i < book->quotas_count; i++) {
        struct reserved_level level = level_of(tx, &book->quotas[i]);

        if (book->quotas[i].stops.unlimited &&
            reserved_drop(book, &book->quotas[i], &level))
            put_level(tx, &book->quotas[i], level);
    }
}

/* Of one lease none is left out, unless too many waited, or a standby that took over has not heard of all. */
static void check_numbers(const struct ledger_crossed *crossed, const struct reserved_level *level)
{
    struct reached_name last = level->last;

    for (size_t i = 0; i < crossed->reached_count; i++) {
        struct reached_name name = crossed->reached[i].name;

        if (reached_compare(name, last) <= 0)
            continue;
        CHECK_MSG(name.lease_id != last.lease_id || name.n == last.n + 1 ||
                      crossed->reached_count == REACHED_MAX,
                  "limit=%lld lease=%lld n=%lld after=%lld: a crossing was left out",
                  (long long)crossed->ref.limit_id, (long long)name.lease_id, (long long)name.n,
                  (long long)last.n);
        last = name;
    }
}

static enum status write(struct database *db, struct pg_tx *tx, struct ledger_crossed *quotas,
                         size_t count)
{
    struct pg_ref *refs = pg_alloc(tx->arena, count, sizeof(*refs));
    struct book book = {.arena = tx->arena};
    enum status status;

    for (size_t i = 0; i < count; i++)
        refs[i] = (struct pg_ref){quotas[i].tenant_id, quotas[i].ref};
    status = pg_lock(tx, db, &book, refs, pg_refs_sort(refs, count));
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        struct quota_row *row = book_find_quota(&book, quotas[i].tenant_id, quotas[i].ref);
        struct reserved_level level;

        quotas[i].told = true;
        if (!row || row->state == QUOTA_CLOSED)
            continue;
        level = level_of(tx, row);
        if (tx->pg->timeline == 0)
            check_numbers(&quotas[i], &level);
        if (reserved_apply(&book, row, &level, quotas[i].reached, quotas[i].reached_count))
            put_level(tx, row, level);
    }
    if (status == STATUS_OK)
        pg_write(tx, &book);
    return status;
}

struct writing {
    struct arena *arena;
    struct ledger_crossed *quotas;
    size_t count;
};

static enum status body(struct database *db, void *user)
{
    const struct writing *writing = user;
    struct pg_tx tx;
    enum status status = pg_begin(db, &tx, writing->arena, 0);

    if (status != STATUS_OK)
        return status;
    status = write(db, &tx, writing->quotas, writing->count);
    if (status == STATUS_OK)
        return pg_commit(&tx);
    pg_rollback(&tx);
    return status;
}

enum status sim_crossings_write(struct database *db, struct arena *arena,
                                struct ledger_crossed *quotas, size_t count)
{
    struct writing writing = {arena, quotas, count};
    enum status status = pg_ask(db);

    return status == STATUS_OK ? pg_transact(db, body, &writing) : status;
}
