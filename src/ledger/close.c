/*
 * The end of old leases whose deadline has passed, and of periods that have been over for long enough:
 * what was lent comes home.
 *
 * A turn is one transaction of a bounded number of rows. It takes only rows that nobody has locked: so it
 * waits for no tenant, and closers on several servers take different ones.
 */
#include "ledger/ledger.h"
#include "ledger/rows.h"
#include "quota/lease.h"

enum { CLOSE_ARENA_BYTES = 64 * 1024, CLOSE_ARENA_MAX = 64 << 20 };

/* Without tenants that are set aside: their rows are the oldest ones for ever, and would keep others out. */
/* clang-format off */
static const struct statement find_leases = {
    "close_leases",
    "SELECT q.tenant_id, q.limit_id, q.period_start_ms FROM old_lease o"
    ROWS_OF(quota, "tenant_id = o.tenant_id AND limit_id = o.limit_id"
                   " AND period_start_ms = o.period_start_ms") " AS q"
    " WHERE o.deadline_ms < " SQL_MS_OF("clock_timestamp()") " AND o.tenant_id <> ALL ($2::bigint[])"
    " ORDER BY o.deadline_ms LIMIT $1::bigint FOR UPDATE OF q SKIP LOCKED"};
/* clang-format on */

/* clang-format off */
static const struct statement lock_periods = {
    "close_periods_lock",
    "SELECT tenant_id, limit_id, period_start_ms FROM quota WHERE state <> 'X'"
    " AND period_end_ms < " SQL_MS_OF("clock_timestamp()") " - " LEDGER_GRACE_SQL
    " ORDER BY period_end_ms LIMIT $1::bigint FOR UPDATE SKIP LOCKED"};

/*
 * What was lent for the period comes home, and the row takes part in nothing any more. In a statement after
 * the locks: that of the locks does not see where a row, or a lease of it, stands that somebody wrote
 * after it had begun.
 */
static const struct statement close_periods = {
    "close_periods",
    "WITH n AS MATERIALIZED (SELECT * FROM " ROWS_REFS(SQL_ROWS) "),"
    " gone AS (DELETE FROM old_lease o USING n" ROWS_PLACE(old_lease, ROWS_KEY_QUOTA)
    " WHERE o.ctid = k.place)"
    " UPDATE quota q SET returned = q.granted - q.spent, leased = 0, recall = false, state = 'X',"
    " reaped_to_ms = greatest(q.reaped_to_ms, " SQL_MS_OF("clock_timestamp()") ")"
    " FROM n" ROWS_PLACE(quota, ROWS_KEY_QUOTA) " WHERE q.ctid = k.place"};
/* clang-format on */

struct closing {
    struct arena arena;
    size_t max;
    /* of the last run */
    size_t found, closed;
    struct rows_ref *refs;
    size_t refs_count;
    struct book book;
};

/* The keys of the rows that a statement finds and locks, sorted. */
static enum status find(struct database *db, const struct statement *statement,
                        struct sql_params *params, struct closing *closing)
{
    struct sql_row row;
    PGresult *result;
    enum status status = database_run(db, statement, params, &result);

    closing->found = closing->closed = 0;
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, &closing->arena);
    closing->refs = arena_array(&closing->arena, sql_count(&row) + 1, sizeof(*closing->refs));
    row.bad = !closing->refs;
    while (sql_next(&row)) {
        struct rows_ref *ref = &closing->refs[closing->found++];

        ref->tenant_id = sql_i64(&row);
        ref->ref.limit_id = sql_i64(&row);
        ref->ref.period_start_ms = sql_i64(&row);
    }
    status = sql_done(&row);
    if (status == STATUS_OK)
        closing->refs_count = rows_refs_sort(closing->refs, closing->found);
    return status;
}

static void begin(struct closing *closing, struct sql_params *params)
{
    arena_reset(&closing->arena);
    sql_params_begin(params, &closing->arena);
    sql_add_i64(params, (int64_t)closing->max);
}

/* Into the book, with its rows locked. */
static enum status take(struct database *db, struct closing *closing)
{
    struct alarms_state alarms;
    struct sql_params params;
    enum status status;

    begin(closing, &params);
    closing->book = (struct book){.arena = &closing->arena};
    alarms_read(database_alarms(db), &alarms);
    sql_add_i64s(&params, alarms.aside, alarms.aside_count);
    status = find(db, &find_leases, &params, closing);
    if (status != STATUS_OK || closing->found == 0)
        return status;
    return rows_lock(db, &closing->book, closing->refs, closing->refs_count);
}

static enum status close_leases(struct database *db, void *user)
{
    struct closing *closing = user;
    struct book *book = &closing->book;
    struct lease_row *closed;
    size_t *count = &closing->closed;
    enum status status = take(db, closing);

    if (status != STATUS_OK || closing->found == 0)
        return status;
    closed = arena_array(&closing->arena, book->leases_count + 1, sizeof(*closed));
    if (!closed)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < book->leases_count; i++) {
        struct lease_row *lease = &book->leases[i];
        struct quota_row *quota = book_find_quota(book, lease->tenant_id, lease->ref);

        if (quota && lease_close(quota, lease, book->now_ms)) {
            lease->dirty = false; /* it goes */
            closed[(*count)++] = *lease;
        }
    }
    status = rows_write(db, book);
    return status == STATUS_OK ? rows_leases_delete(db, &closing->arena, closed, *count) : status;
}

enum status ledger_close_leases(struct database *db, size_t max, bool *ret_more)
{
    struct closing closing = {.max = max};
    enum status status;

    arena_init(&closing.arena, CLOSE_ARENA_BYTES, CLOSE_ARENA_MAX);
    status = database_transact(db, close_leases, &closing);
    /* A turn that closed none met rows that contradict each other: the next one is without them. */
    *ret_more = status == STATUS_OK && closing.found == max && closing.closed > 0;
    arena_done(&closing.arena);
    return status;
}

static enum status close_over(struct database *db, void *user)
{
    struct closing *closing = user;
    struct sql_params params;
    struct sql_array column;
    enum status status;

    begin(closing, &params);
    status = find(db, &lock_periods, &params, closing);
    if (status != STATUS_OK || closing->found == 0)
        return status;
    sql_params_begin(&params, &closing->arena);
#define COLUMN(field)                                                                              \
    column = sql_array_begin(&params, SQL_BIGINT, closing->refs_count, 0);                         \
    for (size_t i = 0; i < closing->refs_count; i++)                                               \
    sql_array_i64(&column, closing->refs[i].field)
    COLUMN(tenant_id);
    COLUMN(ref.limit_id);
    COLUMN(ref.period_start_ms);
#undef COLUMN
    return database_run_counted(db, &close_periods, &params, &closing->closed);
}

enum status ledger_close_periods(struct database *db, size_t max, bool *ret_more)
{
    struct closing closing = {.max = max};
    enum status status;

    arena_init(&closing.arena, CLOSE_ARENA_BYTES, CLOSE_ARENA_MAX);
    status = database_transact(db, close_over, &closing);
    arena_done(&closing.arena);
    *ret_more = status == STATUS_OK && closing.closed >= max;
    return status;
}
