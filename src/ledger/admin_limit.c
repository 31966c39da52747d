/*
 * Limits: put, removed, listed. The row of limit_ is locked first (or made), then the quota rows of
 * the limit, then the tenant: so no grant sees an old limit after this has committed, and no row is
 * made with one (rows_make.c shares the lock of the limit's row).
 *
 * The work is done in an arena of its own, which the caller's is spared.
 */
#include "base/amount.h"
#include "ledger/admin_tenant.h"
#include "ledger/audit.h"
#include "ledger/calendar.h"
#include "ledger/database_internal.h"
#include "ledger/ledger.h"
#include "ledger/limit_quotas.h"

enum { SOFT_PERCENT_DEFAULT = 90, WORK_ARENA_BYTES = 64 * 1024, WORK_ARENA_MAX = 256 << 20 };

#define LIMIT_COLUMNS                                                                                 \
    "l.limit_id, l.name, l.scope, l.meter, l.period_kind, coalesce(l.time_zone, ''),"                 \
    " l.anchor_ms, " LEDGER_BOUNDARIES_SQL ", l.unlimited, l.amount, l.soft_percent,"                 \
    " l.overage_kind, l.overage, l.max_ttl_ms, coalesce(l.redis_away, 1),"                            \
    " coalesce(l.redis_away_units, 0), coalesce(l.reserved_crossings, false), l.version, l.implicit," \
    " l.cap, l.soft,"                                                                                 \
    " to_jsonb(l)::text"

static const struct statement lock = {"limit_lock",
                                      "SELECT " LIMIT_COLUMNS
                                      " FROM limit_ l WHERE tenant_id = $1::bigint"
                                      " AND name = $2::text AND deleted_at IS NULL FOR UPDATE"};

static const struct statement insert = {
    "limit_insert",
    "INSERT INTO limit_ AS l (tenant_id, name, scope, meter, period_kind, unlimited, amount, cap,"
    " soft, soft_percent, overage_kind, overage, max_ttl_ms, redis_away, redis_away_units,"
    " reserved_crossings, implicit, time_zone, anchor_ms, calendar_id) VALUES ($1::bigint,"
    " $2::text, $3::text, $4::text, $5::bigint, $6::boolean, $7::bigint, $8::bigint, $9::bigint, $10::bigint,"
    " $11::bigint, $12::bigint, $13::bigint, $14::bigint, $15::bigint, $16::boolean, $17::boolean,"
    " $18::text, $19::bigint, $20::bigint)"
    " ON CONFLICT (tenant_id, name) WHERE deleted_at IS NULL DO NOTHING RETURNING " LIMIT_COLUMNS};

static const struct statement update = {
    "limit_update",
    "UPDATE limit_ l SET unlimited = $3::boolean, amount = $4::bigint, cap = $5::bigint,"
    " soft = $6::bigint, soft_percent = $7::bigint, overage_kind = $8::bigint,"
    " overage = $9::bigint, max_ttl_ms = $10::bigint, redis_away = $11::bigint,"
    " redis_away_units = $12::bigint, reserved_crossings = $13::boolean, implicit = false,"
    " version = version + 1"
    " WHERE tenant_id = $1::bigint AND limit_id = $2::bigint RETURNING " LIMIT_COLUMNS};

static const struct statement delete = {"limit_delete",
                                        "UPDATE limit_ l SET deleted_at = clock_timestamp()"
                                        " WHERE tenant_id = $1::bigint AND limit_id = $2::bigint"};

static const struct statement repeat = {
    "limit_repeat", "SELECT " LIMIT_COLUMNS " FROM audit a,"
                    " jsonb_populate_record(NULL::limit_, coalesce(a.new, a.old)) l"
                    " WHERE a.tenant_id = $1::bigint AND a.request_id = $2::text"};

static const struct statement list = {
    "limit_list", "SELECT " LIMIT_COLUMNS " FROM limit_ l WHERE tenant_id = $1::bigint"
                  " AND name > $2::text AND deleted_at IS NULL ORDER BY name LIMIT $3::bigint"};

/*
 * How many limits the tenant has ($4: no more than that are counted; $5: also those that stand in for
 * none, which its callers make and nobody is shown), and the most that one
 * reservation of the meter counts against, at the limit's scope or below it: at each scope those of
 * all scopes above it, and its own.
 */
