/*
 * The stores as a thread of op/ sees them: one noun for a connection to the database, a connection to
 * Redis, the memory of one turn, and the time. A struct stores belongs to one thread.
 *
 * Everything that goes to a store goes through the table, so that a test or a simulation can put
 * something else behind it (services->stores_table, before anything is opened):
 *
 *     status = stores->table->plan_load(stores->db, tenant, &plan);
 *     if (!stores_run(stores, calls, count, &reason)) ...
 *
 * The functions of the table and their failures are those of ledger/ledger.h, ledger/database.h,
 * ledger/committer.h and counter/counter.h, under the same names. Whatever is behind the table
 * may define `struct database` and `struct counter` as it likes: nothing here looks inside.
 */
#ifndef HOLDFAST_OP_STORES_H
#define HOLDFAST_OP_STORES_H

#include "base/arena.h"
#include "base/check.h"
#include "base/log.h"
#include "counter/counter.h"
#include "ledger/adjust.h"
#include "ledger/committer.h"
#include "ledger/drifts.h"
#include "ledger/ledger.h"
#include "ledger/reconcile.h"
#include "ledger/repair.h"
#include "ledger/verify.h"
#include "op/services.h"

#include <stdbool.h>
#include <stddef.h>

/* Pointers to functions of the types of the real ones. */
struct store_table {
    /* the database */
    __typeof__(database_create) *database_create;
    __typeof__(database_destroy) *database_destroy;
    __typeof__(database_ping) *database_ping;
    __typeof__(database_error) *database_error;
    __typeof__(database_sqlstate) *database_sqlstate;
    __typeof__(ledger_beat_run) *beat_run;
    __typeof__(ledger_beat_leave) *beat_leave;
    __typeof__(ledger_authority_read) *authority_read;
    __typeof__(ledger_authority_all) *authority_all;
    __typeof__(ledger_authority_bump) *authority_bump;
    __typeof__(ledger_authority_activate) *authority_activate;
    __typeof__(ledger_plan_load) *plan_load;
    __typeof__(ledger_plans_load) *plans_load;
    __typeof__(ledger_versions_since) *versions_since;
    __typeof__(ledger_limit_implicit) *limit_implicit;
    __typeof__(ledger_grant_run) *grant_run;
    __typeof__(ledger_return_run) *return_run;
    __typeof__(ledger_recalls) *recalls;
    __typeof__(ledger_lent) *lent;
    __typeof__(ledger_close_leases) *close_leases;
    __typeof__(ledger_close_periods) *close_periods;
    __typeof__(ledger_periods_follow) *periods_follow;
    __typeof__(ledger_losses_find) *losses_find;
    __typeof__(ledger_history_compared) *history_compared;
    __typeof__(ledger_losses_accept) *losses_accept;
    __typeof__(ledger_losses_tenants) *losses_tenants;
    __typeof__(ledger_facts_read) *facts_read;
    __typeof__(ledger_reap_run) *reap_run;
    __typeof__(ledger_place_run) *place_run;
    __typeof__(ledger_move_run) *move_run;
    __typeof__(ledger_placed_due) *placed_due;
    __typeof__(ledger_placed_reap) *placed_reap;
    __typeof__(ledger_placed_count) *placed_count;
    __typeof__(ledger_placed_list) *placed_list;
    __typeof__(ledger_degraded_note) *degraded_note;
    __typeof__(ledger_degraded_end) *degraded_end;
    __typeof__(ledger_usage_read) *usage_read;
    __typeof__(ledger_retention) *retention;
    __typeof__(ledger_seal_run) *seal_run;
    __typeof__(ledger_seals_read) *seals_read;
    __typeof__(ledger_verify) *verify;
    __typeof__(ledger_drifts_read) *drifts_read;
    __typeof__(ledger_drift_put) *drift_put;
    __typeof__(ledger_drift_end) *drift_end;
    __typeof__(ledger_drift_totals_read) *drift_totals_read;
    __typeof__(ledger_crossings_write) *crossings_write;
    __typeof__(ledger_sums_list) *sums_list;
    __typeof__(ledger_sums_read) *sums_read;
    __typeof__(ledger_repair) *repair;
    __typeof__(ledger_adjust) *adjust;
    __typeof__(ledger_tenant_create) *tenant_create;
    __typeof__(ledger_tenant_update) *tenant_update;
    __typeof__(ledger_tenant_list) *tenant_list;
    __typeof__(ledger_limit_put) *limit_put;
    __typeof__(ledger_limit_delete) *limit_delete;
    __typeof__(ledger_limit_list) *limit_list;
    __typeof__(committer_submit) *committer_submit;
    /* Redis */
    __typeof__(counter_create) *counter_create;
    __typeof__(counter_destroy) *counter_destroy;
    __typeof__(counter_renew) *counter_renew;
    __typeof__(counter_add) *counter_add;
    __typeof__(counter_send) *counter_send;
    __typeof__(counter_receive) *counter_receive;
    __typeof__(counter_run) *counter_run;
    __typeof__(counter_fd) *counter_fd;
    __typeof__(counter_events) *counter_events;
    __typeof__(counter_last_error) *counter_last_error;
    /* Lets time pass before something is tried again. */
    void (*pause_ms)(int ms);
};

