#include "ledger/audit.h"

static const struct statement insert = {
    "audit_insert",
    "INSERT INTO audit (tenant_id, actor, reason, action, object, request_id, request_hash, old,"
    " new) VALUES ($1::bigint, $2::text, $3::text, $4::text, $5::text, nullif($6::text, ''),"
    " sha256($7::bytea), nullif($8::text, '')::jsonb, nullif($9::text, '')::jsonb)"
    " ON CONFLICT (tenant_id, request_id) WHERE request_id IS NOT NULL DO NOTHING"};

static const struct statement lock_tenant = {
    "audit_lock_tenant", "SELECT 1::bigint FROM tenant WHERE tenant_id = $1::bigint FOR UPDATE"};

static const struct statement bump = {
    "audit_bump",
    "UPDATE tenant SET config_version = config_version + 1,"
    " config_position = config_position_next() WHERE tenant_id = $1::bigint"};

static const struct statement find_tenant = {
    "audit_find_tenant", "SELECT tenant_id, shard FROM tenant WHERE name = $1::text"};

enum status audit_write(struct database *db, struct arena *arena,
                        const struct audit_change *change)
{
    struct sql_params params;
    enum status status;
    size_t rows;

    sql_params_begin(&params, arena);
    sql_add_i64(&params, change->tenant_id);
    sql_add_text(&params, change->note->actor);
    sql_add_text(&params, change->note->reason);
    sql_add_text(&params, slice_from_cstr(change->action));
    sql_add_text(&params, change->object);
    sql_add_text(&params, change->note->request_id);
    sql_add_text(&params, change->content);
    sql_add_text(&params, change->old_json);
    sql_add_text(&params, change->new_json);
    status = database_run_counted(db, &insert, &params, &rows);
    return status == STATUS_OK && rows == 0 ? STATUS_CONFLICT : status;
}

enum status audit_bump_config(struct database *db, struct arena *arena, int64_t tenant_id)
{
    struct sql_params params;
    enum status status;

    sql_params_begin(&params, arena);
    sql_add_i64(&params, tenant_id);
    status = database_run(db, &lock_tenant, &params, NULL);
    if (status != STATUS_OK)
        return status;
    sql_params_begin(&params, arena);
    sql_add_i64(&params, tenant_id);
    return database_run(db, &bump, &params, NULL);
}

enum status audit_find_tenant(struct database *db, struct arena *arena, struct slice tenant,
                              bool *ret_found, int64_t *ret_tenant_id, int *ret_shard)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    *ret_found = false;
    sql_params_begin(&params, arena);
    sql_add_text(&params, tenant);
    status = database_run(db, &find_tenant, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    while (sql_next(&row)) {
        *ret_tenant_id = sql_i64(&row);
        *ret_shard = (int)sql_i64(&row);
        *ret_found = true;
    }
    return sql_done(&row);
}
