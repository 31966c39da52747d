/*
 * Postgres as the root of all capacity and the record: what the rest of the program asks of it.
 * Each function here is one transaction on a blocking connection (database.h) of the calling thread;
 * Commit and Release go through the committer (committer.h) instead.
 *
 * Every transaction takes its locks in the one order (README.md): limit_, quota rows by (tenant,
 * limit, period), old_lease in the same order, keys of ledger, job_fence, pg_hold and expired_hold by
 * (tenant, job), tenant rows; and reads the clock after the locks. STATUS_CONFLICT is retried inside (a few
 * times) before it is returned. Answers are allocated in the arena given.
 */
#ifndef HOLDFAST_LEDGER_LEDGER_H
#define HOLDFAST_LEDGER_LEDGER_H

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"
#include "base/status.h"
#include "ledger/database.h"
#include "quota/chain.h"
#include "quota/hold.h"
#include "quota/loss.h"
#include "quota/place.h"
#include "quota/plan.h"
#include "quota/reserved.h"
#include "quota/settle.h"
#include "quota/shard.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- the beat: once a second from each server -------------------------------------------------- */

enum { LEDGER_PLACED_MAX = 256 };

struct ledger_beat {
    int64_t now_ms;
    int64_t started_ms;        /* of this database: another value, another process or machine */
    int64_t system, timeline;  /* which cluster, and how often a standby of it has taken over */
    int64_t authority_hash;    /* of all rows of shard_authority: the same, nothing changed */
    int64_t versions_position; /* for ledger_versions_since; smaller than before: it went back */
    bool recalls;              /* some quota has its recall flag set */
    bool lent;                 /* some quota has something lent */
    bool uncompared;     /* this history was not compared with Redis yet: ledger_losses_find */
    bool degraded;       /* some tenant is served from Postgres, as ledger_degraded_note told */
    size_t others_count; /* servers that are there beside the one that asks, by name */
    struct slice *others;
    int64_t
        others_until_ms; /* the first of them counts as there until then; without others: far away */
    bool leases_due;     /* old leases past their deadline */
    bool closings_due;   /* periods to be closed */
    bool rows_due;       /* rows that ledger_retention would delete */
    int64_t *placed_tenants; /* with holds in Postgres, sorted, at most LEDGER_PLACED_MAX + 1 */
    size_t placed_count;     /* LEDGER_PLACED_MAX + 1: there are more */
    int64_t begun_ms; /* how long ago the first period ended that is not followed up; or -1 */
};

/* This server counts as there for lasts_ms. Tells the estimate the time. events_keep_ms: as for retention. */
MUST_CHECK enum status ledger_beat_run(struct database *db, struct arena *arena,
                                       struct slice server, int64_t lasts_ms,
                                       int64_t events_keep_ms, struct ledger_beat *ret);

/* It is not there any more. */
MUST_CHECK enum status ledger_beat_leave(struct database *db, struct arena *arena,
                                         struct slice server);

/* --- authority (shard_authority) -------------------------------------------------------------- */

/* Current views of the shards given; a row that is missing is made (epoch 1, state I, no replid). */
MUST_CHECK enum status ledger_authority_read(struct database *db, const int *shards, size_t count,
                                             struct shard_view *ret_views);

/* Every existing row. */
MUST_CHECK enum status ledger_authority_all(struct database *db, struct shard_view views[SHARDS],
                                            bool known[SHARDS]);

/*
 * epoch := greatest(epoch, redis_epoch) + 1, state I, replid, no nonce, where epoch, state and nonce
 * are still those of `from` (compare and set). *ret_won false: someone else changed the row; ret_view
 * is what it is now in both cases. A row in state I younger than 1 s is not bumped: *ret_won false, wait.
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

/*
 * As many tenants at once, in one statement and one state of the database: ret_plans[i] is of
 * tenants[i], NULL if there is none. A name may come twice. A failure leaves all of them NULL.
 * A tenant with more than limits_max limits (0: no bound) gets no plan: its limits are not read, and
 * ret_large[i] is true.
 */