static const struct statement crowd = {
    "limit_crowd",
    "WITH place AS (SELECT scope, count(*) AS limits FROM limit_ WHERE tenant_id = $1::bigint"
    " AND meter = $2::text AND deleted_at IS NULL AND ($3::text IN ('', scope) OR scope = ''"
    " OR starts_with(scope, $3::text || '/') OR starts_with($3::text, scope || '/'))"
    " GROUP BY scope), above AS (SELECT p.scope, array_to_string(s.segments[:k], '/') AS upper"
    " FROM place p, LATERAL (SELECT string_to_array(p.scope, '/') AS segments) s,"
    " LATERAL generate_series(0, cardinality(s.segments)) k)"
    " SELECT (SELECT count(*) FROM (SELECT FROM limit_ WHERE tenant_id = $1::bigint"
    " AND deleted_at IS NULL AND ($5::boolean OR NOT implicit) LIMIT $4::bigint) counted),"
    " (SELECT coalesce(max(together), 0)::bigint FROM (SELECT sum(p.limits) AS together"
    " FROM above a JOIN place p ON p.scope = a.upper GROUP BY a.scope) sums)"};

/* A row of limit_. */
struct row {
    struct ledger_limit limit;
    int64_t cap, soft;
    struct slice json; /* no data: there is no row */
};

struct change {
    struct arena *arena; /* of the work */
    struct audit audit;
    struct slice etag;
    bool validate_only;
    size_t limits_max;
    struct ledger_limit asked;
    struct admin_tenant tenant;
    /* of the last run */
    struct row before, after;
    struct book book;
    struct limit_bounds bounds;
    enum ledger_admin admin;
    bool created;
};

/* --- rows --------------------------------------------------------------------------------------------- */

static void read_row(struct sql_row *from, struct row *ret)
{
    struct ledger_limit *limit = &ret->limit;

    limit->limit_id = sql_i64(from);
    limit->limit_name = sql_text(from);
    limit->scope = sql_text(from);
    limit->meter = sql_text(from);
    limit->period = (enum period)ledger_period(sql_i64(from));
    limit->time_zone = sql_text(from);
    limit->has_anchor = !sql_is_null(from);
    limit->anchor_ms = sql_i64_or(from, 0);
    calendar_read(from, &limit->calendar);
    limit->unlimited = sql_bool(from);
    limit->amount = sql_i64(from);
    limit->soft_percent = (int)sql_i64(from);
    limit->overage_kind = (enum overage_kind)sql_i64(from);
    limit->overage = sql_i64(from);
    limit->max_ttl_ms = sql_i64(from);
    limit->redis_away = (enum redis_away)sql_i64(from);
    from->bad |= !redis_away_known(limit->redis_away);
    limit->redis_away_units = sql_i64(from);
    limit->reserved_crossings = sql_bool(from);
    limit->version = sql_i64(from);
    limit->implicit = sql_bool(from);
    ret->cap = sql_i64(from);
    ret->soft = sql_i64(from);
    ret->json = sql_text(from);
}

/* Runs a statement that answers at most one limit. */
static enum status run_one(struct database *db, struct change *change,
                           const struct statement *statement, struct sql_params *params,
                           struct row *ret)
{
    struct sql_row row;
    PGresult *result;
    enum status status = database_run(db, statement, params, &result);

    *ret = (struct row){0};
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, change->arena);
    while (sql_next(&row))
        read_row(&row, ret);
    ret->limit.tenant = change->asked.tenant;
    return sql_done(&row);
}

static enum status lock_limit(struct database *db, struct change *change)
{
    struct sql_params params;

    sql_params_begin(&params, change->arena);
    sql_add_i64(&params, change->tenant.tenant_id);
    sql_add_text(&params, change->asked.limit_name);
    return run_one(db, change, &lock, &params, &change->before);
}

static enum status repeated(struct database *db, struct change *change)
{
    struct sql_params params;
    enum status status;

    sql_params_begin(&params, change->arena);
    sql_add_i64(&params, change->tenant.tenant_id);
    sql_add_text(&params, change->audit.note.request_id);
    status = run_one(db, change, &repeat, &params, &change->after);
    return status == STATUS_OK && !change->after.json.data ? database_corrupt(db, "audit") : status;
}

