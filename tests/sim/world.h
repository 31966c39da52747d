/*
 * One run: two servers, their stores, clients and trouble, from a seed.
 */
#ifndef HOLDFAST_TESTS_SIM_WORLD_H
#define HOLDFAST_TESTS_SIM_WORLD_H

#include "tests/sim/chaos.h"
#include "tests/sim/dice.h"
#include "tests/sim/postgres.h"
#include "tests/sim/redis.h"
#include "tests/sim/truth.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* X(NAME, what it brings) */
#define THEME_MAP(X)                                                                               \
    X(REPEAT, "the same Reserve again and again, while limits and tenants change")                 \
    X(LATE, "short holds, committed around their deadlines")                                       \
    X(RACE, "Extend, Release, Commit and Reserve of the same job at once")                         \
    X(ADMIN, "limits lowered, raised and deleted, tenants suspended")                              \
    X(NEVER, "amounts above every cap")                                                            \
    X(PERIOD, "minute limits, and holds that outlive their minute")                                \
    X(TIGHT, "little room")                                                                        \
    X(REDIS_NET, "round trips to Redis are lost, late, slow, cut")                                 \
    X(POSTGRES_NET, "the same to Postgres")                                                        \
    X(KILL, "servers die and come back")                                                           \
    X(LOSS, "Redis is emptied, restarted, rolled back, replaced")                                  \
    X(KEYS, "single keys of Redis vanish")                                                         \
    X(STUCK, "an outsider keeps rows of a tenant locked")                                          \
    X(AUTHORITY, "authority rows and config versions go back")                                     \
    X(AWAY, "a store is away for seconds")                                                         \
    X(BULK, "thousands of holds of one tenant expire at once")                                     \
    X(QUIET, "nobody calls for a while, and some holds are long")                                  \
    X(FAILOVER, "a standby of Postgres takes over that lacks the newest transactions")

enum theme {
#define X(name, text) THEME_##name,
    THEME_MAP(X)
#undef X
        THEMES
};

/* Of these a seed picks; FAILOVER is every eighth seed's, beside themes in which Redis forgets nothing. */
enum { THEMES_PICKED = THEME_FAILOVER };

extern const char *const theme_names[THEMES];

enum { WORLD_TENANTS = 5, WORLD_SERVERS = 2, WORLD_NODES = 24, TRACE_LINES = 400, TRACE_CHARS = 200 };

struct world {
    uint64_t seed;
    uint32_t themes; /* bits */
    bool minutes;    /* some limits are of a minute */
    struct dice dice;
    struct chaos chaos;
    struct redis nodes[WORLD_NODES];
    int node; /* the current one */
    struct keyspace snapshot;
    int64_t split_epochs[SHARDS]; /* as a split began */
    struct postgres postgres;
    struct truth truth;
    struct truth_tenant tenants[WORLD_TENANTS];
    struct server *servers[WORLD_SERVERS];
    int groups; /* the last one given away */
    int64_t end_us;     /* when trouble and clients stop */
    int64_t quiet_us;   /* clients keep still until then */
    int clients;        /* that still run */
    bool trouble_over;
    int64_t jobs, rejects, allows, commits;
    bool tracing;       /* to stderr, as it happens */
    char trace[TRACE_LINES][TRACE_CHARS];
    int64_t trace_count;
};

static inline bool world_has(const struct world *world, enum theme theme)
{
    return world->themes & (1u << theme);
}

/* themes 0: by the seed. without: never these, whatever the seed says. */
struct world *world_create(uint64_t seed, uint32_t themes, uint32_t without, int64_t minutes);

/* True: every promise was kept; otherwise truth.broken and truth.text say which was not. */
bool world_run(struct world *world);
void world_destroy(struct world *world);

void world_trace(struct world *world, const char *format, ...) PRINTF_LIKE(2, 3);
void world_print_trace(const struct world *world, FILE *to, int lines);

/* --- parts -------------------------------------------------------------------------------------- */

void world_client(void *world);     /* a fibre's body: calls at random */
void world_admin(void *world);
void world_trouble(void *world);
void world_bulk(void *world);
void world_failover(void *world);
void world_rest(struct world *world); /* everything heals; then nothing may be missing */
void world_check_idle(struct world *world); /* after some quiet: what nobody uses is back */
void world_start_server(struct world *world, int which);
void world_note_trouble(struct world *world, struct truth_tenant *tenant, bool lost);

/* A call by a client that does not count for the truth. */
void world_call(struct world *world, const struct ask *ask, struct reply *reply);
struct truth_job *world_new_job(struct world *world, struct truth_tenant *tenant);

/* What a limit of this tenant says of a Redis that is away; of some tenants most are OPEN. */
void world_pick_away(struct world *world, const char *tenant, enum redis_away *ret_away, int64_t *ret_units);

/* Around the truth: asks a server, and judges what it said. True: a Reserve was rejected. */
bool world_ask(struct world *world, struct truth_job *job, struct ask *ask, struct server *server);
struct server *world_any_server(struct world *world);

#endif
