/*
 * Quota rows are made when they are first needed, in a transaction of their own and before any quota
 * is locked. The limit's row is locked FOR SHARE meanwhile: a change of the limit, which takes that
 * row first and then all its quota rows, either is seen here or sees the row made here. A period of a
 * calendar begins and ends where that says, and nowhere else.
 */
#include "ledger/calendar.h"
#include "ledger/rows.h"

#define FIND_ABSENT(rows)                                                                                  \
    "SELECT n.tenant, n.lim, n.start FROM " ROWS_REFS(                                                     \
        rows) " WHERE NOT EXISTS (SELECT FROM quota q WHERE q.tenant_id = n.tenant AND q.limit_id = n.lim" \
              " AND q.period_start_ms = n.start) ORDER BY 1, 2, 3"

static const struct statement find_absent[] = SQL_FORMS("rows_make_find", FIND_ABSENT);

/* clang-format off */
#define LOCK_LIMITS(rows)                                                                          \
    "SELECT l.tenant_id, l.limit_id, n.start, l.name, l.scope, l.meter, l.period_kind,"    \
    " l.calendar_id IS NOT NULL, (SELECT min(b.at_ms) FROM boundary b"                             \
    " WHERE b.calendar_id = l.calendar_id AND b.at_ms > n.start), l.amount, l.cap, l.soft,"        \
    " l.unlimited FROM " ROWS_REFS(                                                                \
        rows) ROWS_OF(limit_, ROWS_KEY_LIMIT) " AS l"                                              \
              " WHERE l.deleted_at IS NULL AND (l.calendar_id IS NULL OR EXISTS (SELECT"           \
              " FROM boundary b WHERE b.calendar_id = l.calendar_id AND b.at_ms = n.start))"       \
              " ORDER BY 1, 2, 3 FOR SHARE OF l"

/* clang-format on */
static const struct statement lock_limits[] = SQL_FORMS("rows_make_limits", LOCK_LIMITS);

/* clang-format off */
static const struct statement insert_quotas = {
    "rows_make_insert",
    "INSERT INTO quota (tenant_id, limit_id, period_start_ms, period_end_ms, limit_amount,"
    " cap_amount, soft_amount, unlimited, leased, lease_id, granted, lease_deadline_ms, lease_target)"
    " SELECT " SQL_ROWS(1, bigint, tenant) ", "
    SQL_ROWS(2, bigint, lim) ", " SQL_ROWS(3, bigint, start) ", " SQL_ROWS(4, bigint, ends) ", "
    SQL_ROWS(5, bigint, amount) ", " SQL_ROWS(6, bigint, cap) ", " SQL_ROWS(7, bigint, soft) ", "
    SQL_ROWS(8, boolean, unlimited) ", " SQL_ROWS(9, bigint, leased) ", " SQL_ROWS(10, bigint, lease_id) ", "
    SQL_ROWS(11, bigint, granted) ", " SQL_ROWS(12, bigint, lease_deadline_ms) ", "
    SQL_ROWS(13, bigint, lease_target)
    " ON CONFLICT (tenant_id, limit_id, period_start_ms) DO NOTHING"
    " RETURNING tenant_id, limit_id, period_start_ms, coalesce((SELECT true FROM quota e"
    " WHERE e.tenant_id = quota.tenant_id AND e.limit_id = quota.limit_id"
    " AND e.period_start_ms < quota.period_start_ms LIMIT 1), false)"};
/* clang-format on */

static enum status read_absent(struct database *db, struct rows_making *making,
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

/* The rows to be, with what the limits say. *ret_unwritten: the end of one is not known yet. */
static enum status read_limits(struct database *db, struct rows_making *making, bool *ret_unwritten)
{
    struct book *book = &making->book;
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
    *ret_unwritten = false;
    book->quotas_count = 0;
    book->quotas = arena_array(making->arena, making->absent_count + 1, sizeof(*book->quotas));
    row.bad = !book->quotas || sql_count(&row) > making->absent_count;
    while (sql_next(&row)) {
        struct quota_row *quota = &book->quotas[book->quotas_count++];
        bool zoned;

        *quota = (struct quota_row){.tenant_id = sql_i64(&row), .state = QUOTA_OPEN};
        quota->ref.limit_id = sql_i64(&row);
        quota->ref.period_start_ms = sql_i64(&row);
        quota->limit_name = sql_text(&row);
        quota->scope = sql_text(&row);
        quota->meter = sql_text(&row);
        quota->period = (enum period)ledger_period(sql_i64(&row));
        zoned = sql_bool(&row);
        quota->period_end_ms = sql_i64_or(&row, 0);
        quota->stops.amount = sql_i64(&row);
        quota->stops.cap = sql_i64(&row);
        quota->stops.soft = sql_i64(&row);
        quota->stops.unlimited = sql_bool(&row);
        row.bad |= !period_known(quota->period);
        if (row.bad)
            break;
        if (!zoned)
            quota->period_end_ms = period_end_ms(quota->period, quota->ref.period_start_ms);
        *ret_unwritten |= quota->period_end_ms == 0;
    }
    return sql_done(&row);
}

/* The clock, and the epochs of the shards. What was set aside for a row that is gone is nothing to it. */
static enum status read_now(struct database *db, struct rows_making *making)
{
    int64_t sent_us = database_mono_us(db);
    struct sql_params params;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, making->arena);
    rows_refs_params(&params, making->absent, making->absent_count);
    status = database_run(db, &rows_now[sql_form(making->absent_count)], &params, &result);
    if (status == STATUS_OK)
        status = rows_now_read(result, &making->book);
    making->book.leases_count = 0;
    if (status == STATUS_OK)
        database_observe(db, making->book.now_ms, sent_us);
    return status;
}

