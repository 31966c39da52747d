/*
 * Tenants: made, changed, listed. The tenant's row is its own lock.
 */
#include "ledger/admin_tenant.h"

#include "ledger/audit.h"
#include "ledger/database_internal.h"
#include "ledger/ledger.h"
#include "quota/plan.h"

#define TENANT_COLUMNS                                                                             \
    "t.tenant_id, t.name, t.display_name, t.state = 'S', t.admit_unlimited_meters, t.version,"     \
    " t.created, t.config_version, to_jsonb(t)::text"

static const struct statement find = {"tenant_find",
                                      "SELECT tenant_id, shard FROM tenant WHERE name = $1::text"};

/* Not FOR UPDATE: a new limit refers to its tenant, and two of them must not wait for each other. */
static const struct statement lock = {
    "tenant_lock",
    "SELECT " TENANT_COLUMNS " FROM tenant t WHERE tenant_id = $1::bigint FOR NO KEY UPDATE"};

static const struct statement bump = {
    "tenant_bump", "UPDATE tenant SET config_version = config_version + 1,"
                   " config_position = config_position_next() WHERE tenant_id = $1::bigint"};

static const struct statement insert = {
    "tenant_insert",
    "INSERT INTO tenant AS t (name, shard, display_name, state, admit_unlimited_meters,"
    " config_position) VALUES ($1::text, $2::bigint, $3::text,"
    " (CASE WHEN $4::boolean THEN 'S' ELSE 'A' END)::\"char\", $5::boolean, config_position_next())"
    " ON CONFLICT (name) DO NOTHING RETURNING " TENANT_COLUMNS};

static const struct statement update = {
    "tenant_update",
    "UPDATE tenant t SET display_name = $2::text,"
    " state = (CASE WHEN $3::boolean THEN 'S' ELSE 'A' END)::\"char\","
    " admit_unlimited_meters = $4::boolean, version = version + 1,"
    " config_version = config_version + 1, config_position = config_position_next()"
    " WHERE tenant_id = $1::bigint RETURNING " TENANT_COLUMNS};

static const struct statement repeat = {
    "tenant_repeat",
    "SELECT " TENANT_COLUMNS " FROM audit a, jsonb_populate_record(NULL::tenant, a.new) t"
    " WHERE a.tenant_id = $1::bigint AND a.request_id = $2::text"};

/* Names are of [a-z0-9._-], all of which is before '~': a range of the index. */
static const struct statement list = {"tenant_list",
                                      "SELECT " TENANT_COLUMNS
                                      " FROM tenant t WHERE name > $2::text AND name >= $1::text"
                                      " AND name < $1::text || '~' ORDER BY name LIMIT $3::bigint"};

bool admin_etag_fits(struct slice etag, int64_t version)
{
    int64_t given = 0;

    return etag.len == 0 || (slice_to_i64(etag, &given) && given == version);
}

enum status admin_tenant_find(struct database *db, struct arena *arena, struct slice name,
                              struct admin_tenant *ret)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    *ret = (struct admin_tenant){0};
    sql_params_begin(&params, arena);
    sql_add_text(&params, name);
    status = database_run(db, &find, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    while (sql_next(&row)) {
        ret->tenant_id = sql_i64(&row);
        ret->shard = (int)sql_i64(&row);
    }
    return sql_done(&row);
}

enum status admin_tenant_bump(struct database *db, struct arena *arena, int64_t tenant_id)
{
    struct sql_params params;
    enum status status;

    sql_params_begin(&params, arena);
    sql_add_i64(&params, tenant_id);
    status = database_run(db, &lock, &params, NULL);
    return status == STATUS_OK ? database_run(db, &bump, &params, NULL) : status;
}

/* --- rows --------------------------------------------------------------------------------------------- */

