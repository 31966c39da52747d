/*
 * Limits: put, deleted, listed. The order of locks of a change: the limit's row, its quota rows, the
 * tenant (for events, then for the config version). From the commit on nothing is lent above the new
 * cap; what is lent already comes back by the recall that the caller runs.
 */
#include "ledger/audit.h"
#include "ledger/ledger.h"
#include "ledger/limit_rows.h"
#include "ledger/rows.h"
#include "quota/lease.h"

#include "base/amount.h"

static const struct statement find_limit = {
    "limit_find",
    "SELECT " LIMIT_COLUMNS ", to_jsonb(l)::text FROM limit_ l WHERE l.tenant_id = $1::bigint"
    " AND l.name = $2::text AND l.deleted_at IS NULL FOR UPDATE"};

static const struct statement find_repeat = {
    "limit_repeat",
    "SELECT a.request_hash = sha256($3::bytea), a.old IS NULL, " LIMIT_COLUMNS ", '' FROM audit a"
    " CROSS JOIN LATERAL jsonb_to_record(coalesce(a.new, a.old)) AS " LIMIT_RECORD
    " WHERE a.tenant_id = $1::bigint AND a.request_id = $2::text"};

static const struct statement insert_limit = {
    "limit_insert",
    "INSERT INTO limit_ AS l (tenant_id, name, scope, meter, period_kind, unlimited, amount,"
    " soft_percent, overage_kind, overage, max_ttl_ms, cap, soft) VALUES ($1::bigint, $2::text,"
    " $3::text, $4::text, $5::bigint, $6::boolean, $7::bigint, $8::bigint, $9::bigint,"
    " $10::bigint, $11::bigint, $12::bigint, $13::bigint)"
    " ON CONFLICT (tenant_id, name) WHERE deleted_at IS NULL DO NOTHING"
    " RETURNING " LIMIT_COLUMNS ", to_jsonb(l)::text"};

static const struct statement update_limit = {
    "limit_update",
    "UPDATE limit_ l SET unlimited = $3::boolean, amount = $4::bigint, soft_percent = $5::bigint,"
    " overage_kind = $6::bigint, overage = $7::bigint, max_ttl_ms = $8::bigint, cap = $9::bigint,"
    " soft = $10::bigint, implicit = false, version = version + 1"
    " WHERE tenant_id = $1::bigint AND limit_id = $2::bigint"
    " RETURNING " LIMIT_COLUMNS ", to_jsonb(l)::text"};

static const struct statement delete_limit = {
    "limit_delete",
    "UPDATE limit_ SET deleted_at = clock_timestamp(), version = version + 1"
    " WHERE tenant_id = $1::bigint AND limit_id = $2::bigint"};

static const struct statement find_quotas = {
    "limit_quotas",
    "SELECT period_start_ms FROM quota WHERE tenant_id = $1::bigint AND limit_id = $2::bigint"
    " AND state <> 'X'"};

static const struct statement update_stops = {
    "limit_stops",
    "UPDATE quota SET limit_amount = $3::bigint, cap_amount = $4::bigint, soft_amount = $5::bigint,"
    " unlimited = $6::boolean WHERE tenant_id = $1::bigint AND limit_id = $2::bigint"
    " AND state <> 'X'"};

static const struct statement list_limits = {
    "limit_list",
    "SELECT " LIMIT_COLUMNS ", '' FROM limit_ l WHERE l.tenant_id = $1::bigint"
    " AND l.name > $2::text AND l.deleted_at IS NULL ORDER BY l.name LIMIT $3::bigint"};

struct limit_change {
    struct arena *arena;
    const struct ledger_note *note;
    struct slice etag;
    bool validate_only;
    const struct ledger_limit *asked;
    struct slice content;
    int64_t tenant_id;
    int shard;
    struct settle_book book;
    struct ledger_limit answer;
    bool created;
    enum ledger_admin outcome;
};

/* At most one limit; the last column is its jsonb text. */
static enum status run_one(struct database *db, struct limit_change *change,
                           const struct statement *statement, struct sql_params *params,
                           struct ledger_limit *ret, struct slice *ret_json, bool *ret_found)
{
    struct sql_row row;
    PGresult *result;
    enum status status = database_run(db, statement, params, &result);

    *ret_found = false;
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, change->arena);
    while (sql_next(&row)) {
        ret->tenant = change->asked->tenant;
        limit_row_read(&row, ret);
        *ret_json = sql_text(&row);
        *ret_found = true;
    }
    return sql_done(&row);
}

