#define _GNU_SOURCE /* ppoll */

#include "op/worker.h"

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "op/authority.h"
#include "op/commit.h"
#include "op/crossings.h"
#include "op/dirty.h"
#include "op/inbox.h"
#include "op/redis.h"
#include "op/reserve.h"
#include "op/services.h"
#include "op/stores.h"
#include "op/notify.h"
#include "op/notifies.h"
#include "stub/call.h"
#include "stub/server.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SCRIPT_ITEMS_MAX = 64,  /* Reserves, or jobs that are looked up, in one script */
    LOOKS_COMPARED = 16,    /* the latest ones: a tenant twice costs a script more */
    NOTIFIES_MAX = 256,     /* in one round trip */
    EVENTS_PER_TURN = 256,  /* calls taken before Redis is looked at again */
    REDIS_POLL_NS = 100000, /* how long to wait for Redis before new calls are looked for */
    SCRATCH_BYTES = 64 * 1024,
    TAGS = SHARDS / COUNTER_TAG_SHARDS,
};

/* One script on its way, about one or more shards of a tag, and whose answers it brings. */
struct flight {
    struct flight *next;
    struct counter_reserve reserve;
    struct shard_view views[COUNTER_TAG_SHARDS - 1]; /* the further ones */
    struct counter_reserve_item items[SCRIPT_ITEMS_MAX];
    struct op_reserve *ops[SCRIPT_ITEMS_MAX];
    size_t quotas_count; /* of all items */
};

/* What jobs of a tenant hold. */
struct look {
    struct look *next;
    struct counter_lookup lookup;
    struct slice jobs[SCRIPT_ITEMS_MAX];
    struct op_commit *ops[SCRIPT_ITEMS_MAX];
};

struct worker {
    struct services *services;
    struct stub_server *server;
    struct stores *stores; /* Redis only; scratch is of the outstanding batch */
    struct inbox_worker inbox;
    bool outstanding;
    struct notify_turn turn; /* the notifies of the outstanding batch */
    struct notify_flight notifies;
    struct flight *flights;
    struct flight *open[TAGS]; /* the flight of a tag that still has room, while sending */
    struct look *looks;
    struct log_limit redis_log;
};

static bool has_work(const struct worker *worker)
{
    return worker->inbox.pending > 0 || notifies_pending(worker->services->notifies);
}

struct worker *worker_create(struct services *services, struct stub_server *server)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    const struct stores_options options = {
        .counter_timeout_ms = services->options.worker_timeout_ms,
        .without_database = true,
        .scratch_bytes = SCRATCH_BYTES,
        .scratch_bytes_max = 64u << 20,
    };

    CHECK(worker);
    worker->services = services;
    worker->server = server;
    worker->stores = stores_open(services, &options);
    inbox_worker_init(&worker->inbox);
    return worker;
}

void worker_destroy(struct worker *worker)
{
    if (!worker)
        return;
    CHECK(!worker->outstanding && !has_work(worker));
    stores_close(worker->stores);
    free(worker);
}

static void *scratch(struct worker *worker, size_t size)
{
    struct stores *stores = worker->stores;
    void *memory = arena_zalloc(&stores->scratch, size);

    CHECK(memory);
    return memory;
}

static int64_t now_ms(const struct worker *worker)
{
    return services_now_ms(worker->services);
}

/* --- sending ------------------------------------------------------------------------------------ */

static bool same_view(const struct shard_view *a, const struct shard_view *b)
{
    return a->shard == b->shard && a->epoch == b->epoch && strcmp(a->nonce, b->nonce) == 0;
}

/* False: it is believed of another Redis, or the same shard of another epoch; the flight has no place. */
static bool find_view(struct flight *flight, const struct shard_view *view, size_t *ret)
{
    struct counter_call *call = &flight->reserve.call;

    if (strcmp(call->view.replid, view->replid) != 0)
        return false;
    for (size_t i = 0; i <= call->views_count; i++) {
        const struct shard_view *known = i == 0 ? &call->view : &flight->views[i - 1];

        *ret = i;
        if (known->shard == view->shard)
            return same_view(known, view);
    }
    flight->views[call->views_count] = *view;
    *ret = ++call->views_count;
    return true;
}

