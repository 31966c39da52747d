#include "op/status.h"

#include "base/amount.h"
#include "base/check.h"
#include "base/log.h"
#include "counter/counter.h"
#include "op/authority.h"
#include "op/inbox.h"
#include "op/redis.h"
#include "op/services.h"
#include "op/stores.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TENANTS_PER_SHARD = 64, /* whose holds are counted */
};

static const char *const names[STATUS_STORES] = {"redis", "postgres"};

struct status_board {
    pthread_mutex_t lock;
    struct status_store_state stores[STATUS_STORES];
};

struct status_board *status_board_create(void)
{
    struct status_board *board = calloc(1, sizeof(*board));

    CHECK(board);
    CHECK(pthread_mutex_init(&board->lock, NULL) == 0);
    for (int i = 0; i < STATUS_STORES; i++)
        board->stores[i].latency_us = -1;
    return board;
}

void status_board_destroy(struct status_board *board)
{
    if (!board)
        return;
    pthread_mutex_destroy(&board->lock);
    free(board);
}

/* What a look at a store means for the log. */
enum change { CHANGE_NONE, CHANGE_AWAY, CHANGE_BACK };

static enum change change_of(const struct status_store_state *state, bool up)
{
    if (!up)
        return !state->known || state->up ? CHANGE_AWAY : CHANGE_NONE;
    return state->known && !state->up ? CHANGE_BACK : CHANGE_NONE;
}

void status_note(struct status_board *board, enum status_store store, bool up, int64_t wall_ms,
                 int64_t latency_us, const char *error)
{
    struct status_store_state *state = &board->stores[store];
    enum change change;
    int64_t before_ms;

    pthread_mutex_lock(&board->lock);
    before_ms = state->since_ms;
    change = change_of(state, up);
    if (!state->known || state->up != up)
        state->since_ms = wall_ms;
    state->known = true;
    state->up = up;
    if (up)
        state->latency_us = latency_us;
    else if (error && error[0])
        snprintf(state->error, sizeof(state->error), "%s", error);
    pthread_mutex_unlock(&board->lock);
    switch (change) {
    case CHANGE_NONE:
        break;
    case CHANGE_AWAY:
        log_warn("store", "%s.away error=%s", names[store], LOG_VALUE(error ? error : ""));
        break;
    case CHANGE_BACK:
        log_info("store", "%s.back away_ms=%" PRId64, names[store], wall_ms - before_ms);
        break;
    }
}

/* NULL: nothing speaks against it. */
static const char *fault_of(const struct counter_observed *redis)
{
    if (!redis->master)
        return "it is a replica; give --redis the address of the master";
    if (redis->evicts)
        return "its maxmemory-policy deletes holds; it must be noeviction";
    if (redis->layout > COUNTER_LAYOUT)
        return "its keys were written by a newer server; this one cannot read them";
    return NULL;
}

bool status_note_redis(struct status_board *board, const struct counter_observe *look,
                       int64_t wall_ms, int64_t latency_us, const char *error)
{
    bool up = look->call.status == STATUS_OK;

    if (up && fault_of(&look->call.observed)) {
        error = fault_of(&look->call.observed);
        up = false;
    }
    status_note(board, STATUS_STORE_REDIS, up, wall_ms, latency_us, error);
    return up;
}

bool status_note_root(struct status_board *board, int64_t system, int64_t timeline)
{
    struct status_store_state *state = &board->stores[STATUS_STORE_POSTGRES];
    char now[STATUS_IDENTITY_BYTES], was[STATUS_IDENTITY_BYTES];
    bool changed;

    snprintf(now, sizeof(now), "%" PRId64 "/%" PRId64, system, timeline);
    pthread_mutex_lock(&board->lock);
    memcpy(was, state->identity, sizeof(was));
    changed = was[0] && strcmp(was, now) != 0;
    memcpy(state->identity, now, sizeof(now));
    state->failovers += changed;
    pthread_mutex_unlock(&board->lock);
    if (changed)
        log_warn("store", "root.failed_over is=%s was=%s", now, was);
    return changed;
}

static struct status_store_state read_store(struct status_board *board, enum status_store store)
{
    struct status_store_state state;

    pthread_mutex_lock(&board->lock);
    state = board->stores[store];
    pthread_mutex_unlock(&board->lock);
    return state;
}

/* --- GetStatus -------------------------------------------------------------------------------- */

static bool ask_postgres(struct op *op, struct stores *stores)
{
    const struct clock *clock = op->services->clock;
    int64_t before_us = clock_mono_us(clock);
    bool up = stores->table->database_ping(stores->db) == STATUS_OK;

    status_note(op->services->status_board, STATUS_STORE_POSTGRES, up, clock_wall_ms(clock),
                clock_mono_us(clock) - before_us, stores->table->database_error(stores->db));
    return up;
}

