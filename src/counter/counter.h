/*
 * Redis as the live balance: one connection, and a C structure per script.
 *
 * A struct counter belongs to one thread. Two ways to use it:
 *
 *   blocking      counter_add any number of calls, then counter_run: one round trip for all
 *   non-blocking  counter_add, counter_send, then counter_receive whenever counter_fd is readable,
 *                 until it stops answering COUNTER_PENDING; a worker does this between other work
 *
 * Every call gets its own status:
 *   STATUS_OK           the script ran: look at `guard` first, then at the answer
 *   STATUS_UNAVAILABLE  nothing was sent (no connection), or Redis refused before running anything
 *                       (LOADING, MISCONF, OOM, READONLY, BUSY ...): it did not happen
 *   STATUS_UNKNOWN      sent, then silence for timeout_ms or the connection broke: it may have
 *                       happened; the connection is closed and opened anew by the next use
 *   STATUS_CORRUPT      an answer that makes no sense, or an error inside the script: it may have
 *                       happened too; counter_last_error says what Redis said. Somebody else wrote into
 *                       the keys: counter_clean makes what cannot be read count as lost
 *   STATUS_INVALID      the script found an argument out of range; nothing happened
 *   STATUS_EXHAUSTED    the call's arena is full; nothing was sent
 * (An arena too small for the answer gives STATUS_UNKNOWN.)
 *
 * The keys are in README.md here, the rules of each script stand at the head
 * of its file in lua/. A script is sent by its SHA-1; where Redis does not know it the call is
 * repeated with its text (NOSCRIPT means that nothing ran). Calls run in the order in which they were
 * added, except that those which are repeated this way run last (`by_text`).
 *
 * Requests and their memory must live until the call is answered. Answers point into call->arena.
 * `now_ms` is always the database's time (base/estimate.h); Redis' own clock is never used.
 */
#ifndef HOLDFAST_COUNTER_COUNTER_H
#define HOLDFAST_COUNTER_COUNTER_H

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"
#include "base/status.h"
#include "quota/hold.h"
#include "quota/reserved.h"
#include "quota/shard.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct counter;

/*
 * The number of the layout of the keys. Servers of different layouts do not read each other's keys:
 * an earlier layout gives way to this one (a new epoch), a later one never does.
 */
enum { COUNTER_LAYOUT = 2 };

/* Shards of one tag have all their keys in one slot of a cluster, so one script can be about all of them. */
enum { COUNTER_TAG_SHARDS = 16 };

static inline int counter_tag(int shard)
{
    return shard / COUNTER_TAG_SHARDS;
}

/* Bounds on one call; more is a bug. */
enum {
    COUNTER_ITEMS_MAX = 256, /* of a reserve; a worker sends at most 64 */
    COUNTER_LIST_MAX = 2048, /* jobs, totals, versions, refs, tenants */
};

/* Who has more quotas sends several scripts: Redis hears nobody while it runs one. */
enum { COUNTER_PART_MAX = 512 };

/*
 * When this process last heard from a Redis, on whichever connection. It belongs to all connections to one
 * address; all zeros: never. Redis serves one connection at a time, so while it answers one of them, another
 * that waits has not lost it.
 */
struct counter_life {
    _Atomic int64_t heard_us; /* clock_mono_us of clock_real */
};

struct counter_options {
    /* As in base/address.h; a name instead of a number is resolved at each connect, waiting */
    const char *address;
    int connect_timeout_ms;
    /*
     * Silence is what ends a wait, not its length: each byte that comes or that a full socket takes begins it
     * anew, on this connection or by `life` on another one. After REDIS_LONE_MS in which this one alone is
     * silent (or timeout_ms, if that is more) it is over as well: this connection leads nowhere.
     */
    int timeout_ms;
    struct counter_life *life; /* outlives the counter; NULL: this connection is the only one */
};

/* Connects with the first call. An address from outside must have been checked. */
struct counter *counter_create(const struct counter_options *options);

