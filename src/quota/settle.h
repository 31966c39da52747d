/*
 * What becomes of a hold: the decision of Commit and Release. Pure: the ledger reads rows under
 * their locks into these structures, calls settle_decide for each item in order, and writes back
 * what has changed, all in one transaction. op/PROTOCOL.md 3.2 in C.
 *
 * The rows and their equations are in quota/book.h.
 *
 * Commit of `actual` against `held` units of one meter, on each of its quotas:
 *     own    min(actual, held) is spent from the lease of the hold (leased falls, committed rises);
 *            the excess is booked at the root
 *     gone   everything is booked at the root
 * A hold in Postgres is the same without a lease: what is its own leaves pg_held, with all the rest of the
 * hold, as long as its row of pg_hold stands.
 * Booking x at the root, by overrun policy: RECORD books what fits and the rest as debt; STRICT
 * refuses the commit; CAP books the least that fits over the meter's quotas and drops the rest. If
 * capacity is lent, or held in Postgres by others, what is due is reaped and what is idle is recalled before
 * any of the three (once).
 *
 * A hold that no store counts (op/open.h) has nothing of its own either: it is booked at the root, RECORD
 * whatever the caller says, and it is not late before its deadline.
 *
 * A Charge is the use of a job that nobody has to hold: what is charged comes as `token`, a hold of no
 * units that no store counts. A live hold of the job is committed instead. What is charged anew is booked
 * at the root under the caller's policy and is never late.
 *
 * A hold is live while deadline > greatest(now, reaped_to of all its quotas). A late one that no reap
 * has seen yet (deadline > reaped_to) still has its units in its lease, and uses them like a live one,
 * unless one of its leases is closed. A hold in Postgres is live while its row stands and its deadline is
 * not past; a late one has its units as long as its row stands, whatever was reaped in Redis.
 *
 * The newest attempt of a job is the one that was made last, wherever it is. Of two that a job holds, one in
 * Redis and one in Postgres, its id means the one that is live, if one is and the other is not.
 *
 * What was learned before the locks is doubted here: a hold that was live when Redis was asked (or
 * that Redis was not asked about) and is past its deadline now may have been extended meanwhile.
 */
#ifndef HOLDFAST_QUOTA_SETTLE_H
#define HOLDFAST_QUOTA_SETTLE_H

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"
#include "quota/book.h"
#include "quota/hold.h"
#include "quota/plan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One meter of a ledger record (a row of the table ledger). */
struct settle_counted {
    struct quota_ref ref;
    int64_t ledger_seq, amount, debt;
};

struct settle_entry {
    struct slice meter;
    bool asked_given; /* false: the caller committed the whole hold */
    int64_t asked;    /* resolved actual: what was said, or held */
    int64_t amount;   /* recorded as committed, without debt */
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
    struct settle_record *record;     /* NULL: never committed */
    size_t fences_count, fences_room; /* room: of an array made here; 0: it is another's */
    struct attempt *fences;
    int64_t fenced_ms; /* when the last attempt that was held in Redis was fenced; 0: none */
    const struct hold *placed;  /* its row of pg_hold, or NULL */
    const struct hold *expired; /* newest row of expired_hold, or NULL */
    bool placed_unreadable;     /* there is one, and nobody can say what it holds: placed is NULL */
    bool expired_unreadable;    /* the same of expired */
};

enum settle_kind { SETTLE_COMMIT, SETTLE_RELEASE, SETTLE_CHARGE };

/* Values as in holdfast.v1.OverrunPolicy. */
enum overrun { OVERRUN_RECORD = 1, OVERRUN_STRICT = 2, OVERRUN_CAP = 3 };

struct settle_actual {
    struct slice meter;
    int64_t units;
    enum overrun overrun;
};

