/*
 * Recall flags that nobody served: after a limit was lowered, idle capacity above the new cap goes
 * back to the root. All that are due go together, so a tenant with many of them, or whose rows somebody
 * keeps locked, takes no longer than one with a single flag.
 */
#include "op/duty.h"

#include "op/recall.h"
#include "op/shares.h"

enum duty_end recall_flagged(struct duty_tools *tools)
{
    struct stores *stores = tools->stores;
    struct quota_row *rows;
    size_t count, own = 0;
    enum status status =
        stores->table->recalls(stores->db, &stores->scratch, RECALL_ROWS_MAX, &rows, &count);

    if (status != STATUS_OK)
        return duty_failed(tools, "recalls", status);
    for (size_t i = 0; i < count; i++)
        if (shares_own(stores->services->shares, rows[i].shard))
            rows[own++] = rows[i];
    status = recall_rows(stores, rows, own);
    return status == STATUS_OK ? DUTY_DONE : duty_failed(tools, "return", status);
}