static enum status look_for_repeat(struct database *db, struct limit_change *change,
                                   bool *ret_repeated)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    *ret_repeated = false;
    if (change->note->request_id.len == 0)
        return STATUS_OK;
    sql_params_begin(&params, change->arena);
    sql_add_i64(&params, change->tenant_id);
    sql_add_text(&params, change->note->request_id);
    sql_add_text(&params, change->content);
    status = database_run(db, &find_repeat, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, change->arena);
    while (sql_next(&row)) {
        *ret_repeated = true;
        change->outcome = sql_bool(&row) ? ADMIN_REPEATED : ADMIN_REQUEST_REUSED;
        change->created = sql_bool(&row);
        change->answer.tenant = change->asked->tenant;
        limit_row_read(&row, &change->answer);
        sql_skip(&row);
    }
    return sql_done(&row);
}

/* Finds and locks the limit. *ret_go false: the outcome is known already. */
static enum status begin(struct database *db, struct limit_change *change,
                         struct ledger_limit *present, struct slice *json, bool *ret_found,
                         bool *ret_go)
{
    struct sql_params params;
    enum status status;
    bool exists, repeated;

    *ret_go = false;
    change->outcome = ADMIN_NOT_FOUND;
    change->book = (struct settle_book){.arena = change->arena};
    change->book.events_tail = &change->book.events;
    status = audit_find_tenant(db, change->arena, change->asked->tenant, &exists,
                               &change->tenant_id, &change->shard);
    if (status != STATUS_OK || !exists)
        return status;
    sql_params_begin(&params, change->arena);
    sql_add_i64(&params, change->tenant_id);
    sql_add_text(&params, change->asked->limit_name);
    status = run_one(db, change, &find_limit, &params, present, json, ret_found);
    if (status != STATUS_OK)
        return status;
    status = look_for_repeat(db, change, &repeated);
    *ret_go = status == STATUS_OK && !repeated;
    return status;
}

static bool etag_differs(struct slice etag, bool found, int64_t version)
{
    int64_t given;

    return etag.len > 0 && (!found || !slice_to_i64(etag, &given) || given != version);
}

static bool same_place(const struct ledger_limit *a, const struct ledger_limit *b)
{
    return slice_equal(a->scope, b->scope) && slice_equal(a->meter, b->meter) &&
           a->period == b->period;
}

/* --- the quota rows of a limit ------------------------------------------------------------------------ */

static enum status lock_quotas(struct database *db, struct limit_change *change, int64_t limit_id)
{
    struct sql_params params;
    struct rows_ref *refs;
    struct sql_row row;
    PGresult *result;
    enum status status;
    size_t count = 0;

    sql_params_begin(&params, change->arena);
    sql_add_i64(&params, change->tenant_id);
    sql_add_i64(&params, limit_id);
    status = database_run(db, &find_quotas, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, change->arena);
    refs = arena_array(change->arena, sql_count(&row) + 1, sizeof(*refs));
    row.bad = !refs;
    while (sql_next(&row)) {
        refs[count].tenant_id = change->tenant_id;
        refs[count].ref.limit_id = limit_id;
        refs[count++].ref.period_start_ms = sql_i64(&row);
    }
    status = sql_done(&row);
    if (status != STATUS_OK)
        return status;
    return rows_lock(db, &change->book, refs, rows_refs_sort(refs, count));
}

static void limit_changed(struct limit_change *change, struct settle_quota *quota)
{
    struct settle_event *event = arena_zalloc(change->arena, sizeof(*event));

    CHECK(event);
    event->tenant_id = change->tenant_id;
    event->kind = EVENT_LIMIT_CHANGED;
    event->quota = quota;
    event->committed = quota->committed;
    event->debt = quota->debt;
    event->ledger_seq = quota->ledger_seq;
    event->level = threshold_level(&quota->stops, quota->committed + quota->debt);
    *change->book.events_tail = event;
    change->book.events_tail = &event->next;
}

static void change_quotas(struct limit_change *change, const struct stops *stops)
{
    for (size_t i = 0; i < change->book.quotas_count; i++) {
        struct settle_quota *quota = &change->book.quotas[i];
        bool lowered = stops->cap < quota->stops.cap;

        quota->shard = change->shard;
        quota->stops = *stops;
        quota->dirty = true;
        quota->lease_target = amount_min(quota->lease_target, lease_target(stops, AMOUNT_MAX / 4));
        if (lowered && quota->leased > 0)
            quota->recall = true;
        if (quota->period_end_ms <= change->book.now_ms)
            continue;
        limit_changed(change, quota);
        settle_cross(&change->book, quota, slice_of(NULL, 0), (struct attempt){0});
    }
}

