/*
 * Limits and their quota rows: ledger/admin_limit.c and limit_quotas.c over pretended rows.
 */
#include "tests/sim/postgres_rows.h"

#include "base/amount.h"
#include "base/check.h"
#include "quota/lease.h"

#include <string.h>

enum { SOFT_PERCENT_DEFAULT = 90 };

struct change {
    struct database *db;
    struct arena *arena;
    struct slice content, request_id;
    bool trial, delete;
    struct ledger_limit asked;
    struct pg_tenant *tenant;
    struct pg_limit *limit; /* as it is before; NULL: none */
    struct book book;
    bool created;
    int64_t limit_id;
    enum ledger_admin admin;
};

static struct pg_limit *limit_named(struct pg_tenant *tenant, struct slice name)
{
    struct pg_limit *limit = tenant->limits;

    while (limit && (limit->deleted || !slice_equal(limit->limit.limit_name, name)))
        limit = limit->next;
    return limit;
}

static bool normalise(struct ledger_limit *limit)
{
    if (limit->unlimited) {
        limit->amount = AMOUNT_MAX;
        limit->overage_kind = OVERAGE_NONE;
    }
    if (limit->overage_kind == OVERAGE_NONE || limit->overage_kind == OVERAGE_UNLIMITED)
        limit->overage = 0;
    if (limit->soft_percent == 0)
        limit->soft_percent = SOFT_PERCENT_DEFAULT;
    if (!limit->redis_away)
        limit->redis_away = REDIS_AWAY_POSTGRES;
    if (limit->redis_away != REDIS_AWAY_OPEN)
        limit->redis_away_units = 0;
    return amount_valid(limit->amount) && limit->soft_percent > 0 && limit->soft_percent <= 100;
}

static int64_t cap_of(const struct ledger_limit *limit)
{
    if (limit->unlimited || limit->overage_kind == OVERAGE_UNLIMITED)
        return AMOUNT_MAX;
    if (limit->overage_kind == OVERAGE_UNITS)
        return amount_add_saturated(limit->amount, limit->overage);
    if (limit->overage_kind == OVERAGE_PERCENT)
        return amount_add_saturated(limit->amount,
                                    amount_mul_percent_floor(limit->amount, limit->overage));
    return limit->amount;
}

static struct stops stops_of(const struct ledger_limit *limit)
{
    return (struct stops){
        .soft = amount_mul_percent_ceil(limit->amount, limit->soft_percent),
        .amount = limit->amount,
        .cap = cap_of(limit),
        .unlimited = limit->unlimited,
    };
}

/* --- what lands --------------------------------------------------------------------------------- */

struct landing {
    struct ledger_limit asked;
    int64_t limit_id;
    bool delete, created;
    struct slice request_id, content;
};

static void land_limit(struct postgres *pg, struct pg_change *change)
{
    struct pg_tenant *tenant = postgres_tenant(pg, change->tenant_id);
    struct landing *landing = change->user;
    struct pg_limit *limit = pg_limit_by_id(tenant, landing->limit_id);
    struct pg_request *request = pg_alloc(&pg->storage, 1, sizeof(*request));

    if (!limit) {
        struct pg_limit **link = &tenant->limits;

        while (*link)
            link = &(*link)->next;
        limit = *link = pg_alloc(&pg->storage, 1, sizeof(*limit));
        limit->limit = landing->asked;
        limit->limit.limit_id = landing->limit_id;
    }
    if (landing->delete) {
        limit->deleted = true;
    } else {
        int64_t version = limit->limit.version + 1;

        limit->limit = landing->asked;
        limit->limit.limit_id = landing->limit_id;
        limit->limit.version = version;
        limit->cap = cap_of(&limit->limit);
        limit->soft = stops_of(&limit->limit).soft;
    }
    tenant->info.config_version++;
    tenant->config_position = ++pg->config_position;
    *request = (struct pg_request){pg->requests, landing->request_id, landing->content,
                                   landing->created, landing->limit_id};
    pg->requests = request;
}