static void read_tenant(struct sql_row *row, struct ledger_tenant *tenant, struct slice *ret_json)
{
    tenant->tenant_id = sql_i64(row);
    tenant->tenant = sql_text(row);
    tenant->display_name = sql_text(row);
    tenant->suspended = sql_bool(row);
    tenant->admit_unlimited_meters = sql_bool(row);
    tenant->version = sql_i64(row);
    tenant->created_ms = sql_time_ms(row);
    tenant->config_version = sql_i64(row);
    *ret_json = sql_text(row);
}

/* Runs a statement that answers at most one tenant; *ret_json has no data if none. */
static enum status run_one(struct database *db, struct arena *arena,
                           const struct statement *statement, struct sql_params *params,
                           struct ledger_tenant *ret, struct slice *ret_json)
{
    struct sql_row row;
    PGresult *result;
    enum status status = database_run(db, statement, params, &result);

    *ret_json = (struct slice){NULL, 0};
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    while (sql_next(&row))
        read_tenant(&row, ret, ret_json);
    return sql_done(&row);
}

/* --- changes ------------------------------------------------------------------------------------------ */

struct change {
    struct arena *arena;
    struct audit audit;
    struct slice etag;
    bool validate_only;
    struct ledger_tenant asked;
    /* of the last run */
    struct ledger_tenant answer;
    enum ledger_admin admin;
};

static enum status repeated(struct database *db, struct change *change)
{
    struct sql_params params;
    struct slice json;
    enum status status;

    sql_params_begin(&params, change->arena);
    sql_add_i64(&params, change->audit.tenant_id);
    sql_add_text(&params, change->audit.note.request_id);
    status = run_one(db, change->arena, &repeat, &params, &change->answer, &json);
    return status == STATUS_OK && !json.data ? database_corrupt(db, "audit") : status;
}

/* What every change ends with. Nothing of a trial stays; run() knows this status as its own. */
static enum status finish(struct database *db, struct change *change, struct slice old,
                          struct slice new)
{
    enum status status = audit_write(db, change->arena, &change->audit, old, new);

    return status == STATUS_OK && change->validate_only ? STATUS_CANCELLED : status;
}

static enum status create_body(struct database *db, void *user)
{
    struct change *change = user;
    struct admin_tenant found;
    struct sql_params params;
    struct slice json;
    enum status status = admin_tenant_find(db, change->arena, change->asked.tenant, &found);
    bool made;

    if (status != STATUS_OK)
        return status;
    if (found.tenant_id != 0) {
        change->audit.tenant_id = found.tenant_id;
        status = audit_find(db, change->arena, &change->audit, &change->admin, &made);
        if (status == STATUS_OK && change->admin == ADMIN_REPEATED)
            return repeated(db, change);
        if (change->admin == ADMIN_DONE)
            change->admin = ADMIN_EXISTS;
        return status;
    }
    change->admin = ADMIN_DONE;
    sql_params_begin(&params, change->arena);
    sql_add_text(&params, change->asked.tenant);
    sql_add_i64(&params, plan_shard(change->asked.tenant));
    sql_add_text(&params, change->asked.display_name);
    sql_add_bool(&params, change->asked.suspended);
    sql_add_bool(&params, change->asked.admit_unlimited_meters);
    status = run_one(db, change->arena, &insert, &params, &change->answer, &json);
    if (status != STATUS_OK || !json.data)
        return status == STATUS_OK ? STATUS_CONFLICT : status; /* made meanwhile: look again */
    change->audit.tenant_id = change->answer.tenant_id;
    return finish(db, change, (struct slice){NULL, 0}, json);
}

static enum status update_locked(struct database *db, struct change *change, struct slice old)
{
    struct sql_params params;
    struct slice json;
    enum status status;

    sql_params_begin(&params, change->arena);
    sql_add_i64(&params, change->answer.tenant_id);
    sql_add_text(&params, change->asked.display_name);
    sql_add_bool(&params, change->asked.suspended);
    sql_add_bool(&params, change->asked.admit_unlimited_meters);
    status = run_one(db, change->arena, &update, &params, &change->answer, &json);
    return status == STATUS_OK ? finish(db, change, old, json) : status;
}

