/*
 * What is past its time goes, a bounded number of rows at a time.
 */
#include "ledger/database_internal.h"
#include "ledger/ledger.h"

/* Oldest first, so that what is left is always contiguous up to the newest. */
static const struct statement old_events = {
    "retention_events",
    "DELETE FROM event WHERE (tenant_id, seq) IN (SELECT tenant_id, seq FROM event"
    " WHERE at < clock_timestamp() - $1::bigint * interval '1 millisecond'"
    " ORDER BY tenant_id, seq LIMIT $2::bigint)"};

static const struct statement old_fences = {
    "retention_fences",
    "DELETE FROM job_fence WHERE (tenant_id, job_id, epoch, hold_seq) IN (SELECT tenant_id, job_id,"
    " epoch, hold_seq FROM job_fence WHERE purge_after < clock_timestamp() LIMIT $1::bigint)"};

static const struct statement old_expired = {
    "retention_expired",
    "DELETE FROM expired_hold WHERE (tenant_id, job_id, epoch, hold_seq) IN (SELECT tenant_id,"
    " job_id, epoch, hold_seq FROM expired_hold WHERE purge_after < clock_timestamp()"
    " LIMIT $1::bigint)"};

/* Closed minutes and hours; the ledger keeps the record. */
static const struct statement old_quotas = {
    "retention_quotas",
    "DELETE FROM quota WHERE (tenant_id, limit_id, period_start_ms) IN (SELECT q.tenant_id,"
    " q.limit_id, q.period_start_ms FROM quota q JOIN limit_ l USING (tenant_id, limit_id)"
    " WHERE q.state = 'X' AND l.period_kind IN (2, 3)"
    " AND q.period_end_ms < extract(epoch FROM clock_timestamp() - interval '7 days') * 1000"
    " LIMIT $1::bigint)"};

static enum status forget(struct database *db, struct arena *arena,
                          const struct statement *statement, size_t max)
{
    struct sql_params params;

    sql_params_begin(&params, arena);
    sql_add_i64(&params, (int64_t)max);
    return database_run(db, statement, &params, NULL);
}

static enum status forget_all(struct database *db, struct arena *arena, int64_t events_keep_ms,
                              size_t max)
{
    struct sql_params params;
    enum status status;

    sql_params_begin(&params, arena);
    sql_add_i64(&params, events_keep_ms);
    sql_add_i64(&params, (int64_t)max);
    status = database_run(db, &old_events, &params, NULL);
    if (status == STATUS_OK)
        status = forget(db, arena, &old_fences, max);
    if (status == STATUS_OK)
        status = forget(db, arena, &old_expired, max);
    if (status == STATUS_OK)
        status = forget(db, arena, &old_quotas, max);
    return status;
}

enum status ledger_retention(struct database *db, int64_t events_keep_ms, size_t max)
{
    struct arena arena;
    enum status status;

    arena_init(&arena, 4096, 1 << 20);
    status = forget_all(db, &arena, events_keep_ms, max);
    arena_done(&arena);
    return status;
}
