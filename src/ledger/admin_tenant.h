/*
 * What changes of limits need of their tenant. Inside the caller's transaction, on its thread.
 */
#ifndef HOLDFAST_LEDGER_ADMIN_TENANT_H
#define HOLDFAST_LEDGER_ADMIN_TENANT_H

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"
#include "base/status.h"
#include "ledger/database.h"

#include <stdbool.h>
#include <stdint.h>

struct admin_tenant {
    int64_t tenant_id; /* 0: there is none of that name */
    int shard;
};

/* Without a lock: neither ever changes. */
MUST_CHECK enum status admin_tenant_find(struct database *db, struct arena *arena,
                                         struct slice name, struct admin_tenant *ret);

/*
 * A new config version, which tells all servers to read the tenant's limits again. Locks the tenant
 * and then the handing out of positions: after all other locks.
 */
MUST_CHECK enum status admin_tenant_bump(struct database *db, struct arena *arena,
                                         int64_t tenant_id);

/* True if the etag is empty or the decimal text of the version. */
bool admin_etag_fits(struct slice etag, int64_t version);

#endif
