/*
 * Which tenants have rows that somebody keeps locked. Asked after a transaction over many tenants has run
 * into its lock_timeout, so that the others can go on without them. Waits for nothing.
 */
#ifndef HOLDFAST_LEDGER_LOCKED_H
#define HOLDFAST_LEDGER_LOCKED_H

#include "base/arena.h"
#include "ledger/database.h"
#include "ledger/rows.h"

#include <stdbool.h>
#include <stddef.h>

/* Tenants with a locked row, in no order. */
struct rows_locked {
    int64_t *tenants;
    size_t count;
};

/*
 * The tenants of these quota rows that have a row of quota, limit_ or tenant which cannot be locked at
 * this moment. Also empty if the database cannot be asked. refs: sorted by rows_refs_sort. Outside a
 * transaction.
 */
struct rows_locked rows_locked_find(struct database *db, struct arena *arena,
                                    const struct rows_ref *refs, size_t count);
bool rows_locked_has(const struct rows_locked *locked, int64_t tenant_id);

#endif
