/*
 * What becomes of a hold: the decision of Commit and Release. Pure: the ledger reads rows under
 * their locks into these structures, calls settle_decide for each item in order, and writes back
 * what has changed, all in one transaction. protocol.md 3.5 and 3.6 in C.
 *
 * Equations, for every quota row, before and after every call (CHECKed):
 *
 *     leased = sum over its current and old leases of (granted - returned - spent)
 *     0 <= spent, spent + returned <= granted         for each lease
 *     a grant or an excess is booked only if          committed + debt + pg_held + leased + x <= cap
 *
 * Commit of `actual` against `held` units of one meter, on each of its quotas:
 *     live   min(actual, held) is spent from the lease of the hold (leased falls, committed rises);
 *            the excess is booked at the root
 *     late   everything is booked at the root
 * Booking x at the root, by overrun policy: RECORD books what fits and the rest as debt; STRICT
 * refuses the commit; CAP books the least that fits over the meter's quotas and drops the rest.
 *
 * A hold is live while deadline > greatest(now, reaped_to of all its quotas).
 */
#ifndef HOLDFAST_QUOTA_SETTLE_H
#define HOLDFAST_QUOTA_SETTLE_H

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"
#include "quota/hold.h"
#include "quota/plan.h"
#include "quota/threshold.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum quota_state { QUOTA_OPEN = 'O', QUOTA_CLOSING = 'C', QUOTA_CLOSED = 'X' };

/* A row of the table quota, locked. */
struct settle_quota {
    int64_t tenant_id;
    struct quota_ref ref;
    struct slice limit_name, scope, meter; /* for events and replies */
    enum period period;
    int64_t period_end_ms;
    struct stops stops;
    int64_t committed, debt, pg_held, leased;
    int64_t lease_id, granted, returned, spent, lease_deadline_ms; /* current lease; id 0: none */
    int64_t lease_target;
    bool recall;
    int64_t reaped_to_ms;
    int64_t ledger_seq;
    int level;
    enum quota_state state;
    int shard;     /* of the tenant */
    int64_t epoch; /* current epoch of that shard */
    bool dirty;    /* set by whoever changes the row */
};

/* A row of old_lease, locked. */
struct settle_lease {
    int64_t tenant_id;
    struct quota_ref ref;
    int64_t lease_id, granted, returned, spent, deadline_ms;
    bool dirty;
};

/* A row of the table event to be written; seq is given by the ledger from the locked tenant row. */
struct settle_event {
    int64_t tenant_id;
    enum event_kind kind;
    int direction; /* 0 none, 1 up, 2 down */
    const struct settle_quota *quota; /* NULL for job events */
    int64_t committed, debt, ledger_seq; /* of the quota, right after the event */
    int level;                           /* holdfast.v1.Level then */
    struct slice job_id;
    struct attempt attempt;
    struct settle_event *next;
};

/*
 * All rows that one transaction holds. For each quota every old lease must be in `leases`, or the
 * equation above fails.
 */
struct settle_book {
    struct arena *arena;    /* records, fences, events: an item takes some KiB; CHECKed, not refused */
    int64_t now_ms;         /* clock_timestamp(), read after the locks */
    int64_t late_window_ms;
    struct settle_quota *quotas; /* sorted by tenant_id, limit, period */
    size_t quotas_count;
    struct settle_lease *leases; /* likewise, then lease_id */
    size_t leases_count;
    struct settle_event *events, **events_tail; /* in order; both NULL at first */
};

/* One meter of a ledger record (a row of the table ledger). */
struct settle_counted {
    struct quota_ref ref;
    int64_t ledger_seq, amount, debt;
};

struct settle_entry {
    struct slice meter;
    bool asked_given;  /* false: the caller committed the whole hold */
    int64_t asked;     /* resolved actual: what was said, or held */
    int64_t amount;    /* recorded as committed, without debt */
    int64_t debt;
    int64_t held;
    size_t counted_count;
    struct settle_counted *counted;
};

/* What is recorded of a job for ever. */
struct settle_record {
    struct attempt attempt;
    struct slice scope;
    bool late;
    int64_t at_ms;
    size_t entries_count;
    struct settle_entry *entries; /* one per meter; entry 0 carries the unique key */
};

/* What the database knows of one (tenant, job); shared by all items of that job in a batch. */
struct settle_facts {
    struct settle_record *record;  /* NULL: never committed */
    size_t fences_count;
    struct attempt *fences;
    const struct hold *expired;    /* newest row of expired_hold, or NULL */
};

