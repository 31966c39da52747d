/*
 * Corrections: what becomes of the use of a job that is recorded. The decision of Adjust. Pure, as settle.h:
 * the ledger reads rows under their locks, calls adjust_decide, and writes what it made, in one transaction.
 *
 * The record itself never changes. A correction is a list of signed changes, one per meter, each of which
 * counts against quotas with a number of its own, as an entry of the record does: committed and debt of a
 * quota are the sums over both.
 *
 * What is left of a meter of a job is what was recorded, committed and debt, with all its changes; it is
 * never below 0. What a job has in a quota is what its entry and its changes count there, and that is never
 * below 0 either, so no quota is.
 *
 *     less   taken from the quotas where the job counts, of each limit from the newest period back: from
 *            debt first, whoever made it, then from committed. What a closed period has of it stays there.
 *     more   booked as a Commit's excess under RECORD, in every quota that binds the job's scope and meter
 *            now: where the job counts, while that is not closed, else in the current period. If capacity is
 *            lent it is taken back first (once).
 *
 * A period closes PERIOD_GRACE_MS after its end (times.h); until then a late Commit counts in it, too.
 */
#ifndef HOLDFAST_QUOTA_ADJUST_H
#define HOLDFAST_QUOTA_ADJUST_H

#include "base/slice.h"
#include "quota/book.h"
#include "quota/hold.h"
#include "quota/settle.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values as in ledger_change. */
enum change_kind { CHANGE_ADJUST = 1 };

/* A quota that binds the meter now: ref is its current period. */
struct adjust_binding {
    struct slice meter;
    struct quota_ref ref;
};

struct adjust_change {
    struct slice meter;
    int64_t delta; /* not 0 */
};

/* Of a job's entry, its changes and what binds, for the meters of one correction. */
enum { ADJUST_QUOTAS_MAX = 1024 };

/* One row of ledger_change; of `past`, all those of a meter as one. */
struct adjust_row {
    int64_t number; /* in its job, from 1 */
    struct slice adjust_id;
    struct slice meter;
    int64_t delta;
    int64_t left; /* of the meter, after it */
    size_t counted_count;
    struct settle_counted *counted; /* amount and debt are signed */
    size_t closed_count;
    struct quota_ref *closed; /* what of it falls on these was left there */
    int64_t at_ms;
};

enum adjust_outcome {
    ADJUST_UNDECIDED,
    ADJUST_MADE,       /* rows are to be written */
    ADJUST_REPLAYED,   /* rows are those of the first time */
    ADJUST_MISMATCH,   /* the adjust_id was used with another job or other changes; differs_* say */
    ADJUST_NOT_FINAL,  /* the job is not recorded */
    ADJUST_BAD_METER,  /* changes[bad] is no meter of the job */
    ADJUST_BELOW_ZERO, /* left[] says what is left of each meter */
    ADJUST_TOO_LARGE,  /* of changes[bad] a sum would pass AMOUNT_MAX */
    ADJUST_NO_LIMIT,   /* nothing binds changes[bad], which adds */
    ADJUST_TOO_MANY,   /* more than ADJUST_QUOTAS_MAX quotas */
    ADJUST_WANTS_RECALL, /* something does not fit while capacity is lent: reap, recall, again */
    ADJUST_INCONSISTENT, /* the tenant's rows contradict each other: nothing is decided */
};

struct adjust_item {
    /* in */
    int64_t tenant_id;
    struct slice adjust_id, job_id;
    const struct adjust_change *changes; /* each meter once; at most HOLD_METERS_MAX */
    size_t changes_count;
    const struct settle_record *record; /* NULL: none */
    const struct adjust_row
        *past; /* changes of the job, for each meter: delta and counted are their sums */
    size_t past_count;
    int64_t past_number;           /* of the newest; 0: none */
    const struct adjust_row *same; /* changes with this adjust_id, whatever the job */
    size_t same_count;
    struct slice same_job_id;              /* of them */
    const struct adjust_binding *bindings; /* of the meters that are added to */
    size_t bindings_count;
    bool recall_done;
    /* out */
    enum adjust_outcome outcome;
    const struct adjust_row *rows; /* [i]: of changes[i] */
    int64_t left[HOLD_METERS_MAX]; /* [i]: of changes[i], before it */
    size_t bad;
    bool differs_job, differs_changes;
};

/*
 * The quotas whose locks the decision needs: where the job counts, and what binds. May have duplicates;
 * returns how many, at most adjust_locks_max. More than ADJUST_QUOTAS_MAX of these need no locks.
 */
size_t adjust_locks(const struct adjust_item *item, struct quota_ref *refs);
size_t adjust_locks_max(const struct adjust_item *item);

/*
 * Decides, changes the rows of the book, and appends events: ADJUSTED for each quota, then its crossings.
 * All but MADE leave everything as it was, but for leases that are due and were closed.
 */
void adjust_decide(struct book *book, struct adjust_item *item);

#endif
