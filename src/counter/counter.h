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
 *   STATUS_UNKNOWN      sent, no answer within timeout_ms or the connection broke: it may have
 *                       happened; the connection is closed and opened anew by the next use
 *   STATUS_CORRUPT      an answer that makes no sense, or an error inside the script: likewise it may
 *                       have happened; counter_last_error says what Redis said
 *   STATUS_INVALID      the script found an argument out of range; nothing happened
 *   STATUS_EXHAUSTED    the call's arena is full; nothing was sent
 * (An arena too small for the answer gives STATUS_UNKNOWN.)
 *
 * The keys are those of protocol.md 3.3 (README.md here), the rules of each script stand at the head
 * of its file in lua/. A script is sent by its SHA-1; where Redis does not know it the call is
 * repeated with its text (NOSCRIPT means that nothing ran).
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
#include "quota/shard.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct counter;

/* Bounds on one call; more is a bug. */
enum {
    COUNTER_ITEMS_MAX = 256, /* of a reserve; a worker sends at most 64 */
    COUNTER_LIST_MAX = 2048, /* jobs, totals, versions, refs */
};

struct counter_options {
    /* "unix:/path" or "host:port"; a name instead of a number is resolved at each connect, waiting */
    const char *address;
    int connect_timeout_ms;
    int timeout_ms;      /* from sending to the last answer */
};

/* Connects with the first call. Aborts on an address that is neither of the two forms. */
struct counter *counter_create(const struct counter_options *options);
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
    bool evicts; /* observe: its maxmemory-policy deletes holds when memory is short; do not use it */
};

enum counter_kind {
    COUNTER_RESERVE,
    COUNTER_FILL,
    COUNTER_SETTLE,
    COUNTER_LOOKUP,
    COUNTER_EXTEND,
    COUNTER_DUE,
    COUNTER_REAP,
    COUNTER_RECALL,
    COUNTER_READ,
    COUNTER_HOLDS,
    COUNTER_INIT,
    COUNTER_OBSERVE,
};

/* First member of every call below. */
struct counter_call {
    enum counter_kind kind;
    struct shard_view view;
    struct arena *arena; /* answers are allocated here; only init and observe do without */
    /* private */
    struct counter_call *next;
    void *scratch;
    uint64_t end;        /* of its bytes in all that was ever written to the connection */
    int64_t deadline_us; /* of the answer */
    /* out */
    enum status status;
    enum counter_guard guard;
    struct counter_observed observed; /* set when the guard says LOST, and by observe and init */
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
    int64_t lease_id;                  /* L */
    int64_t granted, returned, spent;  /* G, B, S: cumulative */
    int64_t held;                      /* H: of this lease */
    int64_t lease_deadline_ms;         /* D */
    int64_t used;                      /* C = committed + debt, at ledger_seq used_seq (Cv) */
    int64_t debt;                      /* Cd: how much of C is debt */
    int64_t used_seq;
    int64_t withheld;                  /* W: lent beyond the cap; admitted to nobody */
};

static inline int64_t counter_available(const struct counter_quota *q)
{
    return q->granted - q->returned - q->spent - q->held - q->withheld;
}

/* A quota row's totals, as read or written under its lock: what fill and settle bring to Redis. */
struct counter_totals {
    int64_t tenant_id;
    struct quota_ref ref;
    int64_t lease_id, granted, returned, spent, lease_deadline_ms;
    int64_t used, debt, used_seq; /* used = committed + debt */
    int64_t over;                 /* lent beyond the cap; only fill and recall bring it */
    /* out, per totals */
    enum counter_took { TOTALS_TAKEN, TOTALS_VANISHED, TOTALS_OLDER, TOTALS_ABSENT } took;
    struct counter_quota now; /* after the script */
};

/* --- reserve: all or nothing, many at once ----------------------------------------------------- */