/* --- what a limit means ------------------------------------------------------------------------------- */

/* The cap; false: it is past what an amount can be, or the overage is none. */
static bool cap_of(const struct ledger_limit *limit, int64_t *ret_cap)
{
    *ret_cap = limit->amount;
    if (limit->unlimited || limit->overage_kind == OVERAGE_UNLIMITED) {
        *ret_cap = AMOUNT_MAX;
        return true;
    }
    if (limit->overage_kind == OVERAGE_UNITS)
        return amount_add(limit->amount, limit->overage, ret_cap);
    if (limit->overage_kind == OVERAGE_PERCENT)
        return limit->overage >= 0 && limit->overage <= AMOUNT_PERCENT_MAX &&
               amount_add(limit->amount, amount_mul_percent_floor(limit->amount, limit->overage),
                          ret_cap);
    return limit->overage_kind == OVERAGE_NONE;
}

static bool has_calendar(const struct ledger_limit *limit)
{
    return limit->time_zone.len > 0 || limit->has_anchor;
}

/* Defaults filled in, and zeroes where a number has no meaning: equal limits look equal. */
static bool normalise(struct ledger_limit *limit)
{
    int64_t cap;

    if (limit->unlimited)
        limit->amount = AMOUNT_MAX;
    if (limit->unlimited)
        limit->overage_kind = OVERAGE_NONE;
    if (limit->overage_kind == OVERAGE_NONE || limit->overage_kind == OVERAGE_UNLIMITED)
        limit->overage = 0;
    if (limit->soft_percent == 0)
        limit->soft_percent = SOFT_PERCENT_DEFAULT;
    if (!limit->redis_away)
        limit->redis_away = REDIS_AWAY_POSTGRES;
    if (limit->redis_away != REDIS_AWAY_OPEN)
        limit->redis_away_units = 0;
    if (!limit->has_anchor)
        limit->anchor_ms = 0;
    if (has_calendar(limit) && !period_may_have_zone(limit->period))
        return false;
    return period_known(limit->period) && amount_valid(limit->amount) && limit->soft_percent > 0 &&
           limit->soft_percent <= 100 && limit->max_ttl_ms >= 0 &&
           redis_away_known(limit->redis_away) && amount_valid(limit->redis_away_units) &&
           cap_of(limit, &cap);
}

static struct limit_bounds bounds_of(const struct change *change, const struct row *row)
{
    return (struct limit_bounds){
        .tenant_id = change->tenant.tenant_id,
        .shard = change->tenant.shard,
        .limit_id = row->limit.limit_id,
        .name = change->asked.limit_name,
        .scope = row->limit.scope,
        .meter = row->limit.meter,
        .period = row->limit.period,
        .calendar = row->limit.calendar,
        .stops = {.soft = row->soft,
                  .amount = row->limit.amount,
                  .cap = row->cap,
                  .unlimited = row->limit.unlimited},
    };
}

static void add_bounds(struct sql_params *params, const struct ledger_limit *limit)
{
    int64_t cap;

    CHECK(cap_of(limit, &cap));
    sql_add_bool(params, limit->unlimited);
    sql_add_i64(params, limit->amount);
    sql_add_i64(params, cap);
    sql_add_i64(params, amount_mul_percent_ceil(limit->amount, limit->soft_percent));
    sql_add_i64(params, limit->soft_percent);
    sql_add_i64(params, limit->overage_kind);
    sql_add_i64(params, limit->overage);
    sql_add_i64(params, limit->max_ttl_ms);
    sql_add_i64(params, limit->redis_away);
    sql_add_i64(params, limit->redis_away_units);
    sql_add_bool(params, limit->reserved_crossings);
}

/* --- put ---------------------------------------------------------------------------------------------- */

static void add_calendar(struct sql_params *params, const struct ledger_limit *limit,
                         int64_t calendar_id)
{
    sql_add_text(params, limit->time_zone);
    if (limit->has_anchor)
        sql_add_i64(params, limit->anchor_ms);
    else
        sql_add_null(params);
    if (calendar_id)
        sql_add_i64(params, calendar_id);
    else
        sql_add_null(params);
}

