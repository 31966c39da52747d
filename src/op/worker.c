#define _GNU_SOURCE /* ppoll */

#include "op/worker.h"

#include "base/check.h"
#include "base/log.h"
#include "counter/counter.h"
#include "op/authority.h"
#include "op/commit.h"
#include "op/granter.h"
#include "op/reserve.h"
#include "op/services.h"
#include "op/settle.h"
#include "op/settles.h"
#include "stub/call.h"
#include "stub/server.h"

#include <poll.h>
#include <stdlib.h>
#include <time.h>

enum {
    SCRIPT_ITEMS_MAX = 64,    /* Reserves in one script */
    SETTLES_MAX = 256,        /* in one round trip */
    PENDING_MAX = 4096,       /* beyond: RESOURCE_EXHAUSTED */
    EVENTS_PER_TURN = 256,    /* calls taken before Redis is looked at again */
    REDIS_POLL_NS = 100000,   /* how long to wait for Redis before new calls are looked for */
    SCRATCH_BYTES = 64 * 1024,
};

/* One script on its way, and whose answers it brings. */
struct flight {
    struct flight *next;
    struct counter_reserve reserve;
    struct counter_reserve_item items[SCRIPT_ITEMS_MAX];
    struct op_reserve *ops[SCRIPT_ITEMS_MAX];
};

struct look {
    struct look *next;
    struct counter_lookup lookup;
    struct op_commit *op;
};

struct worker {
    struct services *services;
    struct stub_server *server;
    struct counter *counter;
    struct arena scratch; /* of the outstanding batch */
    struct op_reserve *reserves, **reserves_tail;
    struct commit_item *lookups, **lookups_tail;
    size_t pending;
    bool outstanding;
    struct settle_turn turn; /* the settles of the outstanding batch */
    struct settle_flight settles;
    struct flight *flights;
    struct flight *open[SHARDS]; /* the flight of a shard that still has room, while sending */
    struct look *looks;
    struct log_limit redis_log;
};

static bool has_work(const struct worker *worker)
{
    return worker->pending > 0 || settles_pending(worker->services->settles);
}

struct worker *worker_create(struct services *services, struct stub_server *server)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    struct counter_options options = {
        .address = services->options.redis,
        .connect_timeout_ms = services->options.redis_timeout_ms,
        .timeout_ms = services->options.worker_timeout_ms,
    };

    CHECK(worker);
    worker->services = services;
    worker->server = server;
    worker->counter = counter_create(&options);
    arena_init(&worker->scratch, SCRATCH_BYTES, 64u << 20);
    worker->reserves_tail = &worker->reserves;
    worker->lookups_tail = &worker->lookups;
    return worker;
}

void worker_destroy(struct worker *worker)
{
    if (!worker)
        return;
    CHECK(!worker->outstanding && !has_work(worker));
    counter_destroy(worker->counter);
    arena_done(&worker->scratch);
    free(worker);
}

void worker_add_reserve(struct worker *worker, struct op_reserve *op)
{
    if (worker->pending >= PENDING_MAX) {
        op_fail(&op->op, FAILURE_OVERLOADED, false,
                "too many calls wait for Redis; try again in a moment");
        reserve_finish(op);
        return;
    }
    op->work->next = NULL;
    *worker->reserves_tail = op;
    worker->reserves_tail = &op->work->next;
    worker->pending++;
}

void worker_add_lookup(struct worker *worker, struct op_commit *op)
{
    if (worker->pending >= PENDING_MAX) {
        op_fail(&op->op, FAILURE_OVERLOADED, false,
                "too many calls wait for Redis; try again in a moment");
        op_finish(&op->op);
        return;
    }
    op->item.next = NULL;
    *worker->lookups_tail = &op->item;
    worker->lookups_tail = &op->item.next;
    worker->pending++;
}

static void *scratch(struct worker *worker, size_t size)
{
    void *memory = arena_zalloc(&worker->scratch, size);

    CHECK(memory);
    return memory;
}

static int64_t now_ms(const struct worker *worker)
{
    return estimate_now_ms(worker->services->estimate, clock_mono_us(worker->services->clock));
}

/* --- sending ------------------------------------------------------------------------------------ */

static struct flight *flight_for(struct worker *worker, const struct shard_view *view, int64_t now)
{
    struct flight *flight = worker->open[view->shard];