/*
 * Closes the connection; the next call opens a new one. No call may be outstanding. Use it when the
 * address may lead to another Redis by now: after a failover, or a second start on one path, the old one
 * may go on answering whoever is connected to it. If a guard finds another replid than the view's, or a
 * replica, the connection is closed in the same way by itself, once all calls are answered.
 */
void counter_renew(struct counter *counter);

/* No call is outstanding; accepts NULL. */
void counter_destroy(struct counter *counter);

/* --- the guard ------------------------------------------------------------------------------- */

enum counter_guard {
    GUARD_PASSED,
    GUARD_LOST, /* role, replid, epoch or nonce differ from the view: nothing was read or written */
};

struct counter_observed {
    bool master;
    char replid[REPLID_CHARS + 1];
    int64_t epoch; /* 0: the shard's key is missing */
    char nonce[NONCE_CHARS + 1];
    int layout; /* of its keys; 0: none yet. Larger than COUNTER_LAYOUT: do not use it */
    bool evicts; /* observe: its maxmemory-policy deletes holds when memory is short; do not use it */
};

enum counter_kind {
    COUNTER_RESERVE,
    COUNTER_FILL,
    COUNTER_NOTIFY,
    COUNTER_LOOKUP,
    COUNTER_EXTEND,
    COUNTER_RETAKE,
    COUNTER_DUE,
    COUNTER_DISCARD,
    COUNTER_REAP,
    COUNTER_RECALL,
    COUNTER_READ,
    COUNTER_HOLDS,
    COUNTER_SURVEY,
    COUNTER_CHECK,
    COUNTER_REBUILD,
    COUNTER_REGISTER,
    COUNTER_FORGET,
    COUNTER_CLEAN,
    COUNTER_CROSSED,
    COUNTER_TOLD,
    COUNTER_INIT,
    COUNTER_OBSERVE,
};

/* First member of every call below. */
struct counter_call {
    enum counter_kind kind;
    struct shard_view view;
    /*
     * Of reserve and notify only: further shards of the same tag and replid that the call is about. LOST
     * then says that one of them differs, but not which: ask for each by itself.
     */
    const struct shard_view *views;
    size_t views_count;
    struct arena *arena; /* answers are allocated here; only init and observe do without */
    /* private */
    struct counter_call *next;
    void *scratch;
    uint64_t end; /* of its bytes in all that was ever written to the connection */
    /* out */
    enum status status;
    enum counter_guard guard;
    struct counter_observed observed; /* set when the guard says LOST, and by observe and init */
    bool by_text; /* Redis did not know the script: it ran after all that was added later */
    bool crossed; /* some quota in the answer has crossings to be told (counter_crossed) */
    struct slice below_zero; /* a key whose H would have become negative, else empty: a bug, logged */
};

/* --- running --------------------------------------------------------------------------------- */

enum counter_progress {
    COUNTER_PENDING, /* some call is not answered yet */
    COUNTER_DONE,    /* every added call has its status; none is outstanding */
};

/* Appends a call to what will be sent. Opens the connection if need be (without waiting for it). */
void counter_add(struct counter *counter, struct counter_call *call);

/* Writes what it can without waiting. */
enum counter_progress counter_send(struct counter *counter);

/* Reads and writes what it can without waiting; also finds out that timeout_ms is over. */
enum counter_progress counter_receive(struct counter *counter);

/* To be polled between the two; -1 when nothing is outstanding. counter_events: POLLIN, POLLOUT. */
int counter_fd(const struct counter *counter);
short counter_events(const struct counter *counter);

/* Sends and waits until COUNTER_DONE. */
void counter_run(struct counter *counter);

/* For status pages. */
bool counter_is_connected(const struct counter *counter);
const char *counter_last_error(const struct counter *counter); /* "" if none; valid until next use */

/* --- quotas as Redis knows them --------------------------------------------------------------- */

