/*
 * A change of a limit on its way into the limit's quota rows. Inside the caller's transaction, which
 * has locked the row of limit_: so no quota row can come to it meanwhile (rows_make.c).
 */
#ifndef HOLDFAST_LEDGER_LIMIT_QUOTAS_H
#define HOLDFAST_LEDGER_LIMIT_QUOTAS_H

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"
#include "base/status.h"
#include "ledger/database.h"
#include "quota/period.h"
#include "quota/book.h"
#include "quota/threshold.h"

#include <stddef.h>
#include <stdint.h>

/* A limit as its quota rows see it. */
struct limit_bounds {
    int64_t tenant_id;
    int shard;
    int64_t limit_id;
    struct slice name, scope, meter;
    enum period period;
    struct calendar calendar;
    struct stops stops;
};

/*
 * Locks the rows of the current and of later periods, and their old leases; then the clock. Periods
 * that are over keep the stops that they ended with: nothing is admitted there any more, and what is
 * committed late is judged by what was in force. book: only its arena is set.
 */
MUST_CHECK enum status limit_quotas_lock(struct database *db, struct book *book,
                                         const struct limit_bounds *bounds);

/*
 * Gives the locked rows the new stops and writes them, with the LIMIT_CHANGED event of the current
 * period and then the crossings. A row whose cap became smaller while capacity is lent gets the
 * recall flag; one whose cap became larger and that has room again loses it.
 */
MUST_CHECK enum status limit_quotas_change(struct database *db, struct book *book,
                                           const struct limit_bounds *bounds);

/*
 * The limit was removed: it stops nothing any more, also not what is committed later of holds that were
 * taken under it. The locked rows become unlimited, with the event and the crossings down; nothing is lent
 * ahead of need again.
 */
MUST_CHECK enum status limit_quotas_removed(struct database *db, struct book *book,
                                            const struct limit_bounds *bounds);

/*
 * The rows of a book for whoever changed the limit: of periods that are not over, or flagged. Texts
 * are those of bounds. NULL: past the arena's limit.
 */
struct quota_row *limit_quotas_show(struct arena *arena, const struct book *book,
                                    const struct limit_bounds *bounds, size_t *ret_count);

#endif
