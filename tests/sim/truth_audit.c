/*
 * What must hold at rest, of the record and the rows: the sums, and what each acknowledged call has left.
 */
#include "tests/sim/truth.h"

#include "tests/sim/fibre.h"
#include "tests/sim/wrap.h"

#include <inttypes.h>

static void audit_job(struct truth *truth, struct truth_job *job)
{
    const struct pg_job *row = postgres_job(truth->postgres, job->tenant->tenant_id,
                                            slice_from_cstr(job->name), false);
    const struct settle_record *record = row ? row->record : NULL;

    if (job->forgotten)
        return;
    truth->checks++;
    truth_audit_adjusts(truth, job, row);
    if (job->committed && !record)
        truth_break(truth, "I1 an acknowledged Commit stays", job, "no record");
    if (job->committed && record && !attempt_compare(record->attempt, job->record.recorded) == 0)
        truth_break(truth, "I1 an acknowledged Commit stays", job, "another attempt's record");
    if (record && !job->committed && !job->commit_maybe)
        truth_break(truth, "I9 a definite error has no effect", job, "there is a record");
    if (record)
        for (size_t i = 0; i < job->attempts_count; i++)
            if (job->attempts[i].released &&
                attempt_compare(job->attempts[i].hold.attempt, record->attempt) == 0)
                truth_break(truth, "I5 a released attempt is never recorded", job, "it is");
    if (row && row->fences_count > 0 && job->released_us < 0 && !job->release_maybe)
        truth_break(truth, "I9 a definite error has no effect", job, "there is a fence");
    for (const struct pg_expired *expired = row ? row->expired : NULL; expired;
         expired = expired->next)
        for (size_t i = 0; i < job->attempts_count; i++)
            if (attempt_compare(job->attempts[i].hold.attempt, expired->attempt) == 0 &&
                job->attempts[i].released &&
                expired->at_ms > sim_ms_at(job->attempts[i].released_us))
                truth_break(truth, "after OK of a Release nothing of it comes back", job,
                            "a reap found it");
}

static void add_counted(const struct settle_counted *counted, size_t counted_count,
                        struct quota_ref ref, int64_t *committed, int64_t *debt, int64_t *count)
{
    for (size_t i = 0; i < counted_count; i++) {
        if (!quota_ref_equal(counted[i].ref, ref))
            continue;
        *committed += counted[i].amount;
        *debt += counted[i].debt;
        (*count)++;
    }
}

static void add_job(const struct pg_job *job, struct quota_ref ref, int64_t *committed,
                    int64_t *debt, int64_t *count)
{
    for (size_t i = 0; job->record && i < job->record->entries_count; i++)
        add_counted(job->record->entries[i].counted, job->record->entries[i].counted_count, ref,
                    committed, debt, count);
    for (const struct pg_correction *each = job->corrections; each; each = each->next)
        add_counted(each->row.counted, each->row.counted_count, ref, committed, debt, count);
}

static void audit_quota(struct truth *truth, const struct truth_tenant *tenant,
                        const struct pg_tenant *rows, const struct quota_row *row)
{
    int64_t committed = 0, debt = 0, count = 0;

    for (size_t bucket = 0; bucket < PG_JOB_BUCKETS; bucket++)
        for (const struct pg_job *job = rows->jobs[bucket]; job; job = job->next)
            add_job(job, row->ref, &committed, &debt, &count);
    if (committed != row->committed || debt != row->debt || count != row->ledger_seq)
        truth_break(truth, "I4 a quota row is the sum of its ledger", NULL,
                    "%s limit %" PRId64 ": committed %" PRId64 " debt %" PRId64 " of %" PRId64
                    ", the ledger says %" PRId64 " %" PRId64 " %" PRId64,
                    tenant->name, row->ref.limit_id, row->committed, row->debt, row->ledger_seq,
                    committed, debt, count);
    if (row->pg_held != pg_placed_units(rows, row->ref))
        truth_break(truth, "I4 pg_held is the sum of its rows", NULL, "%" PRId64, row->pg_held);
    if (row->leased != pg_lent_aside(rows, row->ref) + row->granted - row->returned - row->spent &&
        row->state != QUOTA_CLOSED)
        truth_break(truth, "I4 leased is the sum of its leases", NULL, "%s limit %" PRId64,
                    tenant->name, row->ref.limit_id);
}

