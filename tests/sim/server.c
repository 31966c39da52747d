#include "tests/sim/server.h"

#include "base/check.h"
#include "ledger/alarms.h"
#include "ledger/committer.h"
#include "op/aside.h"
#include "op/authority.h"
#include "op/commit.h"
#include "op/desk.h"
#include "op/crossings.h"
#include "op/degraded.h"
#include "op/dirty.h"
#include "op/open.h"
#include "op/granter.h"
#include "op/inbox.h"
#include "op/crier.h"
#include "op/janitor.h"
#include "op/notifies.h"
#include "op/plans.h"
#include "op/redis.h"
#include "op/returns.h"
#include "op/shares.h"
#include "op/status.h"
#include "op/trace.h"
#include "op/worker.h"
#include "quota/times.h"
#include "tests/sim/fibre.h"

#include <stdio.h>
#include <stdlib.h>

enum { DESKS = 4, COMMIT_ITEMS_MAX = 16384 };

static void work(void *worker)
{
    worker_run(worker);
}

static const struct service_options options = {
    .redis = "unix:/simulated",
    .postgres = "",
    .ttl_default_ms = TTL_DEFAULT_MS,
    .ttl_max_ms = TTL_HELD_MAX_MS,
    .lifetime_max_ms = LIFETIME_MAX_MS,
    .late_window_ms = LATE_WINDOW_MS,
    .events_keep_ms = EVENTS_KEEP_HOURS * HOUR_IN_MS,
    .limits_max = 10000,
    .lease_min_ms = LEASE_MIN_MS,
    .lease_max_ms = LEASE_MAX_MS,
    .worker_timeout_ms = 50,
    .redis_timeout_ms = 1000,
};

static const char *trace_path;

void server_trace_into(const char *path)
{
    trace_path = path;
}

struct server *server_start(int group)
{
    struct server *server = calloc(1, sizeof(*server));
    struct services *services = &server->services;
    struct committer_options committer = {
        .conninfo = options.postgres,
        .clock = sim_clock(),
        .estimate = &server->estimate,
        .late_window_ms = options.late_window_ms,
        .items_max = COMMIT_ITEMS_MAX,
        .away_ms = 500,
        .lease_ms = LEASE_MIN_MS,
        .done = commit_done,
        .user = services,
    };
    char error[256];
    static struct token_keys *keys;

    if (!keys)
        CHECK(token_keys_parse(SLICE("1:000102030405060708090a0b0c0d0e0f"
                                     "101112131415161718191a1b1c1d1e1f\n"),
                               "sim", &keys, error, sizeof(error)) == STATUS_OK);
    CHECK(server && fibre_group() == group);
    estimate_init(&server->estimate);
    server->group = group;
    services->options = options;
    services->stores_table = &sim_stores;
    services->clock = sim_clock();
    services->entropy = sim_entropy();
    services->estimate = &server->estimate;
    services->started_wall_ms = clock_wall_ms(sim_clock());
    snprintf(services->server_name, sizeof(services->server_name), "sim:%d", group);
    services->trace = trace_path ? trace_open(trace_path, services->server_name) : NULL;
    CHECK(!trace_path || services->trace);
    services->token_keys = keys;
    services->plans = plans_create(sim_clock(), PLANS_BYTES_MAX);
    services->authority = authority_create();
    services->shares = shares_create();
    services->status_board = status_board_create();
    services->alarms = committer.alarms = alarms_create(sim_clock());
    services->returns = returns_create();
    services->notifies = notifies_create();
    services->aside = aside_create();
    services->dirty = dirty_create();
    services->degraded = degraded_create();
    services->crossings = crossings_create();
    services->open = open_create();
    services->redis_breaker = redis_breaker_create(&services->options);
    services->inbox = inbox_create();
    for (int i = 0; i < GRANTERS; i++)
        CHECK(granter_create(services, (enum inbox_granter)i));
    services->committer = sim_committer_create(&committer, error, sizeof(error));
    CHECK(services->committer);
    CHECK(desks_create(services, DESKS));
    CHECK(janitor_create(services));
    CHECK(crier_create(services));
    server->door = sim_door_create();
    fibre_start("worker", group, work,
                worker_create(services, (struct stub_server *)(void *)server->door));
    server->up = true;
    return server;
}

void server_kill(struct server *server)
{
    server->up = false;
    fibres_drop(server->group);
}
