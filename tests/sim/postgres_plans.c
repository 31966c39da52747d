/*
 * Authority of shards, tenants and limits: ledger/authority.c, plans.c and the admin changes.
 */
#include "tests/sim/postgres_rows.h"

#include "base/amount.h"
#include "base/check.h"
#include "base/hash.h"
#include "quota/lease.h"
#include "quota/threshold.h"
#include "tests/sim/mutants.h"

#include <stdio.h>
#include <string.h>

/* --- the beat ----------------------------------------------------------------------------------- */

static struct pg_server *server_named(struct postgres *pg, struct slice name)
{
    struct pg_server *server = pg->servers;

    while (server < pg->servers + pg->servers_count &&
           !slice_equal(slice_from_cstr(server->name), name))
        server++;
    if (server == pg->servers + pg->servers_count) {
        CHECK(pg->servers_count++ < PG_SERVERS_MAX);
        snprintf(server->name, sizeof(server->name), "%.*s", SLICE_ARGS(name));
    }
    return server;
}

static int64_t authority_hash(const struct postgres *pg)
{
    uint64_t hash = 0;

    for (int shard = 0; shard < SHARDS; shard++) {
        const struct shard_view *view = &pg->authority[shard].view;
        const int64_t numbers[] = {pg->authority[shard].exists, view->epoch, view->active};

        hash = hash_combine(hash, slice_of((const char *)numbers, sizeof(numbers)));
        hash = hash_combine(hash, slice_from_cstr(view->replid));
        hash = hash_combine(hash, slice_from_cstr(view->nonce));
    }
    return (int64_t)hash;
}

enum status sim_beat_run(struct database *db, struct arena *arena, struct slice server,
                         int64_t lasts_ms, int64_t events_keep_ms, struct ledger_beat *ret)
{
    struct postgres *pg = db->pg;
    enum status status = sim_database_ping(db);

    if (status != STATUS_OK)
        return status;
    (void)events_keep_ms;
    *ret = (struct ledger_beat){
        .now_ms = pg->now_ms(pg->user),
        .started_ms = 1,
        .authority_hash = authority_hash(pg),
        .versions_position = pg->config_position,
        .recalls = true, /* whoever asks for them sees that there are none */
        .lent = true,
        .uncompared = pg->timeline != pg->compared,
        .timeline = pg->timeline,
        .degraded = true,
        .leases_due = true,
        .closings_due = true,
        .rows_due = true,
        .begun_ms = 1000,
        .others_until_ms = INT64_MAX,
        .others = pg_alloc(arena, PG_SERVERS_MAX, sizeof(*ret->others)),
    };
    ret->placed_count = pg_placed_tenants(pg, arena, &ret->placed_tenants);
    server_named(pg, server)->until_ms = ret->now_ms + lasts_ms;
    for (size_t i = 0; i < pg->servers_count; i++)
        if (pg->servers[i].until_ms > ret->now_ms &&
            !slice_equal(slice_from_cstr(pg->servers[i].name), server)) {
            ret->others[ret->others_count++] = slice_from_cstr(pg->servers[i].name);
            if (pg->servers[i].until_ms < ret->others_until_ms)
                ret->others_until_ms = pg->servers[i].until_ms;
        }
    return STATUS_OK;
}

enum status sim_beat_leave(struct database *db, struct arena *arena, struct slice server)
{
    enum status status = pg_ask(db);

    (void)arena;
    if (status == STATUS_OK)
        server_named(db->pg, server)->until_ms = 0;
    return status;
}

/* --- who is served from here -------------------------------------------------------------------- */

_Static_assert(PG_SERVERS_MAX <= 64, "a bit each");

static void tell(struct postgres *pg, struct pg_tenant *tenant, enum event_kind kind)
{
    struct ledger_event event = {
        .tenant_id = tenant->info.tenant_id,
        .kind = kind,
        .recovered_from = kind == EVENT_RECOVERED ? EVENT_DEGRADED : 0,
    };

    pg_land_event(pg, tenant, &event);
}

static void land_degraded(struct postgres *pg, struct pg_change *change)
{
    struct pg_tenant *tenant = postgres_tenant(pg, change->tenant_id);
    const struct pg_server *server = change->user;

    if (tenant->degraded_by == 0)
        tell(pg, tenant, EVENT_DEGRADED);
    tenant->degraded_by |= UINT64_C(1) << (server - pg->servers);
}