static void period_started(struct book *book, const struct quota_row *quota)
{
    struct event_row *event = arena_zalloc(book->arena, sizeof(*event));

    CHECK(event);
    event->tenant_id = quota->tenant_id;
    event->kind = EVENT_PERIOD_STARTED;
    event->quota = quota;
    event->level = threshold_level(&quota->stops, 0);
    *book->events_tail = event;
    book->events_tail = &event->next;
}

static enum status insert(struct database *db, struct rows_making *making)
{
    struct book *book = &making->book;
    const struct quota_row *quotas = book->quotas;
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
    array = sql_array_begin(&params, SQL_BOOLEAN, count, 0);
    for (size_t i = 0; i < count; i++)
        sql_array_bool(&array, quotas[i].stops.unlimited);
    COLUMN(leased);
    COLUMN(lease_id);
    COLUMN(granted);
    COLUMN(lease_deadline_ms);
    COLUMN(lease_target);
#undef COLUMN
    status = database_run(db, &insert_quotas, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, book->arena);
    while (sql_next(&row)) {
        int64_t tenant_id = sql_i64(&row);
        struct quota_ref ref = {.limit_id = sql_i64(&row)};
        struct quota_row *quota;

        ref.period_start_ms = sql_i64(&row);
        quota = book_find_quota(book, tenant_id, ref);
        row.bad |= !quota;
        if (!quota)
            break;
        making->made[quota - book->quotas] = true;
        /* The first period of all does not start anew. */
        if (sql_bool(&row))
            period_started(book, quota);
    }
    for (size_t i = 0; i < book->quotas_count; i++)
        book->quotas[i].dirty = false; /* the row has all of it */
    return sql_done(&row);
}

static enum status write_ahead(struct database *db, struct rows_making *making)
{
    size_t count = making->absent_count;
    int64_t *tenants = arena_array(making->arena, count, sizeof(*tenants));
    int64_t *limits = arena_array(making->arena, count, sizeof(*limits));
    enum status status;
    bool unwritten = true;

    if (!tenants || !limits)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < count; i++) {
        tenants[i] = making->absent[i].tenant_id;
        limits[i] = making->absent[i].ref.limit_id;
    }
    status = calendars_write(db, making->arena, tenants, limits, count);
    if (status == STATUS_OK)
        status = read_limits(db, making, &unwritten);
    return status == STATUS_OK && unwritten ? database_corrupt(db, "boundary") : status;
}

static enum status make_body(struct database *db, void *user)
{
    struct rows_making *making = user;
    struct book *book = &making->book;
    enum status status;
    bool unwritten;

    *book = (struct book){.arena = making->arena};
    book->events_tail = &book->events;
    status = read_limits(db, making, &unwritten);
    if (status == STATUS_OK && unwritten)
        status = write_ahead(db, making);
    if (status != STATUS_OK || book->quotas_count == 0)
        return status;
    making->made = arena_array(making->arena, book->quotas_count, sizeof(*making->made));
    if (!making->made)
        return STATUS_EXHAUSTED;
    if (making->fill) {
        status = read_now(db, making);
        if (status != STATUS_OK)
            return status;
        making->fill(making->user, book);
    }
    status = insert(db, making);
    if (status != STATUS_OK || !book->events)
        return status;
    status = database_clock(db, &book->now_ms);
    return status == STATUS_OK ? rows_write(db, book) : status;
}

enum status rows_make_filled(struct database *db, struct rows_making *making,
                             const struct rows_ref *refs, size_t count)
{
    enum status status;

    making->book = (struct book){.arena = making->arena};
    making->absent_count = 0;
    if (count == 0)
        return STATUS_OK;
    status = read_absent(db, making, refs, count);
    if (status == STATUS_UNKNOWN) /* a question changes nothing */
        status = STATUS_UNAVAILABLE;
    if (status == STATUS_OK && making->absent_count > 0)
        status = database_transact(db, make_body, making);
    return status;
}

enum status rows_make(struct database *db, struct arena *arena, const struct rows_ref *refs,
                      size_t count, size_t *ret_missing)
{
    struct rows_making making = {.arena = arena};
    enum status status = rows_make_filled(db, &making, refs, count);

    if (ret_missing)
        *ret_missing = status == STATUS_OK ? making.absent_count - making.book.quotas_count : 0;
    /* Made or not, it may be tried again: nothing depends on which. */
    return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
}
