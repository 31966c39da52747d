/*
 * What is kept for a time only. The ledger and the audit are kept for ever.
 */
#include "ledger/database_internal.h"
#include "ledger/ledger.h"

enum { RETENTION_ARENA_BYTES = 1024, RETENTION_ARENA_MAX = 1 << 16 };

/*
 * The times stand in subqueries, which are run once: a function that may change from row to row could
 * not be looked up in an index.
 */

/* Whole prefixes: what is left of a tenant's events has no gap, whatever the order of the times. */
static const struct statement drop_events = {
    "retention_events",
    "WITH due AS MATERIALIZED (SELECT tenant_id, seq FROM event"
    " WHERE at < (SELECT clock_timestamp() - $1::bigint * interval '1 millisecond') ORDER BY at"
    " LIMIT $2::bigint), cut AS (SELECT tenant_id, max(seq) AS seq FROM due GROUP BY tenant_id)"
    " DELETE FROM event e USING cut WHERE e.tenant_id = cut.tenant_id AND e.seq <= cut.seq"};

static const struct statement drop_fences = {
    "retention_fences",
    "DELETE FROM job_fence f USING (SELECT tenant_id, job_id, epoch, hold_seq FROM job_fence"
    " WHERE purge_after < (SELECT clock_timestamp()) LIMIT $1::bigint) due"
    " WHERE f.tenant_id = due.tenant_id AND f.job_id = due.job_id AND f.epoch = due.epoch"
    " AND f.hold_seq = due.hold_seq"};

static const struct statement drop_expired = {
    "retention_expired",
    "DELETE FROM expired_hold e USING (SELECT tenant_id, job_id, epoch, hold_seq FROM expired_hold"
    " WHERE purge_after < (SELECT clock_timestamp()) LIMIT $1::bigint) due"
    " WHERE e.tenant_id = due.tenant_id AND e.job_id = due.job_id AND e.epoch = due.epoch"
    " AND e.hold_seq = due.hold_seq"};

/* Periods of a minute or an hour, a week after they were over. */
static const struct statement drop_periods = {
    "retention_periods",
    "DELETE FROM quota q USING (SELECT tenant_id, limit_id, period_start_ms FROM quota"
    " WHERE state = 'X' AND period_end_ms - period_start_ms <= 3600000 AND period_end_ms <"
    " (SELECT floor(extract(epoch FROM clock_timestamp() - interval '7 days') * 1000)::bigint)"
    " LIMIT $1::bigint) due"
    " WHERE q.tenant_id = due.tenant_id AND q.limit_id = due.limit_id"
    " AND q.period_start_ms = due.period_start_ms"};

static enum status drop(struct database *db, const struct statement *statement, size_t max)
{
    struct sql_params params;
    struct arena arena;
    enum status status;

    arena_init(&arena, RETENTION_ARENA_BYTES, RETENTION_ARENA_MAX);
    sql_params_begin(&params, &arena);
    sql_add_i64(&params, (int64_t)max);
    status = database_run(db, statement, &params, NULL);
    arena_done(&arena);
    return status;
}

static enum status drop_old_events(struct database *db, int64_t keep_ms, size_t max)
{
    struct sql_params params;
    struct arena arena;
    enum status status;

    arena_init(&arena, RETENTION_ARENA_BYTES, RETENTION_ARENA_MAX);
    sql_params_begin(&params, &arena);
    sql_add_i64(&params, keep_ms);
    sql_add_i64(&params, (int64_t)max);
    status = database_run(db, &drop_events, &params, NULL);
    arena_done(&arena);
    return status;
}

enum status ledger_retention(struct database *db, int64_t events_keep_ms, size_t max)
{
    enum status status = drop_old_events(db, events_keep_ms, max);

    if (status == STATUS_OK)
        status = drop(db, &drop_fences, max);
    if (status == STATUS_OK)
        status = drop(db, &drop_expired, max);
    return status == STATUS_OK ? drop(db, &drop_periods, max) : status;
}
