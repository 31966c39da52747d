/*
 * Tenants with their limits, as the rest of the program wants them.
 */
#include "ledger/database_internal.h"
#include "ledger/ledger.h"

#include "base/amount.h"

enum { PLANS_ARENA_BYTES = 16 * 1024, PLANS_ARENA_MAX = 64 << 20 };

/* One statement, hence one snapshot: the version belongs to these limits. */
static const struct statement load = {
    "plan_load",
    "SELECT t.tenant_id, t.shard, t.state = 'S', t.admit_unlimited_meters, t.config_version,"
    " (SELECT p + 1 FROM generate_series(0, 15) p"
    " WHERE satisfies_hash_partition('ledger'::regclass, 16, p, t.tenant_id)),"
    " l.limit_id, l.name, l.scope, l.meter, l.period_kind, l.amount, l.unlimited, l.cap, l.soft,"
    " l.soft_percent, l.max_ttl_ms"
    " FROM tenant t LEFT JOIN limit_ l ON l.tenant_id = t.tenant_id AND l.deleted_at IS NULL"
    " WHERE t.name = $1::text ORDER BY l.limit_id"};

static const struct statement changed = {
    "plan_changed",
    "SELECT tenant_id, name, config_version, config_position FROM tenant"
    " WHERE config_position > $1::bigint ORDER BY config_position"};

static const struct statement newest = {
    "plan_newest", "SELECT coalesce(max(config_position), -1) FROM tenant"};

static void read_limit(struct sql_row *row, struct limit *limit)
{
    limit->limit_id = sql_i64(row);
    limit->name = sql_text(row);
    limit->scope = sql_text(row);
    limit->meter = sql_text(row);
    limit->period = (enum period)sql_i64(row);
    limit->amount = sql_i64(row);
    limit->unlimited = sql_bool(row);
    limit->cap = sql_i64(row);
    limit->soft = sql_i64(row);
    limit->soft_percent = (int)sql_i64(row);
    limit->max_ttl_ms = sql_i64(row);
}

static enum status read_plan(struct database *db, struct arena *arena, struct slice tenant,
                             struct plan **ret_plan)
{
    struct plan plan = {.tenant = tenant};
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;
    size_t rows;

    sql_params_begin(&params, arena);
    sql_add_text(&params, tenant);
    status = database_run(db, &load, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    rows = sql_count(&row);
    plan.limits = arena_array(arena, rows + 1, sizeof(*plan.limits));
    row.bad = !plan.limits;
    while (sql_next(&row)) {
        plan.tenant_id = sql_i64(&row);
        plan.shard = (int)sql_i64(&row);
        plan.suspended = sql_bool(&row);
        plan.admit_unlimited_meters = sql_bool(&row);
        plan.config_version = sql_i64(&row);
        plan.ledger_part = (int)sql_i64(&row);
        if (sql_is_null(&row)) {
            for (int column = 0; column < 11; column++)
                sql_skip(&row);
        } else {
            read_limit(&row, &plan.limits[plan.limits_count++]);
        }
    }
    status = sql_done(&row);
    if (status == STATUS_OK)
        *ret_plan = rows > 0 ? plan_create(&plan) : NULL;
    return status;
}

enum status ledger_plan_load(struct database *db, struct slice tenant, struct plan **ret_plan)
{
    struct arena arena;
    enum status status;

    *ret_plan = NULL;
    arena_init(&arena, PLANS_ARENA_BYTES, PLANS_ARENA_MAX);
    status = read_plan(db, &arena, tenant, ret_plan);
    arena_done(&arena);
    return status;
}

/*
 * At position 0 nothing is listed: the caller has no plans yet, and only learns where to begin. Not at
 * 0 again where there are no tenants: what comes after them must be listed.
 */
static enum status begin_here(struct database *db, struct arena *arena, int64_t *position)
{
    struct sql_row row;
    PGresult *result;
    enum status status = database_run(db, &newest, NULL, &result);

    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    while (sql_next(&row))
        *position = sql_i64(&row);
    return sql_done(&row);
}

enum status ledger_versions_since(struct database *db, struct arena *arena, int64_t *position,
                                  struct ledger_version **ret, size_t *ret_count)
{
    struct ledger_version *versions;
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;
    int64_t last = *position;
    size_t count = 0;

    *ret = NULL;
    *ret_count = 0;
    if (*position == 0)
        return begin_here(db, arena, position);
    sql_params_begin(&params, arena);
    sql_add_i64(&params, *position);
    status = database_run(db, &changed, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    versions = arena_array(arena, sql_count(&row) + 1, sizeof(*versions));
    row.bad = !versions;
    while (sql_next(&row)) {
        versions[count].tenant_id = sql_i64(&row);
        versions[count].tenant = sql_text(&row);
        versions[count].config_version = sql_i64(&row);
        last = sql_i64(&row);
        count++;
    }
    status = sql_done(&row);
    if (status != STATUS_OK)
        return status;
    *position = last;
    *ret = versions;
    *ret_count = count;
    return STATUS_OK;
}
