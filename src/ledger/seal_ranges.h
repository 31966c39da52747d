/*
 * The index of the ledger's times (ledger_at, a BRIN) knows when the entries of a range of pages are from
 * once the range has a summary. A range without one is read whole by every look for new entries. Commits
 * make ranges and no summaries, so the sealer makes them: for each range once, when it is full.
 */
#ifndef HOLDFAST_LEDGER_SEAL_RANGES_H
#define HOLDFAST_LEDGER_SEAL_RANGES_H

#include "base/arena.h"
#include "base/check.h"
#include "ledger/database_internal.h"
#include "ledger/ledger.h"

/*
 * A bounded number of full ranges of each partition. A partition that somebody works on (VACUUM, which makes
 * summaries itself) is left out for SEAL_GAP_AGAIN_MS. OK: also where there was nothing to do, or the index
 * belongs to a role that the service is not a member of. Any other status: the looks read more than they
 * need to; a later turn goes on.
 */
MUST_CHECK enum status seal_ranges_summarize(struct database *db, struct arena *arena,
                                             struct ledger_sealing *sealing);

#endif
