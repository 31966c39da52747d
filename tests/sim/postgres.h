/*
 * A pretended Postgres at the level of ledger/ledger.h and ledger/committer.h: rows in memory, locks on
 * quota and limit rows, transactions that land whole or not at all. What is decided is decided by
 * src/quota, as in the real one. It replaces the library ledger in this program; postgres_test.c
 * compares the two.
 *
 * Time passes in every call, locks are waited for, and a COMMIT is on its way on its own: it lands
 * although its sender is gone.
 */
#ifndef HOLDFAST_TESTS_SIM_POSTGRES_H
#define HOLDFAST_TESTS_SIM_POSTGRES_H

#include "base/arena.h"
#include "ledger/ledger.h"
#include "quota/adjust.h"
#include "tests/sim/chaos.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pg_quota {
    struct pg_quota *next;
    struct quota_row row;
    struct reserved_level reserved;
    int64_t locked_by; /* a transaction's number, or 0 */
};

struct pg_lease {
    struct pg_lease *next;
    struct lease_row row;
};

struct pg_limit {
    struct pg_limit *next;
    struct ledger_limit limit;
    int64_t cap, soft;
    bool deleted;
    int64_t locked_by;
};

struct pg_expired {
    struct pg_expired *next;
    struct attempt attempt;
    const char *text;
    int64_t at_ms;
};

/* A row of ledger_change. */
struct pg_correction {
    struct pg_correction *next;
    struct adjust_row row;
};

struct pg_job {
    struct pg_job *next;
    struct slice job_id;
    struct settle_record *record;
    struct pg_correction *corrections; /* newest first */
    size_t fences_count;
    struct attempt *fences;
    int64_t fenced_ms; /* the last one of an attempt in Redis */
    const char *placed; /* the row of pg_hold, or NULL */
    struct attempt placed_attempt;
    int64_t placed_deadline_ms;
    struct pg_expired *expired;
};

struct pg_event {
    struct pg_event *next;
    struct ledger_event event;
};

enum { PG_JOB_BUCKETS = 256 };

struct pg_tenant {
    struct pg_tenant *next;
    struct ledger_tenant info;
    int shard;
    int64_t config_position;
    int64_t event_seq;
    bool read_only;
    uint64_t degraded_by; /* bits of servers, by their place in the list */
    struct pg_limit *limits;
    struct pg_quota *quotas;
    struct pg_lease *leases;
    struct pg_job *jobs[PG_JOB_BUCKETS];
    struct pg_event *events, **events_tail;
};

struct pg_authority {
    bool exists;
    struct shard_view view;
    int64_t changed_ms;
};

struct pg_request { /* an admin change that was answered */
    struct pg_request *next;
    struct slice request_id, content;
    bool created;
    int64_t limit_id;
};

struct pg_loss {
    struct pg_loss *next;
    struct loss loss;
    bool accepted;
};

enum { PG_SERVERS_MAX = 64, PG_LAGS = 2 };

struct postgres {
    struct arena storage; /* everything above; nothing is ever given back */
    struct chaos *chaos;
    int64_t (*now_ms)(void *user);
    void *user;
    struct pg_tenant *tenants;
    struct pg_authority authority[SHARDS];
    struct pg_request *requests;
    struct pg_loss *losses;
    int64_t timeline, compared; /* how often a standby has taken over; of these, the last one compared */
    int64_t reaped_to_ms;       /* when that was */
    int64_t tenants_count, limits_count, config_position;
    int64_t lag_us[PG_LAGS]; /* how far behind the time is on every second server: a slow way back */
    int64_t bumps[SHARDS];   /* epochs that were begun, whether they came to something or not */
    int64_t transactions; /* the last one's number */
    struct pg_server {
        char name[64];
        int64_t until_ms;
    } servers[PG_SERVERS_MAX]; /* who says that it is there */
    size_t servers_count;
    struct pg_lock_owner {
        int64_t transaction;
        int group;
    } *owners;
    size_t owners_count;
    int64_t commits, conflicts; /* for the report */
};

/* A row's, as rows_lock reads it. */
static inline int64_t postgres_reaped_to_ms(const struct postgres *pg, const struct quota_row *row)
{
    return row->reaped_to_ms > pg->reaped_to_ms ? row->reaped_to_ms : pg->reaped_to_ms;
}

/*
 * A standby: the rows as they are now. It takes over: they are the rows again, what landed since is gone,
 * and no transaction that began before lands. Each standby once.
 */
struct pg_standby;
struct pg_standby *postgres_standby(struct postgres *postgres);
void postgres_take_over(struct postgres *postgres, struct pg_standby *standby);

/* Where database_create and committer_create connect to from here on. */
void postgres_use(struct postgres *postgres);

void postgres_init(struct postgres *postgres, struct chaos *chaos, int64_t (*now_ms)(void *user),
                   void *user);
void postgres_done(struct postgres *postgres);

/* As if every tenant's shard had had so many epochs, of Redis that are gone. */
void postgres_begin_epochs(struct postgres *postgres, int64_t epoch);

/* A process is gone: its transactions that have not sent COMMIT are rolled back. */
void postgres_group_gone(struct postgres *postgres, int group);

/* An outsider locks every quota row of a tenant, and lets them go again. */
void postgres_lock_tenant(struct postgres *postgres, int64_t tenant_id);
void postgres_unlock_tenant(struct postgres *postgres, int64_t tenant_id);

struct pg_tenant *postgres_tenant(struct postgres *postgres, int64_t tenant_id);
struct pg_tenant *postgres_tenant_named(struct postgres *postgres, struct slice name);
struct pg_loss *postgres_loss(struct postgres *postgres, int64_t tenant_id, struct quota_ref ref);
struct pg_job *postgres_job(struct postgres *postgres, int64_t tenant_id, struct slice job_id,
                            bool make); /* or NULL */
struct pg_job *postgres_job_of(const struct pg_tenant *tenant, struct slice job_id); /* or NULL */
int64_t pg_placed_units(const struct pg_tenant *tenant, struct quota_ref ref); /* by pg_hold */
int64_t pg_lent_aside(const struct pg_tenant *tenant, struct quota_ref ref); /* by old leases */

#endif