extern const struct store_table stores_real;

struct stores {
    struct services *services;
    const struct store_table *table;
    struct database *db; /* NULL: opened without */
    struct counter *counter;
    bool hurried;         /* a recovery that has to wait for somebody is left to others */
    struct arena scratch; /* of one turn of the thread, who resets it */
    struct log_limit corrupt_log;
};

struct stores_options {
    int counter_timeout_ms; /* silence (counter/counter.h) */
    bool without_database;
    bool hurried; /* see struct stores */
    bool compared; /* of whoever lends: no database whose history was not compared (ledger_losses_find) */
    int database_connect_ms;
    int database_statement_ms;
    int database_lock_ms; /* how long a locked row is waited for; 0: half a statement */
    size_t scratch_bytes, scratch_bytes_max;
};

/* Opens nothing yet: each store connects with its first call. */
struct stores *stores_open(struct services *services, const struct stores_options *options);
void stores_close(struct stores *stores); /* accepts NULL */

/*
 * A connection of its own, whose statements may take minutes, for what reads all of a tenant's record. One
 * at a time in a server: services->verifying. The caller destroys it through the table.
 */
struct database *stores_connect_patiently(struct services *services);

/* Zeroed memory of this turn, at least one element; aborts beyond scratch_bytes_max. */
void *stores_scratch(struct stores *stores, size_t count, size_t size);

/* Of the database's last failure, "" if it has none. */
const char *stores_sqlstate(const struct stores *stores);

/* The last transaction ended so because the database answered an error: it may be one tenant's alone. */
bool stores_refused(const struct stores *stores, enum status status);

/* The database's time is known, or is asked for now. */
bool stores_know_the_time(struct stores *stores);
int64_t stores_now_ms(const struct stores *stores); /* estimate of the database's time */
int64_t stores_mono_us(const struct stores *stores);

/* --- calls to Redis with recovery (recover.c) --------------------------------------------------- */

enum recovery {
    RECOVERED, /* authority_get gives a view that Redis agreed with a moment ago */
    RECOVERY_NO_REDIS,
    RECOVERY_NO_POSTGRES,
    RECOVERY_BUSY, /* another server or thread is at it, longer than this call may wait */
};

/* A Reserve may need three kinds in its shard; some of a shard come in parts (COUNTER_PART_MAX). */
enum { STORES_CALLS_MAX = 3 * SHARDS + 256 };

/*
 * Runs the calls, at most STORES_CALLS_MAX, each with the current view of its own view.shard, in one
 * round trip; shards that lost the guard (or are not known yet) are recovered and their calls run
 * again, twice at most. What a call could not read is made to count as lost, and the call runs again.
 * True: every call has STATUS_OK and passed the guard. Otherwise look at each; *ret_reason says what stood
 * in the way of the last that failed.
 *
 * A recovery that another server or thread is at is waited for, up to 1.5 s, but not by hurried stores:
 * they serve many tenants, of other shards too. There RECOVERY_BUSY comes at once, and whoever asked is
 * handed to a thread that has the time.
 */
bool stores_run(struct stores *stores, struct counter_call *const *calls, size_t count,
                enum recovery *ret_reason);

/*
 * After stores_run with hurried stores: was the call not run because somebody else is making its shard
 * ready? Then it did not happen.
 */
bool stores_left_busy(const struct stores *stores, const struct counter_call *call,
                      enum recovery reason);

/*
 * If somebody wrote into the keys of the shard or of these tenants what no script can read: it goes, and is
 * told in the log with `why`. False: it could not be looked at.
 */
bool stores_clean(struct stores *stores, int shard, const int64_t *tenants, size_t count,
                  const char *why);

/* All of one shard. False: Redis cannot be used now; *ret_recovering tells SHARD_RECOVERING from
 * REDIS_UNAVAILABLE. */
bool stores_run_shard(struct stores *stores, int shard, struct counter_call *const *calls,
                      size_t count, bool *ret_recovering);

#endif
