/*
 * Quota rows are made when they are first needed, in a transaction of their own and before any quota
 * is locked. The limit's row is locked FOR SHARE meanwhile: a change of the limit, which takes that
 * row first and then all its quota rows, either is seen here or sees the row made here.
 */
#include "ledger/rows.h"

#define FIND_ABSENT(rows)                                                                          \
    "SELECT n.tenant, n.lim, n.start FROM " ROWS_REFS(rows)                                        \
    " WHERE NOT EXISTS (SELECT FROM quota q WHERE q.tenant_id = n.tenant AND q.limit_id = n.lim"   \
    " AND q.period_start_ms = n.start) ORDER BY 1, 2, 3"

static const struct statement find_absent[] = SQL_FORMS("rows_make_find", FIND_ABSENT);

#define LOCK_LIMITS(rows)                                                                          \
    "SELECT l.tenant_id, l.limit_id, n.start, l.period_kind, l.amount, l.cap, l.soft, l.unlimited" \
    " FROM " ROWS_REFS(rows) " JOIN limit_ l ON l.tenant_id = n.tenant AND l.limit_id = n.lim"     \
    " WHERE l.deleted_at IS NULL ORDER BY 1, 2, 3 FOR SHARE OF l"

static const struct statement lock_limits[] = SQL_FORMS("rows_make_limits", LOCK_LIMITS);

static const struct statement insert_quotas = {
    "rows_make_insert",
    "INSERT INTO quota (tenant_id, limit_id, period_start_ms, period_end_ms, limit_amount,"
    " cap_amount, soft_amount, unlimited) SELECT " SQL_ROWS(1, bigint, tenant) ", "
    SQL_ROWS(2, bigint, lim) ", " SQL_ROWS(3, bigint, start) ", " SQL_ROWS(4, bigint, ends) ", "
    SQL_ROWS(5, bigint, amount) ", " SQL_ROWS(6, bigint, cap) ", " SQL_ROWS(7, bigint, soft) ", "
    SQL_ROWS(8, boolean, unlimited)
    " ON CONFLICT (tenant_id, limit_id, period_start_ms) DO NOTHING"
    " RETURNING tenant_id, limit_id, period_start_ms, EXISTS (SELECT FROM quota e"
    " WHERE e.tenant_id = quota.tenant_id AND e.limit_id = quota.limit_id"
    " AND e.period_start_ms < quota.period_start_ms)"};

struct making {
    struct arena *arena;
    struct rows_ref *absent;
    size_t absent_count;
    size_t possible; /* of them have a limit */
};

static enum status read_absent(struct database *db, struct making *making,
                               const struct rows_ref *refs, size_t count)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, making->arena);
    rows_refs_params(&params, refs, count);
    status = database_run(db, &find_absent[sql_form(count)], &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, making->arena);
    making->absent = arena_array(making->arena, count + 1, sizeof(*making->absent));
    row.bad = !making->absent || sql_count(&row) > count;
    while (sql_next(&row)) {
        struct rows_ref *ref = &making->absent[making->absent_count++];

        ref->tenant_id = sql_i64(&row);
        ref->ref.limit_id = sql_i64(&row);
        ref->ref.period_start_ms = sql_i64(&row);
    }
    return sql_done(&row);
}

/* The rows to be, with what the limits say, as a book; *ret_count of them. */
static enum status read_limits(struct database *db, struct making *making,
                               struct settle_book *book)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, making->arena);
    rows_refs_params(&params, making->absent, making->absent_count);
    status = database_run(db, &lock_limits[sql_form(making->absent_count)], &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, making->arena);
    book->quotas = arena_array(making->arena, making->absent_count + 1, sizeof(*book->quotas));
    row.bad = !book->quotas || sql_count(&row) > making->absent_count;
    while (sql_next(&row)) {
        struct settle_quota *quota = &book->quotas[book->quotas_count++];

        quota->tenant_id = sql_i64(&row);
        quota->ref.limit_id = sql_i64(&row);
        quota->ref.period_start_ms = sql_i64(&row);
        quota->period = (enum period)sql_i64(&row);
        quota->stops.amount = sql_i64(&row);
        quota->stops.cap = sql_i64(&row);
        quota->stops.soft = sql_i64(&row);
        quota->stops.unlimited = sql_bool(&row);
        if (row.bad)
            break;
        quota->period_end_ms = period_end_ms(quota->period, quota->ref.period_start_ms);
    }
    making->possible = book->quotas_count;
    return sql_done(&row);
}

static void period_started(struct settle_book *book, const struct settle_quota *quota)
{
    struct settle_event *event = arena_zalloc(book->arena, sizeof(*event));

    CHECK(event);
    event->tenant_id = quota->tenant_id;
    event->kind = EVENT_PERIOD_STARTED;
    event->quota = quota;
    event->level = threshold_level(&quota->stops, 0);
    *book->events_tail = event;
    book->events_tail = &event->next;
}

static enum status insert(struct database *db, struct settle_book *book)
{
    const struct settle_quota *quotas = book->quotas;
    size_t count = book->quotas_count;
    struct sql_params params;
    struct sql_array array;
    struct sql_row row;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, book->arena);
#define COLUMN(field)                                                                              \
    array = sql_array_begin(&params, SQL_BIGINT, count, 0);                                        \
    for (size_t i = 0; i < count; i++)                                                             \
        sql_array_i64(&array, quotas[i].field)
    COLUMN(tenant_id);
    COLUMN(ref.limit_id);
    COLUMN(ref.period_start_ms);
    COLUMN(period_end_ms);
    COLUMN(stops.amount);
    COLUMN(stops.cap);
    COLUMN(stops.soft);
#undef COLUMN
    array = sql_array_begin(&params, SQL_BOOLEAN, count, 0);
    for (size_t i = 0; i < count; i++)
        sql_array_bool(&array, quotas[i].stops.unlimited);
    status = database_run(db, &insert_quotas, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, book->arena);
    while (sql_next(&row)) {
        int64_t tenant_id = sql_i64(&row);
        struct quota_ref ref = {.limit_id = sql_i64(&row)};
        struct settle_quota *quota;

        ref.period_start_ms = sql_i64(&row);
        quota = settle_find_quota(book, tenant_id, ref);
        /* The first period of all does not start anew. */
        if (sql_bool(&row) && quota)
            period_started(book, quota);
    }
    return sql_done(&row);
}

static enum status make_body(struct database *db, void *user)
{
    struct making *making = user;
    struct settle_book book = {.arena = making->arena};
    enum status status;

    book.events_tail = &book.events;
    status = read_limits(db, making, &book);
    if (status == STATUS_OK && book.quotas_count > 0)
        status = insert(db, &book);
    if (status == STATUS_OK)
        status = database_clock(db, &book.now_ms);
    return status == STATUS_OK ? rows_write(db, &book) : status;
}

enum status rows_make(struct database *db, struct arena *arena, const struct rows_ref *refs,
                      size_t count, size_t *ret_missing)
{
    struct making making = {.arena = arena};
    enum status status;

    if (ret_missing)
        *ret_missing = 0;
    if (count == 0)
        return STATUS_OK;
    status = read_absent(db, &making, refs, count);
    if (status == STATUS_OK && making.absent_count > 0)
        status = database_transact(db, make_body, &making);
    if (status == STATUS_OK && ret_missing)
        *ret_missing = making.absent_count - making.possible;
    /* Made or not, it may be tried again: nothing depends on which. */
    return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
}