static void keep_texts(struct postgres *pg, struct ledger_limit *limit)
{
    limit->tenant = pg_keep(pg, limit->tenant);
    limit->limit_name = pg_keep(pg, limit->limit_name);
    limit->scope = pg_keep(pg, limit->scope);
    limit->meter = pg_keep(pg, limit->meter);
}

static void add_landing(struct change *change, struct pg_tx *tx)
{
    struct postgres *pg = change->db->pg;
    struct landing *landing = pg_alloc(&pg->storage, 1, sizeof(*landing));
    struct pg_change *added = pg_add(tx, PG_CALL, change->tenant->info.tenant_id);

    *landing = (struct landing){.asked = change->asked,
                                .limit_id = change->limit_id,
                                .delete = change->delete,
                                .created = change->created,
                                .request_id = pg_keep(pg, change->request_id),
                                .content = pg_keep(pg, change->content)};
    keep_texts(pg, &landing->asked);
    added->call = land_limit;
    added->user = landing;
}

/* --- the transaction ---------------------------------------------------------------------------- */

static void give_stops(struct quota_row *quota, const struct stops *stops)
{
    int64_t cap_before = quota->stops.cap;

    quota->stops = *stops;
    quota->lease_target = amount_min(quota->lease_target, lease_target(stops, AMOUNT_MAX));
    if (stops->cap < cap_before && quota->leased > 0)
        quota->recall = true;
    else if (stops->cap > cap_before && book_room(quota) >= 0)
        quota->recall = false;
    quota->dirty = true;
}

static struct quota_row *current_row(struct change *change)
{
    int64_t start_ms = calendar_start_ms(&change->asked.calendar, change->asked.period,
                                         change->book.now_ms);
    struct quota_ref ref = {change->limit_id, start_ms};
    struct quota_row *quota =
        book_find_quota(&change->book, change->tenant->info.tenant_id, ref);

    if (quota)
        return quota;
    quota = pg_alloc(change->arena, 1, sizeof(*quota));
    *quota = (struct quota_row){.tenant_id = change->tenant->info.tenant_id,
                                .ref = ref,
                                .limit_name = change->asked.limit_name,
                                .scope = change->asked.scope,
                                .meter = change->asked.meter,
                                .period = change->asked.period,
                                .period_end_ms = calendar_end_ms(&change->asked.calendar,
                                                                 change->asked.period, start_ms),
                                .stops = stops_of(&change->asked)};
    return quota;
}

static struct event_row *announce(struct change *change)
{
    const struct quota_row *quota = current_row(change);
    struct event_row *event =
        book_event(&change->book, change->tenant->info.tenant_id, EVENT_LIMIT_CHANGED,
                   slice_of(NULL, 0), (struct attempt){0});

    event->quota = quota;
    event->committed = quota->committed;
    event->debt = quota->debt;
    event->ledger_seq = quota->ledger_seq;
    event->level = threshold_level(&quota->stops, quota->committed + quota->debt);
    return event;
}

static enum status lock_rows(struct change *change, struct pg_tx *tx)
{
    struct pg_ref *refs;
    size_t count = 0, max = 1;

    for (const struct pg_quota *quota = change->tenant->quotas; quota; quota = quota->next)
        max++;
    refs = pg_alloc(change->arena, max, sizeof(*refs));
    for (const struct pg_quota *quota = change->tenant->quotas; quota; quota = quota->next)
        if (quota->row.ref.limit_id == change->limit_id && quota->row.state != QUOTA_CLOSED &&
            quota->row.period_end_ms > change->db->pg->now_ms(change->db->pg->user))
            refs[count++] =
                (struct pg_ref){change->tenant->info.tenant_id, quota->row.ref};
    count = pg_refs_sort(refs, count);
    change->book = (struct book){.arena = change->arena};
    return pg_lock(tx, change->db, &change->book, refs, count);
}

static const struct pg_request *find_request(const struct change *change)
{
    const struct pg_request *request = change->db->pg->requests;

    while (request && (change->request_id.len == 0 ||
                       !slice_equal(request->request_id, change->request_id)))
        request = request->next;
    return request;
}

