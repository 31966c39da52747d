/*
 * Between settle.c, which decides, and settle_book.c, which knows the rows: what a commit charges to
 * each quota of its hold. Nothing changes until settle_book_apply. Pure.
 */
#ifndef HOLDFAST_QUOTA_SETTLE_BOOK_H
#define HOLDFAST_QUOTA_SETTLE_BOOK_H

#include "quota/settle.h"

struct settle_booking {
    uint32_t meter;              /* index into the hold's meters */
    struct settle_quota *quota;  /* NULL: its limit is gone, nothing is counted */
    struct settle_lease *lease;  /* the old lease that is spent; NULL: the current one */
    int64_t spend;               /* from the lease; the units that the hold had set aside */
    int64_t forced;              /* at the root whatever the policy: promised, but the lease is gone */
    int64_t excess;              /* at the root by the overrun policy */
    int64_t debt;                /* of forced + excess: what does not fit */
};

/* Latest reaped_to of the quotas of a hold; 0 if none is in the book. */
int64_t settle_book_reaped_to_ms(struct settle_book *book, int64_t tenant_id,
                                 const struct hold *hold);

/*
 * Finds the row to charge and what is spent from the lease of a hold: `units`, or nothing if the
 * hold is late. A quota that is closed or gone is replaced by a later period of the same limit.
 */
struct settle_booking settle_book_place(struct settle_book *book, int64_t tenant_id,
                                        const struct hold_quota *held, int64_t units, bool late);

/* Changes the rows: one more entry of the ledger counts against the quota. */
void settle_book_apply(const struct settle_booking *booking);

/* Appends an event; the caller fills the rest in. */
struct settle_event *settle_book_event(struct settle_book *book, int64_t tenant_id,
                                       enum event_kind kind, struct slice job_id,
                                       struct attempt attempt);

/* The equations of settle.h for one row; aborts if they do not hold. */
void settle_book_check(struct settle_book *book, const struct settle_quota *quota);

#endif