struct counter_quota {
    bool exists;
    int64_t lease_id;                 /* L */
    int64_t granted, returned, spent; /* G, B, S: cumulative */
    int64_t held;                     /* H: of this lease */
    int64_t lease_deadline_ms;        /* D */
    int64_t used;                     /* C = committed + debt, at ledger_seq used_seq (Cv) */
    int64_t debt;                     /* Cd: how much of C is debt */
    int64_t used_seq;
    int64_t withheld;      /* W: lent beyond the cap; admitted to nobody */
    int64_t period_end_ms; /* E; 0: not known, or the period has no end */
    bool crossed;          /* it has crossings of what is reserved that are not told yet */
};

static inline int64_t counter_available(const struct counter_quota *q)
{
    return q->granted - q->returned - q->spent - q->held - q->withheld;
}

/* A quota row's totals, as read or written under its lock: what fill and notify bring to Redis. */
struct counter_totals {
    int64_t tenant_id;
    struct quota_ref ref;
    int64_t lease_id, granted, returned, spent, lease_deadline_ms;
    int64_t used, debt, used_seq; /* used = committed + debt */
    int64_t over;                 /* lent beyond the cap; only fill and recall bring it */
    int64_t period_end_ms;        /* 0: none */
    /* out, per totals */
    enum counter_took { TOTALS_TAKEN, TOTALS_VANISHED, TOTALS_OLDER, TOTALS_ABSENT } took;
    struct counter_quota now; /* after the script */
};

/* --- reserve: all or nothing, many at once ----------------------------------------------------- */

enum counter_reserved {
    RESERVED_ADMITTED,
    RESERVED_SHORT, /* some quota falls short: see shortfalls; nothing is held */
    RESERVED_KNOWN, /* the job has a live hold: entry; ask the ledger before replaying it */
    RESERVED_DUE,   /* the job has a hold past its deadline: entry; reap it, then again */
    RESERVED_FINAL, /* committed lately (FINAL marker); ask the ledger */
    RESERVED_STALE, /* Redis has another config version than config_version */
};

enum {
    SHORT_UNITS = 1,    /* available < amount */
    SHORT_DEADLINE = 2, /* the lease ends before the hold would */
    SHORT_UNFILLED = 4, /* no lease in Redis yet */
    SHORT_VANISHED = 8, /* was filled with state.lease_id, and the key is gone */
    SHORT_SOFT = 16,    /* deferrable, and projected use would pass the soft stop */
};

struct counter_reserve_item {
    /* in */
    size_t view; /* that of the tenant's shard; 0: call.view, else call.views[view - 1] */
    int64_t tenant_id;
    int64_t config_version;
    struct slice job_id;
    struct slice identity; /* hold_identity */
    int64_t deadline_ms;
    bool deferrable;
    size_t quotas_count;
    const struct hold_quota *quotas; /* lease_id is ignored */
    const int64_t *softs;            /* soft stop of each quota: for deferrable, and for warnings */
    /*
     * What the hold keeps of each quota whose use and holds reach its soft stop; projected is ignored.
     * The same wherever quota and config_version are. NULL: nothing is kept.
     */
    const struct hold_warning *warnings;
    /*
     * The stops of each quota whose limit wants crossings of what is reserved (quota/reserved.h), NULL of the
     * others. The same wherever quota and config_version are. NULL: no quota wants them.
     */
    const struct stops *const *crossings;
    /* out */
    enum counter_reserved answer;
    struct slice entry;     /* KNOWN and DUE: the hold's text */
    struct attempt attempt; /* ADMITTED */
    int64_t *projected; /* ADMITTED: of each quota whose warning is kept, others -1; NULL: none */
    struct counter_quota *states; /* one per quota, after the script; NULL when STALE */
    int *shortfalls;              /* SHORT: bits per quota, 0 for those that would admit */
    /* SHORT, of the tenant's holds before the script: */
    bool tenant_has_due;          /* some hold is past its deadline */
    int64_t earliest_deadline_ms; /* -1: none */
    int64_t latest_deadline_ms;
};

