/*
 * A promise about what the stores have, not about what was answered: leases outlive the holds under them.
 */
#include "tests/sim/truth.h"

#include "tests/sim/fibre.h"
#include "tests/sim/wrap.h"

#include <inttypes.h>

enum { LOOKS_PER_ROUND = 4 };

/* Acknowledged, not past its deadline, and nobody has asked to end it. */
static bool is_live(const struct truth_attempt *attempt, int64_t at_ms)
{
    return attempt->finish_invoked_us < 0 && attempt->hold.deadline_ms > at_ms;
}

/* Until when the root keeps this lease of a quota; -1: it is not there, or nothing of it is lent. */
static int64_t lease_until_ms(const struct pg_tenant *rows, const struct hold_quota *held)
{
    for (const struct pg_lease *lease = rows->leases; lease; lease = lease->next)
        if (quota_ref_equal(lease->row.ref, held->quota) && lease->row.lease_id == held->lease_id)
            return lease->row.deadline_ms;
    for (const struct pg_quota *quota = rows->quotas; quota; quota = quota->next)
        if (quota_ref_equal(quota->row.ref, held->quota) &&
            quota->row.lease_id == held->lease_id &&
            quota->row.granted > quota->row.returned + quota->row.spent)
            return quota->row.lease_deadline_ms;
    return -1;
}

/* What is set aside when Redis is lost is there as long as the holds that it is set aside for. */
static void check_leases(struct truth *truth, struct truth_job *job)
{
    const struct pg_tenant *rows = postgres_tenant(truth->postgres, job->tenant->tenant_id);

    for (size_t i = 0; i < job->attempts_count; i++) {
        const struct truth_attempt *attempt = &job->attempts[i];

        /* An Extend without an answer may have put it under other leases. */
        if (!is_live(attempt, sim_ms_at(fibre_now_us())) || job->extends_open > 0 ||
            attempt->deadline_max_ms > attempt->hold.deadline_ms)
            continue;
        for (size_t k = 0; k < attempt->hold.quotas_count; k++) {
            const struct hold_quota *held = &attempt->hold.quotas[k];

            if (held->lease_id == 0)
                continue; /* in Postgres: counted in pg_held, under no lease */
            truth->checks++;
            if (held->units > 0 && lease_until_ms(rows, held) < attempt->hold.deadline_ms)
                truth_break(truth, "a lease outlives its holds", job,
                            "limit %" PRId64 " lease %" PRId64 " until %" PRId64
                            ", the hold until %" PRId64,
                            held->quota.limit_id, held->lease_id,
                            lease_until_ms(rows, held) - sim_epoch_ms,
                            attempt->hold.deadline_ms - sim_epoch_ms);
        }
    }
}

/* Those of all jobs now and then: there may be thousands. */
void truth_leases(struct truth *truth, struct truth_job *of)
{
    /* What the database has forgotten of its leases it learns before it says that it is compared. */
    if (truth->postgres->timeline != truth->postgres->compared)
        return;
    check_leases(truth, of);
    if (++truth->leases_looks % LOOKS_PER_ROUND != 0)
        return;
    for (struct truth_job *job = of->tenant->jobs; job && !truth->broken; job = job->next)
        check_leases(truth, job);
}
