/*
 * Tenants with their limits, as the rest of the program wants them.
 */
#include "ledger/calendar.h"
#include "ledger/database_internal.h"
#include "ledger/ledger.h"

#include "base/amount.h"

enum { PLANS_ARENA_BYTES = 16 * 1024, PLANS_ARENA_MAX = 1 << 30 };

/*
 * The partition of the ledger. How Postgres 15 chooses it is tried first: all 16 would take longer than the
 * rest of the statement.
 */
#define IS_PART(p) "satisfies_hash_partition('ledger'::regclass, 16, " p ", t.tenant_id)"
#define PART                                                                                       \
    "(SELECT CASE WHEN " IS_PART(                                                                  \
        "g.p") " THEN g.p ELSE (SELECT p FROM generate_series(0, 15) p"                            \
               " WHERE " IS_PART(                                                                  \
                   "p") ") END + 1 FROM (SELECT (((hashint8extended(t.tenant_id,"                  \
                        " 8816678312871386365) & 15) + 3) & 15)::integer AS p OFFSET 0) g)"

/*
 * One statement, so one snapshot: the version belongs to these limits. What belongs to the tenant is worked
 * out once and not for each limit, and plan_create sorts the limits: a tenant may have very many of them.
 * Limits that stand in for none are there only while the tenant admits meters without a limit.
 * Its rows come together: there is only one tenant, or they are sorted by tenant.
 */
#define BEHIND                                                                                     \
    "CASE WHEN l.calendar_id IS NULL THEN false ELSE (SELECT c.written_ms <= " SQL_MS_OF(          \
        "clock_timestamp()") " FROM calendar c WHERE c.calendar_id = l.calendar_id) END"

#define LOAD(rows)                                                                                 \
    "SELECT t.number, t.tenant_id, t.shard, t.suspended, t.admit_unlimited_meters,"                \
    " t.config_version, t.read_only, t.part, l.limit_id, l.name, l.scope, l.meter,"                \
    " l.period_kind, " LEDGER_BOUNDARIES_SQL ", " BEHIND ","                                       \
    " l.amount, l.unlimited, l.cap, l.soft, l.soft_percent, l.max_ttl_ms, l.redis_away,"           \
    " l.redis_away_units, l.reserved_crossings"                                                    \
    " FROM (SELECT n.number,"                                                                      \
    " t.tenant_id, t.shard, t.state = 'S' AS suspended, t.admit_unlimited_meters,"                 \
    " t.config_version, t.read_only, " PART " AS part"                                             \
    " FROM (SELECT " rows(1, bigint, number) ", " rows(                                            \
        2, text,                                                                                   \
        name) " OFFSET 0) AS n"                                                                    \
              " JOIN tenant t ON t.name = n.name OFFSET 0) AS t"                                   \
              " LEFT JOIN LATERAL (SELECT * FROM limit_ l WHERE l.tenant_id = t.tenant_id"         \
              " AND l.deleted_at IS NULL AND (t.admit_unlimited_meters OR NOT l.implicit)"         \
              " LIMIT $3::bigint) AS l ON true"

static const struct statement load[] = {{"plan_load_row", LOAD(SQL_ROW)},
                                        {"plan_load_rows", LOAD(SQL_ROWS) " ORDER BY t.number"}};

static const struct statement changed = {
    "plan_changed",
    "SELECT tenant_id, name, config_version, config_position FROM tenant"
    " WHERE config_position > $1::bigint ORDER BY config_position LIMIT $2::bigint"};

static const struct statement newest = {"plan_newest",
                                        "SELECT coalesce(max(config_position), -1) FROM tenant"};

enum { LIMIT_COLUMNS = 16 };

/* *ret_behind: a calendar wants boundaries. calendar: the limit's, if it has one. */
static void read_limit(struct sql_row *row, struct limit *limit, struct calendar *calendar,
                       bool *ret_behind)
{
    limit->limit_id = sql_i64(row);
    limit->name = sql_text(row);
    limit->scope = sql_text(row);
    limit->meter = sql_text(row);
    limit->period = (enum period)ledger_period(sql_i64(row));
    row->bad |= !period_known(limit->period);
    calendar_read(row, calendar);
    limit->calendar = calendar->count > 0 ? calendar : NULL;
    *ret_behind |= sql_bool(row);
    limit->amount = sql_i64(row);
    limit->unlimited = sql_bool(row);
    limit->cap = sql_i64(row);
    limit->soft = sql_i64(row);
    limit->soft_percent = (int)sql_i64(row);
    limit->max_ttl_ms = sql_i64(row);
    limit->redis_away = (enum redis_away)sql_i64(row);
    row->bad |= !redis_away_known(limit->redis_away);
    limit->redis_away_units = sql_i64(row);
    limit->reserved_crossings = sql_bool(row);
}

