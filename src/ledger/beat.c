/*
 * What a server asks once a second or more often, in one statement: the time, who else is there, and whether
 * anything has changed that it believes.
 */
#include "ledger/database_internal.h"
#include "ledger/ledger.h"

/* The end of the first period that has not been followed up, of those at a level or of the others. */
#define UNFOLLOWED(level_zero)                                                                     \
    "(SELECT min(period_end_ms) FROM quota WHERE (level = 0) = " level_zero " AND NOT followed"    \
    " AND period_end_ms < " LEDGER_NEVER ")"

/*
 * Is there something older? By min, which reads one end of an index; EXISTS with a condition that nothing
 * meets could read a whole table every second.
 */
#define OLDER(what, table, than) "coalesce((SELECT min(" what ") FROM " table ") < " than ", false)"

/* Who has holds in Postgres: a step down an index for each tenant, however many holds it has. */
#define PLACED_TENANTS                                                                             \
    "ARRAY(WITH RECURSIVE placed AS ((SELECT tenant_id FROM pg_hold ORDER BY tenant_id LIMIT 1)"   \
    " UNION ALL SELECT (SELECT p.tenant_id FROM pg_hold p WHERE p.tenant_id > placed.tenant_id"    \
    " ORDER BY p.tenant_id LIMIT 1) FROM placed WHERE placed.tenant_id IS NOT NULL)"               \
    " SELECT tenant_id FROM placed WHERE tenant_id IS NOT NULL LIMIT $4::bigint)"

/* clang-format off */
/* Its own row is not among the servers that the statement sees; it is known to be there. */
static const struct statement beat_statement = {
    "beat",
    "WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS at,"
    " floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS ms),"
    " own AS (INSERT INTO server (name, until_ms) SELECT $1::text, ms + $2::bigint FROM clock"
    " ON CONFLICT (name) DO UPDATE SET until_ms = EXCLUDED.until_ms),"
    " gone AS (DELETE FROM server USING clock WHERE name <> $1::text"
    " AND until_ms < ms - " TEXT_OF(SERVER_FORGET_MS) ")"
    " SELECT clock.at, floor(extract(epoch FROM pg_postmaster_start_time()) * 1000)::bigint,"
    " (SELECT coalesce(bit_xor(hashtextextended("
    "concat_ws(' ', shard, epoch, state, replid, nonce), 0)), 0) FROM shard_authority),"
    " (SELECT coalesce(max(config_position), 0) FROM tenant),"
    " EXISTS (SELECT FROM quota WHERE recall),"
    " (SELECT min(tenant_id) FROM quota WHERE lent) IS NOT NULL,"
    " EXISTS (SELECT FROM degraded),"
    " " OLDER("deadline_ms", "old_lease", "clock.ms") ","
    " " OLDER("period_end_ms", "quota WHERE state <> 'X'", "clock.ms - " LEDGER_GRACE_SQL) ","
    " " OLDER("at", "event", "clock.at - $3::bigint * interval '1 millisecond'")
    " OR " OLDER("purge_after", "job_fence", "clock.at")
    " OR " OLDER("purge_after", "expired_hold", "clock.at")
    " OR " OLDER(LEDGER_PURGE_SQL, "quota WHERE " LEDGER_PURGED, "clock.ms") ","
    " " LEDGER_SYSTEM_SQL ", " LEDGER_TIMELINE_SQL ", NOT " LEDGER_COMPARED_SQL ","
    " least(" UNFOLLOWED("true") ", " UNFOLLOWED("false") "), clock.ms, " PLACED_TENANTS ","
    " coalesce(s.name, ''),"
    " s.until_ms"
    " FROM clock LEFT JOIN server s ON s.until_ms > clock.ms AND s.name <> $1::text"
    " ORDER BY s.name"};
/* clang-format on */

static const struct statement leave_statement = {"beat_leave",
                                                 "DELETE FROM server WHERE name = $1::text"};

static enum status read_beat(struct database *db, struct arena *arena, PGresult *result,
                             int64_t sent_us, struct ledger_beat *beat)
{
    struct sql_row row = sql_rows(result, arena);
    enum status status;

    beat->others = arena_array(arena, sql_count(&row) + 1, sizeof(*beat->others));
    row.bad = !beat->others;
    beat->others_count = 0;
    beat->others_until_ms = INT64_MAX;
    while (sql_next(&row)) {
        int64_t ended_ms, now_ms, until_ms;
        struct slice name;

        beat->now_ms = sql_time_ms(&row);
        beat->started_ms = sql_i64(&row);
        beat->authority_hash = sql_i64(&row);
        beat->versions_position = sql_i64(&row);
        beat->recalls = sql_bool(&row);
        beat->lent = sql_bool(&row);
        beat->degraded = sql_bool(&row);
        beat->leases_due = sql_bool(&row);
        beat->closings_due = sql_bool(&row);
        beat->rows_due = sql_bool(&row);
        beat->system = sql_i64(&row);
        beat->timeline = sql_i64(&row);
        beat->uncompared = sql_bool(&row);
        ended_ms = sql_i64_or(&row, INT64_MAX);
        now_ms = sql_i64(&row);
        beat->begun_ms = ended_ms <= now_ms ? now_ms - ended_ms : -1;
        beat->placed_count = sql_i64s(&row, &beat->placed_tenants);
        name = sql_text(&row);
        until_ms = sql_i64_or(&row, INT64_MAX);
        if (until_ms < beat->others_until_ms)
            beat->others_until_ms = until_ms;
        if (name.len > 0)
            beat->others[beat->others_count++] = name;
    }
    status = sql_done(&row);
    if (status == STATUS_OK)
        database_observe(db, beat->now_ms, sent_us);
    return status;
}

enum status ledger_beat_run(struct database *db, struct arena *arena, struct slice server,
                            int64_t lasts_ms, int64_t events_keep_ms, struct ledger_beat *ret)
{
    struct sql_params params;
    PGresult *result;
    int64_t sent_us = database_mono_us(db);
    enum status status;

    sql_params_begin(&params, arena);
    sql_add_text(&params, server);
    sql_add_i64(&params, lasts_ms);
    sql_add_i64(&params, events_keep_ms);
    sql_add_i64(&params, LEDGER_PLACED_MAX + 1);
    status = database_run(db, &beat_statement, &params, &result);
    /* Whether it counts as there or not, it asks again. */
    if (status != STATUS_OK)
        return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
    return read_beat(db, arena, result, sent_us, ret);
}

enum status ledger_beat_leave(struct database *db, struct arena *arena, struct slice server)
{
    struct sql_params params;

    sql_params_begin(&params, arena);
    sql_add_text(&params, server);
    return database_run(db, &leave_statement, &params, NULL);
}