MUST_CHECK enum status ledger_plans_load(struct database *db, const struct slice *tenants,
                                         size_t count, size_t limits_max, struct plan **ret_plans,
                                         bool *ret_large);

struct ledger_version {
    int64_t tenant_id;
    struct slice tenant;
    int64_t config_version;
};

/*
 * Tenants whose config changed after the position, at most LEDGER_VERSIONS_MAX; if it returns that many,
 * there may be more. *position moves on. Start with 0: that call lists nothing and moves to the newest
 * position.
 */
enum { LEDGER_VERSIONS_MAX = 512 };

MUST_CHECK enum status ledger_versions_since(struct database *db, struct arena *arena,
                                             int64_t *position, struct ledger_version **ret,
                                             size_t *ret_count);

/*
 * The implicit unlimited limit of a meter without a limit, for tenants that admit unlimited meters:
 * made once (limit name "unlimited.<meter>"), bumps config_version. STATUS_EXHAUSTED: the tenant has
 * limits_max limits of both kinds already.
 */
MUST_CHECK enum status ledger_limit_implicit(struct database *db, int64_t tenant_id,
                                             struct slice meter, size_t limits_max);

/* --- grants ----------------------------------------------------------------------------------- */

struct ledger_grant {
    /* in */
    int64_t tenant_id;
    int shard;
    int64_t epoch; /* the shard's, as the caller believes */
    struct quota_ref ref;
    int64_t needed;      /* units missing under the current lease; 0: only the deadline */
    int64_t deadline_ms; /* the lease must last until then */
    int64_t outstanding; /* most units held lately, for the lease's size; 0 unknown */
    int64_t seen_lease_id,
        seen_returned;         /* what Redis shows: brought back if a recall was cut short */
    bool over_too;             /* for a hold of the period: it lives on when the period is over */
    int64_t vanished_lease_id; /* != 0: Redis lost this lease's key: set it aside if still current */
    int64_t kept_lease_id;     /* != 0: this lease too is to last until deadline_ms */
    bool only_new; /* lends only if the row is made now; else the rest is not filled in */
    /* out */
    bool made;                /* the row did not exist and was made with what is lent here */
    bool missing;             /* the limit is gone, or the quota closed */
    bool bad;                 /* the tenant's rows contradict each other: nothing was lent */
    bool epoch_changed;       /* the shard has another epoch now: re-read authority */
    bool locked;              /* STATUS_CONFLICT: somebody keeps rows of its tenant locked */
    bool kept;                /* it does */
    int64_t granted_units;    /* lent by this call */
    struct quota_row quota;   /* the row afterwards (also when nothing was lent) */
    int64_t old_leases_units; /* outstanding under leases set aside */
};

/*
 * One transaction for all whose quotas have rows: begins new leases where the epoch moved on, closes due
 * old leases of these quotas, lends. Before it, one that makes the missing rows, each with its first
 * lease. Duplicates of a quota are allowed and served in order. *ret_now_ms: the database's time under the
 * locks; 0 if nothing was locked. STATUS_CONFLICT: nothing was lent, but perhaps by rows that were made;
 * leave out the tenants whose grants are marked locked (or, where none is, try again).
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
    int64_t deadline_ms; /* of the lease, if Redis has lowered it; else 0 (quota/lease.h) */
    bool still;          /* nothing of it has moved lately */
    /* out */
    bool locked;            /* STATUS_CONFLICT: somebody keeps rows of its tenant locked */
    struct quota_row quota; /* the row afterwards */
};

/*
 * One transaction for all. STATUS_CONFLICT: nothing was recorded; leave out the tenants whose returns are
 * marked locked (or, where none is, try again).
 */
MUST_CHECK enum status ledger_return_run(struct database *db, struct arena *arena,
                                         struct ledger_return *returns, size_t count);

/*
 * Rows whose recall flag is set, under a lease of the current epoch of an active shard, at most max:
 * what a recall script needs, shard and epoch among it. None that somebody has locked; of each tenant one
 * before a second of any.
 */
