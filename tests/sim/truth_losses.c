/*
 * A database that went back (PROTOCOL.md, losses): which jobs it has forgotten, and that nothing new is
 * taken for a tenant while its loss waits to be accepted.
 */
#include "tests/sim/truth.h"

#include "tests/sim/fibre.h"

/* A server's belief of a tenant, at most: a beat, and what it takes. */
enum { BELIEVED_US = 2500000 };

/* Nothing new while a loss waits, once every server has had its beat; and READ_ONLY only then. */
void truth_read_only(struct truth *truth, struct truth_job *job, const struct ask *ask,
                     int64_t begun_us, const struct reply *reply)
{
    const struct truth_tenant *tenant = job->tenant;
    bool waits = postgres_tenant(truth->postgres, tenant->tenant_id)->read_only;

    if (!reply->answered || ask->verb == VERB_RELEASE || ask->verb == VERB_GET)
        return;
    if (reply->failure == FAILURE_READ_ONLY && !waits && tenant->read_only_us < 0 && !job->forgotten &&
        begun_us - tenant->accepted_us > BELIEVED_US)
        truth_break(truth, "READ_ONLY while a loss waits", job, "none does");
    if (reply->failure == FAILURE_NONE && !reply->replayed && tenant->read_only_us >= 0 &&
        reply->decision != DECISION_REJECT && reply->decision != DECISION_ALREADY_COMMITTED &&
        begun_us - tenant->read_only_us > BELIEVED_US && waits)
        truth_break(truth, "nothing new while a loss waits", job, "%s", verb_names[ask->verb]);
}

static bool is_forgotten(const struct pg_job *before, const struct pg_job *now)
{
    if (!before || !now)
        return before != now;
    return before->record != now->record || before->fences_count != now->fences_count ||
           before->placed != now->placed || before->expired != now->expired;
}

void truth_forget(struct truth *truth, struct truth_tenant *tenant, const struct pg_tenant *before)
{
    for (struct truth_job *job = tenant->jobs; job; job = job->next) {
        struct slice name = slice_from_cstr(job->name);
        const struct pg_job *now = postgres_job(truth->postgres, tenant->tenant_id, name, false);

        if (!is_forgotten(postgres_job_of(before, name), now))
            continue;
        job->forgotten = true;
        job->reserve_maybe = job->commit_maybe = job->release_maybe = true;
    }
}
