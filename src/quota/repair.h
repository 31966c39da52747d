/*
 * Accounts of a quota that differ (drift.h) are made to agree again, because a person asked for it: what is
 * done, and what is refused because nothing proves it.
 *
 * Legitimate work changes both sides of each account in one transaction. So what lies between them is the
 * same in every state until somebody repairs it: it is read in one state of the database, without locks, and
 * taken off under the lock of the quota's row, whatever was committed in between. One repair at a time.
 *
 *     what differs                      what is done
 *     leased below its leases           leased rises to them; where Redis has spent exactly what is between,
 *                                       spent of the row follows Redis
 *     leased above its leases           granted follows Redis, which may have promised it; the rest is set
 *                                       aside as part of the lease: it stays counted until no hold of a lost
 *                                       lease can be live, then it comes back by itself
 *     pg_held below its holds           rises to them
 *     pg_held above its holds           the rest is set aside as a lease for as long as a hold may live
 *     committed or debt, entries whole  they become what the entries add up to; less only if the seal proves
 *                                       the entries, and never if it shows that one was altered
 *     more entries than are numbered    the same, and ledger_seq follows
 *     entries are missing               refused
 *     Redis shows more of the lease     what it was granted counts, the lease is set aside, the next begins
 *     Redis has heard of more entries   refused: the database may have lost acknowledged use
 *
 * So nothing that may be promised is ever freed by a repair: what is taken off `committed` is proven, all
 * else that would become free waits for a deadline first.
 *
 * Pure; on a row that the caller has locked.
 */
#ifndef HOLDFAST_QUOTA_REPAIR_H
#define HOLDFAST_QUOTA_REPAIR_H

#include "quota/drift.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the seal says of the entries that it is of. */
enum repair_seal {
    SEAL_ABSENT,  /* nothing is sealed yet, or by nobody whose key is here */
    SEAL_PROVES,  /* they are as they were sealed */
    SEAL_REFUTES, /* at least one is missing or has other units than when it was sealed */
};

/* All in one state of the database, but Redis, which was read before it. */
struct repair_seen {
    struct drift_sums sums; /* of the row as it was then */
    bool whole;             /* the entries have the numbers 1 to how many there are */
    enum repair_seal seal;
    int64_t unsealed;    /* entries after the last sealed one, */
    bool unsealed_sound; /* none of them contradicts itself, and all are of the last minute */
};

/* The numbers of a row that repairs change. */
struct repair_numbers {
    int64_t committed, debt, pg_held, leased, lease_id, granted, returned, spent, ledger_seq;
};

struct repair {
    struct drift drift; /* as it was seen */
    bool done;
    const char *what;                    /* was done; or why not. Static, for people */
    struct repair_numbers before, after; /* the same if not done */
};

enum { REPAIR_LEASES_MAX = 8 };

struct repaired {
    size_t count;
    struct repair repairs[DRIFT_KINDS]; /* in the order in which they were done */
    size_t begun_count;
    struct lease_row begun[REPAIR_LEASES_MAX]; /* to be inserted into old_lease */
};

/*
 * Repairs one quota, whose row and old leases are in the book; the row may break the book's equations before
 * and keeps them after, unless its leases were refused. Crossings that it causes are appended. Nothing that
 * differs: count is 0, and nothing was changed.
 */
void repair_quota(struct book *book, struct quota_row *quota, const struct repair_seen *seen,
                  struct repaired *ret);

#endif