/* With so many quotas the script is still about no more than it may be about. */
static bool has_room(const struct flight *flight, size_t quotas)
{
    return flight->reserve.items_count < SCRIPT_ITEMS_MAX &&
           flight->quotas_count + quotas <= COUNTER_PART_MAX;
}

static struct flight *flight_for(struct worker *worker, const struct shard_view *view,
                                 size_t quotas, int64_t now, size_t *ret_view)
{
    struct stores *stores = worker->stores;
    struct flight *flight = worker->open[counter_tag(view->shard)];

    if (flight && has_room(flight, quotas) && find_view(flight, view, ret_view))
        return flight;
    *ret_view = 0;
    flight = arena_alloc(&stores->scratch, sizeof(*flight));
    CHECK(flight);
    flight->reserve = (struct counter_reserve){
        .call = {.kind = COUNTER_RESERVE,
                 .view = *view,
                 .views = flight->views,
                 .arena = &stores->scratch},
        .now_ms = now,
        .items = flight->items,
    };
    flight->quotas_count = 0;
    flight->next = worker->flights;
    worker->flights = flight;
    worker->open[counter_tag(view->shard)] = flight;
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
    size_t view_index;

    if (past_deadline(&op->op, mono_us)) {
        reserve_finish(op);
        return;
    }
    if (!authority_get(worker->services->authority, op->op.plan->shard, &view) ||
        !estimate_ready(worker->services->estimate) || redis_is_away(worker->services) ||
        dirty_has(worker->services->dirty, op->op.plan->tenant_id, mono_us)) {
        reserve_to_granter(op);
        return;
    }
    if (!reserve_plan(op, now)) { /* it may be a repeat, or get an unlimited limit */
        op->op.error = (struct op_error){0};
        reserve_doubt_plan(op);
        reserve_to_granter(op);
        return;
    }
    if (reserve_is_long(op) || FAULT("reserve.before_script")) {
        reserve_to_granter(op);
        return;
    }
    reserve_step(op, RESERVE_PLANNED);
    flight = flight_for(worker, &view, op->work->quotas_count, now, &view_index);
    flight->quotas_count += op->work->quotas_count;
    flight->items[flight->reserve.items_count] = reserve_item(op, now);
    flight->items[flight->reserve.items_count].view = view_index;
    flight->ops[flight->reserve.items_count++] = op;
}

static struct look *look_for(struct worker *worker, int64_t tenant_id,
                             const struct shard_view *view)
{
    struct stores *stores = worker->stores;
    struct look *look = worker->looks;

    for (int i = 0; look && i < LOOKS_COMPARED; i++, look = look->next)
        if (look->lookup.tenant_id == tenant_id && look->lookup.jobs_count < SCRIPT_ITEMS_MAX)
            return look;
    look = arena_alloc(&stores->scratch, sizeof(*look));
    CHECK(look);
    look->lookup = (struct counter_lookup){
        .call = {.kind = COUNTER_LOOKUP, .view = *view, .arena = &stores->scratch},
        .tenant_id = tenant_id,
        .jobs = look->jobs,
    };
    look->next = worker->looks;
    worker->looks = look;
    return look;
}

static void board_lookup(struct worker *worker, struct op_commit *op, int64_t mono_us)
{
    struct shard_view view;
    struct look *look;

    if (past_deadline(&op->op, mono_us)) {
        op_finish(&op->op);
        return;
    }
    if (redis_is_away(worker->services)) {
        commit_looked_up(op, false, slice_of(NULL, 0));
        return;
    }
    if (!authority_get(worker->services->authority, op->op.plan->shard, &view)) {
        commit_look_up_elsewhere(op);
        return;
    }
    look = look_for(worker, op->op.plan->tenant_id, &view);
    look->jobs[look->lookup.jobs_count] = op->job_id;
    look->ops[look->lookup.jobs_count++] = op;
}