enum counter_reserved {
    RESERVED_ADMITTED,
    RESERVED_SHORT,  /* some quota falls short: see shortfalls; nothing is held */
    RESERVED_KNOWN,  /* the job has a live hold: entry; ask the ledger before replaying it */
    RESERVED_DUE,    /* the job has a hold past its deadline: entry; reap it, then again */
    RESERVED_FINAL,  /* committed lately (FINAL marker); ask the ledger */
    RESERVED_STALE,  /* Redis has another config version than config_version */
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
    int64_t tenant_id;
    int64_t config_version;
    struct slice job_id;
    struct slice identity;      /* hold_identity */
    int64_t deadline_ms;
    bool deferrable;
    size_t quotas_count;
    const struct hold_quota *quotas; /* lease_id is ignored */
    const int64_t *softs;            /* soft stop of each quota, for deferrable */
    /* out */
    enum counter_reserved answer;
    struct slice entry;              /* hold text: of the new hold, or of KNOWN and DUE */
    struct attempt attempt;          /* ADMITTED */
    struct counter_quota *states;    /* one per quota, after the script; NULL when STALE */
    int *shortfalls;                 /* SHORT: bits per quota, 0 for those that would admit */
    /* SHORT, of the tenant's holds before the script: */
    bool tenant_has_due;             /* some hold is past its deadline */
    int64_t earliest_deadline_ms;    /* -1: none */
    int64_t latest_deadline_ms;
};

struct counter_reserve {
    struct counter_call call;
    int64_t now_ms;
    size_t items_count;
    struct counter_reserve_item *items; /* all of call.view.shard; later items see earlier ones */
};

/* --- fill: a grant reaches Redis ---------------------------------------------------------------- */

struct counter_version {
    int64_t tenant_id;
    int64_t config_version;
};

struct counter_fill {
    struct counter_call call;
    size_t totals_count;
    struct counter_totals *totals;       /* creates, resets or raises; see lua/fill.lua */
    size_t versions_count;
    const struct counter_version *versions; /* set if larger than what Redis has */
};

/* --- settle: after a COMMIT ---------------------------------------------------------------------- */

struct counter_settle_job {
    int64_t tenant_id;
    struct slice job_id;
    bool committed;         /* true: remove whatever hold the job has, and mark it FINAL */
    struct attempt attempt; /* released: remove this attempt only */
};

struct counter_settle {
    struct counter_call call;
    int64_t now_ms;
    size_t jobs_count;
    const struct counter_settle_job *jobs;
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
};

enum counter_extended {
    EXTENDED_DONE,      /* entry: the hold with its new deadline (or the old one if that is later) */
    EXTENDED_ABSENT,    /* no hold of this job, or of another attempt: entry says which */
    EXTENDED_DUE,       /* past its deadline: entry */
    EXTENDED_SHORT,     /* a lease ends before the new deadline: push it, then again; entry */
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
    enum counter_extended answer;
    struct slice entry;
};

struct counter_due_hold {
    struct slice job_id;
    struct slice entry;
};

struct counter_due { /* holds past their deadline; tenant_id 0: only which tenants have some */
    struct counter_call call;
    int64_t now_ms;
    int64_t tenant_id;
    size_t max;
    size_t tenants_count; /* out, tenant_id 0 */
    int64_t *tenants;
    size_t holds_count;   /* out, tenant_id given */
    struct counter_due_hold *holds;
};

struct counter_reap { /* second half of a reap: the database has set reaped_to_ms under the locks */
    struct counter_call call;
    int64_t now_ms;
    int64_t tenant_id;
    int64_t reaped_to_ms;
    size_t jobs_count;
    const struct counter_settle_job *jobs; /* committed: FINAL; removed if current deadline <= reaped_to */
    size_t totals_count;
    struct counter_totals *totals;
    size_t removed_count; /* out */
};

struct counter_recall { /* takes idle capacity back: G first, then B = G - S - H */
    struct counter_call call;
    size_t totals_count;
    struct counter_totals *totals; /* now.returned is what the database must take back */
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
    size_t holds_count;        /* out */
    struct counter_due_hold *holds;
    int64_t holds_total, holds_due; /* out: of the tenant; due at now_ms */
    int64_t now_ms;
};

struct counter_init { /* a shard begins an epoch; resets only if Redis' epoch is smaller */
    struct counter_call call; /* view: the epoch, replid and nonce to begin with */
};

struct counter_observe { /* what Redis is: no guard; fills call.observed */
    struct counter_call call;
};

#endif