enum settle_outcome {
    SETTLE_UNDECIDED,
    SETTLE_COMMITTED,    /* record: new, or replayed; `made` tells */
    SETTLE_RELEASED,     /* fence: new, or replayed */
    SETTLE_UNKNOWN_JOB,  /* no hold, no record, no fence; of a Charge without token: the plan has no
                             limits for it, and it is no repeat */
    SETTLE_WAS_RELEASED, /* Commit of a released attempt */
    SETTLE_WAS_COMMITTED, /* Release of a committed job; record says what */
    SETTLE_EXPIRED,       /* Commit later than the late window */
    SETTLE_OVERRUN,       /* STRICT: the excess does not fit; overrun_* say where */
    SETTLE_TOO_LARGE,     /* the sum of a quota would pass AMOUNT_MAX; overrun_meter says of what */
    SETTLE_MISMATCH,      /* committed before with other amounts */
    SETTLE_OTHER_SCOPE,   /* Charge: committed or held with another scope */
    SETTLE_BAD_METERS,    /* actual does not name every held meter exactly once; bad_* say which */
    SETTLE_WHICH_HOLD,    /* by job id, and nobody can say what the newest attempt is: Redis was not
                             asked, or it has lost its data since the one that is known expired */
    SETTLE_WANTS_RECALL,  /* an excess does not fit while capacity is lent: reap, recall, again */
    SETTLE_WANTS_LOOKUP,  /* the hold may have been extended meanwhile: ask Redis, then again */
    SETTLE_WANTS_PLAN, /* Charge: its quotas were chosen by a plan that is old: choose, then again */
    SETTLE_INCONSISTENT, /* the tenant's rows, or the hold's own, contradict each other: nothing is
                             decided */
};

struct settle_item {
    /* in */
    enum settle_kind kind;
    int64_t tenant_id;
    struct slice job_id;
    const struct hold *token; /* of the reservation id, or NULL; Charge: what is charged, or NULL if
                                 the plan refuses it */
    struct slice scope;       /* Charge */
    int64_t plan_version; /* Charge: config version of the plan that chose token's quotas; 0: any */
    int64_t plan_wanted; /* in and out: one of at least this is not old; 0: nobody has looked yet */
    const struct hold *live; /* what Redis held for the job when it was asked, or NULL */
    bool redis_asked;        /* Redis answered: live is what it said, also when it said none */
    int64_t looked_up_ms;    /* when Redis was asked last, answered or not; 0: never */
    const struct settle_actual *actual; /* Commit, Charge; Commit's count 0: the whole hold */
    size_t actual_count;
    bool recall_done; /* decide without another reap and recall */
    struct settle_facts *facts;
    /* out */
    enum settle_outcome outcome;
    bool replayed;
    bool late;
    bool was_live;              /* Release: the hold was live, its units are freed */
    const struct hold *subject; /* the hold that was decided on, or NULL */
    struct attempt released;    /* RELEASED: which attempt, also where no hold is left of it */
    struct settle_record *record;
    bool made_record, made_fence; /* rows to insert */
    struct attempt fenced[2];     /* made_fence: of these attempts */
    size_t fenced_count;
    const struct hold *dropped; /* whose row of pg_hold is to be deleted; or NULL */
    struct slice overrun_meter;
    int64_t overrun_short_by;
    size_t bad_actual; /* index into actual, or actual_count: a held meter is missing */
    struct slice bad_meter;
};

/*
 * The quotas whose locks the decision needs: those of token, live and placed, or else of expired, and for a
 * hold that may be late also the current period of the same limits. Without duplicates, sorted;
 * returns the count, at most refs_max (CHECKed: SETTLE_LOCKS_MAX is enough).
 */
enum { SETTLE_LOCKS_MAX = 6 * HOLD_QUOTAS_MAX };

size_t settle_locks(const struct settle_item *item, const struct plan *plan_or_null, int64_t now_ms,
                    struct quota_ref *refs, size_t refs_max);

/* As many as settle_locks returns for this item, or more. */
size_t settle_locks_max(const struct settle_item *item);

/*
 * Decides, changes the rows of the book and the facts, and appends events. All but COMMITTED and
 * RELEASED leave everything as it was. What it returns points into the arena and into the item's
 * holds.
 *
 * The hold that a Commit means: token's, or the newer of `live` and `placed` once token's deadline has passed
 * (an Extend, or a newer attempt), unless either attempt was released: a released one never means another.
 * Without a token that newer one, or expired unless a newer attempt was released. A Release means token's
 * attempt, or else the same newest hold, and fences with it what the job holds beside that. Without a token,
 * without an answer from Redis and without a live row of pg_hold only a record decides: nobody guesses which
 * attempt is the newest. (While there is such a row no server that knows of it makes another in Redis.)
 *
 * A row of pg_hold that stands beside a commit of another attempt goes with it, if its quotas are locked.
 */
void settle_decide(struct book *book, struct settle_item *item);

/* What a hold in Postgres has leaves pg_held. False, and nothing is changed: not all its quotas are there. */
MUST_CHECK bool settle_let_go(struct book *book, int64_t tenant_id, const struct hold *hold);

/* Of two holds, each may be NULL, the one that was made later; a if that cannot be told. */
const struct hold *settle_newer(const struct hold *a, const struct hold *b);

/* Was this attempt released? */
bool settle_is_fenced(const struct settle_facts *facts, struct attempt attempt);

#endif
