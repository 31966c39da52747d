/*
 * Quotas as they are now, with the seq of the newest event: exact at one point, for GetUsage and for
 * the snapshot that a Watch begins with.
 */
#include "ledger/database_internal.h"
#include "ledger/ledger.h"
#include "ledger/rows.h"

static const struct statement find_rows = {
    "usage_rows",
    "SELECT " ROWS_QUOTA_COLUMNS ", coalesce((SELECT sum(o.granted - o.returned - o.spent)::bigint"
    " FROM old_lease o WHERE o.tenant_id = q.tenant_id AND o.limit_id = q.limit_id"
    " AND o.period_start_ms = q.period_start_ms), 0) FROM unnest($2::bigint[], $3::bigint[])"
    " AS n(lim, start) JOIN " ROWS_QUOTA_TABLES " ON q.tenant_id = $1::bigint"
    " AND q.limit_id = n.lim AND q.period_start_ms = n.start"};

static const struct statement find_seq = {
    "usage_seq", "SELECT event_seq, config_version FROM tenant WHERE tenant_id = $1::bigint"};

/* The first statement of the transaction: everything after it sees one state of the database. */
static const struct statement one_snapshot = {
    "usage_snapshot", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"};

struct reading {
    struct arena *arena;
    const struct plan *plan;
    const int64_t *limit_ids;
    size_t count;
    struct ledger_usage *usages;
    int64_t *starts;
    int64_t event_seq, config_version;
};

/* What a period looks like that nobody has touched yet. */
static void untouched(struct reading *reading, size_t i, int64_t now_ms)
{
    const struct limit *limit = plan_limit(reading->plan, reading->limit_ids[i]);
    struct settle_quota *quota = &reading->usages[i].quota;

    CHECK(limit);
    reading->starts[i] = period_start_ms(limit->period, now_ms);
    *quota = (struct settle_quota){
        .tenant_id = reading->plan->tenant_id,
        .ref = {.limit_id = limit->limit_id, .period_start_ms = reading->starts[i]},
        .limit_name = limit->name,
        .scope = limit->scope,
        .meter = limit->meter,
        .period = limit->period,
        .period_end_ms = period_end_ms(limit->period, reading->starts[i]),
        .stops = {.soft = limit->soft,
                  .amount = limit->amount,
                  .cap = limit->cap,
                  .unlimited = limit->unlimited},
        .state = QUOTA_OPEN,
    };
}

static enum status read_seq(struct database *db, struct reading *reading)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, reading->arena);
    sql_add_i64(&params, reading->plan->tenant_id);
    status = database_run(db, &find_seq, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, reading->arena);
    while (sql_next(&row)) {
        reading->event_seq = sql_i64(&row);
        reading->config_version = sql_i64(&row);
    }
    return sql_done(&row);
}

static enum status read_rows(struct database *db, struct reading *reading)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, reading->arena);
    sql_add_i64(&params, reading->plan->tenant_id);
    sql_add_i64s(&params, reading->limit_ids, reading->count);
    sql_add_i64s(&params, reading->starts, reading->count);
    status = database_run(db, &find_rows, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, reading->arena);
    while (sql_next(&row)) {
        struct settle_quota quota = {0};
        int64_t old_units;

        rows_quota_read(&row, &quota);
        old_units = sql_i64(&row);
        for (size_t i = 0; i < reading->count; i++)
            if (quota_ref_equal(reading->usages[i].quota.ref, quota.ref)) {
                reading->usages[i].quota = quota;
                reading->usages[i].old_leases_units = old_units;
            }
    }
    return sql_done(&row);
}

static enum status read_body(struct database *db, void *user)
{
    struct reading *reading = user;
    enum status status = database_run(db, &one_snapshot, NULL, NULL);

    if (status == STATUS_OK)
        status = read_seq(db, reading);
    return status == STATUS_OK && reading->count > 0 ? read_rows(db, reading) : status;
}

enum status ledger_usage_read(struct database *db, struct arena *arena, const struct plan *plan,
                              const int64_t *limit_ids, size_t limits_count, int64_t now_ms,
                              struct ledger_usage **ret, int64_t *ret_event_seq,
                              int64_t *ret_config_version)
{
    struct reading reading = {
        .arena = arena, .plan = plan, .limit_ids = limit_ids, .count = limits_count};
    enum status status;

    reading.usages = arena_array(arena, limits_count + 1, sizeof(*reading.usages));
    reading.starts = arena_array(arena, limits_count + 1, sizeof(*reading.starts));
    if (!reading.usages || !reading.starts)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < limits_count; i++)
        untouched(&reading, i, now_ms);
    status = database_transact(db, read_body, &reading);
    if (status != STATUS_OK)
        return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
    *ret = reading.usages;
    *ret_event_seq = reading.event_seq;
    *ret_config_version = reading.config_version;
    return STATUS_OK;
}