struct counter_reserve {
    struct counter_call call;
    int64_t now_ms;
    size_t items_count;
    struct counter_reserve_item *items; /* later items see earlier ones */
};

/* --- fill: a grant reaches Redis ---------------------------------------------------------------- */

struct counter_version {
    int64_t tenant_id;
    int64_t config_version;
};

struct counter_fill {
    struct counter_call call;
    int64_t now_ms; /* 0: not known, quotas of past periods stay */
    size_t totals_count;
    struct counter_totals *totals; /* creates, resets or raises; see lua/fill.lua */
    size_t versions_count;
    const struct counter_version *versions; /* set if larger than what Redis has */
};

/* --- notify: after a COMMIT ---------------------------------------------------------------------- */

struct counter_notify_job {
    int64_t tenant_id;
    struct slice job_id;
    bool committed;         /* true: remove whatever hold the job has, and mark it FINAL */
    struct attempt attempt; /* released: remove this attempt only */
};

struct counter_notify {
    struct counter_call call;
    int64_t now_ms;
    size_t jobs_count;
    const struct counter_notify_job *jobs;
    size_t totals_count;
    struct counter_totals *totals; /* never creates a key */
};

/* --- the others ----------------------------------------------------------------------------------- */

struct counter_lookup { /* what a job holds now */
    struct counter_call call;
    int64_t tenant_id;
    size_t jobs_count;
    const struct slice *jobs;
    struct slice *entries; /* out: one per job, empty if none */
    bool *lost; /* out, likewise: its hold or all of the tenant's was lost, so an empty entry says nothing */
};

enum counter_extended {
    EXTENDED_DONE,   /* entry: the hold with its new deadline (or the old one if that is later) */
    EXTENDED_ABSENT, /* no hold of this job, or of another attempt: entry says which */
    EXTENDED_DUE,    /* past its deadline: entry */
    EXTENDED_SHORT,  /* a lease ends before the new deadline: push it, then again; entry */
    EXTENDED_OLD_LEASE, /* some lease is not the current one any more: entry */
};

struct counter_extend {
    struct counter_call call;
    int64_t now_ms;
    int64_t tenant_id;
    struct slice job_id;
    struct attempt attempt; /* {0, 0}: whatever attempt there is */
    int64_t deadline_ms;    /* wanted; the script never lowers a deadline */
    int64_t lifetime_ms;    /* no deadline beyond created + this */
    /*
     * NULL, or the hold whose leases, current or set aside, last until deadline_ms by the root's rows:
     * as long as these are the hold's leases in Redis, nothing else is asked of them.
     */
    const struct hold *kept;
    /* Per quota of it, the row's `returned` then: where Redis has more, the row may say otherwise. */
    const int64_t *kept_returned;
    enum counter_extended answer;
    struct slice entry;
};

enum counter_retaken {
    RETAKEN_DONE,  /* entry: the hold as it stands now */
    RETAKEN_OTHER, /* entry: another attempt of the job, which stays; or none though there was one */
    RETAKEN_SHORT, /* a lease is not the current one, ends too early or has too little left */
};

struct counter_retake { /* a hold that Redis lost, or of an earlier lease, stands again */
    struct counter_call call;
    int64_t now_ms;
    int64_t tenant_id;
    struct slice job_id;
    const struct hold *hold; /* the attempt as before, under current leases */
    bool was_there;          /* only if it still is: under other leases */
    enum counter_retaken answer;
    struct slice entry;
};

struct counter_due_hold {
    struct slice job_id;
    struct slice entry;
    struct slice packed; /* the same as Redis has it; only with keep_packed */
};

struct counter_due { /* holds past their deadline; tenant_id 0: only which tenants have some */
    struct counter_call call;
    int64_t now_ms;
    int64_t tenant_id;
    size_t max;
    bool keep_packed;
    size_t tenants_count; /* out, tenant_id 0 */
    int64_t *tenants;
    size_t holds_count; /* out, tenant_id given */
    struct counter_due_hold *holds;
};

