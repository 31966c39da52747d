/*
 * Rest: trouble ends, holds expire, and everything that was not used must be there again.
 */
#include "tests/sim/world.h"

#include "base/amount.h"
#include "base/check.h"
#include "counter/packed.h"
#include "quota/times.h"
#include "tests/sim/fibre.h"
#include "tests/sim/server.h"
#include "tests/sim/wrap.h"

#include <inttypes.h>
#include <string.h>

/* A lease that is over gives all back: that of the last commit, and what a round of looks takes. */
enum { TRIES = 6, QUIET_REST_US = 90000000 };

/* What ended so long ago is idle, and is back. */
/* Two rounds of the crier. */
enum { RESERVED_TOLD_US = 2 * CRIER_ROUND_MS * 1000 + 1000000 };

enum { IDLE_SEEN_MS = IDLE_WITHIN_MS + 4000 };

static void heal(struct world *world)
{
    world->chaos.redis = (struct chaos_rates){0};
    world->chaos.postgres = (struct chaos_rates){0};
    world->chaos.redis_away = world->chaos.postgres_away = false;
    for (int i = 0; i < WORLD_SERVERS; i++)
        if (!world->servers[i] || !world->servers[i]->up)
            world_start_server(world, i);
    for (int i = 0; i < world->node; i++)
        world->nodes[i].dead = true;
    world_trace(world, "rest: everything heals");
}

static void make_active(struct world *world, struct truth_tenant *tenant)
{
    struct ask ask = {.verb = VERB_TENANT,
                      .tenant = tenant->name,
                      .request_id = "rest",
                      .give_up_us = fibre_now_us() + 5000000};
    struct reply reply;

    if (!postgres_tenant(&world->postgres, tenant->tenant_id)->info.suspended)
        return;
    world_call(world, &ask, &reply);
    tenant->suspended = tenant->suspended_maybe = false;
    tenant->cap_changed_us = fibre_now_us();
}

/* What the record leaves of a meter, over all its limits; -1: no limit names it. */
static int64_t room_of(struct world *world, const struct truth_tenant *tenant, size_t meter)
{
    const struct pg_tenant *rows = postgres_tenant(&world->postgres, tenant->tenant_id);
    int64_t room = -1, at_ms = sim_ms_at(fibre_now_us());

    for (const struct pg_limit *limit = rows->limits; limit; limit = limit->next) {
        int64_t left = limit->cap;

        if (limit->deleted || !slice_equal_cstr(limit->limit.meter, sim_meters[meter]))
            continue;
        for (const struct pg_quota *quota = rows->quotas; quota; quota = quota->next)
            if (quota->row.ref.limit_id == limit->limit.limit_id &&
                quota->row.ref.period_start_ms ==
                    calendar_start_ms(&limit->limit.calendar, limit->limit.period, at_ms))
                left = quota->row.stops.cap - quota->row.committed - quota->row.debt -
                       pg_lent_aside(rows, quota->row.ref);
        left = left < 0 ? 0 : left;
        room = room < 0 || left < room ? left : room;
    }
    return room;
}

static bool reserve(struct world *world, struct truth_tenant *tenant, size_t meter, int64_t units,
                    const char *job, struct reply *reply)
{
    struct ask ask = {.verb = VERB_RESERVE,
                      .tenant = tenant->name,
                      .job = job,
                      .units = {-1, -1},
                      .ttl_ms = 5000,
                      .give_up_us = fibre_now_us() + 5000000};

    ask.units[meter] = units;
    world_call(world, &ask, reply);
    world_trace(world, "rest: %s meter %zu reserve %" PRId64 ": decision %d %s", tenant->name, meter,
                units, (int)reply->decision, reply->text);
    return reply->answered && reply->failure == FAILURE_NONE && reply->has_hold;
}

static void release(struct world *world, struct truth_tenant *tenant, const char *job,
                    const struct reply *held)
{
    struct ask ask = {.verb = VERB_RELEASE,
                      .tenant = tenant->name,
                      .job = job,
                      .token = &held->hold,
                      .give_up_us = fibre_now_us() + 5000000};
    struct reply reply;

    world_call(world, &ask, &reply);
}

static void print_rows(struct world *world, const struct truth_tenant *tenant)
{
    const struct pg_tenant *rows = postgres_tenant(&world->postgres, tenant->tenant_id);

    for (const struct pg_quota *quota = rows->quotas; quota; quota = quota->next) {
        const struct quota_row *row = &quota->row;

        world_trace(world, "row limit %" PRId64 " period %" PRId64 " cap %" PRId64
                    " committed %" PRId64 " debt %" PRId64 " leased %" PRId64 " lease %" PRId64
                    " G %" PRId64 " B %" PRId64 " S %" PRId64 " aside %" PRId64 " recall %d",
                    row->ref.limit_id, row->ref.period_start_ms, row->stops.cap, row->committed,
                    row->debt, row->leased, row->lease_id, row->granted, row->returned, row->spent,
                    pg_lent_aside(rows, row->ref), row->recall);
    }
}

