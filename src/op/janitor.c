#include "op/janitor.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/log.h"
#include "base/thread.h"
#include "counter/counter.h"
#include "ledger/ledger.h"
#include "op/authority.h"
#include "op/op.h"
#include "op/plans.h"
#include "op/recover.h"
#include "op/settle.h"
#include "op/status.h"
#include "op/sweep.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    TICK_MS = 250,
    LOOK_EVERY_MS = 500,
    CLOSE_EVERY_MS = 1000,
    RETENTION_EVERY_MS = 60000,
    RECALLS_MAX = 256,
    CLOSE_MAX = 256,
    RETENTION_MAX = 10000,
    CONNECT_TIMEOUT_MS = 1000,
    STATEMENT_TIMEOUT_MS = 5000,
};

struct janitor {
    struct services *services;
    struct database *db;
    struct counter *counter;
    struct arena arena;
    pthread_t thread;
    int stop_fd;
    int64_t versions_position;
    int64_t look_us, close_us, retention_us; /* when next */
    struct log_limit log;
};

static bool is_due(struct janitor *janitor, int64_t *next_us, int every_ms)
{
    int64_t now_us = clock_mono_us(janitor->services->clock);

    if (now_us < *next_us)
        return false;
    *next_us = now_us + every_ms * INT64_C(1000);
    return true;
}

static void failed(struct janitor *janitor, const char *what, enum status status)
{
    log_every(&janitor->log, LOG_WARN, "janitor", "%s.failed status=%s error=%s", what,
              status_name(status), LOG_VALUE(database_error(janitor->db)));
}

static bool look_at_authority(struct janitor *janitor)
{
    struct shard_view views[SHARDS];
    bool known[SHARDS];
    enum status status = ledger_authority_all(janitor->db, views, known);

    if (status != STATUS_OK) {
        failed(janitor, "authority", status);
        return false;
    }
    for (int shard = 0; shard < SHARDS; shard++)
        if (known[shard])
            authority_set(janitor->services->authority, &views[shard]);
    return true;
}

/* A version that its author could not bring to Redis is brought by the next janitor. */
static void bring_version(struct janitor *janitor, const struct ledger_version *version)
{
    struct counter_version brought = {version->tenant_id, version->config_version};
    struct counter_fill fill = {
        .call = {.kind = COUNTER_FILL,
                 .view.shard = plan_shard(version->tenant),
                 .arena = &janitor->arena},
        .versions_count = 1,
        .versions = &brought,
    };
    struct counter_call *call = &fill.call;
    struct shard_view view;
    enum recovery reason;

    if (authority_get(janitor->services->authority, fill.call.view.shard, &view))
        (void)run_counter_calls(janitor->services, janitor->db, janitor->counter, &call, 1,
                                &reason);
}

static void look_at_versions(struct janitor *janitor)
{
    bool first = janitor->versions_position == 0;
    struct ledger_version *versions;
    size_t count;
    enum status status = ledger_versions_since(janitor->db, &janitor->arena,
                                               &janitor->versions_position, &versions, &count);

    if (status != STATUS_OK) {
        failed(janitor, "versions", status);
        return;
    }
    for (size_t i = 0; i < count && !first; i++) {
        plans_forget_older(janitor->services->plans, versions[i].tenant,
                           versions[i].config_version);
        bring_version(janitor, &versions[i]);
    }
}

static void serve_recalls(struct janitor *janitor)
{
    struct settle_quota *rows;
    size_t count;
    enum status status = ledger_recalls(janitor->db, &janitor->arena, RECALLS_MAX, &rows, &count);

    if (status != STATUS_OK) {
        failed(janitor, "recalls", status);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        struct counter_totals totals = totals_from_row(&rows[i]);
        struct counter_recall recall = {
            .call = {.kind = COUNTER_RECALL, .arena = &janitor->arena},
            .totals_count = 1,
            .totals = &totals,
        };
        struct counter_call *call = &recall.call;
        struct ledger_return back = {.tenant_id = rows[i].tenant_id, .ref = rows[i].ref};
        enum recovery reason;

        recall.call.view.shard = rows[i].shard;
        if (!run_counter_calls(janitor->services, janitor->db, janitor->counter, &call, 1,
                               &reason) ||
            totals.took != TOTALS_TAKEN)
            continue;
        back.lease_id = totals.lease_id;
        back.returned = totals.now.returned;
        status = ledger_return_run(janitor->db, &janitor->arena, &back, 1);
        if (status != STATUS_OK)
            failed(janitor, "return", status);
    }
}

