/*
 * Quotas as they are now, with the seq of the newest event: exact at one point, for GetUsage and for
 * the snapshot that a Watch begins with.
 */
#include "ledger/database_internal.h"
#include "ledger/ledger.h"
#include "ledger/rows.h"

/*
 * One statement, so one state of the database, and one round trip. The tenant's numbers come also where
 * none of its quotas has a row. By its name as well: where the database was put back, its number may be
 * another tenant's. Each row is looked up by its whole key: a join may read all limits of the tenant.
 */
static const struct statement find_usage = {
    "usage_find",
    "SELECT (SELECT clock_timestamp()), t.event_seq, t.config_version, coalesce(a.epoch, 0), u.*"
    " FROM tenant t"
    " LEFT JOIN shard_authority a ON a.shard = t.shard"
    " LEFT JOIN LATERAL (SELECT n.i, o.deadline_ms AS old_deadline_ms, o.units, " ROWS_QUOTA_COLUMNS
    " FROM unnest($2::bigint[], $3::bigint[]) WITH ORDINALITY AS n(lim, start, i)"
    " CROSS JOIN LATERAL (SELECT * FROM quota WHERE tenant_id = t.tenant_id"
    " AND limit_id = n.lim AND period_start_ms = n.start OFFSET 0) AS q"
    " CROSS JOIN LATERAL (SELECT * FROM limit_ WHERE tenant_id = q.tenant_id"
    " AND limit_id = q.limit_id OFFSET 0) AS l"
    " CROSS JOIN LATERAL (SELECT coalesce(max(o.deadline_ms), 0) AS deadline_ms,"
    " coalesce(sum(o.granted - o.returned - o.spent)::bigint, 0) AS units FROM old_lease o"
    " WHERE o.tenant_id = q.tenant_id AND o.limit_id = q.limit_id"
    " AND o.period_start_ms = q.period_start_ms) AS o) AS u ON true WHERE t.tenant_id = $1::bigint"
    " AND t.name = $4::text"};

enum { ROW_COLUMNS = 3 + 28 }; /* of u: three, and ROWS_QUOTA_COLUMNS */

struct reading {
    struct arena *arena;
    const struct plan *plan;
    const int64_t *limit_ids;
    size_t count;
    struct ledger_usage *usages;
    int64_t *starts;
    int64_t now_ms; /* when the rows were read, or later */
    int64_t event_seq, config_version;
    bool bad; /* rows that contradict their leases */
};

/* What a period looks like that nobody has touched yet. */
static void untouched(struct reading *reading, size_t i, int64_t now_ms)
{
    const struct limit *limit = plan_limit(reading->plan, reading->limit_ids[i]);
    struct quota_row *quota = &reading->usages[i].quota;

    CHECK(limit);
    reading->starts[i] = limit_start_ms(limit, now_ms);
    *quota = (struct quota_row){
        .tenant_id = reading->plan->tenant_id,
        .ref = {.limit_id = limit->limit_id, .period_start_ms = reading->starts[i]},
        .limit_name = limit->name,
        .scope = limit->scope,
        .meter = limit->meter,
        .period = limit->period,
        .period_end_ms = limit_end_ms(limit, reading->starts[i]),
        .stops = {.soft = limit->soft,
                  .amount = limit->amount,
                  .cap = limit->cap,
                  .unlimited = limit->unlimited},
        .state = QUOTA_OPEN,
    };
}

/* The equations of quota/book.h, as far as sums tell. */
static bool is_sound(const struct quota_row *quota, int64_t old_units)
{
    struct quota_row alone = *quota;

    alone.leased -= old_units;
    return old_units >= 0 && book_balances(&(struct book){0}, &alone);
}

static void read_row(struct sql_row *row, struct reading *reading, int64_t epoch)
{
    struct quota_row quota = {0};
    int64_t i = sql_i64(row) - 1, old_deadline_ms = sql_i64(row), old_units = sql_i64(row);

    rows_quota_read(row, &quota);
    quota.epoch = epoch;
    if (i < 0 || (size_t)i >= reading->count) {
        row->bad = true;
        return;
    }
    reading->bad |= !is_sound(&quota, old_units);
    reading->usages[i] = (struct ledger_usage){.quota = quota, .old_deadline_ms = old_deadline_ms};
}

static enum status read_answer(PGresult *result, struct reading *reading)
{
    struct sql_row row = sql_rows(result, reading->arena);

    while (sql_next(&row)) {
        int64_t epoch;

        reading->now_ms = sql_time_ms(&row);
        reading->event_seq = sql_i64(&row);
        reading->config_version = sql_i64(&row);
        epoch = sql_i64(&row);
        if (!sql_is_null(&row))
            read_row(&row, reading, epoch);
        else
            for (int column = 0; column < ROW_COLUMNS; column++)
                sql_skip(&row);
    }
    return sql_done(&row);
}

static enum status read_all(struct database *db, struct reading *reading)
{
    int64_t sent_us = database_mono_us(db);
    struct sql_params params;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, reading->arena);
    sql_add_i64(&params, reading->plan->tenant_id);
    sql_add_i64s(&params, reading->limit_ids, reading->count);
    sql_add_i64s(&params, reading->starts, reading->count);
    sql_add_text(&params, reading->plan->tenant);
    status = database_run(db, &find_usage, &params, &result);
    if (status == STATUS_OK)
        status = read_answer(result, reading);
    if (status == STATUS_OK && reading->now_ms > 0)
        database_observe(db, reading->now_ms, sent_us);
    if (status != STATUS_OK || !reading->bad)
        return status;
    alarms_set_aside(database_alarms(db), reading->plan->tenant_id, "quota: seen by GetUsage");
    return database_corrupt(db, "the rows of the tenant contradict each other");
}

enum status ledger_usage_read(struct database *db, struct arena *arena, const struct plan *plan,
                              const int64_t *limit_ids, size_t limits_count, int64_t now_ms,
                              struct ledger_usage **ret, int64_t *ret_event_seq,
                              int64_t *ret_config_version)
{
    struct reading reading = {.arena = arena,
                              .plan = plan,
                              .limit_ids = limit_ids,
                              .count = limits_count};
    enum status status;

    reading.usages = arena_array(arena, limits_count + 1, sizeof(*reading.usages));
    reading.starts = arena_array(arena, limits_count + 1, sizeof(*reading.starts));
    if (!reading.usages || !reading.starts)
        return STATUS_EXHAUSTED;
    for (size_t i = 0; i < limits_count; i++)
        untouched(&reading, i, now_ms);
    status = read_all(db, &reading);
    if (status != STATUS_OK)
        return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
    *ret = reading.usages;
    *ret_event_seq = reading.event_seq;
    *ret_config_version = reading.config_version;
    return STATUS_OK;
}