/* --- what nobody uses ----------------------------------------------------------------------------- */

/* The latest moment at which a hold of the tenant may end. */
static int64_t held_until_ms(const struct truth_tenant *tenant)
{
    int64_t until_ms = 0;

    for (const struct truth_job *job = tenant->jobs; job; job = job->next) {
        until_ms = job->extend_max_ms > until_ms ? job->extend_max_ms : until_ms;
        for (size_t i = 0; i < job->attempts_count; i++)
            if (job->attempts[i].deadline_max_ms > until_ms)
                until_ms = job->attempts[i].deadline_max_ms;
    }
    return until_ms;
}

static void check_idle_row(struct world *world, const struct truth_tenant *tenant,
                           const struct quota_row *row)
{
    int64_t now_ms = sim_ms_at(fibre_now_us()), held_ms = held_until_ms(tenant);
    int64_t lent = row->granted - row->returned - row->spent;
    int64_t idle = lent - truth_live(tenant, row->ref, now_ms - IDLE_SEEN_MS, NULL);
    int64_t room = book_room(row) > 0 ? book_room(row) : 0;

    world->truth.checks++;
    if (lent == 0)
        return;
    if (idle - 1 > (room + idle) / 4)
        truth_break(&world->truth, "idle capacity comes back", NULL,
                    "%s limit %" PRId64 ": %" PRId64 " of %" PRId64 " free are lent and idle",
                    tenant->name, row->ref.limit_id, idle, room + idle);
    if (row->lease_deadline_ms > now_ms + LEASE_MIN_MS && row->lease_deadline_ms > held_ms)
        truth_break(&world->truth, "a lease ends with its longest hold", NULL,
                    "%s limit %" PRId64 ": %" PRId64 " ms from now, the longest hold %" PRId64,
                    tenant->name, row->ref.limit_id, row->lease_deadline_ms - now_ms,
                    held_ms - now_ms);
}

void world_check_idle(struct world *world)
{
    if (!world->truth.strict || world_has(world, THEME_STUCK) || world_has(world, THEME_ADMIN) ||
        world_has(world, THEME_REPEAT) || world_has(world, THEME_BULK))
        return;
    for (int i = 0; i < WORLD_TENANTS; i++) {
        const struct pg_tenant *rows =
            postgres_tenant(&world->postgres, world->tenants[i].tenant_id);

        for (const struct pg_quota *quota = rows->quotas; quota; quota = quota->next)
            if (quota->row.state == QUOTA_OPEN)
                check_idle_row(world, &world->tenants[i], &quota->row);
    }
}

/* Much later nothing at all is lent, in whatever state trouble left it. */
static void check_settled(struct world *world)
{
    for (int i = 0; i < WORLD_TENANTS; i++) {
        const struct pg_tenant *rows =
            postgres_tenant(&world->postgres, world->tenants[i].tenant_id);

        if (rows->degraded_by != 0)
            truth_break(&world->truth, "who is served from Redis again is told so", NULL, "%s",
                        world->tenants[i].name);
        for (const struct pg_quota *quota = rows->quotas; quota; quota = quota->next) {
            const struct quota_row *row = &quota->row;

            world->truth.checks++;
            if (row->granted == row->returned + row->spent)
                continue;
            print_rows(world, &world->tenants[i]);
            truth_break(&world->truth, "what nobody uses is not lent", NULL,
                        "%s limit %" PRId64 " period %" PRId64 ": %" PRId64 " units",
                        world->tenants[i].name, row->ref.limit_id, row->ref.period_start_ms,
                        row->granted - row->returned - row->spent);
        }
    }
}

/* --- what is left --------------------------------------------------------------------------------- */

/* All that is left can be had, and not one unit more. */
static void check_meter(struct world *world, struct truth_tenant *tenant, size_t meter, int round)
{
    struct reply held = {0};
    char job[32], more[32];
    int64_t room = 0;
    bool ok = false;

    snprintf(job, sizeof(job), "rest%d.%zu", round, meter);
    snprintf(more, sizeof(more), "more%d.%zu", round, meter);
    for (int i = 0; i < TRIES && !ok; i++) {
        /* Not across the end of a minute. */
        if (sim_ms_at(fibre_now_us()) % 60000 > 45000)
            fibre_sleep_us(20000000);
        room = room_of(world, tenant, meter);
        if (room <= 0)
            return;
        ok = reserve(world, tenant, meter, room, job, &held);
        if (!ok)
            fibre_sleep_us(1000000);
    }
    world->truth.checks++;
    if (!ok) {
        print_rows(world, tenant);
        truth_break(&world->truth, "I7 no capacity is lost", NULL,
                    "%s meter %zu: %" PRId64 " units are free and cannot be had: %s (reason %d)",
                    tenant->name, meter, room, held.answered ? held.text : "no answer",
                    (int)held.reason);
        return;
    }
    {
        struct reply extra;

        if (reserve(world, tenant, meter, 1, more, &extra))
            truth_break(&world->truth, "I3 no over-admission", NULL,
                        "%s meter %zu: one unit more than %" PRId64, tenant->name, meter, room);
    }
    release(world, tenant, job, &held);
}