static enum status ping(struct janitor *janitor)
{
    const struct clock *clock = janitor->services->clock;
    int64_t before_us = clock_mono_us(clock);
    enum status status = database_ping(janitor->db);

    status_note(janitor->services->status_board, STATUS_STORE_POSTGRES, status == STATUS_OK,
                clock_wall_ms(clock), clock_mono_us(clock) - before_us,
                database_error(janitor->db));
    return status;
}

/* Only for the status page; what Redis is worth, the guard of each script finds out. */
static void observe(struct janitor *janitor)
{
    const struct clock *clock = janitor->services->clock;
    int64_t before_us = clock_mono_us(clock);
    struct counter_observe call = {.call = {.kind = COUNTER_OBSERVE, .arena = &janitor->arena}};

    counter_add(janitor->counter, &call.call);
    counter_run(janitor->counter);
    status_note(janitor->services->status_board, STATUS_STORE_REDIS,
                call.call.status == STATUS_OK, clock_wall_ms(clock),
                clock_mono_us(clock) - before_us, counter_last_error(janitor->counter));
}

static void look(struct janitor *janitor)
{
    enum status status = ping(janitor);

    observe(janitor);
    if (status != STATUS_OK) {
        failed(janitor, "ping", status);
        return;
    }
    if (!look_at_authority(janitor))
        return;
    look_at_versions(janitor);
    serve_recalls(janitor);
}

static void sweep(struct janitor *janitor)
{
    int shards[SHARDS];
    size_t count = authority_active(janitor->services->authority, shards);

    if (!estimate_ready(janitor->services->estimate))
        return;
    for (size_t i = 0; i < count; i++) {
        size_t removed;

        arena_reset(&janitor->arena);
        if (!sweep_shard(janitor->services, janitor->db, janitor->counter, &janitor->arena,
                         shards[i], &removed))
            return; /* a store is away; the next tick tries again */
        if (removed > 0)
            log_debug("janitor", "holds.reaped shard=%d holds=%zu", shards[i], removed);
    }
}

static void tick(struct janitor *janitor)
{
    enum status status;
    bool more = true;

    arena_reset(&janitor->arena);
    if (is_due(janitor, &janitor->look_us, LOOK_EVERY_MS))
        look(janitor);
    sweep(janitor);
    if (is_due(janitor, &janitor->close_us, CLOSE_EVERY_MS)) {
        status = ledger_close_due(janitor->db, CLOSE_MAX, &more);
        if (status != STATUS_OK)
            failed(janitor, "close", status);
    }
    if (is_due(janitor, &janitor->retention_us, RETENTION_EVERY_MS)) {
        status = ledger_retention(janitor->db, janitor->services->options.events_keep_ms,
                                  RETENTION_MAX);
        if (status != STATUS_OK)
            failed(janitor, "retention", status);
    }
}

static void *run(void *user)
{
    struct janitor *janitor = user;
    struct pollfd poll_fd = {.fd = janitor->stop_fd, .events = POLLIN};

    do {
        tick(janitor);
    } while (poll(&poll_fd, 1, TICK_MS) <= 0);
    return NULL;
}

struct janitor *janitor_create(struct services *services)
{
    struct janitor *janitor = calloc(1, sizeof(*janitor));
    struct database_options database = {
        .conninfo = services->options.postgres,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .statement_timeout_ms = STATEMENT_TIMEOUT_MS,
        .clock = services->clock,
        .estimate = services->estimate,
    };
    struct counter_options counter = {
        .address = services->options.redis,
        .connect_timeout_ms = services->options.redis_timeout_ms,
        .timeout_ms = services->options.redis_timeout_ms,
    };

    CHECK(janitor);
    janitor->services = services;
    janitor->db = database_create(&database);
    janitor->counter = counter_create(&counter);
    arena_init(&janitor->arena, 64 * 1024, 256u << 20);
    janitor->stop_fd = eventfd(0, EFD_CLOEXEC);
    CHECK(janitor->stop_fd >= 0);
    thread_start(&janitor->thread, "janitor", run, janitor);
    return janitor;
}

void janitor_destroy(struct janitor *janitor)
{
    uint64_t one = 1;

    if (!janitor)
        return;
    CHECK(write(janitor->stop_fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
    pthread_join(janitor->thread, NULL);
    close(janitor->stop_fd);
    counter_destroy(janitor->counter);
    database_destroy(janitor->db);
    arena_done(&janitor->arena);
    free(janitor);
}