/*
 * Due holds whose entry is not one of hold.h: they go if Redis still has them so, and the quotas that they
 * may be held in vanish, as if Redis had lost them (check finds these).
 */
struct counter_discard {
    struct counter_call call;
    int64_t tenant_id;
    size_t holds_count;
    const struct counter_due_hold *holds;
    size_t discarded_count, quotas_count; /* out: holds that went, quotas that vanished */
};

struct counter_reap { /* second half of a reap: the database has set reaped_to_ms under the locks */
    struct counter_call call;
    int64_t now_ms;
    int64_t tenant_id;
    int64_t reaped_to_ms;
    size_t jobs_count;
    const struct counter_notify_job
        *jobs; /* committed: FINAL; removed if current deadline <= reaped_to */
    size_t totals_count;
    struct counter_totals *totals;
    size_t removed_count; /* out */
};

enum counter_recall_how {
    RECALL_ALL,   /* what is idle */
    RECALL_STILL, /* nothing has moved lately: what is more than a quarter of what is free, or all */
    RECALL_MOVING, /* nothing but a lease deadline that lies far behind all holds */
};

/* How much of a quota goes back; lua/recall.lua has the rules. */
struct counter_spare {
    enum counter_recall_how how;
    int64_t room;                /* what the root has to lend beside it */
    int64_t lowered_deadline_ms; /* out: the lease's deadline, if it fell; else 0 */
};

struct counter_recall { /* takes idle capacity back: G first, then B rises, at most to G - S - H */
    struct counter_call call;
    int64_t now_ms;       /* for spares, as what follows */
    int64_t lease_min_ms; /* how long a lease lasts at least */
    size_t totals_count;
    struct counter_totals *totals; /* now.returned is what the database must take back */
    struct counter_spare *spares;  /* per totals; NULL: RECALL_ALL of each */
};

struct counter_read {
    struct counter_call call;
    int64_t tenant_id;
    size_t refs_count;
    const struct quota_ref *refs;
    struct counter_quota *states; /* out */
};

struct counter_holds { /* a page of live and due holds, soonest deadline first */
    struct counter_call call;
    int64_t tenant_id;
    int64_t after_deadline_ms; /* cursor: strictly after (deadline, job_id); -1: from the start */
    struct slice after_job_id;
    size_t max;
    size_t holds_count; /* out */
    struct counter_due_hold *holds;
    int64_t holds_total, holds_due; /* out: of the tenant; due at now_ms */
    int64_t now_ms;
};

enum {
    COUNTER_CURSOR_CHARS = 24,
    COUNTER_FIELD_CHARS = 63, /* of a quota of the tag: its tenant, limit and period */
};

struct counter_rest { /* what is left of a tenant */
    int64_t tenant_id;
    char cursor[COUNTER_CURSOR_CHARS + 1];
};

/*
 * What Redis knows of all quotas of some tenants of the shard: of those of the page at the cursor, or, with
 * rests, of what an earlier page has left, and the cursor stays. About quotas_max quotas are shown, however
 * many a tenant has. All is shown when no rests are left at the cursor "0". Cursors mean nothing to another
 * incarnation of Redis.
 */
struct counter_survey {
    struct counter_call call;
    size_t max;                            /* tenants of a page, about */
    size_t quotas_max;                     /* about */
    char cursor[COUNTER_CURSOR_CHARS + 1]; /* in and out; "0": from the start, and: at the end */
    struct counter_rest *rests;            /* in, COUNTER_LIST_MAX at most, and out */
    size_t rests_count;
    size_t quotas_count;
    struct counter_surveyed {
        int64_t tenant_id;
        struct quota_ref ref;
        struct counter_quota now;
    } * quotas; /* out; those that cannot be read are left out */
};