/* What Redis cannot be told from here is left to the granter, who can make a shard ready. */
static void notify_elsewhere(struct op_commit *op)
{
    if (!inbox_to_granter(&op->op, OP_NOTIFY))
        commit_not_notified(op);
}

static void board_notifies(struct worker *worker)
{
    struct stores *stores = worker->stores;
    struct services *services = worker->services;
    struct op_commit **ops = scratch(worker, NOTIFIES_MAX * sizeof(struct op_commit *));
    size_t count = notifies_take(services->notifies, &worker->notifies, ops, NOTIFIES_MAX);

    notify_turn_begin(&worker->turn, NOTIFY_BY_TAG, services, &stores->scratch, ops, count);
    for (size_t i = 0; i < worker->turn.parts_count; i++) {
        struct counter_call *call = notify_turn_call(&worker->turn, i);

        if (!redis_is_away(services) && notify_turn_ready(&worker->turn, i, services->authority))
            stores->table->counter_add(stores->counter, call);
        else
            call->status = STATUS_UNAVAILABLE;
    }
}

/* Everything pending goes out in one round trip, the notifies first: they free capacity. */
static void send_batch(struct worker *worker)
{
    struct stores *stores = worker->stores;
    struct inbox_worker inbox = worker->inbox;
    struct op *op;
    int64_t now = now_ms(worker);
    int64_t mono_us = clock_mono_us(worker->services->clock);

    inbox_worker_init(&worker->inbox);
    if (notifies_pending(worker->services->notifies))
        board_notifies(worker);
    while ((op = inbox_list_take(&inbox.reserves)))
        board_reserve(worker, container_of(op, struct op_reserve, op), now, mono_us);
    while ((op = inbox_list_take(&inbox.lookups)))
        board_lookup(worker, container_of(op, struct op_commit, op), mono_us);
    for (struct flight *flight = worker->flights; flight; flight = flight->next) {
        worker->open[counter_tag(flight->reserve.call.view.shard)] = NULL;
        stores->table->counter_add(stores->counter, &flight->reserve.call);
    }
    for (struct look *look = worker->looks; look; look = look->next)
        stores->table->counter_add(stores->counter, &look->lookup.call);
    worker->outstanding = worker->flights || worker->looks || worker->turn.ops_count > 0;
    if (worker->outstanding)
        (void)stores->table->counter_send(stores->counter);
}

/* --- answers ------------------------------------------------------------------------------------- */

/* The granter takes the hold in Postgres. */
static void leave_redis(struct worker *worker, struct op_reserve *op, enum status status)
{
    struct stores *stores = worker->stores;

    log_every(&worker->redis_log, LOG_WARN, "worker", "redis.failed status=%s error=%s",
              status_name(status), LOG_VALUE(stores->table->counter_last_error(stores->counter)));
    op->work->maybe_held |= status_may_have_happened(status);
    reserve_step(op, RESERVE_AWAY);
    reserve_to_granter(op);
}

static void land_reserve(struct worker *worker, const struct flight *flight, size_t i)
{
    struct op_reserve *op = flight->ops[i];
    enum status status = flight->reserve.call.status;

    if (status == STATUS_OK && FAULT("reserve.after_script"))
        status = STATUS_UNKNOWN;
    if (status == STATUS_CORRUPT) { /* perhaps because of one tenant of them */
        reserve_to_granter(op);
        return;
    }
    if (status != STATUS_OK) {
        leave_redis(worker, op, status);
        return;
    }
    if (flight->reserve.call.guard == GUARD_PASSED)
        reserve_take_answer(op, &flight->items[i]);
    else
        dirty_doubt(worker->services->dirty, services_mono_us(worker->services));
    if (reserve_is(op, RESERVE_ANSWERED))
        reserve_finish(op);
    else
        reserve_to_granter(op);
}

