#include "world_state.h"

#include "base/amount.h"
#include "quota/lease.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { GRACE_MS = 5000, TURN_WITHIN_MS = 600000 };

/* 2029 began on a Monday: then everything turns that ever does. */
#define YEAR_TURNS_MS INT64_C(1861920000000)

static void op_limit(struct world *world)
{
    int at = (int)world_below(world, MODEL_LIMITS);
    struct model_limit *limit = &world->model.limits[at];
    struct book book = {.arena = &world->arena, .now_ms = world->now};

    if (limit->unlimited)
        return;
    limit->amount = (10 + world_below(world, 400)) * (limit->period_ms ? 1 : 8);
    limit->soft = amount_mul_percent_ceil(limit->amount, 90);
    limit->cap = limit->amount + (world_one_in(world, 2) ? 0 : limit->amount / 10);
    limit->cap_max = amount_max(limit->cap_max, limit->cap);
    for (size_t i = 0; i < world->rows_count; i++) {
        struct quota_row *row = &world->rows[i];

        if (row->ref.limit_id != at || row->state == QUOTA_CLOSED)
            continue;
        row->stops = world_stops(limit);
        row->lease_target = lease_target(&row->stops, world_below(world, 50));
        row->recall |= book_room(row) < 0;
        book_cross(&book, row, SLICE(""), (struct attempt){0, 0});
    }
    world_take_events(world, &book, 0);
    if (world->prompt)
        world_serve_recalls(world);
}

/* Redis loses something: everything, what came after a snapshot, or one key. */
static void op_loss(struct world *world)
{
    int kind = (int)world_below(world, 4);

    world->counts->losses++;
    if (kind == 0 && world->redis.keys_count > 0) {
        world->redis.keys[world_below(world, (int64_t)world->redis.keys_count)].exists = false;
        return;
    }
    if (kind == 1) {
        world->snapshot = world->redis;
        return;
    }
    world->epoch++;
    world->zombie = world->redis;
    world->zombie_lives = true;
    if (kind == 2) {
        world->redis = world->snapshot;
    } else {
        memset(world->redis.holds, 0, sizeof(world->redis.holds));
        world->redis.keys_count = 0;
    }
    world->redis.epoch = world->epoch;
}

static void close_period(struct world *world, struct quota_row *row)
{
    row->state = QUOTA_CLOSING;
    if (row->lease_deadline_ms >= world->now)
        return;
    if (row->lease_id) {
        world_begin_lease(world, row);
        world_close_leases(world, row);
    }
    for (size_t i = 0; i < world->leases_count; i++)
        if (quota_ref_equal(world->leases[i].ref, row->ref))
            return;
    world_check_row(world, row);
    row->state = QUOTA_CLOSED;
    standin_key(&world->redis, row->ref)->exists = false;
    model_closed(&world->model, (int)row->ref.limit_id, row->ref.period_start_ms);
}

static void op_janitor(struct world *world)
{
    world_reap_due(world);
    for (size_t i = 0; i < world->rows_count; i++) {
        struct quota_row *row = &world->rows[i];

        if (row->state == QUOTA_CLOSED)
            continue;
        world_close_leases(world, row);
        if (row->period_end_ms != PERIOD_END_NEVER &&
            world->now > row->period_end_ms + LIFETIME_MAX_MS + GRACE_MS)
            close_period(world, row);
    }
    world_serve_recalls(world);
    for (size_t i = 0; i < world->rows_count && !world->failed; i++)
        world_check_row(world, &world->rows[i]);
}

static void set_limit(struct world *world, int at, const char *scope, int meter,
                      int64_t period_ms)
{
    struct model_limit *limit = &world->model.limits[at];

    *limit = (struct model_limit){.scope = scope, .meter = meter, .period_ms = period_ms};
    limit->unlimited = at >= 6;
    limit->amount = limit->unlimited ? AMOUNT_MAX : (20 + world_below(world, 500)) * (period_ms ? 1 : 8);
    limit->soft = amount_mul_percent_ceil(limit->amount, 90);
    limit->cap = limit->unlimited ? AMOUNT_MAX : limit->amount + world_below(world, 2) * limit->amount / 10;
    limit->cap_max = limit->cap;
}

static enum period period_of(int64_t period_ms)
{
    return period_ms == 0               ? PERIOD_NEVER
           : period_ms == 60000         ? PERIOD_MINUTE
           : period_ms == MODEL_WEEK_MS ? PERIOD_WEEK
           : period_ms == MODEL_YEAR_MS ? PERIOD_YEAR
                                        : PERIOD_HOUR;
}

