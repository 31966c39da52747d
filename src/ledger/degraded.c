/*
 * Which tenants are served from Postgres, and by which servers: a row of the table degraded for each pair.
 * The first row of a tenant is its event DEGRADED, the end of the last one its RECOVERED: one event per
 * change, however many servers there are.
 *
 *     lock     the tenants' rows, those that are free; the others are left for the next turn
 *     write    rows, events: one statement, whose snapshot is of after the locks
 */
#include "ledger/ledger.h"
#include "ledger/rows.h"
#include "quota/times.h"

/* clang-format off */
static const struct statement lock = {
    "degraded_lock",
    "SELECT t.tenant_id FROM unnest($1::bigint[]) AS n(tenant)" ROWS_OF(tenant, ROWS_KEY_TENANT) " AS t"
    " ORDER BY 1 FOR NO KEY UPDATE OF t SKIP LOCKED"};

#define TOLD(kind, from)                                                                           \
    " " ROWS_NUMBERED("fresh") ", done AS (INSERT INTO event (at, tenant_id, seq, kind, recovered_from)" \
    " SELECT clock_timestamp(), tenant_id, before + 1, " kind ", " from " FROM numbered) " ROWS_WENT_BACK

static const struct statement note = {
    "degraded_note",
    "WITH own AS (INSERT INTO degraded (tenant_id, server) SELECT unnest($1::bigint[]), $2::text"
    " ON CONFLICT (tenant_id, server) DO NOTHING RETURNING tenant_id),"
    " fresh AS MATERIALIZED (SELECT tenant_id FROM own o"
    " WHERE NOT EXISTS (SELECT FROM degraded d WHERE d.tenant_id = o.tenant_id)),"
    TOLD("$3::bigint", "0")};

/*
 * A row d that is over: of the server that asks, or of one that is gone. One that was missed for a moment
 * may have been stopped, or slow, and goes on to serve from Postgres.
 */
#define OVER(name)                                                                                 \
    "(d.server = " name "::text OR NOT EXISTS (SELECT FROM server s WHERE s.name = d.server"       \
    " AND s.until_ms > " SQL_MS_OF("clock_timestamp()") " - " TEXT_OF(DEGRADED_GONE_MS) "))"

static const struct statement find = {
    "degraded_find",
    "SELECT DISTINCT d.tenant_id FROM degraded d WHERE " OVER("$1") " ORDER BY 1 LIMIT $2::bigint"};

static const struct statement end = {
    "degraded_end",
    "WITH gone AS (DELETE FROM degraded d WHERE d.tenant_id = ANY ($1::bigint[]) AND " OVER("$2")
    " RETURNING d.tenant_id, d.server),"
    " fresh AS MATERIALIZED (SELECT DISTINCT g.tenant_id FROM gone g WHERE NOT EXISTS (SELECT FROM degraded d"
    " WHERE d.tenant_id = g.tenant_id AND NOT EXISTS (SELECT FROM gone o"
    " WHERE o.tenant_id = d.tenant_id AND o.server = d.server))),"
    TOLD("$3::bigint", "$4::bigint")};
/* clang-format on */

struct change {
    struct arena *arena;
    struct slice server;
    int64_t *tenants; /* room for max; those locked, once they are */
    size_t count, max;
    bool ends;
};

static enum status read_tenants(struct change *change, PGresult *result)
{
    struct sql_row row = sql_rows(result, change->arena);

    change->count = 0;
    row.bad = sql_count(&row) > change->max;
    while (sql_next(&row))
        change->tenants[change->count++] = sql_i64(&row);
    return sql_done(&row);
}

static enum status find_over(struct database *db, struct change *change)
{
    struct sql_params params;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, change->arena);
    sql_add_text(&params, change->server);
    sql_add_i64(&params, (int64_t)change->max);
    status = database_run(db, &find, &params, &result);
    return status == STATUS_OK ? read_tenants(change, result) : status;
}

static enum status lock_free(struct database *db, struct change *change)
{
    struct sql_params params;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, change->arena);
    sql_add_i64s(&params, change->tenants, change->count);
    status = database_run(db, &lock, &params, &result);
    return status == STATUS_OK ? read_tenants(change, result) : status;
}

static enum status write_change(struct database *db, struct change *change)
{
    struct sql_params params;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, change->arena);
    sql_add_i64s(&params, change->tenants, change->count);
    sql_add_text(&params, change->server);
    sql_add_i64(&params, change->ends ? EVENT_RECOVERED : EVENT_DEGRADED);
    if (change->ends)
        sql_add_i64(&params, EVENT_DEGRADED);
    status = database_run(db, change->ends ? &end : &note, &params, &result);
    if (status == STATUS_OK)
        rows_event_told(result);
    return status;
}

static enum status body(struct database *db, void *user)
{
    struct change *change = user;
    enum status status = lock_free(db, change);

    return status == STATUS_OK && change->count > 0 ? write_change(db, change) : status;
}

enum status ledger_degraded_note(struct database *db, struct arena *arena, struct slice server,
                                 int64_t *tenants, size_t count, size_t *ret_told)
{
    struct change change = {
        .arena = arena, .server = server, .tenants = tenants, .count = count, .max = count};
    enum status status = database_transact(db, body, &change);

    *ret_told = status == STATUS_OK ? change.count : 0;
    return status;
}

enum status ledger_degraded_end(struct database *db, struct arena *arena, struct slice server,
                                size_t max, bool *ret_more)
{
    struct change change = {.arena = arena,
                            .server = server,
                            .tenants = arena_array(arena, max, sizeof(*change.tenants)),
                            .max = max,
                            .ends = true};
    enum status status = STATUS_EXHAUSTED;
    size_t found = 0;

    if (change.tenants)
        status = find_over(db, &change);
    found = change.count;
    if (status == STATUS_OK && found > 0)
        status = database_transact(db, body, &change);
    *ret_more = found == max || change.count < found;
    return status;
}
