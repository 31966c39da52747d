/*
 * What the root has lost: Redis has heard of more than the quota's row says. Redis hears of commits only
 * after their COMMIT has been confirmed, so whoever reads Redis first and then locks the row, and finds
 * less there, has proven that the database went back: a standby took over without its last transactions,
 * or an earlier state was restored. op/PROTOCOL.md 3.13.
 *
 *     commits     Redis heard of entry number used_seq, the row counts fewer        a loss
 *                 Redis heard of more spent of a lease than the row has             a loss
 *     grants      Redis has a later lease, or more granted of the same one          no loss: nobody was told;
 *                 but holds may stand on it, so the row learns of it                loss_adopt
 *
 * A Redis that lost something itself shows less, and proves nothing. Pure, on rows that the caller has
 * locked.
 */
#ifndef HOLDFAST_QUOTA_LOSS_H
#define HOLDFAST_QUOTA_LOSS_H

#include "quota/book.h"

#include <stdbool.h>
#include <stdint.h>

/* A quota as Redis shows it. */
struct loss_seen {
    int64_t tenant_id;
    struct quota_ref ref;
    int64_t lease_id, granted, returned, spent, lease_deadline_ms;
    int64_t used, used_seq; /* committed and debt, as of this entry of the ledger */
};

/* What was acknowledged of a quota and is not in the database. */
struct loss {
    int64_t tenant_id;
    struct quota_ref ref;
    int64_t lease_id; /* whose units they were; 0: of none that is known */
    int64_t spent;    /* of units, so many from this lease */
    int64_t units;    /* that have no entry any more; 0: entries of nothing */
    int64_t seq;      /* the row's, as Redis would know it, when the loss was found; */
    int64_t seen_seq; /* Redis' */
};

/* Could the row have gone back? Any row, also one that is read without its lock. */
bool loss_suspect(const struct quota_row *quota, const struct loss_seen *seen);

/*
 * True: proven, *ret says what. accepted_seq: losses up to this number of Redis' were accepted before, or 0.
 * The quota's row and its old leases are locked; `seen` was read before that. Call it before loss_adopt.
 */
bool loss_prove(struct book *book, const struct quota_row *quota, const struct loss_seen *seen,
                int64_t accepted_seq, struct loss *ret);

/*
 * A loss of the same quota was found before and waits for its acceptance. True: *now is more, and becomes
 * both: the row has gone back again, behind the acceptance, or Redis was told more since. What was recorded
 * and lost since then is in it as far as it is more than what was lost before.
 */
bool loss_grown(const struct loss *before, struct loss *now);

/*
 * The row learns which lease Redis has, how much of it was granted and has come back, and until when it
 * lasts: holds may stand on that. A later deadline in Redis is one of a push that the row forgot, unless the
 * row knows of more that came back (op/PROTOCOL.md 3.8). It may be more than the cap then, and nothing is
 * lent until it is less again. What was spent stays as the record says. *ret_old: as lease_begin says.
 * False: the row knows it all, or the numbers cannot be.
 */
bool loss_adopt(struct quota_row *quota, const struct loss_seen *seen, struct lease_row *ret_old);

/*
 * The loss is accepted: what one entry of the ledger has to say so that use and limit are right again. The
 * units that the lease still has set aside are spent from it; the others count at the root, as debt where
 * they do not fit. The caller applies it (book_apply) and writes the entry.
 */
struct booking loss_book(struct book *book, struct quota_row *quota, const struct loss *loss);

/*
 * With loss_book, before its booking is applied: the entry that is booked gets a number in Redis above those
 * that were lost, so that Redis takes its use and that of all entries after it.
 */
void loss_renumber(struct quota_row *quota, const struct loss *loss);

#endif
