/*
 * Calendars of limits with a time zone or an anchor: opened, read and written ahead. All that is known of
 * zones is in sql/016_calendar.sql. The lock of a calendar's row is taken after that of a limit and before
 * those of quota rows and tenants, and for as long as the transaction lasts.
 */
#ifndef HOLDFAST_LEDGER_CALENDAR_H
#define HOLDFAST_LEDGER_CALENDAR_H

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"
#include "base/status.h"
#include "ledger/database_internal.h"
#include "quota/period.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The next column, LEDGER_BOUNDARIES_SQL; what cannot be makes the row bad. */
void calendar_read(struct sql_row *row, struct calendar *ret);

/* *ret_calendar_id 0: there is no such zone. zone empty: UTC. No anchor: 00:00 of the first day. */
MUST_CHECK enum status calendar_open(struct database *db, struct arena *arena, enum period period,
                                     struct slice zone, bool has_anchor, int64_t anchor_ms,
                                     int64_t *ret_calendar_id);

/*
 * Writes what is missing up to the end of the period after the current one: for these limits, for these
 * tenants, or for at most max of all calendars.
 */
MUST_CHECK enum status calendars_write(struct database *db, struct arena *arena,
                                       const int64_t *tenant_ids, const int64_t *limit_ids,
                                       size_t count);
MUST_CHECK enum status calendars_write_of(struct database *db, struct arena *arena,
                                          const struct slice *tenants, size_t count);
MUST_CHECK enum status calendars_write_all(struct database *db, struct arena *arena, size_t max);

#endif
