/*
 * The audit row of an admin change, and the tenant's config version that goes with it: the last steps
 * of every admin transaction.
 */
#ifndef HOLDFAST_LEDGER_AUDIT_H
#define HOLDFAST_LEDGER_AUDIT_H

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"
#include "base/status.h"
#include "ledger/database_internal.h"
#include "ledger/ledger.h"

/* One change. `content` is what was asked for, in full; a repeat must ask for the same. */
struct audit_change {
    int64_t tenant_id;
    const struct ledger_note *note;
    const char *action; /* "limit.put" */
    struct slice object; /* its name */
    struct slice content;
    struct slice old_json; /* empty: there was none */
    struct slice new_json; /* empty: there is none */
};

/*
 * CONFLICT: another transaction with the same request_id was faster; run everything again, and the
 * repeat is found.
 */
MUST_CHECK enum status audit_write(struct database *db, struct arena *arena,
                                   const struct audit_change *change);

/* config_version + 1 and the next config_position, under the tenant's lock: the last lock of all. */
MUST_CHECK enum status audit_bump_config(struct database *db, struct arena *arena,
                                         int64_t tenant_id);

/* tenant_id and shard by name; *ret_found false: no such tenant. */
MUST_CHECK enum status audit_find_tenant(struct database *db, struct arena *arena,
                                         struct slice tenant, bool *ret_found,
                                         int64_t *ret_tenant_id, int *ret_shard);

#endif
