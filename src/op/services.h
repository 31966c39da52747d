/*
 * What the stories in op/ may use: built by main.c, handed to everything, changed by nobody.
 */
#ifndef HOLDFAST_OP_SERVICES_H
#define HOLDFAST_OP_SERVICES_H

#include "base/clock.h"
#include "base/estimate.h"
#include "quota/token_keys.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct plans;      /* op/plans.h: cache of tenants' plans */
struct authority;  /* op/authority.h: what is believed of each shard */
struct granter;
struct desks;
struct janitor;
struct committer;
struct returns;    /* op/returns.h: committed, to be answered */
struct settles;    /* op/settles.h: answered, to be brought to Redis */
struct status_board; /* op/status.h: are the stores up? */
struct hub;        /* notice/hub.h */

struct service_options {
    const char *redis;
    const char *postgres;
    int64_t ttl_default_ms;     /* 60 s */
    int64_t ttl_max_ms;         /* 15 min: longer is shortened */
    int64_t lifetime_max_ms;    /* 24 h */
    int64_t late_window_ms;     /* 24 h */
    int64_t events_keep_ms;     /* 7 days */
    int64_t lease_min_ms;       /* a lease lasts at least this from its last push: 60 s */
    int64_t lease_max_ms;       /* 30 min */
    int worker_timeout_ms;      /* Redis, on a worker; other calls are served meanwhile */
    int redis_timeout_ms;       /* Redis, elsewhere */
};

struct services {
    struct service_options options;
    const struct clock *clock;
    struct estimate *estimate;
    const struct token_keys *token_keys;
    struct plans *plans;
    struct authority *authority;
    struct committer *committer;
    struct returns *returns;
    struct settles *settles;
    struct granter *granter;
    struct desks *desks;
    struct hub *hub;
    struct status_board *status_board;
    _Atomic bool draining;
    int64_t started_wall_ms;
    char server_name[128]; /* "host:pid" */
};

#endif