static void land_recovered(struct postgres *pg, struct pg_change *change)
{
    struct pg_tenant *tenant = postgres_tenant(pg, change->tenant_id);
    const struct pg_server *server = change->user;
    uint64_t before = tenant->degraded_by;

    for (size_t i = 0; i < pg->servers_count; i++)
        if (&pg->servers[i] == server || pg->servers[i].until_ms <= pg->now_ms(pg->user))
            tenant->degraded_by &= ~(UINT64_C(1) << i);
    if (before != 0 && tenant->degraded_by == 0)
        tell(pg, tenant, EVENT_RECOVERED);
}

static void add_change(struct pg_tx *tx, int64_t tenant_id, struct slice server,
                       void (*call)(struct postgres *pg, struct pg_change *change))
{
    struct pg_change *change = pg_add(tx, PG_CALL, tenant_id);

    change->call = call;
    change->user = server_named(tx->pg, server);
}

enum status sim_degraded_note(struct database *db, struct arena *arena, struct slice server,
                              int64_t *tenants, size_t count, size_t *ret_told)
{
    struct pg_tx tx;
    enum status status = pg_begin(db, &tx, arena, 0);

    *ret_told = 0;
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i < count; i++)
        add_change(&tx, tenants[i], server, land_degraded);
    status = pg_commit(&tx);
    *ret_told = status == STATUS_OK ? count : 0;
    return status;
}

enum status sim_degraded_end(struct database *db, struct arena *arena, struct slice server,
                             size_t max, bool *ret_more)
{
    struct postgres *pg = db->pg;
    struct pg_tx tx;
    enum status status = pg_begin(db, &tx, arena, 0);

    (void)max;
    *ret_more = false;
    if (status != STATUS_OK)
        return status;
    for (struct pg_tenant *tenant = pg->tenants; tenant; tenant = tenant->next)
        if (tenant->degraded_by != 0)
            add_change(&tx, tenant->info.tenant_id, server, land_recovered);
    return pg_commit(&tx);
}

/* --- authority ---------------------------------------------------------------------------------- */

static void read_view(struct postgres *pg, int shard, struct shard_view *ret)
{
    struct pg_authority *authority = &pg->authority[shard];

    if (!authority->exists)
        *authority = (struct pg_authority){.exists = true, .view = {.shard = shard, .epoch = 1}};
    *ret = authority->view;
}

enum status sim_authority_read(struct database *db, const int *shards, size_t count,
                                  struct shard_view *ret_views)
{
    enum status status = pg_ask(db);

    for (size_t i = 0; i < count && status == STATUS_OK; i++)
        read_view(db->pg, shards[i], &ret_views[i]);
    if (status == STATUS_OK)
        pg_pause(db->pg);
    return status;
}

enum status sim_authority_all(struct database *db, struct shard_view views[SHARDS],
                                 bool known[SHARDS])
{
    enum status status = pg_ask(db);

    for (int shard = 0; shard < SHARDS && status == STATUS_OK; shard++) {
        known[shard] = db->pg->authority[shard].exists;
        views[shard] = db->pg->authority[shard].view;
    }
    return status;
}

/* An UPDATE of its own: what became of it may stay unknown. */
static enum status change_view(struct database *db, int shard, const struct shard_view *to, bool wins,
                               bool *ret_won, struct shard_view *ret_view)
{
    struct postgres *pg = db->pg;
    enum fate fate = chaos_fate(pg->chaos, &pg->chaos->postgres);

    if (wins && fate != FATE_LOST_BEFORE && fate != FATE_REFUSED) {
        pg->authority[shard].view = *to;
        pg->authority[shard].changed_ms = pg->now_ms(pg->user);
    }
    *ret_won = wins;
    if (fate != FATE_DONE)
        return fate == FATE_REFUSED ? STATUS_UNAVAILABLE : STATUS_UNKNOWN;
    read_view(pg, shard, ret_view);
    pg_pause(pg);
    return STATUS_OK;
}

enum status sim_authority_bump(struct database *db, const struct shard_view *from,
                                  int64_t redis_epoch, const char *replid, const char *reason,
                                  bool *ret_won, struct shard_view *ret_view)
{
    struct shard_view mine = *from;
    struct pg_authority *authority = &db->pg->authority[mine.shard];
    struct shard_view to = {.shard = mine.shard};
    enum status status = pg_ask(db);
    bool wins;

    (void)reason;
    if (status != STATUS_OK)
        return status;
    to.epoch =
        amount_max(mine.epoch, mutant_is(MUTANT_EPOCH_IS_KEPT) ? 0 : redis_epoch) + 1;
    snprintf(to.replid, sizeof(to.replid), "%s", replid);
    wins = authority->view.epoch == mine.epoch && authority->view.active == mine.active &&
           strcmp(authority->view.nonce, mine.nonce) == 0 &&
           !(!authority->view.active && authority->changed_ms > 0 &&
             authority->changed_ms > db->pg->now_ms(db->pg->user) - 1000);
    db->pg->bumps[mine.shard] += wins;
    return change_view(db, mine.shard, &to, wins, ret_won, ret_view);
}

