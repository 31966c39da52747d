/*
 * A Redis of the test's own on a unix socket, a counter on it, and short ways to say calls.
 *
 * Redis ends with the test process. Every set_up begins shard 17 at epoch 3 on an empty Redis.
 */
#ifndef HOLDFAST_TESTS_COUNTER_FIXTURE_H
#define HOLDFAST_TESTS_COUNTER_FIXTURE_H

#include "counter/counter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { EPOCH = 3, TENANT = 7, VERSION = 5 };
#define NOW INT64_C(1764072000000)
#define LEASE(n) ((INT64_C(3) << 20) + (n))
#define DEADLINE (NOW + 60000)
#define LEASE_END (NOW + 600000)

/* Keys of TENANT, and of shard 17. */
#define KEY_A "q:{1}:a"
#define KEY_T "q:{1}:2:t:7"
#define KEY_C "q:{1}:2:c:7"
#define KEY_LEAF "q:{1}:2:d:7:0"
#define KEY_X "q:{1}:2:x:17"
#define KEY_MARKS "q:{1}:2:f:1"

struct fixture {
    char folder[64];
    char socket[96];
    char address[112];
    pid_t redis;
    struct counter *counter;
    struct arena arena;
    struct shard_view view;
};

void fixture_start_redis(struct fixture *fixture);
void fixture_kill_redis(struct fixture *fixture);
void fixture_set_up(struct fixture *fixture);
void fixture_tear_down(struct fixture *fixture);

/* A unix socket that is no Redis. */
int fixture_listen(const char *path);

/* One command as redis-cli takes it; its reply as text in the arena, newlines between elements. */
const char *fixture_cli(struct fixture *fixture, const char *format, ...) PRINTF_LIKE(2, 3);

/* Runs a call on its own and asserts STATUS_OK and GUARD_PASSED. */
void fixture_run(struct fixture *fixture, struct counter_call *call);

/* view, arena and kind of a call. */
struct counter_call fixture_call(struct fixture *fixture, enum counter_kind kind);

/* A lease of `granted` units for (TENANT, limit, period 0), nothing spent, used 0 at seq 0. */
struct counter_totals totals_of(int64_t limit_id, int64_t lease_id, int64_t granted);

/* The shard of the view begins, unless it is that of set_up; then the totals of a tenant of it are filled. */
void fixture_begin(struct fixture *fixture, const struct shard_view *view,
                   struct counter_totals totals);

/* fill of some totals, with VERSION of TENANT. */
void fixture_fill(struct fixture *fixture, struct counter_totals *totals, size_t count);

/* An item of one quota: limit 1, units. */
struct counter_reserve_item item_of(struct fixture *fixture, const char *job, int64_t units);

/* Quotas of an item; limits from 1 on, the same units for each. */
struct counter_reserve_item item_over(struct fixture *fixture, const char *job, size_t quotas,
                                      int64_t units);

/* Reserves the items in one call at NOW. */
void fixture_reserve(struct fixture *fixture, struct counter_reserve_item *items, size_t count);

/* Reserves one item of limit 1 and asserts that it was admitted. */
struct counter_reserve_item fixture_admit(struct fixture *fixture, const char *job, int64_t units);

/* notify of one job at NOW. */
void fixture_notify(struct fixture *fixture, const char *job, const struct attempt *released,
                    struct counter_totals *totals, size_t totals_count);

/* Limit 1 as it is in Redis. */
struct counter_quota fixture_quota(struct fixture *fixture, int64_t limit_id);

/* Sets one of H L G B S D C Cv Cd W E of limit 1 or 2 of TENANT in Redis, as if by a hand. */
void fixture_set_number(struct fixture *fixture, int64_t limit_id, const char *name, int64_t value);

/* The entry of a job, or the empty slice. */
struct slice fixture_entry(struct fixture *fixture, const char *job);

#endif
