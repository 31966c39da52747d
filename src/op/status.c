#include "op/status.h"

#include "base/amount.h"
#include "base/check.h"
#include "counter/counter.h"
#include "op/authority.h"
#include "op/recover.h"
#include "op/services.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    TENANTS_PER_SHARD = 64, /* whose holds are counted */
};

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

void status_note(struct status_board *board, enum status_store store, bool up, int64_t wall_ms,
                 int64_t latency_us, const char *error)
{
    struct status_store_state *state = &board->stores[store];

    pthread_mutex_lock(&board->lock);
    if (!state->known || state->up != up)
        state->since_ms = wall_ms;
    state->known = true;
    state->up = up;
    if (up)
        state->latency_us = latency_us;
    else if (error && error[0])
        snprintf(state->error, sizeof(state->error), "%s", error);
    pthread_mutex_unlock(&board->lock);
}

struct status_store_state status_read(struct status_board *board, enum status_store store)
{
    struct status_store_state state;

    pthread_mutex_lock(&board->lock);
    state = board->stores[store];
    pthread_mutex_unlock(&board->lock);
    return state;
}

/* --- GetStatus -------------------------------------------------------------------------------- */

static void ask_postgres(struct op *op, struct desk *desk)
{
    const struct clock *clock = op->services->clock;
    int64_t before_us = clock_mono_us(clock);
    bool up = database_ping(desk->db) == STATUS_OK;

    status_note(op->services->status_board, STATUS_STORE_POSTGRES, up, clock_wall_ms(clock),
                clock_mono_us(clock) - before_us, database_error(desk->db));
}

static bool ask_redis(struct op *op, struct desk *desk)
{
    const struct clock *clock = op->services->clock;
    struct counter_observe observe = {.call = {.kind = COUNTER_OBSERVE, .arena = op->arena}};
    int64_t before_us = clock_mono_us(clock);
    bool up;

    counter_add(desk->counter, &observe.call);
    counter_run(desk->counter);
    up = observe.call.status == STATUS_OK;
    status_note(op->services->status_board, STATUS_STORE_REDIS, up, clock_wall_ms(clock),
                clock_mono_us(clock) - before_us, counter_last_error(desk->counter));
    return up;
}

static void run(struct op *op, struct desk *desk, struct counter_call **calls, size_t count)
{
    enum recovery reason;

    for (size_t done = 0; done < count; done += RUN_CALLS_MAX) {
        size_t some = count - done < RUN_CALLS_MAX ? count - done : RUN_CALLS_MAX;

        /* Each call is looked at by itself; those that failed count nothing. */
        if (!run_counter_calls(op->services, desk->db, desk->counter, calls + done, some, &reason))
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
static void count_holds(struct op_status *op, struct desk *desk)
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
    run(base, desk, calls, shards_count);
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
    run(base, desk, calls, count);
    for (size_t i = 0; i < count; i++)
        if (worked(&holds[i].call)) {
            op->holds += holds[i].holds_total - holds[i].holds_due;
            op->holds_due += holds[i].holds_due;
        }
}

static void get_status(struct op *base, void *thread)
{
    struct op_status *op = container_of(base, struct op_status, op);
    struct services *services = base->services;
    struct desk *desk = thread;
    int64_t mono_us;

    ask_postgres(base, desk);
    mono_us = clock_mono_us(services->clock);
    base->now_ms = estimate_now_ms(services->estimate, mono_us);
    if (estimate_ready(services->estimate))
        op->clock_offset_ms = base->now_ms - clock_wall_ms(services->clock);
    if (ask_redis(base, desk))
        count_holds(op, desk);
    for (int i = 0; i < STATUS_STORES; i++)
        op->stores[i] = status_read(services->status_board, (enum status_store)i);
    op_finish(base);
}

void op_status_start(struct op_status *op)
{
    op_desk_start(&op->op, get_status);
}
