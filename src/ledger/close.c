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
/*
 * What was lent for the period comes home, and the row takes part in nothing any more. The clock is read
 * when the rows are locked, which never is after a wait.
 */
static const struct statement close_periods = {
    "close_periods",
    "WITH over AS MATERIALIZED (SELECT tenant_id AS tenant, limit_id AS lim, period_start_ms AS start,"
    " ctid AS place FROM quota WHERE state <> 'X'"
    " AND period_end_ms < " SQL_MS_OF("clock_timestamp()") " - " LEDGER_GRACE_SQL
    " ORDER BY period_end_ms LIMIT $1::bigint FOR UPDATE SKIP LOCKED),"
    " gone AS (DELETE FROM old_lease o USING over n" ROWS_PLACE(old_lease, ROWS_KEY_QUOTA)
    " WHERE o.ctid = k.place)"
    " UPDATE quota q SET returned = q.granted - q.spent, leased = 0, recall = false, state = 'X',"
    " reaped_to_ms = greatest(q.reaped_to_ms, " SQL_MS_OF("clock_timestamp()") ")"
    " FROM over WHERE q.ctid = over.place"};
/* clang-format on */

struct closing {
    struct arena arena;
    size_t max;
    /* of the last run */
    size_t found, closed;
    struct book book;
};

/* Into the book, with its rows locked. */
static enum status take(struct database *db, struct closing *closing)
{
    struct alarms_state alarms;
    struct rows_ref *refs;
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    arena_reset(&closing->arena);
    closing->book = (struct book){.arena = &closing->arena};
    closing->found = closing->closed = 0;
    alarms_read(database_alarms(db), &alarms);
    sql_params_begin(&params, &closing->arena);
    sql_add_i64(&params, (int64_t)closing->max);
    sql_add_i64s(&params, alarms.aside, alarms.aside_count);
    status = database_run(db, &find_leases, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, &closing->arena);
    refs = arena_array(&closing->arena, sql_count(&row) + 1, sizeof(*refs));
    row.bad = !refs;
    while (sql_next(&row)) {
        struct rows_ref *ref = &refs[closing->found++];

        ref->tenant_id = sql_i64(&row);
        ref->ref.limit_id = sql_i64(&row);
        ref->ref.period_start_ms = sql_i64(&row);
    }
    status = sql_done(&row);
    if (status != STATUS_OK || closing->found == 0)
        return status;
    return rows_lock(db, &closing->book, refs, rows_refs_sort(refs, closing->found));
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

enum status ledger_close_periods(struct database *db, size_t max, bool *ret_more)
{
    struct sql_params params;
    struct arena arena;
    enum status status;
    size_t rows = 0;

    arena_init(&arena, CLOSE_ARENA_BYTES, CLOSE_ARENA_MAX);
    sql_params_begin(&params, &arena);
    sql_add_i64(&params, (int64_t)max);
    status = database_run_counted(db, &close_periods, &params, &rows);
    arena_done(&arena);
    *ret_more = status == STATUS_OK && rows >= max;
    return status;
}