    if (flight && flight->reserve.items_count < SCRIPT_ITEMS_MAX)
        return flight;
    flight = arena_alloc(&worker->scratch, sizeof(*flight));
    CHECK(flight);
    flight->reserve = (struct counter_reserve){
        .call = {.kind = COUNTER_RESERVE, .view = *view, .arena = &worker->scratch},
        .now_ms = now,
        .items = flight->items,
    };
    flight->next = worker->flights;
    worker->flights = flight;
    worker->open[view->shard] = flight;
    return flight;
}

static bool past_deadline(struct op *op, int64_t mono_us)
{
    if (op->give_up_us > mono_us)
        return false;
    op_fail(op, FAILURE_DEADLINE, false, "the deadline passed before anything was sent to Redis");
    return true;
}

static void board_reserve(struct worker *worker, struct op_reserve *op, int64_t now,
                          int64_t mono_us)
{
    struct shard_view view;
    struct flight *flight;

    if (past_deadline(&op->op, mono_us)) {
        reserve_finish(op);
        return;
    }
    if (!authority_get(worker->services->authority, op->op.plan->shard, &view) ||
        !estimate_ready(worker->services->estimate)) {
        reserve_to_granter(op);
        return;
    }
    if (!reserve_plan(op, now)) {
        if (op->op.error.failure == FAILURE_NO_LIMIT) {
            op->op.error = (struct op_error){0};
            reserve_to_granter(op);
        } else {
            reserve_finish(op);
        }
        return;
    }
    flight = flight_for(worker, &view, now);
    flight->items[flight->reserve.items_count] = reserve_item(op, now);
    flight->ops[flight->reserve.items_count++] = op;
}

static void board_lookup(struct worker *worker, struct op_commit *op, int64_t mono_us)
{
    struct shard_view view;
    struct look *look;
    struct slice *job;

    if (past_deadline(&op->op, mono_us)) {
        op_finish(&op->op);
        return;
    }
    if (!authority_get(worker->services->authority, op->op.plan->shard, &view)) {
        commit_looked_up(op, false, slice_of(NULL, 0));
        return;
    }
    look = scratch(worker, sizeof(*look));
    job = scratch(worker, sizeof(*job));
    *job = op->job_id;
    look->op = op;
    look->lookup = (struct counter_lookup){
        .call = {.kind = COUNTER_LOOKUP, .view = view, .arena = &worker->scratch},
        .tenant_id = op->op.plan->tenant_id,
        .jobs_count = 1,
        .jobs = job,
    };
    look->next = worker->looks;
    worker->looks = look;
}

/* What Redis cannot be told from here is left to the granter, who can make a shard ready. */
static void settle_elsewhere(struct worker *worker, struct op_commit *op)
{
    op->op.run = granter_run_settle;
    if (!granter_push(worker->services->granter, &op->op))
        commit_settled(op);
}

static void board_settles(struct worker *worker)
{
    struct services *services = worker->services;
    struct op_commit **ops = scratch(worker, SETTLES_MAX * sizeof(struct op_commit *));
    size_t count = settles_take(services->settles, &worker->settles, ops, SETTLES_MAX);

    settle_turn_begin(&worker->turn, services, &worker->scratch, ops, count);
    for (size_t i = 0; i < worker->turn.shards_count; i++) {
        struct counter_call *call = settle_turn_call(&worker->turn, i);

        if (authority_get(services->authority, call->view.shard, &call->view))
            counter_add(worker->counter, call);
        else
            call->status = STATUS_UNAVAILABLE;
    }
}

/* Everything pending goes out in one round trip, the settles first: they free capacity. */
static void send_batch(struct worker *worker)
{
    struct op_reserve *reserve = worker->reserves;
    struct commit_item *commit = worker->lookups;
    int64_t now = now_ms(worker);
    int64_t mono_us = clock_mono_us(worker->services->clock);

    worker->reserves = NULL;
    worker->reserves_tail = &worker->reserves;
    worker->lookups = NULL;
    worker->lookups_tail = &worker->lookups;
    worker->pending = 0;
    if (settles_pending(worker->services->settles))
        board_settles(worker);
    for (struct op_reserve *next; reserve; reserve = next) {
        next = reserve->work->next;
        board_reserve(worker, reserve, now, mono_us);
    }
    for (struct commit_item *next; commit; commit = next) {
        next = commit->next;
        board_lookup(worker, container_of(commit, struct op_commit, item), mono_us);
    }
    for (struct flight *flight = worker->flights; flight; flight = flight->next) {
        worker->open[flight->reserve.call.view.shard] = NULL;
        counter_add(worker->counter, &flight->reserve.call);
    }
    for (struct look *look = worker->looks; look; look = look->next)
        counter_add(worker->counter, &look->lookup.call);
    worker->outstanding = worker->flights || worker->looks || worker->turn.ops_count > 0;
    if (worker->outstanding)
        (void)counter_send(worker->counter);
}