MUST_CHECK enum status ledger_recalls(struct database *db, struct arena *arena, size_t max,
                                      struct quota_row **ret, size_t *ret_count);

/*
 * Rows that have something lent, of active shards, with shard and epoch, by key: at most max after *after,
 * which becomes the last one's; {0} begins with the first. Fewer than max: there are no more behind it.
 */
struct ledger_key {
    int64_t tenant_id;
    struct quota_ref ref;
};

MUST_CHECK enum status ledger_lent(struct database *db, struct arena *arena,
                                   struct ledger_key *after, size_t max, struct quota_row **ret,
                                   size_t *ret_count, bool *ret_more);

/*
 * Old leases past their deadline; periods that have been over for so long that no hold of theirs can be
 * committed on time. One bounded transaction each, of rows that nobody has locked. Leases of a tenant whose
 * rows contradict each other stay; it is left out for as long as it is set aside (alarms.h).
 * *ret_more: there are more to be closed now.
 */
MUST_CHECK enum status ledger_close_leases(struct database *db, size_t max, bool *ret_more);
MUST_CHECK enum status ledger_close_periods(struct database *db, size_t max, bool *ret_more);

/* --- periods ---------------------------------------------------------------------------------- */

/*
 * The end of periods as an event of time. For at most max periods that are over and were not followed
 * up: makes the current period of the limit, with its PERIOD_STARTED event, where the one that is over
 * was used (something was recorded in it) and the current one is not made yet; nothing else where it was
 * not used. Periods that ended above a level come first. Repeating it is harmless, on several servers at
 * once too: a period is made once, by whoever is first, and its event with it.
 *
 * A tenant or limit that somebody has locked waits for a later call. One whose rows cannot be made is left
 * to its first use, for which they are refused as well. *ret_more: there is more to do now.
 */
MUST_CHECK enum status ledger_periods_follow(struct database *db, struct arena *arena, size_t max,
                                             bool *ret_more);

/* --- seals ------------------------------------------------------------------------------------ */

/* As many partitions of the ledger as a sealer keeps in mind. */
#define SEAL_PARTITIONS_MAX 64

/* Pages that the index of times knows together, as in sql/005_seal.sql. */
#define SEAL_RANGE_PAGES 32

/* A partition whose index of times has its summaries up to here (seal_ranges.h). */
struct seal_ranges {
    int64_t index_id;
    int64_t summarized; /* ranges */
    int64_t again_ms;   /* somebody works on it: not before */
};

/* What a sealer keeps from turn to turn; zeroed at first, but for signer and digest. */
struct ledger_sealing {
    struct chain_signer *signer;
    struct digest *digest;
    /* out, OK */
    size_t sealed;        /* entries that were added to chains */
    size_t gaps;          /* chains that could not go on: an entry is missing */
    bool more;            /* there is more to be sealed now */
    int64_t sealed_to_ms; /* what is older is sealed; 0: another sealer was at it */
    int64_t now_ms;
    /* private */
    int64_t window_ms;
    int64_t waits_ms;  /* a moment that is safe once no transaction runs that is */
    int64_t waits_for; /* older than this one */
    struct seal_ranges ranges[SEAL_PARTITIONS_MAX];
    size_t ranges_count;
    bool ranges_left; /* full ones without a summary, that this sealer knows of */
};

/*
 * A turn: what has come into the ledger since the last one goes into the chains of its quotas, a bounded
 * number of entries, in one transaction (seal.c). Two sealers at once do no harm.
 */
MUST_CHECK enum status ledger_seal_run(struct database *db, struct arena *arena,
                                       struct ledger_sealing *sealing);

/*
 * This server serves these tenants from Postgres: DEGRADED for each that no server served so before, in one
 * transaction. tenants (room for count) gets those that it knows of now, *ret_told of them; the others' rows
 * were locked: again later. The name is that of the beat.
 */
MUST_CHECK enum status ledger_degraded_note(struct database *db, struct arena *arena,
                                            struct slice server, int64_t *tenants, size_t count,
                                            size_t *ret_told);

