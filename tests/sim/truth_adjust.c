/*
 * Corrections: each that was acknowledged is recorded, once, and answered the same ever after; a definite
 * error has left nothing; what is left of a job is its record with all its corrections, and never below 0.
 */
#include "tests/sim/truth.h"

#include "base/check.h"
#include "tests/sim/fibre.h"

#include <inttypes.h>

static void check_answer(struct truth *truth, struct truth_job *job,
                         const struct truth_adjust *adjust, bool was_made, const struct reply *reply)
{
    if (was_made && !reply->replayed)
        truth_break(truth, "a repeat of an Adjust is replayed", job, "%s", adjust->id);
    if (reply->replayed && !adjust->made && !adjust->maybe)
        truth_break(truth, "an Adjust is replayed only if it was made", job, "%s", adjust->id);
    for (size_t i = 0; i < SIM_METERS && adjust->made; i++)
        if (adjust->delta[i] != 0 && adjust->left[i] != reply->left[i])
            truth_break(truth, "a repeat of an Adjust gets its first answer", job,
                        "%s: %" PRId64 " left, then %" PRId64, adjust->id, adjust->left[i],
                        reply->left[i]);
}

/* What no store, and nobody else, can be the reason of. */
static void check_refusal(struct truth *truth, struct truth_job *job, int64_t begun_us,
                          const struct truth_adjust *adjust, const struct reply *reply)
{
    static const enum failure never[] = {FAILURE_ADJUST_ID_REUSED, FAILURE_AMOUNT_BOUND,
                                         FAILURE_INVALID_FIELD, FAILURE_UNKNOWN_TENANT};

    for (size_t i = 0; i < ARRAY_COUNT(never); i++)
        if (reply->failure == never[i])
            truth_break(truth, "an Adjust that is right is made", job, "%s: %s", adjust->id,
                        reply->text);
    if (reply->failure == FAILURE_NOT_FINAL && job->committed && job->committed_us < begun_us)
        truth_break(truth, "a job that is committed can be adjusted", job, "%s", reply->text);
    if (reply->failure == FAILURE_BELOW_ZERO && adjust->delta[0] >= 0 && adjust->delta[1] >= 0)
        truth_break(truth, "BELOW_ZERO is true", job, "%s takes nothing", adjust->id);
}

void truth_adjusted(struct truth *truth, struct truth_job *job, struct truth_adjust *adjust,
                    int64_t begun_us, bool was_made, const struct reply *reply)
{
    truth->checks++;
    if (!reply->answered ? reply->failure != FAILURE_DRAINING : reply->unknown) {
        adjust->maybe = true;
        return;
    }
    if (reply->failure != FAILURE_NONE) {
        if (was_made && reply->answered && !truth_is_excuse(reply))
            truth_break(truth, "a repeat of an Adjust gets its first answer", job, "%s",
                        reply->text);
        else if (reply->answered)
            check_refusal(truth, job, begun_us, adjust, reply);
        return;
    }
    check_answer(truth, job, adjust, was_made, reply);
    for (size_t i = 0; i < SIM_METERS; i++)
        adjust->left[i] = reply->left[i];
    adjust->made = true;
}

/* --- at rest ---------------------------------------------------------------------------------------- */

static size_t rows_of(const struct pg_job *row, const struct truth_adjust *adjust)
{
    size_t count = 0;

    for (const struct pg_correction *each = row ? row->corrections : NULL; each; each = each->next)
        count += slice_equal_cstr(each->row.adjust_id, adjust->id);
    return count;
}

/* Newest first: each says what it left, and before the first one all of the record was. */
static void audit_left(struct truth *truth, struct truth_job *job, const struct pg_job *row,
                       const struct settle_entry *entry)
{
    int64_t left = entry->amount + entry->debt, told = -1, number = INT64_MAX;

    for (const struct pg_correction *each = row->corrections; each; each = each->next) {
        if (each->row.number >= number)
            truth_break(truth, "corrections of a job are numbered", job, "%" PRId64, number);
        number = each->row.number;
        if (!slice_equal(each->row.meter, entry->meter))
            continue;
        told = told < 0 ? each->row.left : told;
        left += each->row.delta;
    }
    if (left < 0 || (told >= 0 && told != left))
        truth_break(truth, "what is left of a job is what was recorded and corrected", job,
                    "%" PRId64 ", the newest correction says %" PRId64, left, told);
}

void truth_audit_adjusts(struct truth *truth, struct truth_job *job, const struct pg_job *row)
{
    size_t asked = 0, there = 0;

    for (size_t i = 0; i < job->adjusts_count; i++) {
        const struct truth_adjust *adjust = &job->adjusts[i];
        size_t meters = (size_t)(adjust->delta[0] != 0) + (size_t)(adjust->delta[1] != 0);
        size_t rows = rows_of(row, adjust);

        truth->checks++;
        asked += rows;
        if (adjust->made && rows != meters)
            truth_break(truth, "an acknowledged Adjust stays", job, "%s: %zu rows", adjust->id,
                        rows);
        if (!adjust->made && rows != 0 && (!adjust->maybe || rows != meters))
            truth_break(truth, "I9 a definite error has no effect", job, "%s: %zu rows",
                        adjust->id, rows);
    }
    for (const struct pg_correction *each = row ? row->corrections : NULL; each; each = each->next)
        there++;
    if (there != asked)
        truth_break(truth, "only what was asked for is corrected", job, "%zu of %zu", asked, there);
    for (size_t i = 0; row && row->record && i < row->record->entries_count; i++)
        audit_left(truth, job, row, &row->record->entries[i]);
}
