/*
 * Do four accounts of one quota agree? What its row says, what its leases, its holds in Postgres and its
 * entries of the ledger add up to, and what Redis shows. Where they do not, that is a *drift*: a kind, two
 * numbers, and how many units lie between them.
 *
 * All but Redis are read in one state of the database, so a difference between them is one, at that
 * moment: every transaction changes both sides. Redis is read before that state. Totals only rise, and Redis
 * hears of them after they were committed, so it may be behind the row and never ahead of it.
 *
 * Being behind is no drift: a notify is on its way, or was lost and is brought again (op/reconcile.h).
 *
 * Pure; any thread.
 */
#ifndef HOLDFAST_QUOTA_DRIFT_H
#define HOLDFAST_QUOTA_DRIFT_H

#include "quota/book.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values as in holdfast.v1.DriftKind. */
enum drift_kind {
    DRIFT_LEASES = 1,  /* leased is not what the leases have out */
    DRIFT_HOLDS = 2,   /* pg_held is not what the rows of pg_hold hold */
    DRIFT_LEDGER = 3,  /* committed or debt is not the sum of the entries, which are all there */
    DRIFT_ENTRIES = 4, /* entries are missing, or there are more than the row has numbered */
    DRIFT_REDIS =
        5, /* Redis shows more than the root ever recorded, or another use at the same entry */
};

enum { DRIFT_KINDS = 5 };

/* A quota as Redis shows it (counter/counter.h); of what lease it is, and as far as which entry. */
struct drift_redis {
    bool known; /* false: it was not asked, or has no such quota; nothing is compared */
    int64_t lease_id, granted, returned, spent;
    int64_t used, debt, used_seq;
};

struct drift_sums {
    const struct quota_row *row;
    int64_t leases; /* granted - returned - spent of the current lease and those set aside */
    bool holds_known;
    int64_t holds; /* units of rows of pg_hold */
    bool entries_known;
    int64_t entries, amount, debt; /* of the ledger: how many, and their sums */
    struct drift_redis redis;
    bool loss_waits; /* acknowledged use was lost, and is not accepted yet (loss.h) */
};

struct drift {
    enum drift_kind kind;
    int64_t is;    /* what the row says; of DRIFT_REDIS: Redis */
    int64_t other; /* what it should agree with */
    int64_t units; /* between them, at least 1 */
};

/* In the order of kinds, each at most once; returns how many. */
size_t drift_find(const struct drift_sums *sums, struct drift ret[DRIFT_KINDS]);

/* Redis has the lease of the row, and is compared. */
bool drift_is_compared(const struct drift_sums *sums);

/*
 * Redis knows less than the row, of the same lease: told again, it would know. A row that contradicts its
 * leases tells nobody: what is wrong with it would be in Redis then, and nothing would say what was right.
 */
bool drift_is_behind(const struct drift_sums *sums);

/* More than a thousandth of the cap, or any at all of an unlimited quota: its tenant is told. */
bool drift_is_large(const struct drift *drift, const struct stops *stops);

/* "leases", for logs. Static. */
const char *drift_kind_name(enum drift_kind kind);

#endif
