#include "tests/op/pretend.h"

#include "base/breaker.h"
#include "base/check.h"
#include "ledger/alarms.h"
#include "op/aside.h"
#include "op/authority.h"
#include "op/crossings.h"
#include "op/degraded.h"
#include "op/dirty.h"
#include "op/open.h"
#include "op/inbox.h"
#include "op/plans.h"
#include "op/redis.h"
#include "op/shares.h"
#include "quota/times.h"

#include <stdlib.h>

static struct pretend *now; /* that the functions of the table are about */
static struct counter_call *added[STORES_CALLS_MAX];
static size_t added_count;

/* Behind the table these are only addresses. */
static struct database *make_database(const struct database_options *options)
{
    (void)options;
    return (struct database *)now;
}

static void drop_database(struct database *db)
{
    (void)db;
}

static const char *say_nothing(const struct database *db)
{
    (void)db;
    return "";
}

/* One that answers, whatever a test lets it refuse: its breaker stays closed. */
static const char *say_full(const struct counter *counter)
{
    (void)counter;
    return "OOM pretended";
}

static struct counter *make_counter(const struct counter_options *options)
{
    (void)options;
    return (struct counter *)now;
}

static void drop_counter(struct counter *counter)
{
    (void)counter;
}

static void add(struct counter *counter, struct counter_call *call)
{
    (void)counter;
    CHECK(added_count < STORES_CALLS_MAX);
    added[added_count++] = call;
}

static void run(struct counter *counter)
{
    (void)counter;
    now->round_trips += added_count > 0;
    for (size_t i = 0; i < added_count; i++) {
        added[i]->status = STATUS_OK;
        added[i]->guard = GUARD_PASSED;
        if (now->redis)
            now->redis(added[i]);
    }
    added_count = 0;
}

static void activate_all(struct services *services)
{
    for (int shard = 0; shard < SHARDS; shard++) {
        const struct shard_view view = {.shard = shard, .epoch = 1, .active = true};

        authority_set(services->authority, &view);
    }
    shares_set(services->shares, SLICE("pretend"), NULL, 0);
}

struct pretend *pretend_begin(void)
{
    const struct stores_options options = {.scratch_bytes = 4096, .scratch_bytes_max = 1 << 30};
    struct services *services;

    now = calloc(1, sizeof(*now));
    CHECK(now);
    added_count = 0;
    now->table = (struct store_table){.database_create = make_database,
                                      .database_destroy = drop_database,
                                      .database_error = say_nothing,
                                      .database_sqlstate = say_nothing,
                                      .counter_create = make_counter,
                                      .counter_destroy = drop_counter,
                                      .counter_add = add,
                                      .counter_run = run,
                                      .counter_last_error = say_full};
    services = &now->services;
    services->stores_table = &now->table;
    services->clock = clock_real();
    estimate_init(&now->estimate);
    services->estimate = &now->estimate;
    services->plans = plans_create(services->clock, PLANS_BYTES_MAX);
    services->authority = authority_create();
    services->shares = shares_create();
    services->aside = aside_create();
    services->dirty = dirty_create();
    services->degraded = degraded_create();
    services->crossings = crossings_create();
    services->open = open_create();
    services->options.redis_timeout_ms = REDIS_MS;
    services->redis_breaker = redis_breaker_create(&services->options);
    services->entropy = entropy_real();
    services->inbox = inbox_create();
    services->alarms = alarms_create(services->clock);
    activate_all(services);
    now->stores = stores_open(services, &options);
    return now;
}

void pretend_desk(struct pretend *pretend)
{
    struct op *op = desk_queue_take(inbox_desks(pretend->services.inbox), 0);

    CHECK(op);
    arena_reset(&pretend->stores->scratch);
    op->run(op, pretend->stores);
}

void pretend_end(struct pretend *pretend)
{
    struct services *services = &pretend->services;

    stores_close(pretend->stores);
    inbox_destroy(services->inbox);
    alarms_destroy(services->alarms);
    aside_destroy(services->aside);
    dirty_destroy(services->dirty);
    degraded_destroy(services->degraded);
    crossings_destroy(services->crossings);
    open_destroy(services->open);
    breaker_destroy(services->redis_breaker);
    shares_destroy(services->shares);
    authority_destroy(services->authority);
    plans_destroy(services->plans);
    estimate_done(&pretend->estimate);
    free(pretend);
    now = NULL;
}
