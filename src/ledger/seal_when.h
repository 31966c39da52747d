/*
 * When the ledger can be sealed: which moment is safe.
 */
#ifndef HOLDFAST_LEDGER_SEAL_WHEN_H
#define HOLDFAST_LEDGER_SEAL_WHEN_H

#include "base/arena.h"
#include "base/check.h"
#include "ledger/database_internal.h"
#include "ledger/ledger.h"

/*
 * The latest moment that is safe now; 0: none yet. The clock is read before an id is taken, so whatever has
 * one at that moment has a lower one, and is over once the oldest that runs is not below it.
 */
MUST_CHECK enum status seal_find_safe(struct database *db, struct arena *arena,
                                      struct ledger_sealing *sealing, int64_t *ret_now_ms,
                                      int64_t *ret_safe_ms);

#endif