/* CONFLICT: the name was taken meanwhile. ADMIN_NO_ZONE: nothing was added. */
static enum status insert_limit(struct database *db, struct change *change)
{
    const struct ledger_limit *asked = &change->asked;
    int64_t calendar_id = 0;
    struct sql_params params;
    enum status status = STATUS_OK;

    if (has_calendar(asked))
        status = calendar_open(db, change->arena, asked->period, asked->time_zone,
                               asked->has_anchor, asked->anchor_ms, &calendar_id);
    if (status == STATUS_OK && has_calendar(asked) && calendar_id == 0)
        change->admin = ADMIN_NO_ZONE;
    if (status != STATUS_OK || change->admin == ADMIN_NO_ZONE)
        return status;
    sql_params_begin(&params, change->arena);
    sql_add_i64(&params, change->tenant.tenant_id);
    sql_add_text(&params, asked->limit_name);
    sql_add_text(&params, asked->scope);
    sql_add_text(&params, asked->meter);
    sql_add_i64(&params, asked->period + (calendar_id ? LEDGER_PERIOD_ZONED : 0));
    add_bounds(&params, asked);
    sql_add_bool(&params, asked->implicit);
    add_calendar(&params, asked, calendar_id);
    status = run_one(db, change, &insert, &params, &change->after);
    return status == STATUS_OK && !change->after.json.data ? STATUS_CONFLICT : status;
}

static enum status update_limit(struct database *db, struct change *change)
{
    struct sql_params params;

    sql_params_begin(&params, change->arena);
    sql_add_i64(&params, change->tenant.tenant_id);
    sql_add_i64(&params, change->before.limit.limit_id);
    add_bounds(&params, &change->asked);
    return run_one(db, change, &update, &params, &change->after);
}

static enum ledger_admin judge(const struct change *change)
{
    const struct ledger_limit *before = &change->before.limit, *asked = &change->asked;

    if (!change->before.json.data)
        return admin_etag_fits(change->etag, LEDGER_VERSION_NONE) ? ADMIN_DONE : ADMIN_ETAG;
    if (!admin_etag_fits(change->etag, before->version))
        return ADMIN_ETAG;
    if (!slice_equal(before->scope, asked->scope) || !slice_equal(before->meter, asked->meter) ||
        before->period != asked->period || !slice_equal(before->time_zone, asked->time_zone) ||
        before->has_anchor != asked->has_anchor || before->anchor_ms != asked->anchor_ms)
        return ADMIN_CONFLICT;
    return ADMIN_DONE;
}

static enum status show_repeated(struct database *db, struct change *change)
{
    enum status status = repeated(db, change);

    change->bounds = bounds_of(change, &change->after);
    change->book = (struct book){.arena = change->arena};
    return status == STATUS_OK ? limit_quotas_lock(db, &change->book, &change->bounds) : status;
}

/*
 * Is there room for the limit that was added? Asked after the tenant's row is locked, in a statement
 * of its own: so it counts all that others have added.
 */
static enum status judge_crowd(struct database *db, struct change *change)
{
    const struct ledger_limit *limit = &change->after.limit;
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, change->arena);
    sql_add_i64(&params, change->tenant.tenant_id);
    sql_add_text(&params, limit->meter);
    sql_add_text(&params, limit->scope);
    sql_add_i64(&params, (int64_t)change->limits_max + 1);
    sql_add_bool(&params, limit->implicit);
    status = database_run(db, &crowd, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, change->arena);
    while (sql_next(&row)) {
        if (sql_i64(&row) > (int64_t)change->limits_max)
            change->admin = ADMIN_LIMITS_FULL;
        if (sql_i64(&row) > HOLD_QUOTAS_MAX && change->admin == ADMIN_DONE)
            change->admin = ADMIN_CROWDED;
    }
    return sql_done(&row);
}

/*
 * What every change ends with. CANCELLED: nothing of it stays, because it was only a trial or because
 * change->admin refuses it.
 */
static enum status finish(struct database *db, struct change *change)
{
    enum status status = admin_tenant_bump(db, change->arena, change->tenant.tenant_id);