/* An empty entry says nothing where the tenant's holds were lost. */
static void land_lookup(const struct look *look, size_t i)
{
    const struct counter_lookup *lookup = &look->lookup;

    /* It answers, and is not what was believed of it. */
    if (lookup->call.status == STATUS_CORRUPT ||
        (lookup->call.status == STATUS_OK && lookup->call.guard != GUARD_PASSED))
        commit_look_up_elsewhere(look->ops[i]);
    else if (lookup->call.status != STATUS_OK)
        commit_looked_up(look->ops[i], false, slice_of(NULL, 0));
    else
        commit_looked_up(look->ops[i], !lookup->lost[i], lookup->entries[i]);
}

static void land_notifies(struct worker *worker)
{
    for (size_t i = 0; i < worker->turn.ops_count; i++) {
        struct op_commit *op = worker->turn.ops[i];

        if (notify_turn_done(&worker->turn, i))
            commit_notified(op);
        else
            notify_elsewhere(op);
    }
    worker->turn.ops_count = 0;
    notifies_landed(worker->services->notifies, &worker->notifies);
}

/* Their answers leave together. Those of notifies do not: held, they cost less but no more get done. */
static void land_reserves(struct worker *worker, struct flight *flight)
{
    stub_cork();
    for (; flight; flight = flight->next)
        for (size_t i = 0; i < flight->reserve.items_count; i++)
            land_reserve(worker, flight, i);
    stub_uncork();
}

/* Before anybody else is sent there. */
static void note_redis(struct worker *worker, const struct flight *flight, const struct look *look)
{
    for (; flight; flight = flight->next)
        redis_note(worker->stores, flight->reserve.call.status);
    for (; look; look = look->next)
        redis_note(worker->stores, look->lookup.call.status);
}

/* What watchers are to be told of what is reserved. */
static void note_crossings(struct worker *worker, const struct flight *flight)
{
    struct crossings *crossings = worker->services->crossings;

    for (; flight; flight = flight->next)
        if (crossings_in(&flight->reserve.call))
            crossings_note(crossings, flight->reserve.call.view.shard);
    for (size_t i = 0; i < worker->turn.parts_count; i++) {
        const struct counter_call *call = notify_turn_call(&worker->turn, i);

        if (worker->turn.ops_count > 0 && crossings_in(call))
            crossings_note(crossings, call->view.shard);
    }
}

static void land_batch(struct worker *worker)
{
    struct stores *stores = worker->stores;
    struct flight *flight = worker->flights;
    struct look *look = worker->looks;

    worker->flights = NULL;
    worker->looks = NULL;
    worker->outstanding = false;
    note_redis(worker, flight, look);
    note_crossings(worker, flight);
    land_reserves(worker, flight);
    for (; look; look = look->next)
        for (size_t i = 0; i < look->lookup.jobs_count; i++)
            land_lookup(look, i);
    land_notifies(worker);
    arena_reset(&stores->scratch);
}

/* --- the loop ------------------------------------------------------------------------------------ */

static void wait_for_redis(struct worker *worker)
{
    struct stores *stores = worker->stores;
    struct pollfd poll_fd = {.fd = stores->table->counter_fd(stores->counter),
                             .events = stores->table->counter_events(stores->counter)};
    struct timespec time = {.tv_sec = 0, .tv_nsec = REDIS_POLL_NS};

    ppoll(&poll_fd, 1, &time, NULL);
}

void worker_run(struct worker *worker)
{
    struct stores *stores = worker->stores;
    enum stub_next next = STUB_NEXT_EVENT;

    while (next != STUB_NEXT_SHUTDOWN || worker->outstanding || has_work(worker)) {
        bool idle = !worker->outstanding && !has_work(worker);

        if (next != STUB_NEXT_SHUTDOWN)
            next = stub_server_next(worker->server, idle ? -1 : 0, &worker->inbox);
        for (int i = 1; next == STUB_NEXT_EVENT && i < EVENTS_PER_TURN; i++)
            next = stub_server_next(worker->server, 0, &worker->inbox);
        if (!worker->outstanding && has_work(worker))
            send_batch(worker);
        if (!worker->outstanding)
            continue;
        if (stores->table->counter_receive(stores->counter) == COUNTER_DONE)
            land_batch(worker);
        else
            wait_for_redis(worker);
    }
}
