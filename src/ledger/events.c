/*
 * Reading what watchers are told.
 */
#include "ledger/database_internal.h"
#include "ledger/ledger.h"

static const struct statement find_events = {
    "events_read",
    "SELECT n.i, e.tenant_id, e.seq, e.at, e.kind, e.direction, e.basis, e.level, e.job_id, e.epoch,"
    " e.hold_seq, e.limit_id IS NOT NULL, coalesce(l.name, ''), coalesce(l.scope, ''),"
    " coalesce(l.meter, ''), coalesce(l.period_kind, 0), coalesce(e.period_start_ms, 0),"
    " coalesce(e.period_end_ms, 0), coalesce(e.soft_amount, 0), coalesce(e.limit_amount, 0),"
    " coalesce(e.cap_amount, 0), coalesce(e.unlimited, false), coalesce(e.committed, 0),"
    " coalesce(e.debt, 0), coalesce(e.ledger_seq, 0), e.recovered_from, e.held"
    " FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY"
    " AS n(tenant, after, most, i)"
    " CROSS JOIN LATERAL (SELECT * FROM event v WHERE v.tenant_id = n.tenant AND v.seq > n.after"
    " ORDER BY v.seq LIMIT n.most) e"
    " LEFT JOIN limit_ l ON l.tenant_id = e.tenant_id AND l.limit_id = e.limit_id"
    " ORDER BY n.i, e.seq"};

/* Of tenant t: what event_seq says, or what is there if it went back behind that (rows.h). */
#define NEWEST                                                                                     \
    "greatest(t.event_seq, (SELECT max(seq) FROM event e WHERE e.tenant_id = t.tenant_id))"

static const struct statement find_newest = {
    "events_newest",
    "SELECT n.i, coalesce(" NEWEST ", -1) FROM unnest($1::bigint[]) WITH ORDINALITY AS n(tenant, i)"
    " LEFT JOIN tenant t ON t.tenant_id = n.tenant"};

static const struct statement find_span = {
    "events_span",
    "SELECT coalesce((SELECT min(seq) FROM event WHERE tenant_id = t.tenant_id), t.event_seq + 1),"
    " " NEWEST " FROM tenant t WHERE t.tenant_id = $1::bigint"};

static void read_event(struct sql_row *row, struct ledger_event *event)
{
    event->tenant_id = sql_i64(row);
    event->seq = sql_i64(row);
    event->at_ms = sql_time_ms(row);
    event->kind = (enum event_kind)sql_i64(row);
    event->direction = (int)sql_i64(row);
    event->basis = (int)sql_i64(row);
    event->level = (int)sql_i64(row);
    event->job_id = sql_text(row);
    event->attempt.epoch = sql_i64(row);
    event->attempt.seq = sql_i64(row);
    event->has_quota = sql_bool(row);
    event->limit_name = sql_text(row);
    event->scope = sql_text(row);
    event->meter = sql_text(row);
    event->period = (enum period)ledger_period(sql_i64(row));
    event->period_start_ms = sql_i64(row);
    event->period_end_ms = sql_i64(row);
    event->stops.soft = sql_i64(row);
    event->stops.amount = sql_i64(row);
    event->stops.cap = sql_i64(row);
    event->stops.unlimited = sql_bool(row);
    event->committed = sql_i64(row);
    event->debt = sql_i64(row);
    event->ledger_seq = sql_i64(row);
    event->recovered_from = (enum event_kind)sql_i64(row);
    event->held = sql_i64(row);
}

static enum status read_answer(PGresult *result, struct arena *arena, struct ledger_cursor *cursors,
                               size_t cursors_count, struct ledger_event **ret)
{
    struct sql_row row = sql_rows(result, arena);
    size_t count = 0;

    *ret = arena_array(arena, sql_count(&row) + 1, sizeof(**ret));
    row.bad = !*ret;
    while (sql_next(&row)) {
        int64_t i = sql_i64(&row) - 1;

        if (i < 0 || (size_t)i >= cursors_count) {
            row.bad = true;
            break;
        }
        if (cursors[i].count++ == 0)
            cursors[i].first = count;
        read_event(&row, &(*ret)[count++]);
    }
    return sql_done(&row);
}

enum status ledger_events_read(struct database *db, struct arena *arena,
                               struct ledger_cursor *cursors, size_t cursors_count,
                               struct ledger_event **ret)
{
    struct sql_params params;
    struct sql_array tenants, afters, most;
    PGresult *result;
    enum status status;

    *ret = NULL;
    sql_params_begin(&params, arena);
    tenants = sql_array_begin(&params, SQL_BIGINT, cursors_count, 0);
    for (size_t i = 0; i < cursors_count; i++)
        sql_array_i64(&tenants, cursors[i].tenant_id);
    afters = sql_array_begin(&params, SQL_BIGINT, cursors_count, 0);
    for (size_t i = 0; i < cursors_count; i++)
        sql_array_i64(&afters, cursors[i].after_seq);
    most = sql_array_begin(&params, SQL_BIGINT, cursors_count, 0);
    for (size_t i = 0; i < cursors_count; i++) {
        sql_array_i64(&most, (int64_t)cursors[i].max);
        cursors[i].first = cursors[i].count = 0;
    }
    status = database_run(db, &find_events, &params, &result);
    if (status != STATUS_OK)
        return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
    return read_answer(result, arena, cursors, cursors_count, ret);
}

enum status ledger_events_newest(struct database *db, struct arena *arena, const int64_t *tenants,
                                 size_t count, int64_t *ret_newest)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, arena);
    sql_add_i64s(&params, tenants, count);
    status = database_run(db, &find_newest, &params, &result);
    if (status != STATUS_OK)
        return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
    row = sql_rows(result, arena);
    while (sql_next(&row)) {
        int64_t i = sql_i64(&row) - 1;

        if (i < 0 || (size_t)i >= count) {
            row.bad = true;
            break;
        }
        ret_newest[i] = sql_i64(&row);
    }
    return sql_done(&row);
}

enum status ledger_events_span(struct database *db, int64_t tenant_id, int64_t *ret_oldest,
                               int64_t *ret_newest)
{
    struct sql_params params;
    struct arena arena;
    struct sql_row row;
    PGresult *result;
    enum status status;

    arena_init(&arena, 1024, 65536);
    sql_params_begin(&params, &arena);
    sql_add_i64(&params, tenant_id);
    status = database_run(db, &find_span, &params, &result);
    if (status == STATUS_OK) {
        row = sql_rows(result, &arena);
        *ret_oldest = 1;
        *ret_newest = 0;
        while (sql_next(&row)) {
            *ret_oldest = sql_i64(&row);
            *ret_newest = sql_i64(&row);
        }
        status = sql_done(&row);
    }
    arena_done(&arena);
    return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
}
