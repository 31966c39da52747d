/*
 * Reconciliation: the accounts of quotas, read and held against each other (quota/drift.h). Shared by
 * GetReconciliation, on a desk, and what looks continuously.
 */
#ifndef HOLDFAST_OP_RECONCILE_H
#define HOLDFAST_OP_RECONCILE_H

#include "base/check.h"
#include "op/stores.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* At most so many keys in one look: as many calls as one round trip to Redis takes. */
enum { RECONCILE_KEYS_MAX = 1024 };

struct reconcile_look {
    const struct ledger_sums_key *keys; /* in the order of ledger_sums_list */
    size_t count;
    enum ledger_entries_from from;
    bool without_redis;
    /* out, in the arena of the look; [i] is of keys[i] */
    struct ledger_sums *sums;    /* with what Redis shows, where it could be asked */
    struct counter_quota *redis; /* exists false: it could not be asked, or has no such quota */
    bool degraded;               /* some shard of Redis could not be asked */
};

/*
 * Redis first, then the database over `db`, in one state. Blocks. A failure is the database's: nothing is
 * known then.
 */
MUST_CHECK enum status reconcile_look(struct stores *stores, struct database *db,
                                      struct arena *arena, struct reconcile_look *look);

#endif
