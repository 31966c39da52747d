/*
 * Levels of what is reserved, inside a transaction that changes limits.
 */
#ifndef HOLDFAST_LEDGER_RESERVED_H
#define HOLDFAST_LEDGER_RESERVED_H

#include "base/check.h"
#include "base/status.h"
#include "ledger/database.h"
#include "quota/book.h"

/*
 * Of those of the book's quotas, all locked, whose limit has no stops any more: what was told to be at or
 * above a stop is below it now. Appends the events to the book.
 */
MUST_CHECK enum status reserved_levels_drop(struct database *db, struct book *book);

#endif
