/*
 * Stands in for Redis and its scripts: holds, and per quota L, G, B, S, H, D of protocol 3.3, with
 * available = G - B - S - H. Each mutant is a way to write a script, or the transaction beside it,
 * that looks right and is not; the model must notice every one of them.
 */
#ifndef HOLDFAST_TESTS_MODEL_STANDIN_H
#define HOLDFAST_TESTS_MODEL_STANDIN_H

#include "quota/hold.h"

#include <stdbool.h>
#include <stdint.h>

enum mutant {
    MUTANT_NONE,
    MUTANT_SETTLE_ADDS,             /* S += what was spent, instead of S := max */
    MUTANT_SETTLE_OVERWRITES,       /* S := what the message says, however old it is */
    MUTANT_REAP_WITHOUT_SPENT,      /* a reap frees the hold and leaves S */
    MUTANT_RELEASE_WITHOUT_FENCE,   /* a release exists in Redis only */
    MUTANT_RELEASE_OF_ANY_ATTEMPT,  /* a late removal takes the next attempt's hold */
    MUTANT_REMOVAL_IGNORES_LEASE,   /* H falls for holds of an older lease */
    MUTANT_RETURN_SUBTRACTS,        /* G falls on a recall, and a late grant raises it again */
    MUTANT_MISSING_MEANS_NEW,       /* a key that vanished is filled again under the same lease */
    MUTANT_OLD_LEASE_ENDS_AT_ONCE,  /* it is not set aside */
    MUTANT_COUNT,
};

enum { STANDIN_KEYS_MAX = 800, STANDIN_JOBS_MAX = 2000 };

struct standin_key {
    struct quota_ref ref;
    bool exists;
    int64_t lease_id, granted, returned, spent, held, deadline_ms;
    int64_t filled; /* lease_id that c remembers */
};

/* Copied as a whole: that is a snapshot. */
struct standin {
    enum mutant mutant;
    int64_t epoch, seq;
    struct standin_key keys[STANDIN_KEYS_MAX];
    size_t keys_count;
    const struct hold *holds[STANDIN_JOBS_MAX]; /* by job */
};

/* Totals of one quota as Postgres knew them when the message was written. */
struct standin_totals {
    struct quota_ref ref;
    int64_t lease_id, granted, returned, spent, deadline_ms;
    int64_t delta; /* for MUTANT_SETTLE_ADDS */
};

struct standin_key *standin_key(struct standin *standin, struct quota_ref ref);

int64_t standin_available(const struct standin *standin, const struct standin_key *key);

enum standin_fill { STANDIN_FILLED, STANDIN_VANISHED, STANDIN_OLD };

/* A grant arrives: creates or raises the key. VANISHED: this lease was here before. */
enum standin_fill standin_grant(struct standin *standin, const struct standin_totals *totals);

/* All or nothing; fills in the leases. False: *ret_short is a quota that falls short. */
bool standin_reserve(struct standin *standin, int job, struct hold *hold, int64_t now_ms,
                     size_t *ret_short);

/* True: the hold of the job now has the later deadline. */
bool standin_extend(struct standin *standin, int job, struct hold *extended, int64_t now_ms);

void standin_totals(struct standin *standin, const struct standin_totals *totals);
void standin_settle(struct standin *standin, int job);
void standin_remove(struct standin *standin, int job, struct attempt attempt);

/* Takes what is idle back; returns the key's cumulative returned, or -1 under another lease. */
int64_t standin_recall(struct standin *standin, const struct standin_totals *totals);

#endif
