/*
 * The table drift: which accounts differ, and since when. Written by the one server that looks
 * (op/duty_reconcile.c), read by every server. Each function is one transaction; DRIFT and RECOVERED are
 * written in the transaction of the row that they are about, so each is written once.
 */
#ifndef HOLDFAST_LEDGER_DRIFTS_H
#define HOLDFAST_LEDGER_DRIFTS_H

#include "base/check.h"
#include "base/status.h"
#include "ledger/database.h"
#include "ledger/ledger.h"
#include "quota/drift.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LEDGER_DRIFTS_MAX = 1000 }; /* rows of the table; what is found beyond is not kept */

struct ledger_drift {
    int64_t tenant_id;
    struct quota_ref ref;
    struct drift drift;
    int64_t since_ms; /* in the database's time */
    bool told;        /* the tenant was sent DRIFT */
};

/* All of them, in the order of (tenant, limit, period, kind). */
MUST_CHECK enum status ledger_drifts_read(struct database *db, struct arena *arena,
                                          struct ledger_drift **ret, size_t *ret_count);

/*
 * Makes the row, or changes its numbers; since_ms of one that is there stays. With told, and where it was not
 * told yet, DRIFT is sent, of row as it is.
 */
MUST_CHECK enum status ledger_drift_put(struct database *db, struct arena *arena,
                                        const struct ledger_drift *drift,
                                        const struct quota_row *row);

/* Removes the row; where it was told, RECOVERED is sent. row NULL: the quota is gone. */
MUST_CHECK enum status ledger_drift_end(struct database *db, struct arena *arena,
                                        const struct ledger_drift *drift,
                                        const struct quota_row *row);

struct ledger_drift_totals {
    int64_t count, units, worst; /* rows; the sum of their units; the largest of these */
    int64_t oldest_ms;           /* how long the oldest has been there */
};

MUST_CHECK enum status ledger_drift_totals_read(struct database *db,
                                                struct ledger_drift_totals *ret);

#endif
