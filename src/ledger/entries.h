/*
 * Rows of the ledger as they are stored, for those who prove it: seals and verification.
 */
#ifndef HOLDFAST_LEDGER_ENTRIES_H
#define HOLDFAST_LEDGER_ENTRIES_H

#include "ledger/database_internal.h"
#include "quota/chain.h"

/* Of a SELECT from `ledger l`, in the order in which entries_read takes them. */
#define ENTRIES_COLUMNS                                                                            \
    "l.tenant_id, l.job_id, l.entry, l.hold_epoch, l.hold_seq, l.scope, l.meter, l.asked,"         \
    " l.amount, l.debt, l.held, l.late, l.at, l.counted"

/* Reads one row's columns, starting at the next; more may follow. Texts and numbers are in row->arena. */
void entries_read(struct sql_row *row, struct chain_entry *ret);

#endif