enum settle_kind { SETTLE_COMMIT, SETTLE_RELEASE };

/* Values as in holdfast.v1.OverrunPolicy. */
enum overrun { OVERRUN_RECORD = 1, OVERRUN_STRICT = 2, OVERRUN_CAP = 3 };

struct settle_actual {
    struct slice meter;
    int64_t units;
    enum overrun overrun;
};

enum settle_outcome {
    SETTLE_UNDECIDED,
    SETTLE_COMMITTED,     /* record: new, or replayed; `made` tells */
    SETTLE_RELEASED,      /* fence: new, or replayed */
    SETTLE_UNKNOWN_JOB,   /* no hold, no record, no fence */
    SETTLE_WAS_RELEASED,  /* Commit of a released attempt */
    SETTLE_WAS_COMMITTED, /* Release of a committed job; record says what */
    SETTLE_EXPIRED,       /* Commit later than the late window */
    SETTLE_OVERRUN,       /* STRICT: the excess does not fit; overrun_* say where */
    SETTLE_MISMATCH,      /* committed before with other amounts */
    SETTLE_BAD_METERS,    /* actual does not name every held meter exactly once; bad_* say which */
    SETTLE_WANTS_RECALL,  /* an excess does not fit while capacity is lent: recall, then again */
};

struct settle_item {
    /* in */
    enum settle_kind kind;
    int64_t tenant_id;
    struct slice job_id;
    const struct hold *token;    /* of the reservation id, or NULL */
    const struct hold *live;     /* what Redis holds for the job now, or NULL */
    const struct settle_actual *actual; /* Commit; count 0: the whole hold */
    size_t actual_count;
    bool recall_done;            /* decide without another recall */
    struct settle_facts *facts;
    /* out */
    enum settle_outcome outcome;
    bool replayed;
    bool late;
    bool was_live;               /* Release: the hold was live, its units are freed */
    const struct hold *subject;  /* the hold that was decided on, or NULL */
    struct attempt released;     /* RELEASED: which attempt, also where no hold is left of it */
    struct settle_record *record;
    bool made_record, made_fence; /* rows to insert */
    struct slice overrun_meter;
    int64_t overrun_short_by;
    size_t bad_actual;           /* index into actual, or actual_count: a held meter is missing */
    struct slice bad_meter;
};

/*
 * The quotas whose locks the decision needs: those of token and live, or else of expired, and for a
 * hold that may be late also the current period of the same limits. Without duplicates, sorted;
 * returns the count, at most refs_max (CHECKed: 4 x HOLD_QUOTAS_MAX is enough).
 */
size_t settle_locks(const struct settle_item *item, const struct plan *plan_or_null, int64_t now_ms,
                    struct quota_ref *refs, size_t refs_max);

/*
 * Decides, changes the rows of the book and the facts, and appends events. All but COMMITTED and
 * RELEASED leave everything as it was. What it returns points into the arena and into the item's
 * holds.
 *
 * The hold that a Commit means: token's, or `live` once token's deadline has passed (an Extend, or
 * a newer attempt); without a token live, or expired unless a newer attempt was released. A Release
 * means token's attempt, or else the same newest hold.
 */
void settle_decide(struct settle_book *book, struct settle_item *item);

/*
 * Tops the current lease up to lease_target while the root has room and no recall is wanted, and
 * pushes its deadline to at least deadline_ms; only for a lease of the current epoch in an open
 * quota before its end.
 */
void settle_refill(struct settle_book *book, struct settle_quota *quota, int64_t deadline_ms);

struct settle_quota *settle_find_quota(struct settle_book *book, int64_t tenant_id,
                                       struct quota_ref ref);
struct settle_lease *settle_find_lease(struct settle_book *book, int64_t tenant_id,
                                       struct quota_ref ref, int64_t lease_id);

/* Was this attempt released? */
bool settle_is_fenced(const struct settle_facts *facts, struct attempt attempt);

/* cap - committed - debt - pg_held - leased; may be negative. */
int64_t settle_room(const struct settle_quota *quota);

/* Re-evaluates the stops after a change of use or limit, and appends the crossings. */
void settle_cross(struct settle_book *book, struct settle_quota *quota, struct slice job_id,
                  struct attempt attempt);

#endif