enum status sim_authority_activate(struct database *db, const struct shard_view *mine,
                                      bool *ret_won, struct shard_view *ret_view)
{
    struct shard_view to = *mine;
    struct pg_authority *authority = &db->pg->authority[to.shard];
    enum status status = pg_ask(db);

    if (status != STATUS_OK)
        return status;
    to.active = true;
    return change_view(db, to.shard, &to,
                       authority->view.epoch == to.epoch && !authority->view.active, ret_won,
                       ret_view);
}

void postgres_begin_epochs(struct postgres *postgres, int64_t epoch)
{
    for (const struct pg_tenant *tenant = postgres->tenants; tenant; tenant = tenant->next) {
        struct pg_authority *authority = &postgres->authority[tenant->shard];

        authority->exists = true;
        authority->view = (struct shard_view){
            .shard = tenant->shard, .epoch = epoch, .active = true};
        snprintf(authority->view.replid, sizeof(authority->view.replid), "%040d", 0);
        snprintf(authority->view.nonce, sizeof(authority->view.nonce), "%032d", 0);
    }
}

/* --- plans -------------------------------------------------------------------------------------- */

static struct limit limit_of(const struct pg_limit *limit)
{
    return (struct limit){
        .limit_id = limit->limit.limit_id,
        .name = limit->limit.limit_name,
        .scope = limit->limit.scope,
        .meter = limit->limit.meter,
        .period = limit->limit.period,
        .calendar = limit->limit.calendar.count > 0 ? &limit->limit.calendar : NULL,
        .amount = limit->limit.amount,
        .unlimited = limit->limit.unlimited,
        .cap = limit->cap,
        .soft = limit->soft,
        .soft_percent = limit->limit.soft_percent,
        .max_ttl_ms = limit->limit.max_ttl_ms,
        .redis_away = limit->limit.redis_away,
        .redis_away_units = limit->limit.redis_away_units,
        .reserved_crossings = limit->limit.reserved_crossings,
    };
}

static struct plan *plan_of(struct database *db, struct slice tenant)
{
    const struct pg_tenant *of = postgres_tenant_named(db->pg, tenant);
    struct limit limits[64];
    struct plan plan = {.tenant = tenant, .ledger_part = 1, .limits = limits};

    if (!of)
        return NULL;
    plan.tenant_id = of->info.tenant_id;
    plan.shard = of->shard;
    plan.suspended = of->info.suspended;
    plan.read_only = of->read_only;
    plan.admit_unlimited_meters = of->info.admit_unlimited_meters;
    plan.config_version = of->info.config_version;
    for (const struct pg_limit *limit = of->limits; limit; limit = limit->next)
        if (!limit->deleted && plan.limits_count < ARRAY_COUNT(limits) &&
            (plan.admit_unlimited_meters || !limit->limit.implicit))
            limits[plan.limits_count++] = limit_of(limit);
    return plan_create(&plan);
}

static void load_one(struct database *db, struct slice tenant, enum status status, size_t limits_max,
                     struct plan **ret_plan, bool *ret_large)
{
    *ret_plan = status == STATUS_OK ? plan_of(db, tenant) : NULL;
    *ret_large = *ret_plan && limits_max > 0 && (*ret_plan)->limits_count > limits_max;
    if (!*ret_large)
        return;
    plan_unref(*ret_plan);
    *ret_plan = NULL;
}

enum status sim_plans_load(struct database *db, const struct slice *tenants, size_t count,
                           size_t limits_max, struct plan **ret_plans, bool *ret_large)
{
    enum status status = count > 0 ? pg_ask(db) : STATUS_OK;

    for (size_t i = 0; i < count; i++)
        load_one(db, tenants[i], status, limits_max, &ret_plans[i], &ret_large[i]);
    if (count > 0 && status == STATUS_OK)
        pg_pause(db->pg);
    return status;
}

enum status sim_plan_load(struct database *db, struct slice tenant, struct plan **ret_plan)
{
    bool large;

    return sim_plans_load(db, &tenant, 1, 0, ret_plan, &large);
}

enum status sim_versions_since(struct database *db, struct arena *arena, int64_t *position,
                                  struct ledger_version **ret, size_t *ret_count)
{
    enum status status = pg_ask(db);
    int64_t last = *position;

