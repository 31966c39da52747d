/*
 * Tenants: created, changed, listed. The answer to a repeated request_id is what the audit row keeps
 * as `new`, and it comes before the etag is looked at.
 */
#include "ledger/audit.h"
#include "ledger/database_internal.h"
#include "ledger/ledger.h"

#include <string.h>

#define TENANT_COLUMNS                                                                             \
    "tenant_id, name, display_name, state = 'S', admit_unlimited_meters, version, created,"        \
    " config_version, to_jsonb(t)::text"

static const struct statement find = {
    "tenant_find",
    "SELECT " TENANT_COLUMNS " FROM tenant t WHERE name = $1::text FOR UPDATE"};

static const struct statement insert = {
    "tenant_insert",
    "INSERT INTO tenant AS t (name, shard, state, display_name, admit_unlimited_meters,"
    " config_position) VALUES ($1::text, $2::bigint, $3::text::\"char\", $4::text, $5::boolean,"
    " config_position_next()) ON CONFLICT (name) DO NOTHING RETURNING " TENANT_COLUMNS};

static const struct statement update = {
    "tenant_update",
    "UPDATE tenant t SET state = $2::text::\"char\", display_name = $3::text,"
    " admit_unlimited_meters = $4::boolean, version = version + 1 WHERE tenant_id = $1::bigint"
    " RETURNING " TENANT_COLUMNS};

static const struct statement find_repeat = {
    "tenant_repeat",
    "SELECT a.request_hash = sha256($3::bytea), r.tenant_id, r.name, r.display_name,"
    " r.state = 'S', r.admit_unlimited_meters, r.version, r.created, r.config_version, ''"
    " FROM audit a CROSS JOIN LATERAL jsonb_to_record(a.new) AS r(tenant_id bigint, name text,"
    " display_name text, state \"char\", admit_unlimited_meters boolean, version bigint,"
    " created timestamptz, config_version bigint)"
    " WHERE a.tenant_id = $1::bigint AND a.request_id = $2::text"};

static const struct statement list = {
    "tenant_list",
    "SELECT " TENANT_COLUMNS " FROM tenant t WHERE name > $2::text"
    " AND starts_with(name, $1::text) ORDER BY name LIMIT $3::bigint"};

struct tenant_change {
    struct arena *arena;
    const struct ledger_note *note;
    struct slice etag;
    const struct ledger_tenant *asked;
    struct slice content;
    struct ledger_tenant answer;
    enum ledger_admin outcome;
    struct slice json;
};

static void read_tenant(struct sql_row *row, struct ledger_tenant *tenant, struct slice *json)
{
    tenant->tenant_id = sql_i64(row);
    tenant->tenant = sql_text(row);
    tenant->display_name = sql_text(row);
    tenant->suspended = sql_bool(row);
    tenant->admit_unlimited_meters = sql_bool(row);
    tenant->version = sql_i64(row);
    tenant->created_ms = sql_time_ms(row);
    tenant->config_version = sql_i64(row);
    *json = sql_text(row);
}

/* Runs a statement that gives at most one tenant. */
static enum status run_one(struct database *db, struct arena *arena,
                           const struct statement *statement, struct sql_params *params,
                           struct ledger_tenant *ret, struct slice *ret_json, bool *ret_found)
{
    struct sql_row row;
    PGresult *result;
    enum status status = database_run(db, statement, params, &result);

    *ret_found = false;
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    while (sql_next(&row)) {
        read_tenant(&row, ret, ret_json);
        *ret_found = true;
    }
    return sql_done(&row);
}

static enum status look_for_repeat(struct database *db, struct tenant_change *change,
                                   int64_t tenant_id, bool *ret_repeated)
{
    struct sql_params params;
    struct slice unused;
    struct sql_row row;
    PGresult *result;
    enum status status;

    *ret_repeated = false;
    if (change->note->request_id.len == 0)
        return STATUS_OK;
    sql_params_begin(&params, change->arena);
    sql_add_i64(&params, tenant_id);
    sql_add_text(&params, change->note->request_id);
    sql_add_text(&params, change->content);
    status = database_run(db, &find_repeat, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, change->arena);
    while (sql_next(&row)) {
        *ret_repeated = true;
        change->outcome = sql_bool(&row) ? ADMIN_REPEATED : ADMIN_REQUEST_REUSED;
        read_tenant(&row, &change->answer, &unused);
    }
    return sql_done(&row);
}

static enum status find_by_name(struct database *db, struct tenant_change *change,
                                struct ledger_tenant *ret, struct slice *ret_json,
                                bool *ret_found)
{
    struct sql_params params;

    sql_params_begin(&params, change->arena);
    sql_add_text(&params, change->asked->tenant);
    return run_one(db, change->arena, &find, &params, ret, ret_json, ret_found);
}

static enum status write_audit(struct database *db, const struct tenant_change *change,
                               const char *action, struct slice old_json)
{
    struct audit_change audit = {
        .tenant_id = change->answer.tenant_id,
        .note = change->note,
        .action = action,
        .object = change->answer.tenant,
        .content = change->content,
        .old_json = old_json,
        .new_json = change->json,
    };

    return audit_write(db, change->arena, &audit);
}

static enum status create_body(struct database *db, void *user)
{
    struct tenant_change *change = user;
    struct ledger_tenant present;
    struct sql_params params;
    struct slice json;
    enum status status;
    bool found, repeated;

