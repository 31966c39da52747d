/*
 * Postgres as the root of all capacity and the record: what the rest of the program asks of it.
 * Each function here is one transaction on a blocking connection (database.h) of the calling thread;
 * Commit and Release go through the committer (committer.h) instead.
 *
 * Every transaction takes its locks in the one order (README.md): limit_, quota rows by (tenant,
 * limit, period), old_lease likewise, ledger / job_fence / expired_hold keys by (tenant, job), tenant
 * rows; and reads the clock after the locks. STATUS_CONFLICT is retried inside (a few times) before
 * it is returned. Answers are allocated in the arena given.
 */
#ifndef HOLDFAST_LEDGER_LEDGER_H
#define HOLDFAST_LEDGER_LEDGER_H

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"
#include "base/status.h"
#include "ledger/database.h"
#include "quota/hold.h"
#include "quota/plan.h"
#include "quota/settle.h"
#include "quota/shard.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- authority (shard_authority) -------------------------------------------------------------- */

/* Current views of the shards given; a row that is missing is made (epoch 1, state I, no replid). */
MUST_CHECK enum status ledger_authority_read(struct database *db, const int *shards, size_t count,
                                             struct shard_view *ret_views);

/* Every existing row, for the poll each 500 ms. */
MUST_CHECK enum status ledger_authority_all(struct database *db, struct shard_view views[SHARDS],
                                            bool known[SHARDS]);

/*
 * epoch := greatest(epoch, redis_epoch) + 1, state I, replid, nonce null, where epoch is still
 * from->epoch (compare and set). *ret_won false: someone else changed the row; ret_view is what it is
 * now in both cases. A row in state I younger than 1 s is not bumped: *ret_won false, wait.
 */
MUST_CHECK enum status ledger_authority_bump(struct database *db, const struct shard_view *from,
                                             int64_t redis_epoch, const char *replid,
                                             const char *reason, bool *ret_won,
                                             struct shard_view *ret_view);

/* state A and the nonce, where epoch is still mine and state I. */
MUST_CHECK enum status ledger_authority_activate(struct database *db, const struct shard_view *mine,
                                                 bool *ret_won, struct shard_view *ret_view);

/* --- plans ------------------------------------------------------------------------------------ */

/* *ret_plan NULL with STATUS_OK: no such tenant. One reference for the caller. */
MUST_CHECK enum status ledger_plan_load(struct database *db, struct slice tenant,
                                        struct plan **ret_plan);

struct ledger_version {
    int64_t tenant_id;
    struct slice tenant;
    int64_t config_version;
};

/*
 * Tenants whose config changed after the position; *position moves on. Start with 0: that call lists
 * nothing, and moves to what is the newest then.
 */
MUST_CHECK enum status ledger_versions_since(struct database *db, struct arena *arena,
                                             int64_t *position, struct ledger_version **ret,
                                             size_t *ret_count);

/*
 * The implicit unlimited limit of a meter without a limit, for tenants that admit unlimited meters:
 * made once (limit name "unlimited.<meter>"), bumps config_version.
 */
MUST_CHECK enum status ledger_limit_implicit(struct database *db, int64_t tenant_id,
                                             struct slice meter);

/* --- grants ----------------------------------------------------------------------------------- */

struct ledger_grant {
    /* in */
    int64_t tenant_id;
    int shard;
    int64_t epoch;                /* the shard's, as the caller believes */
    struct quota_ref ref;
    int64_t needed;               /* units missing under the current lease; 0: only the deadline */
    int64_t deadline_ms;          /* the lease must last until then */
    int64_t outstanding;          /* most units held lately, for the lease's size; 0 unknown */
    int64_t vanished_lease_id;    /* != 0: Redis lost this lease's key: set it aside if still current */
    /* out */
    bool missing;                 /* the limit is gone, or the quota closed */
    bool epoch_changed;           /* the shard has another epoch now: re-read authority */
    int64_t granted_units;        /* lent by this call */
    struct settle_quota quota;    /* the row afterwards (also when nothing was lent) */
    int64_t old_leases_units;     /* outstanding under leases set aside */
};