/*
 * This server serves nobody so any more, nor does one that is gone: RECOVERED for each tenant of which no
 * server says otherwise. At most max tenants; *ret_more: there are others, or some were locked.
 */
MUST_CHECK enum status ledger_degraded_end(struct database *db, struct arena *arena,
                                           struct slice server, size_t max, bool *ret_more);

struct ledger_seals {
    int64_t now_ms;
    int64_t sealed_to_ms; /* entries that are older are sealed; 0: nothing was sealed yet */
    int64_t gaps;         /* chains that wait for an entry that is missing */
};

MUST_CHECK enum status ledger_seals_read(struct database *db, struct ledger_seals *ret);

/* --- what was lost ------------------------------------------------------------------------------ */

/*
 * Of these quotas, as Redis shows them and the quotas of a tenant side by side: what was acknowledged and
 * is not in the database (quota/loss.h). Redis was read before this call. Each tenant that has lost
 * something becomes read-only, in a transaction of its own under its quotas' locks that says so in loss,
 * tenant and audit, and is logged. What was lent and forgotten is counted again. A loss that waits for its
 * acceptance is not found twice. A failure ends it where it is: what was found stays, and the same call
 * again goes on.
 */
MUST_CHECK enum status ledger_losses_find(struct database *db, struct arena *arena,
                                          const struct loss_seen *seen, size_t count,
                                          struct loss **ret, size_t *ret_count);

/*
 * All of Redis was compared with this cluster and timeline. Until this is said of the history that a
 * database is in, no connection of a committer is made to it (UNAVAILABLE): a commit would raise the
 * numbers by which a loss is found.
 */
MUST_CHECK enum status ledger_history_compared(struct database *db, struct arena *arena,
                                               int64_t system, int64_t timeline);

/* --- facts and reap --------------------------------------------------------------------------- */

struct ledger_job {
    int64_t tenant_id;
    struct slice job_id;
    struct settle_facts facts; /* out: committed read, primary */
};

MUST_CHECK enum status ledger_facts_read(struct database *db, struct arena *arena,
                                         struct ledger_job *jobs, size_t count,
                                         int64_t *ret_now_ms);

struct ledger_reap_job {
    int64_t tenant_id;
    struct slice job_id;
    const struct hold *hold;
    struct slice text; /* its text, stored in expired_hold */
    /* out */
    bool committed; /* is in the ledger: mark FINAL */
    bool locked;    /* STATUS_CONFLICT: somebody keeps rows of its tenant locked */
};

/*
 * First half of a reap, one transaction for all: locks the quotas of all these holds, reaped_to :=
 * greatest(reaped_to, clock), reads the ledger and the fences, writes expired_hold (and a HOLD_EXPIRED
 * event) for those that are in neither. Only holds with deadline <= the clock under the locks.
 * ret_quotas: the rows afterwards, by tenant. STATUS_CONFLICT: nothing was done; leave out the tenants
 * whose jobs are marked locked (or, where none is, try again) and the rest goes through.
 */
MUST_CHECK enum status ledger_reap_run(struct database *db, struct arena *arena,
                                       struct ledger_reap_job *jobs, size_t count,
                                       int64_t *ret_reaped_to_ms, struct quota_row **ret_quotas,
                                       size_t *ret_quotas_count);

/* --- holds in Postgres ------------------------------------------------------------------------ */

struct ledger_place {
    struct place place;     /* in, without facts; out: hold, facts->record and names in the arena */
    int64_t config_version; /* in: of the plan that chose the quotas */
    int ledger_part;        /* in: of that plan */
    /* out */
    bool stale;             /* the tenant's config has another version: nothing was decided */
    bool locked;            /* STATUS_CONFLICT: somebody keeps rows of its tenant locked */
    struct quota_row *rows; /* [i]: that of wanted->quotas[i] afterwards; limit_id 0: there is none */
    int64_t *old_leases_units; /* likewise: outstanding under leases set aside */
};