/* --- answers ------------------------------------------------------------------------------------- */

static void fail_redis(struct worker *worker, struct op *op, enum status status)
{
    log_every(&worker->redis_log, LOG_WARN, "worker", "redis.failed status=%s error=%s",
              status_name(status), LOG_VALUE(counter_last_error(worker->counter)));
    op_fail(op, FAILURE_REDIS_UNAVAILABLE, status_may_have_happened(status),
            status_may_have_happened(status)
                ? "Redis did not answer; the hold may exist: repeat with the same job_id"
                : "Redis cannot be reached; nothing was held: try again");
}

static void land_reserve(struct worker *worker, const struct flight *flight, size_t i)
{
    struct op_reserve *op = flight->ops[i];

    if (flight->reserve.call.status != STATUS_OK) {
        fail_redis(worker, &op->op, flight->reserve.call.status);
        reserve_finish(op);
        return;
    }
    if (flight->reserve.call.guard == GUARD_PASSED) {
        op->work->item = flight->items[i];
        if (flight->items[i].answer == RESERVED_ADMITTED) {
            reserve_admitted(op);
            reserve_finish(op);
            return;
        }
        op->work->asked = true;
    }
    reserve_keep_answer(op);
    reserve_to_granter(op);
}

static void land_lookup(struct look *look)
{
    bool asked = look->lookup.call.status == STATUS_OK && look->lookup.call.guard == GUARD_PASSED;

    commit_looked_up(look->op, asked, asked ? look->lookup.entries[0] : slice_of(NULL, 0));
}

static void land_settles(struct worker *worker)
{
    for (size_t i = 0; i < worker->turn.ops_count; i++) {
        struct op_commit *op = worker->turn.ops[i];

        if (settle_turn_done(&worker->turn, op))
            commit_settled(op);
        else
            settle_elsewhere(worker, op);
    }
    worker->turn.ops_count = 0;
    settles_landed(worker->services->settles, &worker->settles);
}

/* Their answers leave together. Those of settles do not: held, they cost less but no more get done. */
static void land_reserves(struct worker *worker, struct flight *flight)
{
    stub_cork();
    for (; flight; flight = flight->next)
        for (size_t i = 0; i < flight->reserve.items_count; i++)
            land_reserve(worker, flight, i);
    stub_uncork();
}

static void land_batch(struct worker *worker)
{
    struct flight *flight = worker->flights;
    struct look *look = worker->looks;

    worker->flights = NULL;
    worker->looks = NULL;
    worker->outstanding = false;
    land_reserves(worker, flight);
    for (; look; look = look->next)
        land_lookup(look);
    land_settles(worker);
    arena_reset(&worker->scratch);
}

/* --- the loop ------------------------------------------------------------------------------------ */

static void wait_for_redis(struct worker *worker)
{
    struct pollfd poll_fd = {.fd = counter_fd(worker->counter),
                             .events = counter_events(worker->counter)};
    struct timespec time = {.tv_sec = 0, .tv_nsec = REDIS_POLL_NS};

    ppoll(&poll_fd, 1, &time, NULL);
}

void worker_run(struct worker *worker)
{
    enum stub_next next = STUB_NEXT_EVENT;

    while (next != STUB_NEXT_SHUTDOWN || worker->outstanding || has_work(worker)) {
        bool idle = !worker->outstanding && !has_work(worker);

        if (next != STUB_NEXT_SHUTDOWN)
            next = stub_server_next(worker->server, idle ? -1 : 0, worker);
        for (int i = 1; next == STUB_NEXT_EVENT && i < EVENTS_PER_TURN; i++)
            next = stub_server_next(worker->server, 0, worker);
        if (!worker->outstanding && has_work(worker))
            send_batch(worker);
        if (!worker->outstanding)
            continue;
        if (counter_receive(worker->counter) == COUNTER_DONE)
            land_batch(worker);
        else
            wait_for_redis(worker);
    }
}