/*
 * One transaction for all: makes missing quota rows (first, in a transaction of its own), begins new
 * leases where the epoch moved on, closes due old leases of these quotas, lends. Duplicates of a quota
 * are allowed and served in order. *ret_now_ms: the database's time under the locks.
 */
MUST_CHECK enum status ledger_grant_run(struct database *db, struct arena *arena,
                                        struct ledger_grant *grants, size_t count,
                                        int64_t *ret_now_ms);

/* Redis gave capacity back (recall, idle lease): per quota its cumulative B. Clears recall flags. */
struct ledger_return {
    int64_t tenant_id;
    struct quota_ref ref;
    int64_t lease_id;
    int64_t returned;
    struct settle_quota quota; /* out: the row afterwards */
};

MUST_CHECK enum status ledger_return_run(struct database *db, struct arena *arena,
                                         struct ledger_return *returns, size_t count);

/*
 * Rows whose recall flag is set, under a lease of the current epoch of an active shard, at most max:
 * what a recall script needs, shard and epoch among it.
 */
MUST_CHECK enum status ledger_recalls(struct database *db, struct arena *arena, size_t max,
                                      struct settle_quota **ret, size_t *ret_count);

/* Closes due old leases and periods that are over; returns what there is left to do (bool). */
MUST_CHECK enum status ledger_close_due(struct database *db, size_t max, bool *ret_more);

/* --- facts and reap --------------------------------------------------------------------------- */

struct ledger_job {
    int64_t tenant_id;
    struct slice job_id;
    struct settle_facts facts; /* out: committed read, primary */
};

MUST_CHECK enum status ledger_facts_read(struct database *db, struct arena *arena,
                                         struct ledger_job *jobs, size_t count, int64_t *ret_now_ms);

struct ledger_reap_job {
    struct slice job_id;
    const struct hold *hold;
    struct slice text;    /* its text, stored in expired_hold */
    bool committed;       /* out: is in the ledger: mark FINAL */
};

/*
 * First half of a reap, one transaction for one tenant: locks the quotas of all these holds,
 * reaped_to := greatest(reaped_to, clock), reads the ledger and the fences, writes expired_hold (and
 * a HOLD_EXPIRED event) for those that are in neither. Only holds with deadline <= the clock under
 * the locks. ret_quotas: the rows afterwards.
 */
MUST_CHECK enum status ledger_reap_run(struct database *db, struct arena *arena, int64_t tenant_id,
                                       struct ledger_reap_job *jobs, size_t count,
                                       int64_t *ret_reaped_to_ms, struct settle_quota **ret_quotas,
                                       size_t *ret_quotas_count);

/* --- reads ------------------------------------------------------------------------------------ */

struct ledger_usage {
    struct settle_quota quota;  /* a row, or zeroes where the period has no row yet */
    int64_t old_leases_units;
};

/*
 * The current periods of these limits of the plan, the seq of the newest event and the config version
 * in one state of the database. With another version than the plan's, limits have changed since.
 */
MUST_CHECK enum status ledger_usage_read(struct database *db, struct arena *arena,
                                         const struct plan *plan, const int64_t *limit_ids,
                                         size_t limits_count, int64_t now_ms,
                                         struct ledger_usage **ret, int64_t *ret_event_seq,
                                         int64_t *ret_config_version);

struct ledger_event {
    int64_t tenant_id;
    int64_t seq;
    int64_t at_ms;
    enum event_kind kind;
    int direction, basis;
    bool has_quota;
    struct slice limit_name, scope, meter;
    enum period period;
    int64_t period_start_ms, period_end_ms;
    struct stops stops;
    int64_t committed, debt, ledger_seq;
    int level;
    struct slice job_id;
    struct attempt attempt;
};

struct ledger_cursor {
    int64_t tenant_id;
    int64_t after_seq;
};

/* Events after each cursor, in order per tenant, at most max in all. */
MUST_CHECK enum status ledger_events_read(struct database *db, struct arena *arena,
                                          const struct ledger_cursor *cursors, size_t cursors_count,
                                          size_t max, struct ledger_event **ret, size_t *ret_count);

/* Oldest and newest seq that exist for a tenant: oldest is newest + 1 if there are none. */
MUST_CHECK enum status ledger_events_span(struct database *db, int64_t tenant_id,
                                          int64_t *ret_oldest, int64_t *ret_newest);