/*
 * Takes holds in Postgres, as many as fit, in the order given; one transaction for all. Before it, one that
 * makes missing rows. Closes due old leases of these quotas. A job may come twice. *ret_now_ms: the
 * database's time under the locks. STATUS_CONFLICT: nothing was taken; leave out the tenants whose places are
 * marked locked (or, where none is, try again). STATUS_UNKNOWN: they may be taken; the same call again finds
 * them.
 */
MUST_CHECK enum status ledger_place_run(struct database *db, struct arena *arena,
                                        struct ledger_place *places, size_t count,
                                        int64_t *ret_now_ms);

struct ledger_move {
    struct place_move move; /* in, without facts; out: end, hold and facts in the arena */
    bool locked;            /* as above */
};

/* Later deadlines for holds in Postgres; one transaction for all. The same statuses. */
MUST_CHECK enum status ledger_move_run(struct database *db, struct arena *arena,
                                       struct ledger_move *moves, size_t count,
                                       int64_t *ret_now_ms);

/* One that is due. */
struct ledger_due {
    int64_t tenant_id;
    struct slice job_id;
    struct attempt attempt;
    /* out of the reap */
    bool locked; /* as above */
    bool reaped; /* false: it has moved or ended meanwhile */
};

/* Which rows of pg_hold: those of one tenant, or of all tenants of some shards. */
struct ledger_due_want {
    int64_t tenant_id; /* 0: of the shards */
    const int *shards;
    size_t shards_count;
    const int64_t *but; /* of the shards: without these tenants */
    size_t but_count;
    int64_t late_ms; /* their deadline has been past for so long */
    size_t max;
};

/* The oldest first. */
MUST_CHECK enum status ledger_placed_due(struct database *db, struct arena *arena,
                                         const struct ledger_due_want *want,
                                         struct ledger_due **ret, size_t *ret_count);

/* Their reap, whole, in one transaction: pg_held falls, the rows go; expired_hold and events. */
MUST_CHECK enum status ledger_placed_reap(struct database *db, struct arena *arena,
                                          struct ledger_due *dues, size_t count);

/* How many there are, counted up to max. */
MUST_CHECK enum status ledger_placed_count(struct database *db, int64_t max, int64_t *ret_count);

struct ledger_placed {
    struct slice job_id;
    const struct hold *hold;
};

/* A page of a tenant's holds in Postgres, by deadline, then job; those that nobody can read are left out. */
MUST_CHECK enum status ledger_placed_list(struct database *db, struct arena *arena,
                                          int64_t tenant_id, int64_t after_deadline_ms,
                                          struct slice after_job_id, size_t max,
                                          struct ledger_placed **ret, size_t *ret_count);

/* --- reads ------------------------------------------------------------------------------------ */

struct ledger_usage {
    struct quota_row quota;  /* a row, or zeroes where the period has no row yet */
    int64_t old_deadline_ms; /* latest deadline of its old leases; 0: it has none */
};

/*
 * The current periods of these limits of the plan, the seq of the newest event and the config version
 * in one state of the database, whose clock the estimate has seen then. With another version than the
 * plan's, limits have changed since; 0: there is no such tenant.
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
    enum event_kind recovered_from; /* of RECOVERED: what is over; else 0 */
    int64_t held;                   /* of basis 2: what was held then; else 0 */
};

/* What Redis has counted of a quota, oldest first. */
struct ledger_crossed {
    int64_t tenant_id;
    struct quota_ref ref;
    size_t reached_count;
    const struct reached *reached;
    bool told; /* out, OK: the database has it; false: its tenant's rows contradict each other */
};

/*
 * Tells watchers of crossings of what is reserved, each once, however often it is brought. Of a quota that
 * is closed or gone nobody is told. CONFLICT: a row is locked.
 */
MUST_CHECK enum status ledger_crossings_write(struct database *db, struct arena *arena,
                                              struct ledger_crossed *quotas, size_t count);

/* Each tenant stands in one cursor of a call at most. */
struct ledger_cursor {
    int64_t tenant_id;
    int64_t after_seq;
    size_t max; /* events of this tenant in one answer */
    /* out */
    size_t first, count; /* its events in the answer, by seq */
};

