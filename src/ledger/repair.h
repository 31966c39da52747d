/*
 * Accounts of quotas that differ are made to agree again (quota/repair.h): one transaction for the quotas of
 * a page, with an audit row for each repair.
 */
#ifndef HOLDFAST_LEDGER_REPAIR_H
#define HOLDFAST_LEDGER_REPAIR_H

#include "base/check.h"
#include "base/status.h"
#include "ledger/ledger.h"
#include "ledger/reconcile.h"
#include "quota/chain.h"
#include "quota/repair.h"

#include <stdbool.h>
#include <stddef.h>

struct ledger_repairing {
    struct slice tenant; /* its name, for the audit */
    struct ledger_note note;
    bool validate_only;
    struct chain_signer *signer;
    const struct ledger_sums_key *keys; /* of one tenant, in the order of ledger_sums_list */
    const struct drift_redis *redis;    /* [i]: of keys[i]; read before this call */
    size_t count;
};

struct ledger_repaired {
    bool exists;          /* else it is gone, and nothing is known */
    struct quota_row row; /* as it is now; validate_only: as it would be */
    struct repaired repaired;
};

/*
 * Repairs what differs. *ret[i] is of keys[i]. All of the tenant's record is read: it may take minutes, over
 * a connection whose statements may. The rows are locked for no longer than it takes to write them.
 *
 * *ret_admin is ADMIN_DONE, or ADMIN_REQUEST_REUSED; ADMIN_REPEATED: nothing was changed, and *ret says what
 * differs now. CONFLICT: somebody repairs, or a row stays locked; try again.
 */
MUST_CHECK enum status ledger_repair(struct database *db, struct arena *arena,
                                     const struct ledger_repairing *how,
                                     struct ledger_repaired **ret, enum ledger_admin *ret_admin);

#endif