static void judge(struct change *change)
{
    const struct pg_request *request = find_request(change);

    change->limit = limit_named(change->tenant, change->asked.limit_name);
    change->admin = ADMIN_DONE;
    if (change->limit) /* of a limit it never changes */
        change->asked.calendar = change->limit->limit.calendar;
    if (request) {
        change->admin = slice_equal(request->content, change->content) ? ADMIN_REPEATED
                                                                       : ADMIN_REQUEST_REUSED;
        change->created = request->created;
        change->limit_id = request->limit_id;
    } else if (change->delete && !change->limit) {
        change->admin = ADMIN_NOT_FOUND;
    } else if (!change->delete && change->limit &&
               (!slice_equal(change->limit->limit.scope, change->asked.scope) ||
                !slice_equal(change->limit->limit.meter, change->asked.meter) ||
                change->limit->limit.period != change->asked.period)) {
        change->admin = ADMIN_CONFLICT;
    }
}

/* The rows get the stops of the limit, or none if it is removed; then the events. */
static void change_rows(struct change *change, struct pg_tx *tx)
{
    const struct stops stops = stops_of(&change->asked);
    struct event_row *event;

    for (size_t i = 0; i < change->book.quotas_count; i++) {
        give_stops(&change->book.quotas[i], &stops);
        if (change->delete)
            change->book.quotas[i].lease_target = 0;
    }
    event = announce(change);
    if (change->delete)
        event->level = LEVEL_REMOVED;
    for (size_t i = 0; i < change->book.quotas_count; i++)
        if (change->book.quotas[i].period_end_ms > change->book.now_ms)
            book_cross(&change->book, &change->book.quotas[i], slice_of(NULL, 0),
                       (struct attempt){0});
    pg_reserved_drop(tx, &change->book);
}

static enum status work(struct change *change, struct pg_tx *tx)
{
    struct pg_limit *limit = limit_named(change->tenant, change->asked.limit_name);
    enum status status;

    if (limit && !pg_lock_limit(tx, limit))
        return STATUS_CONFLICT;
    judge(change);
    if (change->admin == ADMIN_REPEATED)
        return lock_rows(change, tx);
    if (change->admin != ADMIN_DONE)
        return STATUS_OK;
    if (change->limit != limit)
        return STATUS_CONFLICT; /* it was deleted or made meanwhile */
    change->created = !change->limit;
    change->limit_id =
        change->limit ? change->limit->limit.limit_id : ++change->db->pg->limits_count;
    if (change->delete) {
        change->asked = change->limit->limit;
        change->asked.unlimited = true; /* it stops nothing any more */
    }
    status = lock_rows(change, tx);
    if (status != STATUS_OK)
        return status;
    change_rows(change, tx);
    add_landing(change, tx);
    pg_write(tx, &change->book);
    return STATUS_OK;
}

static enum status body(struct database *db, void *user)
{
    struct change *change = user;
    struct pg_tx tx;
    enum status status = pg_begin(db, &tx, change->arena, 0);

    if (status != STATUS_OK)
        return status;
    status = work(change, &tx);
    if (status == STATUS_OK && change->admin == ADMIN_DONE && !change->trial)
        return pg_commit(&tx);
    pg_rollback(&tx);
    return status;
}

static enum status run(struct change *change, enum ledger_admin *ret)
{
    enum status status = pg_ask(change->db);

    if (status != STATUS_OK)
        return status;
    change->tenant = postgres_tenant_named(change->db->pg, change->asked.tenant);
    *ret = ADMIN_NOT_FOUND;
    if (!change->tenant)
        return STATUS_OK;
    status = pg_transact(change->db, body, change);
    *ret = change->admin;
    return status;
}

/* --- the functions of ledger.h ------------------------------------------------------------------ */

static struct slice content_of(struct arena *arena, const char *verb,
                               const struct ledger_limit *limit)
{
    return slice_from_cstr(arena_printf(arena, "%s|%.*s|%d|%lld|%d|%lld|%d|%lld", verb,
                                        SLICE_ARGS(limit->limit_name), limit->unlimited,
                                        (long long)limit->amount, (int)limit->overage_kind,
                                        (long long)limit->overage, (int)limit->redis_away,
                                        (long long)limit->redis_away_units));
}

