/*
 * The locked rows of one transaction, and what is done to them: quota rows, the leases that are set
 * aside, the events that a change causes. The ledger reads them under their locks, pure rules (settle,
 * lease, and the bookings below) change them, the ledger writes back what is dirty.
 *
 * Equations, for every quota row, before and after every change (that pg_held is the sum of the rows of
 * pg_hold, no book can see):
 *
 *     leased = sum over its current and old leases of (granted - returned - spent)
 *     0 <= spent, spent + returned <= granted         for each lease
 *     a grant or an excess is booked only if          committed + debt + pg_held + leased + x <= cap
 *
 * Pure; a book belongs to one thread. All times are milliseconds of the database's clock, all amounts
 * 0 to AMOUNT_MAX.
 */
#ifndef HOLDFAST_QUOTA_BOOK_H
#define HOLDFAST_QUOTA_BOOK_H

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
struct quota_row {
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
    int64_t seq_lost; /* numbers that Redis had heard of when their loss was accepted (loss.h) */
    int level;
    enum quota_state state;
    int shard;              /* of the tenant */
    int64_t epoch;          /* current epoch of that shard */
    int64_t config_version; /* of the tenant, as of the clock's statement; 0: it was not read */
    bool dirty;             /* set by whoever changes the row */
};

/* The number of the newest entry as Redis knows it. Of a row that may be anything. */
static inline int64_t quota_told_seq(const struct quota_row *quota)
{
    return (int64_t)((uint64_t)quota->ledger_seq + (uint64_t)quota->seq_lost);
}

/* A row of old_lease, locked. */
struct lease_row {
    int64_t tenant_id;
    struct quota_ref ref;
    int64_t lease_id, granted, returned, spent, deadline_ms;
    bool dirty;
};

/* A row of the table event to be written; seq is given by the ledger from the locked tenant row. */
struct event_row {
    int64_t tenant_id;
    enum event_kind kind;
    int direction;                       /* 0 none, 1 up, 2 down */
    const struct quota_row *quota;       /* NULL for job events */
    int64_t committed, debt, ledger_seq; /* of the quota, right after the event */
    int level;                           /* holdfast.v1.Level then */
    bool reserved; /* a crossing of what is reserved (reserved.h): stops and held are those then */
    struct stops stops;
    int64_t held;
    struct slice job_id;
    struct attempt attempt;
    enum event_kind recovered_from; /* of RECOVERED: what is over; else 0 */
    struct event_row *next;
};

/*
 * All rows that one transaction holds. For each quota every old lease must be in `leases`, or the
 * equations fail.
 */
struct book {
    struct arena *arena; /* records, fences, events: an item takes some KiB; CHECKed, not refused */
    int64_t now_ms;      /* clock_timestamp(), read after the locks */
    int64_t late_window_ms;
    struct quota_row *quotas; /* sorted by tenant_id, limit, period */
    size_t quotas_count;
    struct lease_row *leases; /* in the same order, then by lease_id */
    size_t leases_count;
    struct event_row *events, **events_tail; /* in order; both NULL at first */
    int64_t *bad;                            /* tenants whose rows book_audit took out, sorted */
    size_t bad_count;
};

/*
 * Call it when all rows have been read, before anything is decided. If a quota breaks the equations, its
 * tenant loses all its rows in the book and is listed in bad: nothing can be changed or written for it.
 * what (of what_bytes) gets the first contradiction found.
 * False: the arena has no memory for the list.
 */
MUST_CHECK bool book_audit(struct book *book, char *what, size_t what_bytes);

/* Did book_audit take this tenant out? */
bool book_is_bad(const struct book *book, int64_t tenant_id);

/*
 * Closes the quota's old leases whose deadline has passed, except `keep` (may be NULL). Call it before an
 * excess is booked as debt. Their rows stay, with nothing lent; the duty that closes leases deletes them.
 */
void book_close_due(struct book *book, struct quota_row *quota, const struct lease_row *keep);

/*
 * Tops the current lease up to lease_target while the root has room and no recall is wanted, and
 * pushes its deadline to at least deadline_ms; only for a lease of the current epoch in an open
 * quota before its end.
 */
void book_refill(struct book *book, struct quota_row *quota, int64_t deadline_ms);

/* By key; NULL: it is not in the book. */
struct quota_row *book_find_quota(struct book *book, int64_t tenant_id, struct quota_ref ref);
struct lease_row *book_find_lease(struct book *book, int64_t tenant_id, struct quota_ref ref,
                                  int64_t lease_id);

/* cap - committed - debt - pg_held - leased; may be negative. */
int64_t book_room(const struct quota_row *quota);

/* Re-evaluates the stops after a change of use or limit, and appends the crossings. */
void book_cross(struct book *book, struct quota_row *quota, struct slice job_id,
                struct attempt attempt);

/* What a commit charges to one quota of its hold; nothing changes before book_apply. */
struct booking {
    uint32_t meter;          /* index into the hold's meters */
    struct quota_row *quota; /* NULL: its limit is gone, nothing is counted */
    struct lease_row *lease; /* the old lease that is spent; NULL: the current one */
    int64_t placed;          /* leaves pg_held: all that a hold in Postgres has of the quota */
    int64_t spend;           /* from lease or pg_held; the units that the hold had set aside */
    int64_t forced;          /* at the root whatever the policy: promised, but the lease is gone */
    int64_t excess;          /* at the root by the overrun policy */
    int64_t debt;            /* of forced + excess: what does not fit */
};

/* Latest reaped_to of the quotas of a hold; 0 if none is in the book. */
int64_t book_reaped_to_ms(struct book *book, int64_t tenant_id, const struct hold *hold);

/*
 * True if the lease of a hold still has these units set aside, and its quota is not closed. A hold without
 * a lease is one in Postgres, whose row stands: pg_held has them.
 */
bool book_covers(struct book *book, int64_t tenant_id, const struct hold_quota *held,
                 int64_t units);

/*
 * Finds the row to charge and what is spent from the lease of a hold: `units` if they are still its
 * own, nothing otherwise. A quota that is closed or gone is replaced by a later period of the same limit.
 */
struct booking book_place(struct book *book, int64_t tenant_id, const struct hold_quota *held,
                          int64_t units, bool own);

/* Changes the rows: one more entry of the ledger counts against the quota. */
void book_apply(const struct booking *booking);

/* Appends an event; the caller fills the rest in. */
struct event_row *book_event(struct book *book, int64_t tenant_id, enum event_kind kind,
                             struct slice job_id, struct attempt attempt);

/* Do the equations above hold for this row? */
bool book_balances(const struct book *book, const struct quota_row *quota);

/* The same after a change of rows that balanced before: a failure is a bug (CHECK). */
void book_check(const struct book *book, const struct quota_row *quota);

#endif
