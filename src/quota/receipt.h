/*
 * The receipt of a Commit: all that the ledger has of the job, signed (token_seal.h, "hfr1.").
 *
 * It is made of the record alone, so a repeated Commit has the same receipt, byte for byte, for as
 * long as the same key signs, and nothing is stored for it. Who keeps a receipt can tell later that
 * the database has lost or changed the record, and what it was: the sequence numbers say where in
 * each quota's entries it stood.
 *
 * The body is a record of varints and strings (base/bytes.h):
 *
 *     tenant, job_id, epoch, seq, at_ms, late, scope,
 *     count of entries, for each: meter, asked, amount, debt, held,
 *         count of quotas, for each: limit_id, period_start_ms, ledger_seq, amount, debt
 *
 * It is no secret like a reservation id: it commits nothing. It tells what was used, to whoever has it.
 * Pure; one thread for each seal.
 */
#ifndef HOLDFAST_QUOTA_RECEIPT_H
#define HOLDFAST_QUOTA_RECEIPT_H

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"
#include "quota/settle.h"
#include "quota/token.h"
#include "quota/token_seal.h"

struct receipt {
    struct slice tenant, job_id;
    struct settle_record record; /* asked_given is not part of it: always true when read */
};

/*
 * The text, NUL-terminated, in the arena. NULL: past the arena's limit, or the record is longer than
 * any that this program writes (a hand was in the ledger). The seal is one of TOKEN_OF_RECEIPT.
 */
MUST_CHECK char *receipt_issue(struct token_seal *seal, struct arena *arena,
                               const struct receipt *receipt);

/*
 * Reads a receipt of the tenant. Only a genuine one writes *ret_receipt; what it points to is in the
 * arena.
 */
MUST_CHECK enum token_verdict receipt_verify(struct token_seal *seal, struct arena *arena,
                                             struct slice tenant, struct slice text,
                                             struct receipt *ret_receipt);

/*
 * NULL: the record is what the receipt says. Otherwise the first difference, in a sentence of the
 * arena, "meter \"tokens\" has amount 13, the receipt says 12".
 */
const char *receipt_difference(struct arena *arena, const struct receipt *receipt,
                               const struct settle_record *record);

#endif
