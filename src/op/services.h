/*
 * What the stories in op/ may use: built by main.c, handed to everything, changed by nobody.
 */
#ifndef HOLDFAST_OP_SERVICES_H
#define HOLDFAST_OP_SERVICES_H

#include "base/clock.h"
#include "base/entropy.h"
#include "base/estimate.h"
#include "base/log.h"
#include "base/stop.h"
#include "counter/counter.h"
#include "quota/times.h"
#include "quota/token_keys.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct plans;       /* op/plans.h: cache of tenants' plans */
struct authority;   /* op/authority.h: what is believed of each shard */
struct shares;      /* op/shares.h: which shards this server looks after */
struct inbox;       /* op/inbox.h: the doors to the threads */
struct store_table; /* op/stores.h: what stands for the stores */
struct committer;
struct returns;      /* op/returns.h: committed, to be answered */
struct notifies;     /* op/notifies.h: answered, to be brought to Redis */
struct status_board; /* op/status.h: are the stores up? */
struct hub;          /* notice/hub.h */
struct aside;        /* op/aside.h: tenants that wait alone */
struct dirty;        /* op/dirty.h: tenants with holds in Postgres */
struct crossings;    /* op/crossings.h: what watchers are to be told of what is reserved */
struct degraded;     /* op/degraded.h: tenants that are served from there */
struct open;         /* op/open.h: what was admitted without any store */
struct breaker;      /* base/breaker.h: is Redis asked at all? */
struct pulse;        /* ledger/pulse.h: does the database answer at all? */
struct alarms;       /* ledger/alarms.h: faults of the database, tenants set aside */

struct service_options {
    const char *redis;
    const char *postgres;
    /* Those of quota/times.h, but in tests. */
    int64_t ttl_default_ms;
    int64_t ttl_max_ms; /* of one hold in Redis: what is longer is shortened */
    int64_t lifetime_max_ms;
    int64_t late_window_ms;
    int64_t events_keep_ms;
    int64_t lease_min_ms, lease_max_ms;
    size_t limits_max;     /* of one tenant */
    int worker_timeout_ms; /* Redis, on a worker; other calls are served meanwhile */
    int redis_timeout_ms;  /* Redis, elsewhere */
};

struct services {
    struct service_options options;
    const struct store_table *stores_table; /* &stores_real, but in tests and simulations */
    const struct clock *clock;
    const struct entropy *entropy;
    struct estimate *estimate;
    const struct token_keys *token_keys;
    struct plans *plans;
    struct authority *authority;
    struct shares *shares;
    struct committer *committer;
    struct returns *returns;
    struct notifies *notifies;
    struct inbox *inbox;
    struct aside *aside;
    struct dirty *dirty;
    struct degraded *degraded;
    struct crossings *crossings;
    struct breaker *redis_breaker;
    struct open *open;
    struct counter_life redis_life;
    struct hub *hub;
    struct status_board *status_board;
    struct pulse *pulse; /* NULL in tests and simulations */
    struct alarms *alarms;
    struct trace *trace;           /* NULL: nothing is traced (op/trace.h) */
    struct log_limit internal_log; /* of answers INTERNAL, of all threads */
    struct stop stop;              /* when nobody waits for a store any more */
    _Atomic bool draining;
    _Atomic bool verifying; /* a tenant's books are being verified: one at a time */
    _Atomic int64_t
        holds_until_ms; /* the latest deadline of a hold that this server made or extended */
    int64_t started_wall_ms;
    char server_name[128]; /* "host:pid" */
};

static inline int64_t services_mono_us(const struct services *services)
{
    return clock_mono_us(services->clock);
}

/* The database's time, as far as it is known (base/estimate.h). */
static inline int64_t services_now_ms(const struct services *services)
{
    return estimate_now_ms(services->estimate, services_mono_us(services));
}

/*
 * [any thread] A row says that no hold with a deadline up to reaped_to_ms is live: no earlier now from here.
 * A row that is ahead of the database's own clock was written by a hand, and moves nobody's time.
 */
static inline void services_note_reaped_to(const struct services *services, int64_t reaped_to_ms)
{
    int64_t latest_ms = estimate_read(services->estimate, services_mono_us(services)).latest_ms;

    estimate_floor(services->estimate, reaped_to_ms < latest_ms ? reaped_to_ms : latest_ms);
}

/* [any thread] A hold lives until then: until then this server is not idle. */
static inline void services_note_hold(struct services *services, int64_t deadline_ms)
{
    int64_t until_ms = atomic_load_explicit(&services->holds_until_ms, memory_order_relaxed);

    while (until_ms < deadline_ms &&
           !atomic_compare_exchange_weak_explicit(&services->holds_until_ms, &until_ms, deadline_ms,
                                                  memory_order_relaxed, memory_order_relaxed))
        continue;
}

/*
 * May there be holds that this server made and that are live, or due and not reaped? Then it says more
 * often that it is there, so that the others miss it soon, and reaps more often.
 */
static inline bool services_busy(const struct services *services)
{
    return atomic_load_explicit(&services->holds_until_ms, memory_order_relaxed) + BUSY_AFTER_MS >
           services_now_ms(services);
}

#endif