    if (status == STATUS_OK && !change->before.json.data)
        status = judge_crowd(db, change);
    if (status == STATUS_OK && change->admin != ADMIN_DONE)
        return STATUS_CANCELLED;
    if (status == STATUS_OK)
        status =
            audit_write(db, change->arena, &change->audit, change->before.json, change->after.json);
    return status == STATUS_OK && change->validate_only ? STATUS_CANCELLED : status;
}

static enum status put_body(struct database *db, void *user)
{
    struct change *change = user;
    enum status status = lock_limit(db, change);

    if (status == STATUS_OK)
        status = audit_find(db, change->arena, &change->audit, &change->admin, &change->created);
    if (status == STATUS_OK && change->admin == ADMIN_REPEATED)
        return show_repeated(db, change);
    if (status == STATUS_OK && change->admin == ADMIN_DONE)
        change->admin = judge(change);
    if (status != STATUS_OK || change->admin != ADMIN_DONE)
        return status;
    change->created = !change->before.json.data;
    status = change->created ? insert_limit(db, change) : update_limit(db, change);
    if (status != STATUS_OK || change->admin != ADMIN_DONE)
        return status;
    change->bounds = bounds_of(change, &change->after);
    change->book = (struct book){.arena = change->arena};
    status = limit_quotas_lock(db, &change->book, &change->bounds);
    if (status == STATUS_OK)
        status = limit_quotas_change(db, &change->book, &change->bounds);
    return status == STATUS_OK ? finish(db, change) : status;
}

/* Nothing for the default, so that the content of a change is that of a server without the field. */
static const char *redis_away_content(struct arena *arena, const struct ledger_limit *limit)
{
    const char *text = limit->redis_away == REDIS_AWAY_POSTGRES
                           ? ""
                           : arena_printf(arena, "|%d|%lld", (int)limit->redis_away,
                                          (long long)limit->redis_away_units);

    return text ? text : "";
}

/* As of a server that knows no calendars, where there is none. */
static const char *calendar_content(struct arena *arena, const struct ledger_limit *limit)
{
    const char *text = has_calendar(limit)
                           ? arena_printf(arena, "|%.*s|%d|%lld", SLICE_ARGS(limit->time_zone),
                                          limit->has_anchor, (long long)limit->anchor_ms)
                           : "";

    return text ? text : "";
}

static bool set_content(struct change *change)
{
    const struct ledger_limit *limit = &change->asked;
    char *content =
        arena_printf(change->arena, "%.*s|%.*s|%.*s|%.*s|%d|%d|%lld|%d|%d|%lld|%lld%s%s%s",
                     SLICE_ARGS(change->audit.action), SLICE_ARGS(limit->limit_name),
                     SLICE_ARGS(limit->scope), SLICE_ARGS(limit->meter), (int)limit->period,
                     limit->unlimited, (long long)limit->amount, limit->soft_percent,
                     (int)limit->overage_kind, (long long)limit->overage,
                     (long long)limit->max_ttl_ms, redis_away_content(change->arena, limit),
                     limit->reserved_crossings ? "|reserved" : "",
                     calendar_content(change->arena, limit));

    change->audit.content = slice_from_cstr(content);
    return content;
}

/* Finds the tenant and runs the body; *ret is ADMIN_NOT_FOUND without one. */
static enum status run(struct database *db, struct change *change,
                       enum status (*body)(struct database *db, void *user))
{
    enum status status =
        admin_tenant_find(db, change->arena, change->asked.tenant, &change->tenant);

    if (status != STATUS_OK)
        return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
    change->admin = ADMIN_NOT_FOUND;
    change->audit.tenant_id = change->tenant.tenant_id;
    change->audit.object = change->asked.limit_name;
    if (change->tenant.tenant_id == 0)
        return STATUS_OK;
    if (!set_content(change))
        return STATUS_EXHAUSTED;
    status = database_transact(db, body, change);
    return status == STATUS_CANCELLED ? STATUS_OK : status;
}

/* The answer's numbers are the row's; its texts are those that the caller gave, which are equal. */
static void show_limit(const struct row *row, struct ledger_limit *limit)
{
    struct ledger_limit asked = *limit;

    *limit = row->limit;
    limit->tenant = asked.tenant;
    limit->limit_name = asked.limit_name;
    limit->scope = asked.scope;
    limit->meter = asked.meter;
    limit->time_zone = asked.time_zone;
}