/* DEGRADED and RECOVERED from it take turns, and say what is. */
static void audit_degraded(struct truth *truth, const struct truth_tenant *tenant,
                           const struct pg_tenant *rows)
{
    bool degraded = false;

    for (const struct pg_event *event = rows->events; event; event = event->next) {
        bool begins = event->event.kind == EVENT_DEGRADED;

        if (!begins && event->event.recovered_from != EVENT_DEGRADED)
            continue;
        if (begins == degraded)
            truth_break(truth, "I8 DEGRADED and RECOVERED alternate", NULL, "%s", tenant->name);
        degraded = begins;
    }
    if (degraded != (rows->degraded_by != 0))
        truth_break(truth, "I8 the last event says whether it is degraded", NULL, "%s",
                    tenant->name);
}

/* Each of a hold that expired, once. */
static void audit_expiry(struct truth *truth, const struct truth_tenant *tenant,
                         const struct pg_event *told)
{
    const struct pg_job *job =
        postgres_job(truth->postgres, tenant->tenant_id, told->event.job_id, false);
    const struct pg_expired *expired = job ? job->expired : NULL;

    while (expired && attempt_compare(expired->attempt, told->event.attempt) != 0)
        expired = expired->next;
    if (!expired)
        truth_break(truth, "I8 an event tells what is recorded", NULL, "%s/%.*s has not expired",
                    tenant->name, SLICE_ARGS(told->event.job_id));
    for (const struct pg_event *later = told->next; later; later = later->next)
        if (later->event.kind == EVENT_HOLD_EXPIRED &&
            attempt_compare(later->event.attempt, told->event.attempt) == 0 &&
            slice_equal(later->event.job_id, told->event.job_id))
            truth_break(truth, "I8 an event comes once", NULL, "%s/%.*s", tenant->name,
                        SLICE_ARGS(told->event.job_id));
}

static void audit_events(struct truth *truth, const struct truth_tenant *tenant,
                         const struct pg_tenant *rows)
{
    int64_t seq = 0;

    for (const struct pg_event *event = rows->events; event; event = event->next) {
        if (event->event.seq != ++seq)
            truth_break(truth, "I8 events are contiguous", NULL, "%s", tenant->name);
        if (event->event.kind == EVENT_HOLD_EXPIRED)
            audit_expiry(truth, tenant, event);
        if (event->event.kind > EVENT_HARD_CAP)
            continue;
        for (const struct pg_event *later = event->next; later; later = later->next) {
            const struct ledger_event *a = &event->event, *b = &later->event;

            if (!slice_equal(a->limit_name, b->limit_name) ||
                a->period_start_ms != b->period_start_ms)
                continue;
            if (b->ledger_seq < a->ledger_seq)
                break; /* it was deleted, and another has its name */
            if (a->kind != b->kind || a->basis != b->basis)
                continue;
            if (a->direction == b->direction)
                truth_break(truth, "I8 crossings alternate", NULL, "%s %.*s kind %d", tenant->name,
                            SLICE_ARGS(a->limit_name), (int)a->kind);
            break;
        }
    }
}

void truth_audit(struct truth *truth, struct truth_tenant *tenant)
{
    const struct pg_tenant *rows = postgres_tenant(truth->postgres, tenant->tenant_id);

    for (struct truth_job *job = tenant->jobs; job; job = job->next)
        audit_job(truth, job);
    for (const struct pg_quota *quota = rows->quotas; quota; quota = quota->next)
        audit_quota(truth, tenant, rows, &quota->row);
    audit_events(truth, tenant, rows);
    audit_degraded(truth, tenant, rows);
}