static enum status write_quotas(struct database *db, struct limit_change *change,
                                const struct stops *stops)
{
    struct sql_params params;
    enum status status;

    if (change->book.quotas_count == 0)
        return STATUS_OK;
    sql_params_begin(&params, change->arena);
    sql_add_i64(&params, change->tenant_id);
    sql_add_i64(&params, change->answer.limit_id);
    sql_add_i64(&params, stops->amount);
    sql_add_i64(&params, stops->cap);
    sql_add_i64(&params, stops->soft);
    sql_add_bool(&params, stops->unlimited);
    status = database_run(db, &update_stops, &params, NULL);
    return status == STATUS_OK ? rows_write(db, &change->book) : status;
}

/* --- put ------------------------------------------------------------------------------------------------ */

static void add_terms(struct sql_params *params, const struct ledger_limit *limit,
                      const struct stops *stops)
{
    sql_add_bool(params, limit->unlimited);
    sql_add_i64(params, stops->amount);
    sql_add_i64(params, limit->soft_percent ? limit->soft_percent : 90);
    sql_add_i64(params, (int64_t)limit->overage_kind);
    sql_add_i64(params, limit->overage);
    sql_add_i64(params, limit->max_ttl_ms);
    sql_add_i64(params, stops->cap);
    sql_add_i64(params, stops->soft);
}

static enum status insert_row(struct database *db, struct limit_change *change,
                              const struct stops *stops, struct slice *json)
{
    struct sql_params params;
    enum status status;
    bool made;

    sql_params_begin(&params, change->arena);
    sql_add_i64(&params, change->tenant_id);
    sql_add_text(&params, change->asked->limit_name);
    sql_add_text(&params, change->asked->scope);
    sql_add_text(&params, change->asked->meter);
    sql_add_i64(&params, (int64_t)change->asked->period);
    add_terms(&params, change->asked, stops);
    status = run_one(db, change, &insert_limit, &params, &change->answer, json, &made);
    return status == STATUS_OK && !made ? STATUS_CONFLICT : status;
}

static enum status update_row(struct database *db, struct limit_change *change,
                              const struct stops *stops, int64_t limit_id, struct slice *json)
{
    struct sql_params params;
    enum status status;
    bool found;

    sql_params_begin(&params, change->arena);
    sql_add_i64(&params, change->tenant_id);
    sql_add_i64(&params, limit_id);
    add_terms(&params, change->asked, stops);
    status = run_one(db, change, &update_limit, &params, &change->answer, json, &found);
    if (status == STATUS_OK)
        status = lock_quotas(db, change, limit_id);
    if (status != STATUS_OK)
        return status;
    change_quotas(change, stops);
    return write_quotas(db, change, stops);
}

static enum status finish(struct database *db, struct limit_change *change, const char *action,
                          struct slice old_json, struct slice new_json)
{
    struct audit_change audit = {
        .tenant_id = change->tenant_id,
        .note = change->note,
        .action = action,
        .object = change->asked->limit_name,
        .content = change->content,
        .old_json = old_json,
        .new_json = new_json,
    };
    enum status status = audit_write(db, change->arena, &audit);

    return status == STATUS_OK ? audit_bump_config(db, change->arena, change->tenant_id) : status;
}

static enum status put_body(struct database *db, void *user)
{
    struct limit_change *change = user;
    struct stops stops = limit_stops(change->asked);
    struct slice old_json = {0}, new_json = {0};
    struct ledger_limit present = {0};
    enum status status;
    bool found, go;

    status = begin(db, change, &present, &old_json, &found, &go);
    if (status != STATUS_OK || !go)
        return status;
    change->created = !found;
    change->outcome = etag_differs(change->etag, found, present.version) ? ADMIN_ETAG
                      : found && !same_place(change->asked, &present)    ? ADMIN_CONFLICT
                                                                         : ADMIN_DONE;
    if (change->outcome != ADMIN_DONE)
        return STATUS_OK;
    if (change->validate_only) {
        change->answer = *change->asked;
        change->answer.limit_id = present.limit_id;
        change->answer.version = present.version;
        return STATUS_OK;
    }
    status = found ? update_row(db, change, &stops, present.limit_id, &new_json)
                   : insert_row(db, change, &stops, &new_json);
    return status == STATUS_OK ? finish(db, change, "limit.put", old_json, new_json) : status;
}