    *ret = NULL;
    *ret_count = 0;
    if (status != STATUS_OK)
        return status;
    if (*position == 0) {
        *position = db->pg->config_position > 0 ? db->pg->config_position : -1;
        return STATUS_OK;
    }
    *ret = pg_alloc(arena, (size_t)db->pg->tenants_count, sizeof(**ret));
    for (const struct pg_tenant *tenant = db->pg->tenants; tenant; tenant = tenant->next) {
        if (tenant->config_position <= *position)
            continue;
        (*ret)[(*ret_count)++] = (struct ledger_version){
            tenant->info.tenant_id, tenant->info.tenant, tenant->info.config_version};
        last = amount_max(last, tenant->config_position);
    }
    *position = last;
    return STATUS_OK;
}

static void bump_version(struct postgres *pg, struct pg_tenant *tenant)
{
    tenant->info.config_version++;
    tenant->config_position = ++pg->config_position;
}

/* --- tenants ------------------------------------------------------------------------------------ */

static void add_tenant(struct postgres *pg, const struct ledger_tenant *as)
{
    struct pg_tenant *tenant = pg_alloc(&pg->storage, 1, sizeof(*tenant)), **link = &pg->tenants;

    while (*link)
        link = &(*link)->next;
    *link = tenant;
    tenant->info = *as;
    tenant->info.tenant_id = ++pg->tenants_count;
    tenant->info.tenant = pg_keep(pg, as->tenant);
    tenant->info.display_name = pg_keep(pg, as->display_name);
    tenant->info.version = 1;
    tenant->info.created_ms = pg->now_ms(pg->user);
    tenant->shard = plan_shard(as->tenant);
    tenant->events_tail = &tenant->events;
    bump_version(pg, tenant);
}

enum status sim_tenant_create(struct database *db, struct arena *arena,
                                 const struct ledger_note *note, bool validate_only,
                                 struct ledger_tenant *tenant, enum ledger_admin *ret)
{
    enum status status = pg_ask(db);

    (void)arena, (void)note;
    if (status != STATUS_OK)
        return status;
    *ret = postgres_tenant_named(db->pg, tenant->tenant) ? ADMIN_EXISTS : ADMIN_DONE;
    if (*ret == ADMIN_DONE && !validate_only)
        add_tenant(db->pg, tenant);
    if (!validate_only)
        *tenant = postgres_tenant_named(db->pg, tenant->tenant)->info;
    return STATUS_OK;
}

struct tenant_change {
    struct ledger_tenant tenant;
};

static void change_tenant(struct postgres *pg, struct pg_change *change)
{
    struct pg_tenant *tenant = postgres_tenant(pg, change->tenant_id);
    const struct tenant_change *to = change->user;

    tenant->info.suspended = to->tenant.suspended;
    tenant->info.admit_unlimited_meters = to->tenant.admit_unlimited_meters;
    tenant->info.version++;
    bump_version(pg, tenant);
}

enum status sim_tenant_update(struct database *db, struct arena *arena,
                                 const struct ledger_note *note, struct slice etag,
                                 bool validate_only, struct ledger_tenant *tenant,
                                 enum ledger_admin *ret)
{
    struct pg_tenant *of = postgres_tenant_named(db->pg, tenant->tenant);
    struct tenant_change *to;
    struct pg_change *change;
    struct pg_tx tx;
    enum status status = pg_begin(db, &tx, arena, 0);

    (void)note, (void)etag;
    if (status != STATUS_OK)
        return status;
    *ret = of ? ADMIN_DONE : ADMIN_NOT_FOUND;
    if (!of || validate_only) {
        pg_rollback(&tx);
        return STATUS_OK;
    }
    to = pg_alloc(&db->pg->storage, 1, sizeof(*to));
    to->tenant = *tenant;
    change = pg_add(&tx, PG_CALL, of->info.tenant_id);
    change->call = change_tenant;
    change->user = to;
    status = pg_commit(&tx);
    *tenant = of->info;
    return status;
}

enum status sim_tenant_list(struct database *db, struct arena *arena, struct slice prefix,
                               struct slice after, size_t max, struct ledger_tenant **ret,
                               size_t *ret_count)
{
    enum status status = pg_ask(db);

    (void)prefix, (void)after;
    *ret_count = 0;
    *ret = pg_alloc(arena, max, sizeof(**ret));
    for (const struct pg_tenant *tenant = db->pg->tenants;
         tenant && *ret_count < max && status == STATUS_OK; tenant = tenant->next)
        (*ret)[(*ret_count)++] = tenant->info;
    return status;
}
