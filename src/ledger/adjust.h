/*
 * Corrections of the record (quota/adjust.h): one transaction for one Adjust.
 */
#ifndef HOLDFAST_LEDGER_ADJUST_H
#define HOLDFAST_LEDGER_ADJUST_H

#include "base/arena.h"
#include "base/check.h"
#include "base/status.h"
#include "ledger/database.h"
#include "quota/adjust.h"
#include "quota/book.h"
#include "quota/plan.h"

#include <stddef.h>
#include <stdint.h>

struct ledger_adjusting {
    /* in */
    const struct plan *plan; /* of the tenant, as it is now */
    int64_t now_ms;          /* estimate of the database's time */
    struct slice reason;
    struct adjust_item item; /* in: tenant_id, adjust_id, job_id, changes, recall_done */
    /* out: item, what it points to is in the arena, and */
    struct quota_row *quotas; /* those that were locked, as they are now; with their shard */
    size_t quotas_count;
};

/*
 * Decides and, if MADE, writes. Waits LOCK_WAIT_MS for a locked row, then CONFLICT. UNKNOWN: COMMIT was
 * sent and not answered; with the same adjust_id the repeat tells. UNAVAILABLE also on a database whose
 * history was not compared with Redis yet (ledger_losses_find).
 */
MUST_CHECK enum status ledger_adjust(struct database *db, struct arena *arena,
                                     struct ledger_adjusting *adjusting);

#endif
