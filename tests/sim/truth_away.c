/*
 * What limits say of a Redis that is away: who is served without it, and how much of it no store counts.
 */
#include "tests/sim/truth.h"

#include "base/check.h"
#include "tests/sim/fibre.h"

#include <inttypes.h>
#include <stdlib.h>

/* A change that some server has not heard of: Postgres may have been away for some seconds since. */
enum { PLAN_BELIEVED_US = 30000000 };

/* Admitted by one server of one quota, in the absence that was last. */
struct truth_open {
    struct truth_open *next;
    int group;
    int64_t tenant_id, absence, units;
    struct quota_ref ref;
};

static struct truth_open *open_of(struct truth *truth, int group, int64_t tenant_id,
                                  struct quota_ref ref)
{
    struct truth_open *open = truth->opens;

    while (open && (open->group != group || open->tenant_id != tenant_id ||
                    !quota_ref_equal(open->ref, ref)))
        open = open->next;
    if (open)
        return open;
    open = calloc(1, sizeof(*open));
    CHECK(open);
    *open = (struct truth_open){truth->opens, group, tenant_id, 0, 0, ref};
    truth->opens = open;
    return open;
}

void truth_away_done(struct truth *truth)
{
    while (truth->opens) {
        struct truth_open *next = truth->opens->next;

        free(truth->opens);
        truth->opens = next;
    }
}

static const struct pg_limit *limit_of(const struct pg_tenant *rows, struct quota_ref ref)
{
    const struct pg_limit *limit = rows->limits;

    while (limit && limit->limit.limit_id != ref.limit_id)
        limit = limit->next;
    return limit;
}

/* Each server has the limit's units of every quota in every absence. */
static void count_open(struct truth *truth, struct truth_job *job, const struct reply *reply)
{
    int64_t tenant_id = job->tenant->tenant_id;
    const struct pg_tenant *rows = postgres_tenant(truth->postgres, tenant_id);

    for (size_t i = 0; i < reply->hold.quotas_count; i++) {
        const struct hold_quota *held = &reply->hold.quotas[i];
        struct truth_open *open = open_of(truth, reply->group, tenant_id, held->quota);
        int64_t most = limit_of(rows, held->quota)->limit.redis_away_units;

        open->units = held->units + (open->absence == truth->absences ? open->units : 0);
        open->absence = truth->absences;
        if (truth->only_away && (truth->absences == 0 || (most > 0 && open->units > most)))
            truth_break(truth, "OPEN: each server admits redis_away_units in an absence", job,
                        "limit %" PRId64 ": %" PRId64 " of %" PRId64 ", absence %" PRId64,
                        held->quota.limit_id, open->units, most, truth->absences);
    }
}

void truth_away(struct truth *truth, struct truth_job *job, int64_t begun_us,
                const struct reply *reply)
{
    const struct pg_tenant *rows = postgres_tenant(truth->postgres, job->tenant->tenant_id);
    bool some[REDIS_AWAY_OPEN + 1] = {false};

    truth->checks++;
    if (reply->uncounted != attempt_is_open(reply->hold.attempt))
        truth_break(truth, "uncounted says what it is", job, "%d", reply->uncounted);
    if (reply->uncounted)
        count_open(truth, job, reply);
    if (begun_us - job->tenant->cap_changed_us < PLAN_BELIEVED_US || job->tenant->admin_open > 0 ||
        attempt_is_in_redis(reply->hold.attempt))
        return;
    for (size_t i = 0; i < reply->hold.quotas_count; i++)
        some[limit_of(rows, reply->hold.quotas[i].quota)->limit.redis_away] = true;
    if (some[REDIS_AWAY_CLOSED])
        truth_break(truth, "CLOSED: nothing is held while Redis is away", job, "%" PRId64 ".%" PRId64,
                    reply->hold.attempt.epoch, reply->hold.attempt.seq);
    if (some[REDIS_AWAY_POSTGRES] && reply->uncounted)
        truth_break(truth, "the strictest limit decides", job, "uncounted, and a limit is POSTGRES");
}