static void set_up(struct world *world)
{
    bool turns = world->now > YEAR_TURNS_MS - TURN_WITHIN_MS;
    struct limit limits[MODEL_LIMITS];
    struct plan plan = {.tenant_id = TENANT, .tenant = SLICE("acme"), .limits = limits,
                        .limits_count = MODEL_LIMITS};

    set_limit(world, 0, "", 0, 0);
    set_limit(world, 1, "", 0, 60000);
    set_limit(world, 2, "a", 0, 0);
    set_limit(world, 3, "a/u", 0, 60000);
    set_limit(world, 4, "", 1, turns ? MODEL_WEEK_MS : 60000);
    set_limit(world, 5, "a", 1, turns ? MODEL_YEAR_MS : 3600000);
    set_limit(world, 6, "", 1, 0);
    set_limit(world, 7, "", 2, 0);
    for (int i = 0; i < MODEL_LIMITS; i++) {
        const struct model_limit *limit = &world->model.limits[i];

        limits[i] = (struct limit){.limit_id = i,
                                   .scope = slice_from_cstr(limit->scope),
                                   .meter = slice_from_cstr(world_meters[limit->meter]),
                                   .period = period_of(limit->period_ms)};
    }
    world->plan = plan_create(&plan);
}

/* When nobody calls any more, every unit that was lent and not used must come back. */
static void quiesce(struct world *world)
{
    world->now += 10 * LIFETIME_MAX_MS;
    world->model.now = world->now;
    world->messages_count = 0;
    for (int i = 0; i < 40; i++)
        world_reap_due(world);
    for (int job = 0; job < world->jobs_count; job++)
        world_expect(world, !world->redis.holds[job], "a hold is never reaped");
    world->prompt = true;
    for (size_t i = 0; i < world->rows_count && !world->failed; i++) {
        struct quota_row *row = &world->rows[i];
        const struct standin_key *key = standin_key(&world->redis, row->ref);

        if (row->state == QUOTA_CLOSED)
            continue;
        world_grant(world, row->ref, 0, 0);
        world_close_leases(world, row);
        world_expect(world, key->lease_id != row->lease_id || (key->held == 0 && key->spent == row->spent),
               "H is not zero, or spending was never heard of");
        world_recall(world, row);
        snprintf(world->model.complaint, sizeof(world->model.complaint),
                 "limit %" PRId64 ": leased %" PRId64 ", L %" PRId64 " G %" PRId64 " B %" PRId64
                 " S %" PRId64 ", in Redis L %" PRId64 " G %" PRId64 " B %" PRId64 " S %" PRId64
                 " H %" PRId64,
                 row->ref.limit_id, row->leased, row->lease_id, row->granted, row->returned,
                 row->spent, key->lease_id, key->granted, key->returned, key->spent, key->held);
        world_expect(world, row->leased == 0, "capacity is lost for ever");
    }
}

/* Often a little, sometimes much, and now and then exactly to where an answer changes. */
static void pass_time(struct world *world)
{
    int64_t back = world_below(world, 40);
    const struct job *job = &world->jobs[back < world->jobs_count ? world->jobs_count - 1 - back : 0];
    int64_t turn = job->tokens_count > 0 ? job->tokens[0]->deadline_ms : 0;

    if (world_one_in(world, 2))
        turn += MODEL_LATE_WINDOW_MS;
    if (world_one_in(world, 10) && turn > world->now && turn < world->now + 20000)
        world->now = turn;
    else
        world->now += world_one_in(world, 20) ? world_below(world, 20000) : world_below(world, 700);
}

static void step(struct world *world)
{
    int64_t choice = world_below(world, 100);

    pass_time(world);
    world->model.now = world->now;
    if (choice < 40)
        world_reserve(world);
    else if (choice < 75)
        world_settle(world);
    else if (choice < 83)
        world_extend(world);
    else if (choice < 93)
        world_deliver(world);
    else if (choice < 96)
        op_janitor(world);
    else if (choice < 98)
        op_limit(world);
    else if (world_one_in(world, 4))
        op_loss(world);
}

const char *world_run(uint64_t seed, int steps, enum mutant mutant, struct world_counts *counts)
{
    static struct world world;

    memset(&world, 0, sizeof(world));
    world.random = seed;
    world.mutant = world.redis.mutant = mutant;
    world.now = 1764000000000 + world_below(&world, 3600000);
    if (world_one_in(&world, 3))
        world.now = YEAR_TURNS_MS - world_below(&world, TURN_WITHIN_MS);
    world.prompt = world_one_in(&world, 2);
    world.epoch = world.redis.epoch = 1;
    world.counts = counts;
    arena_init(&world.arena, 1 << 20, (size_t)1 << 30);
    set_up(&world);
    world.snapshot = world.redis;
    for (int i = 0; i < steps && !world.failed; i++) {
        step(&world);
        if (world.failed)
            snprintf(world.complaint + strlen(world.complaint),
                     sizeof(world.complaint) - strlen(world.complaint), " (step %d)", i);
    }
    if (!world.failed)
        quiesce(&world);
    plan_unref(world.plan);
    arena_done(&world.arena);
    return world.failed ? world.complaint : NULL;
}