/* Deletes what is past its time: events, job_fence, expired_hold, closed short periods. */
MUST_CHECK enum status ledger_retention(struct database *db, int64_t events_keep_ms, size_t max);

/* --- admin ------------------------------------------------------------------------------------ */

/*
 * Content that a request_id stands for is what the object shall be, without etag, actor and reason.
 * STATUS_UNKNOWN of a change: ask again with the same request_id.
 */
struct ledger_note {
    struct slice actor, reason, request_id;
};

enum ledger_admin {
    ADMIN_DONE,
    ADMIN_REPEATED,        /* this request_id was answered before: the stored answer */
    ADMIN_REQUEST_REUSED,  /* this request_id with other content */
    ADMIN_EXISTS,
    ADMIN_NOT_FOUND,       /* no such tenant or limit */
    ADMIN_ETAG,            /* etag given and not the current one */
    ADMIN_CONFLICT,        /* the limit's scope, meter or period cannot be changed */
};

struct ledger_tenant {
    int64_t tenant_id;
    struct slice tenant, display_name;
    bool suspended, admit_unlimited_meters;
    int64_t version; /* the etag is its decimal text */
    int64_t created_ms;
    int64_t config_version;
};

MUST_CHECK enum status ledger_tenant_create(struct database *db, struct arena *arena,
                                            const struct ledger_note *note,
                                            struct ledger_tenant *tenant, enum ledger_admin *ret);
MUST_CHECK enum status ledger_tenant_update(struct database *db, struct arena *arena,
                                            const struct ledger_note *note, struct slice etag,
                                            struct ledger_tenant *tenant, enum ledger_admin *ret);
/* By prefix, after a name, at most max. */
MUST_CHECK enum status ledger_tenant_list(struct database *db, struct arena *arena,
                                          struct slice prefix, struct slice after, size_t max,
                                          struct ledger_tenant **ret, size_t *ret_count);

enum overage_kind { OVERAGE_NONE, OVERAGE_UNITS, OVERAGE_PERCENT, OVERAGE_UNLIMITED };

struct ledger_limit {
    struct slice tenant;
    struct slice limit_name, scope, meter;
    enum period period;
    bool unlimited;
    int64_t amount;
    int soft_percent;            /* 0 given means 90 */
    enum overage_kind overage_kind;
    int64_t overage;             /* units or percent */
    int64_t max_ttl_ms;          /* 0: the server's */
    int64_t version;             /* etag */
    int64_t limit_id;
    bool implicit;
};

/*
 * Adds or replaces. In one transaction: limit_, then all its quota rows that are not closed (limit,
 * cap, soft, levels), one LIMIT_CHANGED event of the current period and the crossings after it, the
 * recall flag where the cap became smaller and capacity is lent, tenant.config_version + 1, audit.
 *
 * limit: as it shall be; afterwards as it is. STATUS_INVALID: it cannot be (amounts, percentages,
 * period); the caller should have checked. validate_only: answers as if it were done, changes nothing
 * and uses no request_id up. ret_rows: the rows afterwards, of periods that are not over or that are
 * to be recalled; also for a repeat, as they are now; none for a trial.
 */
MUST_CHECK enum status ledger_limit_put(struct database *db, struct arena *arena,
                                        const struct ledger_note *note, struct slice etag,
                                        bool validate_only, struct ledger_limit *limit,
                                        bool *ret_created, struct settle_quota **ret_rows,
                                        size_t *ret_rows_count, enum ledger_admin *ret);
/*
 * Holds under the limit are honoured; its rows stay until closed. A LIMIT_CHANGED event. limit: tenant
 * and name; afterwards as it was.
 */
MUST_CHECK enum status ledger_limit_delete(struct database *db, struct arena *arena,
                                           const struct ledger_note *note, struct slice etag,
                                           struct ledger_limit *limit, enum ledger_admin *ret);
MUST_CHECK enum status ledger_limit_list(struct database *db, struct arena *arena,
                                         struct slice tenant, struct slice after, size_t max,
                                         struct ledger_limit **ret, size_t *ret_count,
                                         bool *ret_tenant_exists);

#endif
