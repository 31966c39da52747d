#include "ledger/calendar.h"

#define NOW SQL_MS_OF("clock_timestamp()")

static const struct statement open_calendar = {
    "calendar_open",
    "SELECT CASE WHEN calendar_zone_known($2::text) THEN calendar_open($1::bigint::smallint, $2::text,"
    " CASE WHEN $3::boolean THEN $4::bigint END, " NOW ") ELSE 0 END"};

/* One after the other in this order, so that no two wait for each other. */
#define WRITE(which)                                                                               \
    "SELECT calendar_write(b.calendar_id, b.now_ms) FROM (SELECT k.calendar_id, c.now_ms"          \
    " FROM (SELECT " NOW " AS now_ms OFFSET 0) AS c JOIN calendar k ON k.written_ms <= c.now_ms"   \
    " WHERE " which " OFFSET 0) AS b"

static const struct statement write_limits = {
    "calendar_write",
    WRITE("k.calendar_id IN (SELECT l.calendar_id FROM limit_ l WHERE (l.tenant_id, l.limit_id) IN"
          " (SELECT * FROM unnest($1::bigint[], $2::bigint[]))) ORDER BY 1")};

static const struct statement write_tenants = {
    "calendar_write_tenants",
    WRITE("k.calendar_id IN (SELECT l.calendar_id FROM limit_ l JOIN tenant t USING (tenant_id)"
          " WHERE t.name = ANY ($1::text[]) AND l.deleted_at IS NULL) ORDER BY 1")};

static const struct statement write_all = {"calendar_write_all",
                                           WRITE("true ORDER BY 1 LIMIT $1::bigint")};

void calendar_read(struct sql_row *row, struct calendar *ret)
{
    int64_t *at_ms;
    size_t count;

    *ret = (struct calendar){0};
    if (sql_is_null(row)) {
        sql_skip(row);
        return;
    }
    count = sql_i64s(row, &at_ms);
    if (!at_ms || !calendar_valid(at_ms, count)) {
        row->bad = true;
        return;
    }
    ret->count = count;
    memcpy(ret->at_ms, at_ms, count * sizeof(*at_ms));
}

enum status calendar_open(struct database *db, struct arena *arena, enum period period,
                          struct slice zone, bool has_anchor, int64_t anchor_ms,
                          int64_t *ret_calendar_id)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    *ret_calendar_id = 0;
    sql_params_begin(&params, arena);
    sql_add_i64(&params, (int64_t)period);
    sql_add_text(&params, zone.len > 0 ? zone : SLICE("UTC"));
    sql_add_bool(&params, has_anchor);
    sql_add_i64(&params, anchor_ms);
    status = database_run(db, &open_calendar, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    while (sql_next(&row))
        *ret_calendar_id = sql_i64(&row);
    return sql_done(&row);
}

enum status calendars_write(struct database *db, struct arena *arena, const int64_t *tenant_ids,
                            const int64_t *limit_ids, size_t count)
{
    struct sql_params params;

    sql_params_begin(&params, arena);
    sql_add_i64s(&params, tenant_ids, count);
    sql_add_i64s(&params, limit_ids, count);
    return database_run(db, &write_limits, &params, NULL);
}

enum status calendars_write_of(struct database *db, struct arena *arena,
                               const struct slice *tenants, size_t count)
{
    struct sql_params params;
    struct sql_array array;
    size_t bytes = 0;

    for (size_t i = 0; i < count; i++)
        bytes += tenants[i].len;
    sql_params_begin(&params, arena);
    array = sql_array_begin(&params, SQL_TEXT, count, bytes);
    for (size_t i = 0; i < count; i++)
        sql_array_text(&array, tenants[i]);
    return database_run(db, &write_tenants, &params, NULL);
}

enum status calendars_write_all(struct database *db, struct arena *arena, size_t max)
{
    struct sql_params params;

    sql_params_begin(&params, arena);
    sql_add_i64(&params, (int64_t)max);
    return database_run(db, &write_all, &params, NULL);
}
