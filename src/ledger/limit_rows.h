/*
 * Rows of limit_ as ledger_limit, shared by the files that change and list limits.
 */
#ifndef HOLDFAST_LEDGER_LIMIT_ROWS_H
#define HOLDFAST_LEDGER_LIMIT_ROWS_H

#include "ledger/database_internal.h"
#include "ledger/ledger.h"

/* In the order in which limit_row_read takes them; the table is l. */
#define LIMIT_COLUMNS                                                                              \
    "l.limit_id, l.name, l.scope, l.meter, l.period_kind, l.unlimited, l.amount, l.soft_percent,"  \
    " l.overage_kind, l.overage, l.max_ttl_ms, l.version, l.implicit"

/* The same columns of a jsonb object. */
#define LIMIT_RECORD                                                                               \
    "l(limit_id bigint, name text, scope text, meter text, period_kind smallint,"                  \
    " unlimited boolean, amount bigint, soft_percent smallint, overage_kind smallint,"             \
    " overage bigint, max_ttl_ms bigint, version bigint, implicit boolean)"

/* limit->tenant is left as it is. */
void limit_row_read(struct sql_row *row, struct ledger_limit *limit);

/* What the limit means in units. */
struct stops limit_stops(const struct ledger_limit *limit);

#endif
