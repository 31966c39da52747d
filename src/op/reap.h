/*
 * Expiry as a story: the reap, PROTOCOL.md 3.4. Redis says which holds are past their deadline; the
 * database, under the quotas' locks, raises reaped_to and says what was spent and committed; only
 * then Redis lets go of the holds, with those totals. Any server may reap at any time.
 *
 * Many tenants go together: two round trips to Redis and one transaction, however many there are. A
 * tenant whose rows somebody keeps locked, or of whom the database refuses something, is left out and
 * said to be stuck; nobody waits for it. A due hold that cannot be read (a hand in the data, a bug) is
 * thrown away, and what it held is treated like what Redis has lost (mend.h).
 */
#ifndef HOLDFAST_OP_REAP_H
#define HOLDFAST_OP_REAP_H

#include "base/slice.h"
#include "op/stores.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    REAP_TENANTS_MAX = 256, /* in one go */
    REAP_HOLDS_MAX = 2048,  /* in one go, over all tenants */
};

/* Units of a quota that are to become free. */
struct reap_need {
    struct quota_ref ref;
    int64_t units;
};

/* What is to be reaped of one tenant. */
struct reap_want {
    int shard;
    int64_t tenant_id;
    size_t max;                 /* due holds, oldest first; 0: only the one below */
    struct slice job_id, entry; /* this hold too, which Redis called due; or empty */
    /* No more of the oldest than free all of this; none: as many as max says. */
    size_t needs_count;
    const struct reap_need *needs;
    /* out */
    size_t found;     /* due holds that were taken in hand */
    size_t removed;   /* of them, those that Redis let go of */
    size_t discarded; /* besides: those that nobody can read, which are gone */
    bool more;        /* more are due */
    /* nothing was done for it: a row is locked, its rows contradict each other, or refused says why */
    bool stuck;
    enum status refused; /* the database answered this error; STATUS_OK: it did not */
    char sqlstate[6];    /* of it; "" if it has none */
    /* private */
    size_t first, count; /* its part of the jobs */
    size_t unreadable;   /* due holds that nobody can read */
};

/*
 * At most REAP_TENANTS_MAX wants, one for each tenant, together at most REAP_HOLDS_MAX holds (each max is
 * cut to its share). False: a store did not answer, or not for all; what was done in the database is done
 * again by the next reap, with the same result. A shard that cannot be asked is in nobody else's way.
 */
bool reap_tenants(struct stores *stores, struct reap_want *wants, size_t count);

/*
 * Who has holds in these shards that have been due for late_ms at least: fills wants, at most
 * REAP_TENANTS_MAX, as much of each as it may have. False: Redis did not answer for some shard, of which
 * none is listed.
 */
bool reap_list(struct stores *stores, const int *shards, size_t shards_count, int64_t late_ms,
               struct reap_want *wants, size_t *ret_count);

#endif