/* With the row's own texts, which are copied. */
static bool show_stored(struct arena *arena, const struct row *row, struct ledger_limit *limit)
{
    struct slice scope = row->limit.scope, meter = row->limit.meter;
    struct slice zone = row->limit.time_zone;

    scope.data = arena_strndup(arena, scope.len ? scope.data : "", scope.len);
    meter.data = arena_strndup(arena, meter.len ? meter.data : "", meter.len);
    zone.data = arena_strndup(arena, zone.len ? zone.data : "", zone.len);
    limit->scope = scope;
    limit->meter = meter;
    limit->time_zone = zone;
    show_limit(row, limit);
    return scope.data && meter.data && zone.data;
}

static enum status put(struct database *db, struct arena *arena, struct change *change,
                       struct ledger_limit *limit, bool *ret_created, struct quota_row **ret_rows,
                       size_t *ret_rows_count, enum ledger_admin *ret)
{
    enum status status = run(db, change, put_body);

    if (status != STATUS_OK)
        return status;
    *ret = change->admin;
    if (change->admin == ADMIN_CONFLICT)
        return show_stored(arena, &change->before, limit) ? STATUS_OK : STATUS_EXHAUSTED;
    if (change->admin != ADMIN_DONE && change->admin != ADMIN_REPEATED)
        return STATUS_OK;
    *ret_created = change->created;
    show_limit(&change->after, limit);
    change->bounds.scope = limit->scope;
    change->bounds.meter = limit->meter;
    if (change->validate_only)
        return STATUS_OK;
    *ret_rows = limit_quotas_show(arena, &change->book, &change->bounds, ret_rows_count);
    /* Whoever sees this may have changed the limit: it asks again, with the same request_id. */
    return *ret_rows ? STATUS_OK : STATUS_UNKNOWN;
}

enum status ledger_limit_put(struct database *db, struct arena *arena,
                             const struct ledger_note *note, struct slice etag, bool validate_only,
                             size_t limits_max, struct ledger_limit *limit, bool *ret_created,
                             struct quota_row **ret_rows, size_t *ret_rows_count,
                             enum ledger_admin *ret)
{
    struct arena work;
    struct change change = {
        .arena = &work,
        .audit = {.note = *note, .action = SLICE("limit.put")},
        .etag = etag,
        .validate_only = validate_only,
        .limits_max = limits_max,
        .asked = *limit,
    };
    enum status status;

    *ret_rows = NULL;
    *ret_rows_count = 0;
    *ret_created = false;
    change.asked.implicit = false;
    if (!normalise(&change.asked))
        return STATUS_INVALID;
    arena_init(&work, WORK_ARENA_BYTES, WORK_ARENA_MAX);
    status = put(db, arena, &change, limit, ret_created, ret_rows, ret_rows_count, ret);
    arena_done(&work);
    return status;
}

/* --- delete ------------------------------------------------------------------------------------------- */

static enum status delete_locked(struct database *db, struct change *change)
{
    struct sql_params params;
    enum status status;

    sql_params_begin(&params, change->arena);
    sql_add_i64(&params, change->tenant.tenant_id);
    sql_add_i64(&params, change->before.limit.limit_id);
    status = database_run(db, &delete, &params, NULL);
    change->bounds = bounds_of(change, &change->before);
    change->book = (struct book){.arena = change->arena};
    if (status == STATUS_OK)
        status = limit_quotas_lock(db, &change->book, &change->bounds);
    if (status == STATUS_OK)
        status = limit_quotas_removed(db, &change->book, &change->bounds);
    change->after = (struct row){0};
    return status == STATUS_OK ? finish(db, change) : status;
}

static enum status delete_body(struct database *db, void *user)
{
    struct change *change = user;
    enum status status = lock_limit(db, change);
    bool made;

    if (status == STATUS_OK)
        status = audit_find(db, change->arena, &change->audit, &change->admin, &made);
    if (status != STATUS_OK || change->admin == ADMIN_REQUEST_REUSED)
        return status;
    if (change->admin == ADMIN_REPEATED) {
        status = repeated(db, change);
        change->before = change->after;
        return status;
    }
    if (!change->before.json.data)
        change->admin = ADMIN_NOT_FOUND;
    else if (!admin_etag_fits(change->etag, change->before.limit.version))
        change->admin = ADMIN_ETAG;
    return change->admin == ADMIN_DONE ? delete_locked(db, change) : STATUS_OK;
}