static bool ask_redis(struct op *op, struct stores *stores)
{
    const struct clock *clock = op->services->clock;
    struct counter_observe observe = {.call = {.kind = COUNTER_OBSERVE, .arena = op->arena}};
    int64_t before_us = clock_mono_us(clock);

    stores->table->counter_add(stores->counter, &observe.call);
    stores->table->counter_run(stores->counter);
    return status_note_redis(op->services->status_board, &observe, clock_wall_ms(clock),
                             clock_mono_us(clock) - before_us,
                             stores->table->counter_last_error(stores->counter));
}

static void run(struct stores *stores, struct counter_call **calls, size_t count)
{
    enum recovery reason;

    for (size_t done = 0; done < count; done += STORES_CALLS_MAX) {
        size_t some = count - done < STORES_CALLS_MAX ? count - done : STORES_CALLS_MAX;

        /* Each call is looked at by itself; those that failed count nothing. */
        if (!stores_run(stores, calls + done, some, &reason))
            continue;
    }
}

static bool worked(const struct counter_call *call)
{
    return call->status == STATUS_OK && call->guard == GUARD_PASSED;
}

/*
 * The index of tenants that have holds is asked for those due by the end of time; then each tenant
 * for its counts. Two round trips, for up to TENANTS_PER_SHARD tenants of each shard.
 */
static void count_holds(struct op_status *op, struct stores *stores)
{
    struct op *base = &op->op;
    int shards[SHARDS];
    size_t shards_count = authority_active(base->services->authority, shards), count = 0;
    struct counter_due *dues = arena_array(base->arena, shards_count, sizeof(*dues));
    struct counter_holds *holds =
        arena_array(base->arena, shards_count * TENANTS_PER_SHARD, sizeof(*holds));
    struct counter_call **calls =
        arena_array(base->arena, shards_count * TENANTS_PER_SHARD, sizeof(struct counter_call *));

    CHECK(dues && holds && calls);
    for (size_t i = 0; i < shards_count; i++) {
        dues[i] = (struct counter_due){.call = {.kind = COUNTER_DUE,
                                                .view.shard = shards[i],
                                                .arena = base->arena},
                                       .now_ms = AMOUNT_MAX,
                                       .max = TENANTS_PER_SHARD};
        calls[i] = &dues[i].call;
    }
    run(stores, calls, shards_count);
    for (size_t i = 0; i < shards_count; i++)
        for (size_t k = 0; worked(&dues[i].call) && k < dues[i].tenants_count; k++) {
            holds[count] = (struct counter_holds){.call = {.kind = COUNTER_HOLDS,
                                                           .view.shard = shards[i],
                                                           .arena = base->arena},
                                                  .tenant_id = dues[i].tenants[k],
                                                  .after_deadline_ms = -1,
                                                  .now_ms = base->now_ms};
            calls[count] = &holds[count].call;
            count++;
        }
    run(stores, calls, count);
    for (size_t i = 0; i < count; i++)
        if (worked(&holds[i].call)) {
            op->holds += holds[i].holds_total - holds[i].holds_due;
            op->holds_due += holds[i].holds_due;
        }
}

static void get_status(struct op *base, struct stores *stores)
{
    struct op_status *op = container_of(base, struct op_status, op);
    struct services *services = base->services;
    bool up = ask_postgres(base, stores);
    int64_t mono_us;

    op->seals_known = up && stores->table->seals_read(stores->db, &op->seals) == STATUS_OK;
    if (!up || stores->table->placed_count(stores->db, STATUS_PLACED_MAX, &op->placed) != STATUS_OK)
        op->placed = -1;
    if (!up || stores->table->losses_tenants(stores->db, base->arena, STATUS_READ_ONLY_MAX,
                                             &op->read_only, &op->read_only_count) != STATUS_OK)
        op->read_only_count = 0;
    if (!up || stores->table->drift_totals_read(stores->db, &op->drifts) != STATUS_OK)
        op->drifts = (struct ledger_drift_totals){.count = -1};
    mono_us = clock_mono_us(services->clock);
    base->now_ms = estimate_now_ms(services->estimate, mono_us);
    if (estimate_ready(services->estimate))
        op->clock_offset_ms = base->now_ms - clock_wall_ms(services->clock);
    op->placing = redis_is_away(services);
    if (ask_redis(base, stores))
        count_holds(op, stores);
    for (int i = 0; i < STATUS_STORES; i++)
        op->stores[i] = read_store(services->status_board, (enum status_store)i);
    alarms_read(services->alarms, &op->alarms);
    op_finish(base);
}

void op_status_start(struct op_status *op)
{
    inbox_to_desk(&op->op, get_status);
}
