#include "ledger/audit.h"

#include "ledger/database_internal.h"

static const struct statement find = {
    "audit_find", "SELECT request_hash = sha256($3::bytea), old IS NULL FROM audit"
                  " WHERE tenant_id = $1::bigint AND request_id = $2::text"};

static const struct statement insert = {
    "audit_insert",
    "INSERT INTO audit (tenant_id, actor, reason, action, object, request_id, request_hash, old, new)"
    " VALUES ($1::bigint, $2::text, $3::text, $4::text, $5::text, nullif($6::text, ''),"
    " CASE WHEN $6::text <> '' THEN sha256($7::bytea) END, $8::text::jsonb, $9::text::jsonb)"
    " ON CONFLICT (tenant_id, request_id) WHERE request_id IS NOT NULL DO NOTHING"};

enum status audit_find(struct database *db, struct arena *arena, const struct audit *audit,
                       enum ledger_admin *ret, bool *ret_made)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    *ret = ADMIN_DONE;
    *ret_made = false;
    if (audit->note.request_id.len == 0)
        return STATUS_OK;
    sql_params_begin(&params, arena);
    sql_add_i64(&params, audit->tenant_id);
    sql_add_text(&params, audit->note.request_id);
    sql_add_text(&params, audit->content);
    status = database_run(db, &find, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    while (sql_next(&row)) {
        *ret = sql_bool(&row) ? ADMIN_REPEATED : ADMIN_REQUEST_REUSED;
        *ret_made = sql_bool(&row);
    }
    return sql_done(&row);
}

static void add_json(struct sql_params *params, struct slice json)
{
    if (json.data)
        sql_add_text(params, json);
    else
        sql_add_null(params);
}

enum status audit_write(struct database *db, struct arena *arena, const struct audit *audit,
                        struct slice old, struct slice new)
{
    struct sql_params params;
    enum status status;
    size_t rows;

    sql_params_begin(&params, arena);
    sql_add_i64(&params, audit->tenant_id);
    sql_add_text(&params, audit->note.actor);
    sql_add_text(&params, audit->note.reason);
    sql_add_text(&params, audit->action);
    sql_add_text(&params, audit->object);
    sql_add_text(&params, audit->note.request_id);
    sql_add_text(&params, audit->content);
    add_json(&params, old);
    add_json(&params, new);
    status = database_run_counted(db, &insert, &params, &rows);
    return status == STATUS_OK && rows == 0 ? STATUS_CONFLICT : status;
}