static enum status update_body(struct database *db, void *user)
{
    struct change *change = user;
    struct admin_tenant found;
    struct sql_params params;
    struct slice old;
    enum status status = admin_tenant_find(db, change->arena, change->asked.tenant, &found);
    bool made;

    change->admin = ADMIN_NOT_FOUND;
    if (status != STATUS_OK || found.tenant_id == 0)
        return status;
    change->audit.tenant_id = found.tenant_id;
    sql_params_begin(&params, change->arena);
    sql_add_i64(&params, found.tenant_id);
    status = run_one(db, change->arena, &lock, &params, &change->answer, &old);
    if (status == STATUS_OK)
        status = audit_find(db, change->arena, &change->audit, &change->admin, &made);
    if (status != STATUS_OK)
        return status;
    if (change->admin == ADMIN_REPEATED)
        return repeated(db, change);
    if (change->admin == ADMIN_DONE && !admin_etag_fits(change->etag, change->answer.version))
        change->admin = ADMIN_ETAG;
    return change->admin == ADMIN_DONE ? update_locked(db, change, old) : STATUS_OK;
}

static enum status run(struct database *db, struct arena *arena, const struct ledger_note *note,
                       const char *action, struct slice etag, bool validate_only,
                       enum status (*body)(struct database *db, void *user),
                       struct ledger_tenant *tenant, enum ledger_admin *ret)
{
    struct change change = {
        .arena = arena,
        .audit = {.note = *note, .action = slice_from_cstr(action), .object = tenant->tenant},
        .etag = etag,
        .validate_only = validate_only,
        .asked = *tenant,
    };
    char *content = arena_printf(arena, "%s|%.*s|%d|%d|%.*s", action, SLICE_ARGS(tenant->tenant),
                                 tenant->suspended, tenant->admit_unlimited_meters,
                                 SLICE_ARGS(tenant->display_name));
    enum status status;

    if (!content)
        return STATUS_EXHAUSTED;
    change.audit.content = slice_from_cstr(content);
    status = database_transact(db, body, &change);
    if (status != STATUS_OK && status != STATUS_CANCELLED)
        return status;
    *ret = change.admin;
    if (change.admin == ADMIN_DONE || change.admin == ADMIN_REPEATED)
        *tenant = change.answer;
    return STATUS_OK;
}

enum status ledger_tenant_create(struct database *db, struct arena *arena,
                                 const struct ledger_note *note, bool validate_only,
                                 struct ledger_tenant *tenant, enum ledger_admin *ret)
{
    return run(db, arena, note, "tenant.create", (struct slice){NULL, 0}, validate_only,
               create_body, tenant, ret);
}

enum status ledger_tenant_update(struct database *db, struct arena *arena,
                                 const struct ledger_note *note, struct slice etag,
                                 bool validate_only, struct ledger_tenant *tenant,
                                 enum ledger_admin *ret)
{
    return run(db, arena, note, "tenant.update", etag, validate_only, update_body, tenant, ret);
}

enum status ledger_tenant_list(struct database *db, struct arena *arena, struct slice prefix,
                               struct slice after, size_t max, struct ledger_tenant **ret,
                               size_t *ret_count)
{
    struct sql_params params;
    struct sql_row row;
    struct slice json;
    PGresult *result;
    enum status status;

    *ret_count = 0;
    sql_params_begin(&params, arena);
    sql_add_text(&params, prefix);
    sql_add_text(&params, after);
    sql_add_i64(&params, (int64_t)max);
    status = database_run(db, &list, &params, &result);
    if (status != STATUS_OK)
        return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
    row = sql_rows(result, arena);
    *ret = arena_array(arena, sql_count(&row) + 1, sizeof(**ret));
    row.bad = !*ret;
    while (sql_next(&row))
        read_tenant(&row, &(*ret)[(*ret_count)++], &json);
    return sql_done(&row);
}
