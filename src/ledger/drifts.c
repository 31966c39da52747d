#include "ledger/drifts.h"

#include "ledger/rows.h"

/* clang-format off */
static const struct statement read_all = {
    "drifts_read",
    "SELECT tenant_id, limit_id, period_start_ms, kind, row_says, other, units, since_ms, told FROM drift"
    " ORDER BY tenant_id, limit_id, period_start_ms, kind LIMIT $1::bigint"};

static const struct statement put_row = {
    "drifts_put",
    "INSERT INTO drift AS d (tenant_id, limit_id, period_start_ms, kind, row_says, other, units, since_ms)"
    " SELECT $1::bigint, $2::bigint, $3::bigint, $4::bigint, $5::bigint, $6::bigint, $7::bigint, $8::bigint"
    " WHERE (SELECT count(*) FROM drift) < $9::bigint"
    " ON CONFLICT (tenant_id, limit_id, period_start_ms, kind) DO UPDATE SET row_says = EXCLUDED.row_says,"
    " other = EXCLUDED.other, units = EXCLUDED.units"};

#define KEY                                                                                        \
    " WHERE tenant_id = $1::bigint AND limit_id = $2::bigint AND period_start_ms = $3::bigint"     \
    " AND kind = $4::bigint"
static const struct statement tell_row = {
    "drifts_tell", "UPDATE drift SET told = true" KEY " AND NOT told RETURNING true"};
static const struct statement end_row = {"drifts_end", "DELETE FROM drift" KEY " RETURNING told"};

static const struct statement add_up = {
    "drifts_totals",
    "SELECT count(*), coalesce(least(sum(units), " LEDGER_NEVER "), 0)::bigint, coalesce(max(units), 0),"
    " greatest(coalesce(" SQL_MS_OF("clock_timestamp()") " - min(since_ms), 0), 0)::bigint FROM drift"};
/* clang-format on */

enum status ledger_drifts_read(struct database *db, struct arena *arena, struct ledger_drift **ret,
                               size_t *ret_count)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    *ret_count = 0;
    sql_params_begin(&params, arena);
    sql_add_i64(&params, LEDGER_DRIFTS_MAX);
    status = database_run(db, &read_all, &params, &result);
    if (status != STATUS_OK)
        return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
    row = sql_rows(result, arena);
    *ret = arena_array(arena, sql_count(&row) + 1, sizeof(**ret));
    row.bad = !*ret;
    while (sql_next(&row)) {
        struct ledger_drift *drift = &(*ret)[(*ret_count)++];

        *drift = (struct ledger_drift){.tenant_id = sql_i64(&row)};
        drift->ref.limit_id = sql_i64(&row);
        drift->ref.period_start_ms = sql_i64(&row);
        drift->drift.kind = (enum drift_kind)sql_i64(&row);
        drift->drift.is = sql_i64(&row);
        drift->drift.other = sql_i64(&row);
        drift->drift.units = sql_i64(&row);
        drift->since_ms = sql_i64(&row);
        drift->told = sql_bool(&row);
    }
    return sql_done(&row);
}

struct changing {
    struct arena *arena;
    const struct ledger_drift *drift;
    const struct quota_row *row;
};

static void add_key(struct sql_params *params, const struct changing *changing)
{
    sql_params_begin(params, changing->arena);
    sql_add_i64(params, changing->drift->tenant_id);
    sql_add_i64(params, changing->drift->ref.limit_id);
    sql_add_i64(params, changing->drift->ref.period_start_ms);
    sql_add_i64(params, (int64_t)changing->drift->drift.kind);
}

/* *ret: there was such a row, and its answer was true. */
static enum status run_answered(struct database *db, const struct statement *statement,
                                const struct changing *changing, bool *ret)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    *ret = false;
    add_key(&params, changing);
    status = database_run(db, statement, &params, &result);
    if (status != STATUS_OK)
        return status;
    for (row = sql_rows(result, changing->arena); sql_next(&row);)
        *ret = sql_bool(&row);
    return sql_done(&row);
}

static enum status send(struct database *db, const struct changing *changing, enum event_kind kind)
{
    struct book book = {.arena = changing->arena};
    const struct quota_row *row = changing->row;
    struct event_row *event = book_event(&book, changing->drift->tenant_id, kind,
                                         (struct slice){NULL, 0}, (struct attempt){0});

    event->recovered_from = kind == EVENT_RECOVERED ? EVENT_DRIFT : (enum event_kind)0;
    event->quota = row;
    if (row) {
        event->committed = row->committed;
        event->debt = row->debt;
        event->ledger_seq = row->ledger_seq;
        event->level = threshold_level(&row->stops, row->committed + row->debt);
    }
    return rows_write(db, &book);
}

static enum status put_body(struct database *db, void *user)
{
    const struct changing *changing = user;
    const struct ledger_drift *drift = changing->drift;
    struct sql_params params;
    bool first;
    enum status status;

    add_key(&params, changing);
    sql_add_i64(&params, drift->drift.is);
    sql_add_i64(&params, drift->drift.other);
    sql_add_i64(&params, drift->drift.units);
    sql_add_i64(&params, drift->since_ms);
    sql_add_i64(&params, LEDGER_DRIFTS_MAX);
    status = database_run(db, &put_row, &params, NULL);
    if (status != STATUS_OK || !drift->told)
        return status;
    status = run_answered(db, &tell_row, changing, &first);
    return status == STATUS_OK && first ? send(db, changing, EVENT_DRIFT) : status;
}

enum status ledger_drift_put(struct database *db, struct arena *arena,
                             const struct ledger_drift *drift, const struct quota_row *row)
{
    struct changing changing = {arena, drift, row};

    return database_transact(db, put_body, &changing);
}

static enum status end_body(struct database *db, void *user)
{
    const struct changing *changing = user;
    bool told;
    enum status status = run_answered(db, &end_row, changing, &told);

    return status == STATUS_OK && told ? send(db, changing, EVENT_RECOVERED) : status;
}

enum status ledger_drift_end(struct database *db, struct arena *arena,
                             const struct ledger_drift *drift, const struct quota_row *row)
{
    struct changing changing = {arena, drift, row};

    return database_transact(db, end_body, &changing);
}

enum status ledger_drift_totals_read(struct database *db, struct ledger_drift_totals *ret)
{
    struct sql_row row;
    PGresult *result;
    enum status status = database_run(db, &add_up, NULL, &result);

    if (status != STATUS_OK)
        return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
    for (row = sql_rows(result, NULL); sql_next(&row);) {
        ret->count = sql_i64(&row);
        ret->units = sql_i64(&row);
        ret->worst = sql_i64(&row);
        ret->oldest_ms = sql_i64(&row);
    }
    return sql_done(&row);
}