/* --- crossings of what is reserved ---------------------------------------------------------------- */

/* The level that Redis keeps of a quota (src/counter/lua/levels.lua). False: it keeps none. */
static bool redis_level(struct world *world, const struct quota_row *row,
                        struct counter_quota *ret_quota, struct reached *ret, bool *ret_pending)
{
    char key[64], field[PACKED_REF_MAX + 1];
    struct redis *redis = &world->nodes[world->node];
    const struct value *value;
    const struct member *member;
    size_t len = packed_ref_write(row->ref, field);
    const char *tail;
    int level;

    snprintf(key, sizeof(key), "q:{%d}:2:t:%" PRId64, counter_tag(row->shard), row->tenant_id);
    value = keyspace_find(redis, slice_from_cstr(key));
    member = value ? table_find(&value->members, slice_of(field, len)) : NULL;
    tail = member ? memchr(member->text.data, '|', member->text.len) : NULL;
    if (!tail)
        return false;
    CHECK(packed_quota_read(member->text, ret_quota));
    *ret_pending = ret_quota->crossed;
    *ret = (struct reached){0};
    CHECK(sscanf(tail, "|%" SCNd64 " %" SCNd64 " %" SCNd64 " %d %" SCNd64 " %" SCNd64,
                 &ret->stops.soft, &ret->stops.amount, &ret->stops.cap, &level,
                 &ret->name.lease_id, &ret->name.n) == 6);
    ret->level = level;
    ret->stops.unlimited = ret->stops.amount == AMOUNT_MAX;
    return true;
}

/* What was counted has been told, once, and is what use and holds say. */
static void check_reserved(struct world *world, const struct truth_tenant *tenant)
{
    const struct pg_tenant *rows = postgres_tenant(&world->postgres, tenant->tenant_id);

    for (const struct pg_quota *quota = rows->quotas; quota && !world->truth.broken;
         quota = quota->next) {
        struct crossing crossings[CROSSINGS_MAX];
        struct counter_quota now;
        struct reached reached;
        bool pending;
        int level;

        if (quota->row.state != QUOTA_OPEN ||
            !redis_level(world, &quota->row, &now, &reached, &pending))
            continue;
        world->truth.checks++;
        level = reached.level;
        if (threshold_cross(&reached.stops, now.used + now.held, &level, crossings) > 0)
            truth_break(&world->truth, "the reserved level is that of use and holds", NULL,
                        "%s limit %" PRId64 ": %d, not %d", tenant->name, quota->row.ref.limit_id,
                        reached.level, level);
        /* What a standby has not heard of is not told again; the next crossing brings the level (3.11). */
        if (!quota->row.stops.unlimited && world->postgres.timeline == 0 &&
            (pending || reached_compare(quota->reserved.last, reached.name) != 0 ||
             quota->reserved.level != reached.level))
            truth_break(&world->truth, "reserved crossings are told", NULL,
                        "%s limit %" PRId64 ": lease %" PRId64 " n %" PRId64 " level %d, told %" PRId64
                        " n %" PRId64 " level %d",
                        tenant->name, quota->row.ref.limit_id, reached.name.lease_id,
                        reached.name.n, reached.level, quota->reserved.last.lease_id,
                        quota->reserved.last.n, quota->reserved.level);
    }
}

static int64_t last_deadline_us(const struct world *world)
{
    int64_t last_us = 0;

    for (int i = 0; i < WORLD_TENANTS; i++)
        for (const struct truth_job *job = world->tenants[i].jobs; job; job = job->next) {
            int64_t us = (job->extend_max_ms - sim_epoch_ms) * 1000;

            last_us = us > last_us ? us : last_us;
        }
    return last_us;
}

void world_rest(struct world *world)
{
    int64_t until_us;

    heal(world);
    if (world->truth.broken)
        return;
    until_us = last_deadline_us(world) + 6000000;
    if (until_us > fibre_now_us())
        fibre_sleep_us(until_us - fibre_now_us());
    for (int i = 0; i < WORLD_TENANTS; i++)
        make_active(world, &world->tenants[i]);
    fibre_sleep_us(2000000);
    /* What is set aside after a loss comes home by the deadline of its lease. */
    if (world->truth.redis_lost || !world->truth.strict)
        fibre_sleep_us(INT64_C(400) * 1000000);
    for (int i = 0; i < WORLD_TENANTS; i++)
        truth_audit(&world->truth, &world->tenants[i]);
    fibre_sleep_us(QUIET_REST_US);
    check_settled(world);
    for (int i = 0; i < WORLD_TENANTS; i++)
        for (size_t meter = 0; meter < SIM_METERS && !world->truth.broken; meter++)
            check_meter(world, &world->tenants[i], meter, 1);
    fibre_sleep_us(RESERVED_TOLD_US);
    for (int i = 0; i < WORLD_TENANTS && !world->truth.broken; i++)
        check_reserved(world, &world->tenants[i]);
}