static void show_rows(struct change *change, struct quota_row **ret_rows, size_t *ret_count)
{
    *ret_rows = pg_alloc(change->arena, change->book.quotas_count, sizeof(**ret_rows));
    *ret_count = 0;
    for (size_t i = 0; i < change->book.quotas_count; i++) {
        const struct quota_row *row = &change->book.quotas[i];

        if (row->recall || row->period_end_ms > change->book.now_ms)
            (*ret_rows)[(*ret_count)++] = *row;
    }
}

enum status sim_limit_put(struct database *db, struct arena *arena,
                          const struct ledger_note *note, struct slice etag, bool validate_only,
                          size_t limits_max, struct ledger_limit *limit, bool *ret_created,
                          struct quota_row **ret_rows, size_t *ret_rows_count,
                          enum ledger_admin *ret)
{
    struct change change = {.db = db,
                            .arena = arena,
                            .request_id = note->request_id,
                            .trial = validate_only,
                            .asked = *limit};
    struct pg_limit *after;
    enum status status;

    (void)etag, (void)limits_max;
    *ret_rows = NULL;
    *ret_rows_count = 0;
    change.asked.implicit = false;
    if (!normalise(&change.asked))
        return STATUS_INVALID;
    change.content = content_of(arena, "put", &change.asked);
    status = run(&change, ret);
    if (status != STATUS_OK || (*ret != ADMIN_DONE && *ret != ADMIN_REPEATED))
        return status;
    *ret_created = change.created;
    after = pg_limit_by_id(change.tenant, change.limit_id);
    limit->limit_id = change.limit_id;
    limit->version = after ? after->limit.version : 0;
    show_rows(&change, ret_rows, ret_rows_count);
    return STATUS_OK;
}

enum status sim_limit_delete(struct database *db, struct arena *arena,
                                const struct ledger_note *note, struct slice etag,
                                bool validate_only, struct ledger_limit *limit,
                                enum ledger_admin *ret)
{
    struct change change = {.db = db,
                            .arena = arena,
                            .request_id = note->request_id,
                            .trial = validate_only,
                            .delete = true,
                            .asked = *limit};
    enum status status;

    (void)etag;
    change.content = content_of(arena, "delete", limit);
    status = run(&change, ret);
    limit->limit_id = change.limit_id;
    return status;
}

enum status sim_limit_list(struct database *db, struct arena *arena, struct slice tenant,
                              struct slice after, size_t max, struct ledger_limit **ret,
                              size_t *ret_count, bool *ret_tenant_exists)
{
    const struct pg_tenant *of = postgres_tenant_named(db->pg, tenant);
    enum status status = pg_ask(db);

    (void)after;
    *ret_tenant_exists = of != NULL;
    *ret_count = 0;
    *ret = pg_alloc(arena, max, sizeof(**ret));
    for (const struct pg_limit *limit = of ? of->limits : NULL; limit && *ret_count < max;
         limit = limit->next)
        if (!limit->deleted)
            (*ret)[(*ret_count)++] = limit->limit;
    return status;
}

enum status sim_limit_implicit(struct database *db, int64_t tenant_id, struct slice meter,
                               size_t limits_max)
{
    struct arena arena;
    struct change change = {.db = db, .arena = &arena};
    enum ledger_admin answer;
    enum status status;

    (void)limits_max;
    arena_init(&arena, 4096, 1 << 24);
    change.asked = (struct ledger_limit){
        .tenant = postgres_tenant(db->pg, tenant_id)->info.tenant,
        .limit_name = slice_from_cstr(arena_printf(&arena, "unlimited.%.*s", SLICE_ARGS(meter))),
        .meter = meter,
        .period = PERIOD_NEVER,
        .unlimited = true,
        .implicit = true,
    };
    CHECK(normalise(&change.asked));
    change.content = content_of(&arena, "implicit", &change.asked);
    status = run(&change, &answer);
    arena_done(&arena);
    return status;
}
