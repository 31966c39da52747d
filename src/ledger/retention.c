/*
 * What is kept for a time only. The ledger and the audit are kept for ever.
 *
 * Each statement deletes a bounded number of rows, which it finds at the low end of an index of those that
 * may go. One server at a time runs each of them (an advisory lock until the end of the statement); others
 * find nothing to do meanwhile.
 */
#include "ledger/database_internal.h"
#include "ledger/ledger.h"

enum { RETENTION_ARENA_BYTES = 1024, RETENTION_ARENA_MAX = 1 << 16 };

/* The numbers are those of enum ledger_kept, after the locks that others have (README.md). */
#define ALONE(number) "(SELECT pg_try_advisory_xact_lock(" TEXT_OF(LEDGER_LOCKS) ", " number "))"

/*
 * The times stand in subqueries, which are run once: a function that may change from row to row could
 * not be looked up in an index. The rows to go are named by their places: a join by their keys may be
 * planned, while the table is empty, to compare each row of it with each of those.
 *
 * Of events whole prefixes go: what is left of a tenant's has no gap, whatever the order of the times.
 */
/* clang-format off */
static const struct statement drop_events = {
    "retention_events",
    "WITH due AS MATERIALIZED (SELECT tenant_id, seq FROM event WHERE " ALONE(
        "16") " AND at < (SELECT clock_timestamp() - $2::bigint * interval '1 millisecond') ORDER BY at"
              " LIMIT $1::bigint), cut AS MATERIALIZED (SELECT tenant_id, max(seq) AS seq FROM due"
              " GROUP BY tenant_id) DELETE FROM event WHERE ctid = ANY (ARRAY(SELECT p.ctid FROM cut"
              " CROSS JOIN LATERAL (SELECT ctid FROM event WHERE tenant_id = cut.tenant_id"
              " AND seq <= cut.seq ORDER BY seq LIMIT $1::bigint) p))"};
/* clang-format on */

/* Rows of a job, past their purge_after. */
/* clang-format off */
#define DROP_OF_JOBS(table, number)                                                                \
    "DELETE FROM " table " WHERE ctid = ANY (ARRAY(SELECT ctid FROM " table " WHERE " ALONE(number) \
    " AND purge_after < (SELECT clock_timestamp()) ORDER BY purge_after LIMIT $1::bigint))"

/* clang-format on */
static const struct statement drop_fences = {"retention_fences", DROP_OF_JOBS("job_fence", "17")};
static const struct statement drop_expired = {"retention_expired",
                                              DROP_OF_JOBS("expired_hold", "18")};

/* clang-format off */
static const struct statement drop_periods = {
    "retention_periods",
    "DELETE FROM quota WHERE ctid = ANY (ARRAY(SELECT ctid FROM quota WHERE " ALONE("19")
    " AND " LEDGER_PURGED " AND " LEDGER_PURGE_SQL " < " SQL_MS_OF("clock_timestamp()")
    " ORDER BY " LEDGER_PURGE_SQL " LIMIT $1::bigint FOR UPDATE SKIP LOCKED))"};
/* clang-format on */

static const struct statement *statement_of(enum ledger_kept what)
{
    switch (what) {
    case KEPT_EVENTS:
        return &drop_events;
    case KEPT_FENCES:
        return &drop_fences;
    case KEPT_EXPIRED:
        return &drop_expired;
    case KEPT_PERIODS:
        return &drop_periods;
    case KEPT_COUNT:
        break;
    }
    UNREACHABLE();
}

enum status ledger_retention(struct database *db, enum ledger_kept what, int64_t events_keep_ms,
                             size_t max, bool *ret_more)
{
    struct sql_params params;
    struct arena arena;
    enum status status;
    size_t rows = 0;

    arena_init(&arena, RETENTION_ARENA_BYTES, RETENTION_ARENA_MAX);
    sql_params_begin(&params, &arena);
    sql_add_i64(&params, (int64_t)max);
    if (what == KEPT_EVENTS)
        sql_add_i64(&params, events_keep_ms);
    status = database_run_counted(db, statement_of(what), &params, &rows);
    arena_done(&arena);
    *ret_more = status == STATUS_OK && rows >= max;
    return status;
}
