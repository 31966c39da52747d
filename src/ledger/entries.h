/*
 * Rows of the record as they are stored, for those who prove it: seals, verification, sums. Both tables are
 * one here: what the ledger has of jobs, and what was changed of it since (ledger_change).
 */
#ifndef HOLDFAST_LEDGER_ENTRIES_H
#define HOLDFAST_LEDGER_ENTRIES_H

#include "ledger/database_internal.h"
#include "quota/chain.h"

/* clang-format off */
/* Stands where a table would. Columns of one type in both, so that each is read by its own indexes. */
#define ENTRIES                                                                                    \
    "(SELECT tenant_id, job_id, entry::bigint AS entry, hold_epoch, hold_seq, scope, meter,"       \
    " asked::bigint AS asked, amount::bigint AS amount, debt::bigint AS debt, held::bigint AS held,"\
    " late, at, counted, 0::bigint AS change, '' COLLATE \"C\" AS id, 0::bigint AS left_units,"    \
    " '{}'::bigint[] AS closed, ''::text AS reason FROM ledger"                                    \
    " UNION ALL SELECT tenant_id, job_id, number, hold_epoch, hold_seq, scope, meter, delta,"      \
    " 0::bigint, 0::bigint, 0::bigint, false, at, counted, kind::bigint, id, left_units::bigint,"  \
    " closed, reason FROM ledger_change)"

/* Of a SELECT from ENTRIES l, in the order in which entries_read takes them. */
#define ENTRIES_COLUMNS                                                                            \
    "l.tenant_id, l.job_id, l.entry, l.hold_epoch, l.hold_seq, l.scope, l.meter, l.asked,"         \
    " l.amount, l.debt, l.held, l.late, l.at, l.counted, l.change, l.id, l.left_units, l.closed, l.reason"
/* clang-format on */

/* Reads one row's columns, starting at the next; more may follow. Texts and numbers are in row->arena. */
void entries_read(struct sql_row *row, struct chain_entry *ret);

#endif
