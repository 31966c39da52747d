/*
 * The audit: one row per admin change, written in its transaction. A repeated request is recognised
 * by it. The row keeps a hash of what was asked for and the object before and after;
 * the first answer is read from those.
 *
 * Inside the caller's transaction, on its thread. Memory comes from the arena given.
 */
#ifndef HOLDFAST_LEDGER_AUDIT_H
#define HOLDFAST_LEDGER_AUDIT_H

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"
#include "base/status.h"
#include "ledger/database.h"
#include "ledger/ledger.h"

#include <stdbool.h>
#include <stdint.h>

struct audit {
    int64_t tenant_id;
    struct ledger_note note; /* an empty request_id protects nothing */
    struct slice action;     /* "limit.put" ... */
    struct slice object;     /* name of the tenant or limit */
    /*
     * All that was asked for, action and object included, as a text that is equal for equal requests.
     * Neither who nor why is in it, nor the etag.
     */
    struct slice content;
};

/*
 * Call it after the object is locked. *ret is ADMIN_DONE if this request is new, else ADMIN_REPEATED
 * (*ret_made: there was no object before) or ADMIN_REQUEST_REUSED.
 */
MUST_CHECK enum status audit_find(struct database *db, struct arena *arena,
                                  const struct audit *audit, enum ledger_admin *ret,
                                  bool *ret_made);

/*
 * The last statement of a change. old and new are JSON, data NULL: there is none. CONFLICT: the same
 * request was faster on another connection; run the transaction again, which then finds it.
 */
MUST_CHECK enum status audit_write(struct database *db, struct arena *arena,
                                   const struct audit *audit, struct slice old, struct slice new);

#endif
