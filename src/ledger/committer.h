/*
 * Group commit: every Commit and Release that has arrived, in one transaction.
 *
 * A thread of its own polls its mailbox and two Postgres connections in ping-pong: while one batch
 * waits for its COMMIT the other connection takes the next (items of one tenant are never in both, so
 * that they stay in order of arrival). A batch is whatever waits when a connection is free, at most
 * 256 items. Its transaction is op/PROTOCOL.md 3.2: locks and facts, the clock, quota/settle.h decides,
 * rows are written, COMMIT. The answer goes out only after the COMMIT's own result (an INSERT's "ok"
 * in the extended protocol comes before anything is durable).
 *
 *   died or cut here                on retry or restart
 *   before COMMIT was sent          nothing happened; the batch runs again inside (deadline allowing)
 *   COMMIT sent, no result          the batch runs again: the ledger's key tells which items had
 *   COMMIT's result is an error     landed (they answer as the first time, not as replays)
 *   after the result, before reply  the caller repeats and gets the record, replayed
 *   before the notify               a later notify or the reap brings the totals
 *
 * An item that makes the database refuse the batch (a constraint) is found by halving the batch and
 * fails alone. Locks are waited for no longer than 30 ms; then tenants with a row that somebody keeps
 * locked wait alone, on a third connection, and cost the others nothing more.
 */
#ifndef HOLDFAST_LEDGER_COMMITTER_H
#define HOLDFAST_LEDGER_COMMITTER_H

#include "base/arena.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/estimate.h"
#include "base/status.h"
#include "base/stop.h"
#include "ledger/alarms.h"
#include "quota/plan.h"
#include "quota/settle.h"
#include "work/mailbox.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct committer;
struct pulse;

/* One Commit or Release on its way. The owner fills `settle`'s in-part and the fields above it. */
struct commit_item {
    struct mailbox_item mailbox; /* private to the committer while queued */
    struct plan *plan;           /* of the tenant, one reference, kept by the owner */
    int64_t give_up_us;          /* clock_mono_us: the caller's deadline */
    /*
     * The item's memory: outputs are copied here. It must have room for them (a record, its quota
     * rows: at most 64 KiB); running out is a bug.
     */
    struct arena *arena;
    struct settle_item settle;
    /* out, valid in the callback when status is STATUS_OK and until the owner frees the arena */
    enum status status;
    char sqlstate[SQLSTATE_BYTES]; /* of INVALID and FAULT */
    int64_t now_ms;                /* the transaction's clock */
    size_t quotas_count;
    struct quota_row *quotas; /* rows of the hold's quotas and of those it was counted against,
                                    after the commit */
    struct commit_item *next; /* for the owner */
    bool maybe_landed;        /* private: an earlier run may have committed it */
    bool came_back;           /* private: it was in a batch before */
    enum status refused;      /* private: what it is to be answered, if it has not landed */
    int tries;                /* private: runs that met a conflict */
};

enum {
    COMMITTER_BATCH_MAX = 256,
    /*
     * After a Commit that repeats a recorded one, this many batches look every job up; all others
     * assume that jobs are new (batch.h). So repeats fail at most one batch in that many.
     */
    COMMITTER_LOOK_UP_BATCHES = 256,
};

struct committer_options {
    const char *conninfo;
    const struct clock *clock;
    struct estimate *estimate;
    /*
     * Once due, nothing is waited for: all items are finished, UNAVAILABLE, or UNKNOWN where a COMMIT
     * was sent, and so is whatever comes later. May be NULL.
     */
    const struct stop *stop;
    struct pulse *pulse;   /* asked whether the database hangs (pulse.h); may be NULL */
    struct alarms *alarms; /* told of faults and of tenants whose rows contradict; may be NULL */
    int64_t late_window_ms;
    size_t items_max; /* mailbox bound */
    size_t batch_max; /* 0: COMMITTER_BATCH_MAX */
    int64_t away_ms;  /* items wait so long for a database that is away; 0: as their callers do */
    int64_t lease_ms; /* a refill pushes the lease's deadline to now + this */
    /*
     * Called on the committer thread with items that are finished, 1 to COMMITTER_BATCH_MAX; takes
     * them back; may submit them again. All of one transaction come together.
     *
     *   OK           decided and, if anything was to be written, durable: see settle.outcome
     *   TIMEOUT      the caller's deadline passed first; it did not happen
     *   UNAVAILABLE  the database hangs, or is away, for away_ms or as long as the caller waited; it
     *                did not happen
     *   INVALID      the database refuses what this item would write; it did not happen
     *   FAULT        the database answers an error to what this item asks; it did not happen
     *   CORRUPT      the database's rows for this item cannot be read; it did not happen
     *   EXHAUSTED    it needs more memory than there is; it did not happen
     *   UNKNOWN      a COMMIT was sent and the deadline passed, or the database stays away, before
     *                the committer could find out what became of it: the caller repeats the call
     */
    void (*done)(void *user, struct commit_item *const *items, size_t count);
    /* After each transaction's last done: tenants that got events (a hint for the hub). */
    void (*events)(void *user, const int64_t *tenants, size_t count);
    void *user;
};

/* Starts the thread. NULL: error says why (only bad conninfo; an absent database is waited for). */
struct committer *committer_create(const struct committer_options *options, char *error,
                                   size_t error_bytes);

/* Any thread. False: full or closing; the item stays with the caller. */
MUST_CHECK bool committer_submit(struct committer *committer, struct commit_item *item);

/* Finishes what is queued (at most until give_up of the items), joins, frees. Accepts NULL. */
void committer_destroy(struct committer *committer);

bool committer_is_up(const struct committer *committer);

#endif