/* How much of a tenant is read. */
struct reading {
    size_t limits_max;
    struct plan **plans;
    bool *large;
    bool *behind;
};

/* Room for the limits of one tenant, with their calendars. */
struct room {
    struct limit *limits;
    struct calendar *calendars;
};

/*
 * The rows of one tenant, of which `row` is at the first; leaves it at the first of the next, if any.
 */
static struct plan *read_plan(struct sql_row *row, struct slice tenant, const struct room *room,
                              int64_t number, bool *ret_behind, bool *ret_more, int64_t *ret_next)
{
    struct plan plan = {.tenant = tenant, .limits = room->limits};

    do {
        plan.tenant_id = sql_i64(row);
        plan.shard = (int)sql_i64(row);
        plan.suspended = sql_bool(row);
        plan.admit_unlimited_meters = sql_bool(row);
        plan.config_version = sql_i64(row);
        plan.read_only = sql_bool(row);
        plan.ledger_part = (int)sql_i64(row);
        if (row->bad || sql_is_null(row)) {
            for (int column = 0; column < LIMIT_COLUMNS; column++)
                sql_skip(row);
        } else {
            struct calendar *calendar = &room->calendars[plan.limits_count];

            read_limit(row, &plan.limits[plan.limits_count++], calendar, ret_behind);
        }
        *ret_more = sql_next(row);
        *ret_next = *ret_more ? sql_i64(row) : -1;
    } while (*ret_more && *ret_next == number);
    return row->bad ? NULL : plan_create(&plan);
}

static enum status read_plans(struct database *db, struct arena *arena, const struct slice *tenants,
                              size_t count, const struct reading *reading)
{
    struct sql_params params;
    struct sql_array column;
    struct sql_row row;
    PGresult *result;
    enum status status;
    struct room room;
    size_t bytes = 0;
    int64_t number = -1;
    bool more;

    sql_params_begin(&params, arena);
    column = sql_column_begin(&params, SQL_BIGINT, count, 0);
    for (size_t i = 0; i < count; i++) {
        sql_array_i64(&column, (int64_t)i);
        bytes += tenants[i].len;
    }
    column = sql_column_begin(&params, SQL_TEXT, count, bytes);
    for (size_t i = 0; i < count; i++)
        sql_array_text(&column, tenants[i]);
    sql_add_i64(&params, reading->limits_max > 0 ? (int64_t)reading->limits_max + 1 : INT64_MAX);
    status = database_run(db, &load[sql_form(count)], &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    room.limits = arena_array(arena, sql_count(&row) + 1, sizeof(*room.limits));
    room.calendars = arena_array(arena, sql_count(&row) + 1, sizeof(*room.calendars));
    row.bad = !room.limits || !room.calendars;
    more = sql_next(&row);
    if (more)
        number = sql_i64(&row);
    while (more) {
        size_t at = (size_t)number;

        if (row.bad || number < 0 || at >= count || reading->plans[at] || reading->large[at]) {
            row.bad = true;
            break;
        }
        reading->plans[at] =
            read_plan(&row, tenants[at], &room, number, reading->behind, &more, &number);
        if (reading->plans[at] && reading->limits_max > 0 &&
            reading->plans[at]->limits_count > reading->limits_max) {
            plan_unref(reading->plans[at]);
            reading->plans[at] = NULL;
            reading->large[at] = true;
        }
    }
    return sql_done(&row);
}

/* loaded: there are plans to let go. */
static void forget(const struct reading *reading, size_t count, bool loaded)
{
    for (size_t i = 0; i < count; i++) {
        if (loaded)
            plan_unref(reading->plans[i]);
        reading->plans[i] = NULL;
        reading->large[i] = false;
    }
}

enum status ledger_plans_load(struct database *db, const struct slice *tenants, size_t count,
                              size_t limits_max, struct plan **ret_plans, bool *ret_large)
{
    bool behind = false;
    const struct reading reading = {limits_max, ret_plans, ret_large, &behind};
    struct arena arena;
    enum status status;

    if (count == 0)
        return STATUS_OK;
    arena_init(&arena, PLANS_ARENA_BYTES, PLANS_ARENA_MAX);
    forget(&reading, count, false);
    status = read_plans(db, &arena, tenants, count, &reading);
    if (status == STATUS_OK && behind) {
        forget(&reading, count, true);
        status = calendars_write_of(db, &arena, tenants, count);
        if (status == STATUS_OK)
            status = read_plans(db, &arena, tenants, count, &reading);
    }
    arena_done(&arena);
    if (status != STATUS_OK)
        forget(&reading, count, true);
    return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
}

enum status ledger_plan_load(struct database *db, struct slice tenant, struct plan **ret_plan)
{
    bool large;

    return ledger_plans_load(db, &tenant, 1, 0, ret_plan, &large);
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
    sql_add_i64(&params, LEDGER_VERSIONS_MAX);
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