enum status ledger_limit_delete(struct database *db, struct arena *arena,
                                const struct ledger_note *note, struct slice etag,
                                bool validate_only, struct ledger_limit *limit,
                                enum ledger_admin *ret)
{
    struct arena work;
    struct change change = {
        .arena = &work,
        .audit = {.note = *note, .action = SLICE("limit.delete")},
        .etag = etag,
        .validate_only = validate_only,
        .asked = {.tenant = limit->tenant, .limit_name = limit->limit_name},
    };
    enum status status;

    arena_init(&work, WORK_ARENA_BYTES, WORK_ARENA_MAX);
    status = run(db, &change, delete_body);
    if (status == STATUS_OK) {
        *ret = change.admin;
        if ((*ret == ADMIN_DONE || *ret == ADMIN_REPEATED) &&
            !show_stored(arena, &change.before, limit))
            status = STATUS_UNKNOWN;
    }
    arena_done(&work);
    return status;
}

/* --- list --------------------------------------------------------------------------------------------- */

static enum status list_limits(struct database *db, struct arena *arena, int64_t tenant_id,
                               struct slice tenant, struct slice after, size_t max,
                               struct ledger_limit **ret, size_t *ret_count)
{
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    enum status status;

    sql_params_begin(&params, arena);
    sql_add_i64(&params, tenant_id);
    sql_add_text(&params, after);
    sql_add_i64(&params, (int64_t)max);
    status = database_run(db, &list, &params, &result);
    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, arena);
    *ret = arena_array(arena, sql_count(&row) + 1, sizeof(**ret));
    row.bad = !*ret;
    while (sql_next(&row)) {
        struct row limit;

        read_row(&row, &limit);
        limit.limit.tenant = tenant;
        (*ret)[(*ret_count)++] = limit.limit;
    }
    return sql_done(&row);
}

enum status ledger_limit_list(struct database *db, struct arena *arena, struct slice tenant,
                              struct slice after, size_t max, struct ledger_limit **ret,
                              size_t *ret_count, bool *ret_tenant_exists)
{
    struct admin_tenant found;
    enum status status = admin_tenant_find(db, arena, tenant, &found);

    *ret = NULL;
    *ret_count = 0;
    *ret_tenant_exists = found.tenant_id != 0;
    if (status == STATUS_OK && *ret_tenant_exists)
        status = list_limits(db, arena, found.tenant_id, tenant, after, max, ret, ret_count);
    return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
}

/* --- limits that stand in for none -------------------------------------------------------------------- */

static enum status implicit_body(struct database *db, void *user)
{
    struct change *change = user;
    enum status status = lock_limit(db, change);

    change->admin = ADMIN_DONE;
    if (status != STATUS_OK || change->before.json.data)
        return status;
    status = insert_limit(db, change);
    return status == STATUS_OK ? finish(db, change) : status;
}

enum status ledger_limit_implicit(struct database *db, int64_t tenant_id, struct slice meter,
                                  size_t limits_max)
{
    struct arena work;
    struct change change = {
        .arena = &work,
        .audit = {.tenant_id = tenant_id,
                  .note = {.actor = SLICE("holdfast")},
                  .action = SLICE("limit.implicit")},
        .limits_max = limits_max,
        .asked = {.meter = meter, .period = PERIOD_NEVER, .unlimited = true, .implicit = true},
        .tenant = {.tenant_id = tenant_id},
    };
    enum status status = STATUS_EXHAUSTED;
    char *name;

    CHECK(normalise(&change.asked));
    arena_init(&work, WORK_ARENA_BYTES, WORK_ARENA_MAX);
    name = arena_printf(&work, "unlimited.%.*s", SLICE_ARGS(meter));
    change.asked.limit_name = change.audit.object = slice_from_cstr(name);
    if (name)
        status = database_transact(db, implicit_body, &change);
    arena_done(&work);
    return status == STATUS_CANCELLED ? STATUS_EXHAUSTED : status;
}