/* Events after each cursor. */
MUST_CHECK enum status ledger_events_read(struct database *db, struct arena *arena,
                                          struct ledger_cursor *cursors, size_t cursors_count,
                                          struct ledger_event **ret);

/* The newest event of each of these tenants, 0 before the first; -1 where there is no such tenant. */
MUST_CHECK enum status ledger_events_newest(struct database *db, struct arena *arena,
                                            const int64_t *tenants, size_t count,
                                            int64_t *ret_newest);

/* Oldest and newest seq that exist for a tenant: oldest is newest + 1 if there are none. */
MUST_CHECK enum status ledger_events_span(struct database *db, int64_t tenant_id,
                                          int64_t *ret_oldest, int64_t *ret_newest);

/*
 * What is kept for a time only: events (as long as the caller says), fences and expired holds (until
 * their purge_after), closed periods (a week, or 31 times their length).
 */
enum ledger_kept { KEPT_EVENTS, KEPT_FENCES, KEPT_EXPIRED, KEPT_PERIODS, KEPT_COUNT };

/*
 * Deletes about max rows of one kind that are past their time, in one statement. *ret_more: there are
 * more. Nothing is done while another server does the same.
 */
MUST_CHECK enum status ledger_retention(struct database *db, enum ledger_kept what,
                                        int64_t events_keep_ms, size_t max, bool *ret_more);

/* --- admin ------------------------------------------------------------------------------------ */

/*
 * A request_id stands for the object as it is to become, without etag, actor and reason.
 * STATUS_UNKNOWN of a change: ask again with the same request_id.
 */
struct ledger_note {
    struct slice actor, reason, request_id;
};

enum ledger_admin {
    ADMIN_DONE,
    ADMIN_REPEATED,       /* this request_id was answered before: the stored answer */
    ADMIN_REQUEST_REUSED, /* this request_id with other content */
    ADMIN_EXISTS,
    ADMIN_NOT_FOUND,   /* no such tenant or limit */
    ADMIN_ETAG,        /* etag given and not the current one */
    ADMIN_CONFLICT,    /* the limit's scope, meter, period, zone or anchor cannot be changed */
    ADMIN_NO_ZONE,     /* the database knows no such time zone */
    ADMIN_LIMITS_FULL, /* the tenant has as many limits as it may */
    ADMIN_CROWDED,     /* a reservation would count against more than HOLD_QUOTAS_MAX */
};

struct ledger_tenant {
    int64_t tenant_id;
    struct slice tenant, display_name;
    bool suspended, admit_unlimited_meters;
    int64_t version; /* the etag is its decimal text */
    int64_t created_ms;
    int64_t config_version;
};

/*
 * tenant: as it is to become; afterwards as it is. validate_only, here and below: answers as if it were
 * done, changes nothing and uses no request_id up.
 */
MUST_CHECK enum status ledger_tenant_create(struct database *db, struct arena *arena,
                                            const struct ledger_note *note, bool validate_only,
                                            struct ledger_tenant *tenant, enum ledger_admin *ret);
MUST_CHECK enum status ledger_tenant_update(struct database *db, struct arena *arena,
                                            const struct ledger_note *note, struct slice etag,
                                            bool validate_only, struct ledger_tenant *tenant,
                                            enum ledger_admin *ret);
/* By prefix, after a name, at most max. */
MUST_CHECK enum status ledger_tenant_list(struct database *db, struct arena *arena,
                                          struct slice prefix, struct slice after, size_t max,
                                          struct ledger_tenant **ret, size_t *ret_count);

enum overage_kind { OVERAGE_NONE, OVERAGE_UNITS, OVERAGE_PERCENT, OVERAGE_UNLIMITED };

enum { LEDGER_VERSION_NONE = 0 }; /* of what does not exist; what does begins with 1 */