static bool fill_content(struct limit_change *change, const char *action)
{
    const struct ledger_limit *asked = change->asked;
    const char *text = arena_printf(
        change->arena, "%s|%.*s|%.*s|%.*s|%d|%d|%lld|%d|%d|%lld|%lld|%.*s", action,
        SLICE_ARGS(asked->limit_name), SLICE_ARGS(asked->scope), SLICE_ARGS(asked->meter),
        (int)asked->period, asked->unlimited, (long long)asked->amount, asked->soft_percent,
        (int)asked->overage_kind, (long long)asked->overage, (long long)asked->max_ttl_ms,
        SLICE_ARGS(change->etag));

    change->content = slice_from_cstr(text);
    return text != NULL;
}

enum status ledger_limit_put(struct database *db, struct arena *arena,
                             const struct ledger_note *note, struct slice etag,
                             bool validate_only, struct ledger_limit *limit, bool *ret_created,
                             struct settle_quota **ret_rows, size_t *ret_rows_count,
                             enum ledger_admin *ret)
{
    struct ledger_limit asked = *limit;
    struct limit_change change = {
        .arena = arena,
        .note = note,
        .etag = etag,
        .validate_only = validate_only,
        .asked = &asked,
    };
    enum status status = STATUS_EXHAUSTED;

    if (fill_content(&change, "limit.put"))
        status = database_transact(db, put_body, &change);
    if (status != STATUS_OK)
        return status;
    *ret = change.outcome;
    *ret_created = change.created;
    *ret_rows = change.book.quotas;
    *ret_rows_count = change.book.quotas_count;
    if (change.outcome == ADMIN_DONE || change.outcome == ADMIN_REPEATED)
        *limit = change.answer;
    return STATUS_OK;
}

/* --- delete ------------------------------------------------------------------------------------------------ */

static enum status delete_body(struct database *db, void *user)
{
    struct limit_change *change = user;
    struct slice old_json = {0};
    struct ledger_limit present = {0};
    struct sql_params params;
    enum status status;
    bool found, go;

    status = begin(db, change, &present, &old_json, &found, &go);
    if (status != STATUS_OK || !go || !found)
        return status;
    change->outcome =
        etag_differs(change->etag, true, present.version) ? ADMIN_ETAG : ADMIN_DONE;
    if (change->outcome != ADMIN_DONE)
        return STATUS_OK;
    change->answer = present;
    sql_params_begin(&params, change->arena);
    sql_add_i64(&params, change->tenant_id);
    sql_add_i64(&params, present.limit_id);
    status = database_run(db, &delete_limit, &params, NULL);
    return status == STATUS_OK ? finish(db, change, "limit.delete", old_json, slice_of(NULL, 0))
                               : status;
}

enum status ledger_limit_delete(struct database *db, struct arena *arena,
                                const struct ledger_note *note, struct slice etag,
                                struct ledger_limit *limit, enum ledger_admin *ret)
{
    struct ledger_limit asked = {.tenant = limit->tenant, .limit_name = limit->limit_name};
    struct limit_change change = {.arena = arena, .note = note, .etag = etag, .asked = &asked};
    enum status status = STATUS_EXHAUSTED;

    if (fill_content(&change, "limit.delete"))
        status = database_transact(db, delete_body, &change);
    if (status != STATUS_OK)
        return status;
    *ret = change.outcome;
    if (change.outcome == ADMIN_DONE || change.outcome == ADMIN_REPEATED)
        *limit = change.answer;
    return STATUS_OK;
}

/* --- list -------------------------------------------------------------------------------------------------- */

enum status ledger_limit_list(struct database *db, struct arena *arena, struct slice tenant,
                              struct slice after, size_t max, struct ledger_limit **ret,
                              size_t *ret_count, bool *ret_tenant_exists)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    int64_t tenant_id;
    size_t count = 0;
    int shard;
    enum status status =
        audit_find_tenant(db, arena, tenant, ret_tenant_exists, &tenant_id, &shard);

    *ret_count = 0;
    if (status != STATUS_OK || !*ret_tenant_exists)
        return status;
    sql_params_begin(&params, arena);
    sql_add_i64(&params, tenant_id);
    sql_add_text(&params, after);
    sql_add_i64(&params, (int64_t)max);
    status = database_run(db, &list_limits, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    *ret = arena_array(arena, sql_count(&row) + 1, sizeof(**ret));
    row.bad = !*ret;
    while (sql_next(&row)) {
        (*ret)[count].tenant = tenant;
        limit_row_read(&row, &(*ret)[count++]);
        sql_skip(&row);
    }
    *ret_count = count;
    return sql_done(&row);
}