    status = find_by_name(db, change, &present, &json, &found);
    if (status != STATUS_OK)
        return status;
    if (found) {
        change->outcome = ADMIN_EXISTS;
        return look_for_repeat(db, change, present.tenant_id, &repeated);
    }
    sql_params_begin(&params, change->arena);
    sql_add_text(&params, change->asked->tenant);
    sql_add_i64(&params, plan_shard(change->asked->tenant));
    sql_add_text(&params, change->asked->suspended ? SLICE("S") : SLICE("A"));
    sql_add_text(&params, change->asked->display_name);
    sql_add_bool(&params, change->asked->admit_unlimited_meters);
    status = run_one(db, change->arena, &insert, &params, &change->answer, &change->json, &found);
    if (status != STATUS_OK)
        return status;
    if (!found)
        return STATUS_CONFLICT; /* somebody was faster: the next run finds it */
    change->outcome = ADMIN_DONE;
    return write_audit(db, change, "tenant.create", slice_of(NULL, 0));
}

static bool etag_differs(struct slice etag, int64_t version)
{
    int64_t given;

    return etag.len > 0 && (!slice_to_i64(etag, &given) || given != version);
}

static enum status update_body(struct database *db, void *user)
{
    struct tenant_change *change = user;
    struct ledger_tenant present;
    struct sql_params params;
    struct slice old_json;
    enum status status;
    bool found, repeated;

    status = find_by_name(db, change, &present, &old_json, &found);
    change->outcome = ADMIN_NOT_FOUND;
    if (status != STATUS_OK || !found)
        return status;
    status = look_for_repeat(db, change, present.tenant_id, &repeated);
    if (status != STATUS_OK || repeated)
        return status;
    change->outcome = etag_differs(change->etag, present.version) ? ADMIN_ETAG : ADMIN_DONE;
    if (change->outcome == ADMIN_ETAG)
        return STATUS_OK;
    status = audit_bump_config(db, change->arena, present.tenant_id);
    if (status != STATUS_OK)
        return status;
    sql_params_begin(&params, change->arena);
    sql_add_i64(&params, present.tenant_id);
    sql_add_text(&params, change->asked->suspended ? SLICE("S") : SLICE("A"));
    sql_add_text(&params, change->asked->display_name);
    sql_add_bool(&params, change->asked->admit_unlimited_meters);
    status = run_one(db, change->arena, &update, &params, &change->answer, &change->json, &found);
    return status == STATUS_OK ? write_audit(db, change, "tenant.update", old_json) : status;
}

static bool fill_content(struct tenant_change *change, const char *action)
{
    const struct ledger_tenant *asked = change->asked;
    const char *text = arena_printf(
        change->arena, "%s|%.*s|%zu:%.*s|%d|%d|%.*s", action, SLICE_ARGS(asked->tenant),
        asked->display_name.len, SLICE_ARGS(asked->display_name), asked->suspended,
        asked->admit_unlimited_meters, SLICE_ARGS(change->etag));

    change->content = slice_from_cstr(text);
    return text != NULL;
}

static enum status run_change(struct database *db, struct tenant_change *change,
                              const char *action,
                              enum status (*body)(struct database *db, void *user),
                              struct ledger_tenant *tenant, enum ledger_admin *ret)
{
    enum status status = STATUS_EXHAUSTED;

    if (fill_content(change, action))
        status = database_transact(db, body, change);
    if (status != STATUS_OK)
        return status;
    *ret = change->outcome;
    if (change->outcome == ADMIN_DONE || change->outcome == ADMIN_REPEATED)
        *tenant = change->answer;
    return STATUS_OK;
}

enum status ledger_tenant_create(struct database *db, struct arena *arena,
                                 const struct ledger_note *note, struct ledger_tenant *tenant,
                                 enum ledger_admin *ret)
{
    struct ledger_tenant asked = *tenant;
    struct tenant_change change = {.arena = arena, .note = note, .asked = &asked};

    return run_change(db, &change, "tenant.create", create_body, tenant, ret);
}

enum status ledger_tenant_update(struct database *db, struct arena *arena,
                                 const struct ledger_note *note, struct slice etag,
                                 struct ledger_tenant *tenant, enum ledger_admin *ret)
{
    struct ledger_tenant asked = *tenant;
    struct tenant_change change = {.arena = arena, .note = note, .etag = etag, .asked = &asked};

    return run_change(db, &change, "tenant.update", update_body, tenant, ret);
}

enum status ledger_tenant_list(struct database *db, struct arena *arena, struct slice prefix,
                               struct slice after, size_t max, struct ledger_tenant **ret,
                               size_t *ret_count)
{
    struct sql_params params;
    struct slice unused;
    struct sql_row row;
    PGresult *result;
    enum status status;
    size_t count = 0;

    sql_params_begin(&params, arena);
    sql_add_text(&params, prefix);
    sql_add_text(&params, after);
    sql_add_i64(&params, (int64_t)max);
    status = database_run(db, &list, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    *ret = arena_array(arena, sql_count(&row) + 1, sizeof(**ret));
    row.bad = !*ret;
    while (sql_next(&row))
        read_tenant(&row, &(*ret)[count++], &unused);
    *ret_count = count;
    return sql_done(&row);
}