struct ledger_limit {
    struct slice tenant;
    struct slice limit_name, scope, meter;
    enum period period;
    struct slice time_zone; /* IANA; empty: UTC. Only of a day and longer, like the anchor */
    bool has_anchor;
    int64_t anchor_ms;        /* 0 without one */
    struct calendar calendar; /* boundaries of the current period and the next; only read */
    bool unlimited;
    int64_t amount;
    int soft_percent; /* 0 given means 90 */
    enum overage_kind overage_kind;
    int64_t overage;            /* units or percent */
    int64_t max_ttl_ms;         /* 0: the server's */
    enum redis_away redis_away; /* 0 given means POSTGRES */
    int64_t redis_away_units;   /* of OPEN, else 0 */
    bool reserved_crossings;    /* crossings of what is reserved are told (quota/reserved.h) */
    int64_t version;            /* etag */
    int64_t limit_id;
    bool implicit;
};

/*
 * Adds or replaces. In one transaction: limit_, then its quota rows of periods that are not over
 * (limit, cap, soft, levels), one LIMIT_CHANGED event of the current period and the crossings after
 * it, the recall flag where the cap became smaller and capacity is lent, tenant.config_version + 1,
 * audit.
 *
 * Two bounds hold for what is added, not for what is replaced: a tenant has at most limits_max limits
 * (LIMITS_FULL; implicit ones do not count here), and a reservation of one meter, at whatever scope,
 * counts against at most HOLD_QUOTAS_MAX (CROWDED). A tenant that is past a bound goes on with what it
 * has.
 *
 * limit: as it is to become; afterwards as it is, also when ADMIN_CONFLICT says that it cannot become so.
 * STATUS_INVALID: it cannot be (amounts, percentages, period); the caller should have checked.
 * ret_rows: the rows afterwards, of periods that are not over; also for a repeat, as they are now;
 * none for a trial.
 */
MUST_CHECK enum status ledger_limit_put(struct database *db, struct arena *arena,
                                        const struct ledger_note *note, struct slice etag,
                                        bool validate_only, size_t limits_max,
                                        struct ledger_limit *limit, bool *ret_created,
                                        struct quota_row **ret_rows, size_t *ret_rows_count,
                                        enum ledger_admin *ret);
/*
 * Holds under the limit are honoured; its rows stay until closed, and those of periods that are not over
 * are unlimited from then on. A LIMIT_CHANGED event and the crossings down. limit: tenant and name;
 * afterwards as it was.
 */
MUST_CHECK enum status ledger_limit_delete(struct database *db, struct arena *arena,
                                           const struct ledger_note *note, struct slice etag,
                                           bool validate_only, struct ledger_limit *limit,
                                           enum ledger_admin *ret);
MUST_CHECK enum status ledger_limit_list(struct database *db, struct arena *arena,
                                         struct slice tenant, struct slice after, size_t max,
                                         struct ledger_limit **ret, size_t *ret_count,
                                         bool *ret_tenant_exists);

/* --- losses that are accepted ------------------------------------------------------------------ */

/* Of the job under which an accepted loss stands in the ledger; 16 random hexadecimal digits follow. */
#define LEDGER_LOSS_JOB "holdfast-loss-"

struct ledger_loss {
    struct loss loss;
    struct slice limit_name; /* empty: the quota is gone, nothing was booked */
    struct slice job_id;     /* the entry that has it now; empty in the answer to a repeat */
    int64_t amount, debt;    /* as booked */
};

/*
 * An admin accepts what a tenant has lost: each loss becomes an entry of the ledger, so that use and limit
 * are right again, and the tenant is read-only no more. One transaction, with its audit. A tenant that is
 * not read-only has no losses, and nothing happens.
 */
MUST_CHECK enum status ledger_losses_accept(struct database *db, struct arena *arena,
                                            const struct ledger_note *note, bool validate_only,
                                            struct slice tenant, struct ledger_loss **ret,
                                            size_t *ret_count, enum ledger_admin *ret_admin);

/* Tenants whose losses wait for their acceptance, by name, at most max. */
MUST_CHECK enum status ledger_losses_tenants(struct database *db, struct arena *arena, size_t max,
                                             struct slice **ret, size_t *ret_count);

#endif
