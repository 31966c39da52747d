/*
 * Crossings of what is reserved (quota/reserved.h): what Redis has counted becomes events, in one transaction
 * under the locks of the quotas' rows.
 */
#include "ledger/ledger.h"
#include "ledger/reserved.h"
#include "ledger/rows.h"

/* One bigint[] with a value for each of `count` elements. */
/* NOLINTBEGIN(bugprone-macro-parentheses): i is the name of the variable that the macro declares. */
#define ADD_I64S(params, count, i, expression)                                                     \
    do {                                                                                           \
        struct sql_array array_ = sql_array_begin(params, SQL_BIGINT, count, 0);                   \
        for (size_t i = 0; i < (count); i++)                                                       \
            sql_array_i64(&array_, (expression));                                                  \
    } while (0)
/* NOLINTEND(bugprone-macro-parentheses) */

/* clang-format off */
#define FIND(rows)                                                                                 \
    "SELECT r.tenant_id, r.limit_id, r.period_start_ms, r.lease_id, r.n, r.level FROM " ROWS_REFS(rows) \
    ROWS_OF(reserved_level, ROWS_KEY_QUOTA) " AS r"

static const struct statement find[] = SQL_FORMS("reserved_find", FIND);

static const struct statement put = {
    "reserved_put",
    "INSERT INTO reserved_level (tenant_id, limit_id, period_start_ms, lease_id, n, level)"
    " SELECT n.tenant, n.lim, n.start, n.lease, n.n, n.level FROM (SELECT " SQL_ROWS(1, bigint, tenant) ", "
    SQL_ROWS(2, bigint, lim) ", " SQL_ROWS(3, bigint, start) ", " SQL_ROWS(4, bigint, lease) ", "
    SQL_ROWS(5, bigint, n) ", " SQL_ROWS(6, bigint, level) ") AS n"
    " ON CONFLICT (tenant_id, limit_id, period_start_ms) DO UPDATE SET lease_id = EXCLUDED.lease_id,"
    " n = EXCLUDED.n, level = EXCLUDED.level"};
/* clang-format on */

static enum status read_levels(struct database *db, struct book *book, const struct rows_ref *refs,
                               size_t count, struct reserved_level *levels)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, book->arena);
    rows_refs_params(&params, refs, count);
    status = database_run(db, &find[sql_form(count)], &params, &result);
    if (status != STATUS_OK)
        return status;
    for (row = sql_rows(result, book->arena); sql_next(&row);) {
        int64_t tenant_id = sql_i64(&row);
        struct quota_ref ref = {.limit_id = sql_i64(&row)};
        struct quota_row *quota;
        struct reserved_level level;

        ref.period_start_ms = sql_i64(&row);
        level.last.lease_id = sql_i64(&row);
        level.last.n = sql_i64(&row);
        level.level = (int)sql_i64(&row);
        quota = book_find_quota(book, tenant_id, ref);
        if (quota)
            levels[quota - book->quotas] = level;
    }
    return sql_done(&row);
}

static enum status write_levels(struct database *db, const struct book *book,
                                const struct reserved_level *levels, const bool *changed)
{
    const struct quota_row **quotas =
        arena_array(book->arena, book->quotas_count + 1, sizeof(*quotas));
    struct sql_params params;
    size_t count = 0;

    if (!quotas)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < book->quotas_count; i++)
        if (changed[i])
            quotas[count++] = &book->quotas[i];
    if (count == 0)
        return STATUS_OK;
    sql_params_begin(&params, book->arena);
    ADD_I64S(&params, count, i, quotas[i]->tenant_id);
    ADD_I64S(&params, count, i, quotas[i]->ref.limit_id);
    ADD_I64S(&params, count, i, quotas[i]->ref.period_start_ms);
    ADD_I64S(&params, count, i, levels[quotas[i] - book->quotas].last.lease_id);
    ADD_I64S(&params, count, i, levels[quotas[i] - book->quotas].last.n);
    ADD_I64S(&params, count, i, levels[quotas[i] - book->quotas].level);
    return database_run(db, &put, &params, NULL);
}

struct writing {
    struct arena *arena;
    struct ledger_crossed *quotas;
    size_t count;
};

static enum status apply(struct database *db, struct book *book, const struct writing *writing,
                         const struct rows_ref *refs, size_t refs_count)
{
    struct reserved_level *levels =
        arena_zalloc(book->arena, (book->quotas_count + 1) * sizeof(*levels));
    bool *changed = arena_zalloc(book->arena, book->quotas_count + 1);
    enum status status = STATUS_EXHAUSTED;

    if (levels && changed)
        status = read_levels(db, book, refs, refs_count, levels);
    for (size_t i = 0; status == STATUS_OK && i < writing->count; i++) {
        struct ledger_crossed *crossed = &writing->quotas[i];
        struct quota_row *quota = book_find_quota(book, crossed->tenant_id, crossed->ref);

        crossed->told = !book_is_bad(book, crossed->tenant_id);
        if (quota && quota->state != QUOTA_CLOSED)
            changed[quota - book->quotas] |=
                reserved_apply(book, quota, &levels[quota - book->quotas], crossed->reached,
                               crossed->reached_count);
    }
    return status == STATUS_OK ? write_levels(db, book, levels, changed) : status;
}

static enum status body(struct database *db, void *user)
{
    const struct writing *writing = user;
    struct rows_ref *refs = arena_array(writing->arena, writing->count + 1, sizeof(*refs));
    struct book book = {.arena = writing->arena};
    enum status status;
    size_t count;

    if (!refs)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < writing->count; i++)
        refs[i] = (struct rows_ref){writing->quotas[i].tenant_id, writing->quotas[i].ref};
    count = rows_refs_sort(refs, writing->count);
    status = rows_lock(db, &book, refs, count);
    if (status == STATUS_OK)
        status = apply(db, &book, writing, refs, count);
    return status == STATUS_OK ? rows_write(db, &book) : status;
}

enum status ledger_crossings_write(struct database *db, struct arena *arena,
                                   struct ledger_crossed *quotas, size_t count)
{
    struct writing writing = {arena, quotas, count};

    return database_transact(db, body, &writing);
}

enum status reserved_levels_drop(struct database *db, struct book *book)
{
    struct rows_ref *refs = arena_array(book->arena, book->quotas_count + 1, sizeof(*refs));
    struct reserved_level *levels =
        arena_zalloc(book->arena, (book->quotas_count + 1) * sizeof(*levels));
    bool *changed = arena_zalloc(book->arena, book->quotas_count + 1);
    enum status status;

    if (!refs || !levels || !changed)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < book->quotas_count; i++)
        refs[i] = (struct rows_ref){book->quotas[i].tenant_id, book->quotas[i].ref};
    status = read_levels(db, book, refs, book->quotas_count, levels);
    for (size_t i = 0; status == STATUS_OK && i < book->quotas_count; i++)
        if (book->quotas[i].stops.unlimited)
            changed[i] = reserved_drop(book, &book->quotas[i], &levels[i]);
    return status == STATUS_OK ? write_levels(db, book, levels, changed) : status;
}