/* --- keys that were lost singly (op/mend.h) --------------------------------------------------------- */

enum counter_finding_kind {
    FINDING_LOST = 1,   /* quotas, and what was held in them: set these leases aside */
    FINDING_DERIVED,    /* an index: counter_rebuild until done */
    FINDING_HELD,       /* H of these quotas was not the sum of their holds; it is now */
    FINDING_UNREADABLE, /* something there is not what a script wrote: counter_clean */
};

struct counter_lost {
    struct quota_ref ref;
    int64_t lease_id; /* the last one that the quota was filled with */
};

struct counter_finding {
    enum counter_finding_kind kind;
    int64_t tenant_id;
    size_t quotas_count;
    struct counter_lost *quotas;
};

struct counter_check { /* looks over some tenants of the shard, and forgets what is over */
    struct counter_call call;
    int64_t now_ms;
    size_t max;                            /* tenants, about */
    char cursor[COUNTER_CURSOR_CHARS + 1]; /* in and out; "0": from the start, and: at the end */
    bool whole;           /* out; false: tenants may be missing, bring all by counter_register */
    size_t tenants_count; /* out: looked at */
    size_t findings_count;
    struct counter_finding *findings; /* out */
};

struct counter_rebuild { /* a step of making anew what can be derived from a tenant's hash */
    struct counter_call call;
    int64_t tenant_id;
    size_t max;                            /* fields, about */
    char cursor[COUNTER_CURSOR_CHARS + 1]; /* in and out; "0": begins, and: done */
};

struct counter_register { /* tenants of the shard; those that Redis has something of are listed there */
    struct counter_call call;
    size_t tenants_count;
    const int64_t *tenants;
    bool last;      /* of all tenants of the shard: check will say that the list is whole */
    size_t missing; /* out */
};

struct counter_forget { /* quotas of FINDING_LOST that the database lends nothing for any more */
    struct counter_call call;
    int64_t tenant_id;
    size_t quotas_count;
    const struct counter_lost *quotas;
};

/*
 * What cannot be read goes, and counts as lost: after STATUS_CORRUPT. So do quotas in which a hold was that
 * is gone; what the list of leases lacks comes; with neither key of a tenant left, its shard's epoch ends.
 */
struct counter_clean {
    struct counter_call call;
    size_t tenants_count;
    const int64_t *tenants;
    size_t removed; /* out: keys and fields that went or came, also of the shard */
};

/* --- crossings of what is reserved (quota/reserved.h) ------------------------------------------------ */

/* What the scripts have counted of a quota, oldest first, and is not told yet. */
struct counter_crossed_quota {
    int64_t tenant_id;
    int shard;
    struct quota_ref ref;
    size_t reached_count;
    struct reached *reached;
};

/* A page of the tag of call.view.shard, of all its shards. */
struct counter_crossed {
    struct counter_call call;
    size_t max; /* quotas */
    char cursor[COUNTER_CURSOR_CHARS +
                1]; /* in and out, with after; "0" and "": from the start, and: the end */
    char after[COUNTER_FIELD_CHARS + 1];
    size_t quotas_count;
    struct counter_crossed_quota *quotas; /* out */
};

struct counter_told_quota {
    int64_t tenant_id;
    struct quota_ref ref;
    struct reached_name last; /* the database has this and what was counted before */
};

struct counter_told { /* crossings that the database has go */
    struct counter_call call;
    size_t quotas_count;
    const struct counter_told_quota *quotas;
};

/* The tenants that a call is about, into ret of COUNTER_LIST_MAX, some perhaps twice; returns how many. */
size_t counter_tenants(struct counter_call *call, int64_t *ret);

struct counter_init { /* a shard begins an epoch; only over a smaller one, and over an earlier layout */
    struct counter_call call; /* view: the epoch, replid and nonce to begin with */
};

struct counter_observe { /* what Redis is: no guard; fills call.observed */
    struct counter_call call;
};

#endif
