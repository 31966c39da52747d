#include "tests/sim/truth.h"

#include "base/check.h"
#include "quota/times.h"
#include "tests/sim/fibre.h"
#include "tests/sim/wrap.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum {
    SETTLE_US = 2500000,    /* so long after its end a hold may still count: the reap's 2 s */
    FINAL_US = 600000000,   /* FINAL window */
    HELD_UP_US = 1000000,   /* a call that nothing holds up takes no longer */
    REFUSED_US = 30000,     /* so long a server believes what the root refused (op/refusals.h) */
    MARGIN_MS = 50,         /* how far a server's estimate of the time may lag */
};

static int64_t now_ms(const struct truth *truth)
{
    return truth->postgres->now_ms(truth->postgres->user);
}

void truth_break(struct truth *truth, const char *promise, const struct truth_job *job,
                 const char *format, ...)
{
    va_list arguments;
    int at;

    if (truth->broken || truth->deaf)
        return;
    truth->broken = promise;
    at = snprintf(truth->text, sizeof(truth->text), "%s%s%s: ", job ? job->tenant->name : "",
                  job ? "/" : "", job ? job->name : "");
    va_start(arguments, format);
    vsnprintf(truth->text + at, sizeof(truth->text) - (size_t)at, format, arguments);
    va_end(arguments);
}

/* --- attempts ----------------------------------------------------------------------------------- */

/* Of two places the one that was made later. */
static bool newer(const struct sim_hold *a, const struct sim_hold *b)
{
    if (!attempts_share_place(a->attempt, b->attempt))
        return a->created_ms > b->created_ms;
    return attempt_compare(a->attempt, b->attempt) > 0;
}

static struct truth_attempt *find_attempt(struct truth_job *job, struct attempt attempt)
{
    for (size_t i = 0; i < job->attempts_count; i++)
        if (attempt_compare(job->attempts[i].hold.attempt, attempt) == 0)
            return &job->attempts[i];
    return NULL;
}

struct truth_attempt *truth_newest(struct truth_job *job)
{
    struct truth_attempt *newest = NULL;

    for (size_t i = 0; i < job->attempts_count; i++)
        if (!newest || newer(&job->attempts[i].hold, &newest->hold))
            newest = &job->attempts[i];
    return newest;
}

/* The attempt, with the promise that was just acknowledged. */
static struct truth_attempt *note_hold(struct truth_job *job, const struct sim_hold *hold)
{
    struct truth_attempt *attempt = find_attempt(job, hold->attempt);

    if (!attempt) {
        if (job->attempts_count == TRUTH_ATTEMPTS)
            return NULL;
        attempt = &job->attempts[job->attempts_count++];
        *attempt = (struct truth_attempt){
            .hold = *hold,
            .deadline_first_ms = hold->deadline_ms,
            .acked_us = fibre_now_us(),
            .finish_invoked_us = -1};
        if (job->finishes_open > 0)
            attempt->finish_invoked_us = fibre_now_us();
    }
    if (hold->deadline_ms > attempt->hold.deadline_ms)
        attempt->hold.deadline_ms = hold->deadline_ms;
    if (hold->deadline_ms > attempt->deadline_max_ms)
        attempt->deadline_max_ms = hold->deadline_ms;
    return attempt;
}

/* Live for certain now: acknowledged, not past its deadline, and nobody has asked to end it. */
static bool is_live(const struct truth_attempt *attempt, int64_t at_ms)
{
    return attempt->finish_invoked_us < 0 && attempt->hold.deadline_ms > at_ms;
}

int64_t truth_live(const struct truth_tenant *tenant, struct quota_ref ref, int64_t at_ms,
                   const struct truth_attempt *but)
{
    int64_t units = 0;

    for (const struct truth_job *job = tenant->jobs; job; job = job->next)
        for (size_t i = 0; i < job->attempts_count; i++) {
            const struct truth_attempt *attempt = &job->attempts[i];

            if (attempt == but || !is_live(attempt, at_ms) ||
                attempt_is_open(attempt->hold.attempt))
                continue;
            for (size_t k = 0; k < attempt->hold.quotas_count; k++)
                if (quota_ref_equal(attempt->hold.quotas[k].quota, ref))
                    units += attempt->hold.quotas[k].units;
        }
    return units;
}

/* Committed, or the newest attempt is released. */
static bool is_finished(const struct truth_job *job)
{
    const struct truth_attempt *newest = NULL;

    for (size_t i = 0; i < job->attempts_count; i++)
        if (!newest || newer(&job->attempts[i].hold, &newest->hold))
            newest = &job->attempts[i];
    return job->committed || (newest && newest->released);
}

/* May anything of the job still be held in a store, or have been since then? */
static bool may_hold(const struct truth *truth, const struct truth_job *job, int64_t since_us)
{
    int64_t since_ms = sim_ms_at(since_us), end_ms = job->extend_max_ms;

    if (job->reserves_open > 0 || job->extends_open > 0 || job->finishes_open > 0)
        return true;
    if (job->attempts_count == 0 && !job->reserve_maybe)
        return false;
    if (truth->strict && job->reserve_last_us < job->finish_last_us && is_finished(job))
        return job->finish_last_us >= since_us;
    return end_ms + SETTLE_US / 1000 + (truth->strict ? 0 : 20000) > since_ms;
}

int64_t truth_maybe(const struct truth *truth, const struct truth_tenant *tenant, size_t meter,
                    int64_t since_us, const struct truth_job *but)
{
    int64_t units = 0;

    for (const struct truth_job *job = tenant->jobs; job; job = job->next)
        if (job != but && job->units[meter] > 0 && may_hold(truth, job, since_us))
            units += job->units[meter] * (truth->strict ? 1 : (int64_t)job->attempts_count + 1);
    return units;
}

/* --- quotas ------------------------------------------------------------------------------------- */

/* Admission: what is recorded and what is promised fits under the cap. */
static void check_admission(struct truth *truth, struct truth_job *job,
                            const struct truth_attempt *attempt)
{
    struct truth_tenant *tenant = job->tenant;
    const struct pg_tenant *rows = postgres_tenant(truth->postgres, tenant->tenant_id);

    if (fibre_now_us() - tenant->cap_changed_us < 2000000 || tenant->admin_open > 0)
        return;
    /* A repeat: it was admitted under what was the cap then. */
    if (attempt->hold.created_ms <= sim_ms_at(tenant->cap_changed_us))
        return;
    truth->checks++;
    for (size_t i = 0; i < attempt->hold.quotas_count; i++) {
        struct quota_ref ref = attempt->hold.quotas[i].quota;
        int64_t live = truth_live(tenant, ref, now_ms(truth), NULL);

        for (const struct pg_quota *quota = rows->quotas; quota; quota = quota->next) {
            const struct quota_row *row = &quota->row;

            /* Lowered since: what was promised before is honoured. */
            if (!quota_ref_equal(row->ref, ref) || row->stops.unlimited || row->recall)
                continue;
            if (row->committed + live > row->stops.cap)
                truth_break(truth, "I3 no over-admission", job,
                            "limit %" PRId64 ": committed %" PRId64 " + live %" PRId64
                            " > cap %" PRId64,
                            ref.limit_id, row->committed, live, row->stops.cap);
        }
    }
}

/* Is there room for these units under every limit of the meter, whatever may be held? */
static bool has_room(const struct truth *truth, const struct truth_job *job, size_t meter,
                     int64_t units, int64_t since_us)
{
    const struct pg_tenant *rows = postgres_tenant(truth->postgres, job->tenant->tenant_id);
    int64_t maybe = truth_maybe(truth, job->tenant, meter, since_us, job);

    for (const struct pg_limit *limit = rows->limits; limit; limit = limit->next) {
        int64_t use = 0;

        if (limit->deleted || !slice_equal_cstr(limit->limit.meter, sim_meters[meter]))
            continue;
        for (const struct pg_quota *quota = rows->quotas; quota; quota = quota->next) {
            const struct quota_row *row = &quota->row;

            if (row->ref.limit_id != limit->limit.limit_id ||
                row->period_end_ms <= sim_ms_at(since_us))
                continue;
            use += row->committed + row->debt + pg_lent_aside(rows, row->ref);
            /* Lent and not known to be held: it may be of a lease that Redis has lost. */
            if (!truth->strict && job->tenant->lost_us >= 0)
                use += row->leased;
        }
        if (use + maybe + units > limit->cap)
            return false;
    }
    return true;
}

/* --- beginnings --------------------------------------------------------------------------------- */

static bool finishes(enum verb verb)
{
    return verb == VERB_COMMIT || verb == VERB_CHARGE || verb == VERB_RELEASE;
}

void truth_begin(struct truth *truth, struct truth_job *job, const struct ask *ask)
{
    int64_t until_ms = now_ms(truth) + ask->ttl_ms + (ask->give_up_us - fibre_now_us()) / 1000;

    truth->calls++;
    if (ask->verb == VERB_RESERVE)
        job->reserves_open++;
    if (ask->verb == VERB_RESERVE || ask->verb == VERB_EXTEND) {
        if (until_ms > job->extend_max_ms)
            job->extend_max_ms = until_ms;
        job->reserve_last_us = fibre_now_us();
    }
    if (ask->verb == VERB_EXTEND) {
        job->extends_open++;
        for (size_t i = 0; i < job->attempts_count; i++)
            if (until_ms > job->attempts[i].deadline_max_ms)
                job->attempts[i].deadline_max_ms = until_ms;
    }
    if (!finishes(ask->verb))
        return;
    job->finishes_open++;
    job->finish_last_us = fibre_now_us();
    if (ask->verb == VERB_RELEASE)
        job->release_asked = true;
    else
        job->commit_asked = true, job->commits_asked++;
    for (size_t i = 0; i < job->attempts_count; i++)
        if (job->attempts[i].finish_invoked_us < 0)
            job->attempts[i].finish_invoked_us = fibre_now_us();
}

/* --- answers ------------------------------------------------------------------------------------ */

bool truth_is_excuse(const struct reply *reply)
{
    static const enum failure excuses[] = {
        FAILURE_REDIS_UNAVAILABLE, FAILURE_POSTGRES_UNAVAILABLE, FAILURE_SHARD_RECOVERING,
        FAILURE_DRAINING,          FAILURE_OVERLOADED,           FAILURE_DEADLINE,
        FAILURE_CONTENTION,        FAILURE_READ_ONLY,
    };

    for (size_t i = 0; i < ARRAY_COUNT(excuses); i++)
        if (reply->failure == excuses[i])
            return true;
    return false;
}

static bool took_no_effect(const struct reply *reply)
{
    return reply->answered ? reply->failure != FAILURE_NONE && !reply->unknown
                           : reply->failure == FAILURE_DRAINING;
}

/* Does what the call showed name this attempt, whatever Redis has lost? */
static bool is_meant(const struct truth *truth, const struct ask *ask,
                     const struct truth_attempt *newest, int64_t tenant_lost_us)
{
    if (attempt_is_open(newest->hold.attempt) && !ask->token)
        return false; /* nobody else knows it */
    if (ask->token)
        return attempt_compare(ask->token->attempt, newest->hold.attempt) == 0 &&
               (!truth->redis_lost || ask->token->deadline_ms > now_ms(truth) + MARGIN_MS);
    return !truth->redis_lost || (ask->verb == VERB_RESERVE && !truth->split &&
                                  newest->acked_us > tenant_lost_us);
}

/* The newest attempt, if it was live through the whole call and nobody else touched it meanwhile. */
static struct truth_attempt *live_through(const struct truth *truth, struct truth_job *job,
                                          const struct ask *ask, const struct reply *reply,
                                          bool own_finish)
{
    struct truth_attempt *newest = truth_newest(job);

    if (!newest || !is_meant(truth, ask, newest, job->tenant->lost_us) || reply->now_ms == 0 ||
        job->committed || job->released_us >= 0 || job->reserve_maybe || job->commit_maybe ||
        job->release_maybe || job->reserves_open > 0 || job->finishes_open > 0 ||
        newest->hold.deadline_ms <= now_ms(truth) + MARGIN_MS ||
        (own_finish ? job->finish_last_us != newest->finish_invoked_us
                    : newest->finish_invoked_us >= 0))
        return NULL;
    return newest;
}

void truth_answered(struct truth *truth, struct truth_job *job, const struct ask *ask,
                              const struct reply *reply, int64_t begun_us)
{
    int64_t took_us = fibre_now_us() - begun_us;

    if (reply->answered && reply->failure == FAILURE_INTERNAL)
        truth_break(truth, "no INTERNAL", job, "%s: %s", verb_names[ask->verb], reply->text);
    if (truth->strict && !job->tenant->stuck && begun_us > job->tenant->stuck_until_us &&
        (truth_is_excuse(reply) || !reply->answered))
        truth_break(truth, "UNAVAILABLE only when a store does not answer", job,
                    "%s: %s (failure %d)", verb_names[ask->verb],
                    reply->answered ? reply->text : "no answer", (int)reply->failure);
    if (truth->strict && !job->tenant->stuck && begun_us > job->tenant->stuck_until_us) {
        if (took_us > truth->latency_worst_us)
            truth->latency_worst_us = took_us;
        if (took_us > HELD_UP_US)
            truth_break(truth, "no tenant in another's way", job, "%s took %" PRId64 " ms",
                        verb_names[ask->verb], took_us / 1000);
    }
}

static void check_reject(struct truth *truth, struct truth_job *job, const struct ask *ask,
                         int64_t begun_us, const struct reply *reply)
{
    struct truth_tenant *tenant = job->tenant;
    struct truth_attempt *live = live_through(truth, job, ask, reply, false);

    /* While Redis is away nobody knows what it holds of the job. */
    if (live && !reply->degraded)
        truth_break(truth, "a repeat gets its first decision", job,
                    "REJECT, but attempt %" PRId64 ".%" PRId64 " is held", live->hold.attempt.epoch,
                    live->hold.attempt.seq);
    if (job->committed && job->committed_us < begun_us && !truth->redis_lost &&
        begun_us - job->committed_us < FINAL_US)
        truth_break(truth, "a repeat gets its first decision", job, "REJECT, but it is committed");
    if (reply->reason == REASON_SUSPENDED) {
        if (!tenant->suspended && !tenant->suspended_maybe && tenant->admin_open == 0 &&
            begun_us - tenant->cap_changed_us > 2000000)
            truth_break(truth, "no belief without an expiry", job,
                        "SUSPENDED, %" PRId64 " ms after the tenant was made active",
                        (begun_us - tenant->cap_changed_us) / 1000);
        return;
    }
    if (tenant->suspended || tenant->suspended_maybe || tenant->admin_open > 0 || ask->deferrable ||
        begun_us - tenant->cap_changed_us < (truth->strict ? 0 : 3000000) || tenant->stuck ||
        tenant->adjusts_open > 0 || begun_us - tenant->adjusted_us < REFUSED_US ||
        begun_us < tenant->stuck_until_us)
        return;
    truth->checks++;
    for (size_t meter = 0; meter < SIM_METERS; meter++)
        if (ask->units[meter] >= 0 &&
            !has_room(truth, job, meter, ask->units[meter], begun_us))
            return;
    truth_break(truth, "no false REJECT", job, "%" PRId64 " and %" PRId64
                " units refused (reason %d) though there is room", ask->units[0], ask->units[1],
                (int)reply->reason);
}

static void end_reserve(struct truth *truth, struct truth_job *job, const struct ask *ask,
                        int64_t begun_us, const struct reply *reply)
{
    struct truth_attempt *attempt, *live;

    if (reply->answered && reply->degraded && truth->strict)
        truth_break(truth, "degraded only when a store does not answer", job, "Reserve");
    if (!reply->answered || reply->failure != FAILURE_NONE) {
        live =
            reply->answered && !truth_is_excuse(reply) ? live_through(truth, job, ask, reply, false) : NULL;

        job->reserve_maybe = job->reserve_maybe || !took_no_effect(reply);
        if (live)
            truth_break(truth, "a repeat gets its first decision", job, "error: %s", reply->text);
        return;
    }
    if (reply->decision == DECISION_REJECT) {
        check_reject(truth, job, ask, begun_us, reply);
        return;
    }
    if (reply->decision == DECISION_ALREADY_COMMITTED) {
        if (!job->committed && !job->commit_asked)
            truth_break(truth, "ALREADY_COMMITTED is true", job, "nobody has committed it");
        return;
    }
    if (!reply->has_hold) {
        truth_break(truth, "ALLOW means a hold", job, "none");
        return;
    }
    /* A late Commit whose notify is lost leaves no FINAL mark: then a repeat gets a hold. */
    if (job->committed && job->committed_us < begun_us && truth->strict &&
        begun_us - job->committed_us < FINAL_US && reply->replayed == false)
        truth_break(truth, "after Commit a job is final", job, "a new hold %" PRId64 " ms later",
                    (begun_us - job->committed_us) / 1000);
    attempt = find_attempt(job, reply->hold.attempt);
    if (reply->hold.deadline_ms <= sim_ms_at(begun_us) - MARGIN_MS)
        truth_break(truth, "ALLOW means a live hold", job, "it ended %" PRId64 " ms before the call",
                    sim_ms_at(begun_us) - reply->hold.deadline_ms);
    if (truth->strict && job->tenant->suspended && !job->tenant->suspended_maybe &&
        job->tenant->admin_open == 0 && begun_us > job->tenant->cap_changed_us && !reply->replayed)
        truth_break(truth, "a suspended tenant gets no hold", job, "%" PRId64 " ms after OK",
                    (begun_us - job->tenant->cap_changed_us) / 1000);
    /* What no store counts, its server alone knows; without Postgres it cannot hear of the Release. */
    if (attempt && attempt->released && job->released_us < begun_us &&
        !attempt_is_open(attempt->hold.attempt))
        truth_break(truth, "a released attempt never comes back", job, "Reserve shows it as held");
    if (attempt && !reply->replayed && attempt->acked_us < begun_us)
        truth_break(truth, "a repeat is replayed", job, "the same attempt without the mark");
    if (attempt && attempt->decision && attempt->decision != reply->decision)
        truth_break(truth, "a repeat gets its first decision", job, "%d first, now %d",
                    (int)attempt->decision, (int)reply->decision);
    /* A job may be held twice, once in each place (PROTOCOL.md 3.9). */
    live = attempt ? NULL : live_through(truth, job, ask, reply, false);
    if (live && !truth->redis_lost && attempts_share_place(live->hold.attempt, reply->hold.attempt))
        truth_break(truth, "a repeat gets its first answer", job,
                    "attempt %" PRId64 ".%" PRId64 " beside a live one",
                    reply->hold.attempt.epoch, reply->hold.attempt.seq);
    if (!attempt && !reply->replayed)
        truth_away(truth, job, begun_us, reply);
    attempt = note_hold(job, &reply->hold);
    if (!attempt)
        return;
    if (!attempt->decision)
        attempt->decision = reply->decision;
    check_admission(truth, job, attempt);
    truth_leases(truth, job);
}

/* By the server's own time; without the database it looks again, and tells the time of that. */
static void check_moved(struct truth *truth, struct truth_job *job, const struct ask *ask,
                        const struct reply *reply)
{
    int64_t least_ms = reply->now_ms + ask->ttl_ms;
    int64_t last_ms = reply->hold.created_ms + LIFETIME_MAX_MS;

    truth->checks++;
    if (reply->degraded && truth->strict)
        truth_break(truth, "degraded only when a store does not answer", job, "Extend");
    if (!reply->degraded && reply->hold.deadline_ms < (least_ms < last_ms ? least_ms : last_ms))
        truth_break(truth, "OK of an Extend says that the expiry moved", job,
                    "asked until %" PRId64 ", told %" PRId64, least_ms, reply->hold.deadline_ms);
}

static void end_extend(struct truth *truth, struct truth_job *job, const struct ask *ask,
                       int64_t begun_us, const struct reply *reply)
{
    struct truth_attempt *live = live_through(truth, job, ask, reply, false), *attempt;
    int64_t wanted_ms = sim_ms_at(begun_us) + ask->ttl_ms - MARGIN_MS;

    if (!reply->answered || reply->failure != FAILURE_NONE) {
        if (live && reply->answered && !truth_is_excuse(reply))
            truth_break(truth, "a live hold can be extended", job, "%s", reply->text);
        return;
    }
    check_moved(truth, job, ask, reply);
    /*
     * An earlier attempt that Redis lost, beside a newer one that was released, is another matter. So is
     * what was said without the database: the other server's Release may not have reached Redis.
     */
    attempt = find_attempt(job, reply->hold.attempt);
    /* One in the other place that nobody was told of: of a script without an answer (PROTOCOL.md 3.9). */
    if ((attempt ? attempt->released
                 : job->attempts_count > 0 &&
                       attempts_share_place(truth_newest(job)->hold.attempt, reply->hold.attempt)) &&
        job->released_us >= 0 && job->released_us < begun_us &&
        !reply->degraded &&
        job->reserve_last_us <= begun_us && job->attempts_count > 0 && job->reserves_open == 0 &&
        truth_newest(job)->released && !job->reserve_maybe)
        truth_break(truth, "after OK of a Release nothing of it comes back", job,
                    "Extend shows a hold");
    if (live && truth->strict && reply->hold.deadline_ms < wanted_ms)
        truth_break(truth, "a hold lives as long as its Extends say", job,
                    "asked until %" PRId64 ", told %" PRId64 " (%" PRId64 " ms short)", wanted_ms,
                    reply->hold.deadline_ms, wanted_ms - reply->hold.deadline_ms);
    if (!attempt && job->attempts_count > 0) {
        job->retaken = true;
        attempt = note_hold(job, &reply->hold); /* of a Reserve without an answer: who knows its decision */
        if (attempt)
            check_admission(truth, job, attempt);
        return;
    }
    attempt = note_hold(job, &reply->hold);
    truth_leases(truth, job);
}

/* Units of other jobs that may be held of a quota now. */
static int64_t maybe_of(const struct truth *truth, const struct truth_job *but, size_t meter,
                        struct quota_ref ref, int64_t since_us)
{
    int64_t units = 0;

    for (const struct truth_job *job = but->tenant->jobs; job; job = job->next) {
        bool counts = job->reserve_maybe || job->reserves_open > 0 || job->extends_open > 0;

        for (size_t i = 0; i < job->attempts_count && !counts; i++)
            for (size_t k = 0; k < job->attempts[i].hold.quotas_count; k++)
                counts |= quota_ref_equal(job->attempts[i].hold.quotas[k].quota, ref);
        if (job != but && counts && job->units[meter] > 0 && may_hold(truth, job, since_us))
            units += job->units[meter];
    }
    return units;
}

/* Is some quota of the attempt full, by what is recorded and may be held? */
static bool debt_is_due(const struct truth *truth, const struct truth_job *job,
                        const struct truth_attempt *attempt, size_t meter, int64_t begun_us)
{
    struct pg_tenant *rows = postgres_tenant(truth->postgres, job->tenant->tenant_id);

    if (job->tenant->adjusts_open > 0 || job->tenant->adjusted_us >= begun_us)
        return true; /* it was, perhaps, before something was given back */
    for (size_t i = 0; i < attempt->hold.quotas_count; i++) {
        struct quota_ref ref = attempt->hold.quotas[i].quota;

        for (const struct pg_quota *quota = rows->quotas; quota; quota = quota->next)
            if (quota_ref_equal(quota->row.ref, ref) &&
                slice_equal_cstr(quota->row.meter, sim_meters[meter]) &&
                quota->row.committed + quota->row.debt +
                        maybe_of(truth, job, meter, ref, begun_us) >
                    quota->row.stops.cap)
                return true;
    }
    return false;
}

static void note_record(struct truth *truth, struct truth_job *job, const struct reply *reply)
{
    if (!job->committed) {
        job->committed = true;
        job->record = *reply;
        job->committed_us = fibre_now_us();
        return;
    }
    if (!attempt_compare(job->record.recorded, reply->recorded) == 0)
        truth_break(truth, "one record per job", job, "another attempt's");
    for (size_t i = 0; i < SIM_METERS; i++)
        if (job->record.amount[i] != reply->amount[i] || job->record.debt[i] != reply->debt[i])
            truth_break(truth, "one record per job", job, "another amount");
}

/* What nobody held. While every store answers it is told from what is held, and fits if there is room. */
static void check_charge(struct truth *truth, struct truth_job *job, int64_t begun_us,
                         const struct reply *reply)
{
    const struct truth_attempt *newest = truth_newest(job);

    if (reply->late && !reply->replayed) /* the repeat of a late Commit says so */
        truth_break(truth, "a Charge is never late", job, "it is");
    if (reply->replayed || job->committed || !truth->strict)
        return;
    if (newest && !newest->released && newest->acked_us < begun_us &&
        newest->hold.deadline_ms > now_ms(truth))
        truth_break(truth, "a Charge of a held job commits its hold", job,
                    "recorded beside attempt %" PRId64 ".%" PRId64, newest->hold.attempt.epoch,
                    newest->hold.attempt.seq);
    if (begun_us - job->tenant->cap_changed_us < 2000000 || job->tenant->admin_open > 0 ||
        job->tenant->stuck)
        return;
    for (size_t i = 0; i < SIM_METERS; i++) /* it is recorded by now */
        if (reply->debt[i] > 0 && has_room(truth, job, i, 0, begun_us))
            truth_break(truth, "no debt beside free capacity", job, "debt %" PRId64 " of a Charge",
                        reply->debt[i]);
}

/* No reap has seen it yet, and its leases have the units: then they are its own, late or not. */
static bool is_unreaped(const struct truth *truth, const struct truth_job *job,
                        const struct truth_attempt *attempt)
{
    const struct pg_tenant *rows = postgres_tenant(truth->postgres, job->tenant->tenant_id);

    for (size_t i = 0; i < attempt->hold.quotas_count; i++) {
        const struct hold_quota *held = &attempt->hold.quotas[i];
        bool has = false;

        if (held->lease_id == 0)
            return false;
        for (const struct pg_quota *quota = rows->quotas; quota; quota = quota->next)
            has |= quota_ref_equal(quota->row.ref, held->quota) &&
                   quota->row.lease_id == held->lease_id && quota->row.state == QUOTA_OPEN &&
                   postgres_reaped_to_ms(truth->postgres, &quota->row) < attempt->deadline_first_ms &&
                   quota->row.granted - quota->row.returned - quota->row.spent >= held->units;
        if (!has)
            return false;
    }
    return true;
}

static void check_commit(struct truth *truth, struct truth_job *job, const struct ask *ask,
                         int64_t begun_us, const struct reply *reply)
{
    struct truth_attempt *attempt = find_attempt(job, reply->recorded);
    struct truth_attempt *newest = truth_newest(job);
    const struct truth_attempt *asked =
        ask->token ? find_attempt(job, ask->token->attempt) : NULL;

    if (attempt && attempt->released)
        truth_break(truth, "I5 a released attempt is never recorded", job, "Commit says OK");
    if (asked && asked->released && asked->released_us < begun_us && !reply->replayed)
        truth_break(truth, "I5 a released attempt's id commits nothing", job,
                    "recorded %" PRId64 ".%" PRId64 " by the id of %" PRId64 ".%" PRId64,
                    reply->recorded.epoch, reply->recorded.seq, asked->hold.attempt.epoch,
                    asked->hold.attempt.seq);
    if (attempt_is_open(reply->recorded) && ask->verb == VERB_CHARGE) {
        check_charge(truth, job, begun_us, reply);
        return;
    }
    if (!ask->token && newest && attempt != newest && (!attempt || newer(&newest->hold, &attempt->hold)) &&
        newest->acked_us < begun_us && !reply->replayed && !newest->released && !job->committed &&
        !attempt_is_open(newest->hold.attempt) &&
        /* Held in both places: Redis may not say so, or one of them be reaped already (PROTOCOL.md 3.9). */
        attempts_share_place(newest->hold.attempt, reply->recorded) &&
        attempt_compare(newest->hold.attempt, reply->recorded) > 0 &&
        /* A live hold goes before one that has expired, also one that Extend took again after a loss. */
        !(attempt && attempt->hold.deadline_ms > now_ms(truth) &&
          (newest->hold.deadline_ms <= now_ms(truth) || truth->redis_lost)))
        truth_break(truth, "by job_id the newest attempt is meant", job,
                    "recorded %" PRId64 ".%" PRId64 ", newest %" PRId64 ".%" PRId64,
                    reply->recorded.epoch, reply->recorded.seq, newest->hold.attempt.epoch,
                    newest->hold.attempt.seq);
    if (reply->replayed && job->commits_asked == 1)
        truth_break(truth, "a first Commit is no repeat", job, "replayed");
    if (!attempt || reply->replayed || job->committed)
        return;
    if (reply->late && attempt->hold.deadline_ms > now_ms(truth) &&
        /* A token from before the Extend, and Redis cannot say: late, against its own units. */
        (truth->strict || (ask->token && ask->token->deadline_ms > now_ms(truth))))
        truth_break(truth, "PROMISE a live hold is committed on time", job,
                    "late, %" PRId64 " ms before its deadline",
                    attempt->hold.deadline_ms - now_ms(truth));
    for (size_t i = 0; i < SIM_METERS; i++) {
        int64_t held = attempt->hold.units[i];
        int64_t actual = ask->units[i] >= 0 ? ask->units[i] : held;

        if (held >= 0 && reply->amount[i] + reply->debt[i] != actual)
            truth_break(truth, "all of what was used is recorded", job,
                        "%" PRId64 " + %" PRId64 " of %" PRId64, reply->amount[i], reply->debt[i],
                        actual);
        /* Nobody had counted what is uncounted. */
        if (held < 0 || reply->debt[i] == 0 || attempt_is_open(attempt->hold.attempt))
            continue;
        if (actual <= held && is_unreaped(truth, job, attempt))
            truth_break(truth, "a late hold has its own units until a reap", job,
                        "debt %" PRId64 " of %" PRId64 " held", reply->debt[i], held);
        if (!reply->late && actual <= held)
            truth_break(truth, "PROMISE what is held is committed without debt", job,
                        "debt %" PRId64 " of %" PRId64 " held", reply->debt[i], held);
        if (truth->strict && !debt_is_due(truth, job, attempt, i, begun_us) &&
            begun_us - job->tenant->cap_changed_us > 2000000 && job->tenant->admin_open == 0 &&
            !job->tenant->stuck)
            truth_break(truth, "no debt beside free capacity", job,
                        "debt %" PRId64 " of %" PRId64 ", late %d", reply->debt[i], actual,
                        reply->late);
    }
}

static void end_commit(struct truth *truth, struct truth_job *job, const struct ask *ask,
                       int64_t begun_us, const struct reply *reply)
{
    if (!reply->answered || reply->failure != FAILURE_NONE) {
        struct truth_attempt *live =
            reply->answered && !truth_is_excuse(reply) ? live_through(truth, job, ask, reply, true) : NULL;

        job->commit_maybe = job->commit_maybe || !took_no_effect(reply);
        if (live && reply->failure != FAILURE_OVERRUN &&
            (ask->token || !truth->redis_lost) && !job->release_asked)
            truth_break(truth, "PROMISE a live hold is never refused", job, "%s", reply->text);
        if (reply->answered && reply->failure == FAILURE_RELEASED && !job->release_asked)
            truth_break(truth, "RELEASED is true", job, "nobody has released it");
        return;
    }
    check_commit(truth, job, ask, begun_us, reply);
    note_record(truth, job, reply);
}

static void end_release(struct truth *truth, struct truth_job *job, const struct ask *ask,
                        const struct reply *reply)
{
    struct truth_attempt *attempt;

    (void)ask;
    if (!reply->answered || reply->failure != FAILURE_NONE) {
        job->release_maybe = job->release_maybe || !took_no_effect(reply);
        if (reply->answered && reply->failure == FAILURE_COMMITTED && !job->commit_asked)
            truth_break(truth, "COMMITTED is true", job, "nobody has committed it");
        return;
    }
    attempt = find_attempt(job, reply->recorded);
    if (attempt && !attempt->released) {
        attempt->released = true;
        attempt->released_us = fibre_now_us();
    }
    job->released_us = fibre_now_us();
    if (attempt && job->committed && attempt_compare(job->record.recorded, reply->recorded) == 0)
        truth_break(truth, "I5 a released attempt is never recorded", job, "it was before");
}

static void end_get(struct truth *truth, struct truth_job *job, int64_t begun_us,
                    const struct reply *reply)
{
    struct truth_attempt *attempt;

    if (!reply->answered || reply->failure != FAILURE_NONE)
        return;
    attempt = find_attempt(job, reply->hold.attempt);
    if (reply->state != RESERVATION_HELD)
        return;
    if (job->committed && job->committed_us < begun_us)
        truth_break(truth, "a committed job is committed", job, "GetReservation says HELD");
    if (attempt && attempt->released && job->released_us < begun_us)
        truth_break(truth, "after OK of a Release nothing of it comes back", job,
                    "GetReservation says HELD");
}

/* What is promised of a job of which the database has forgotten something: its holds count. */
static void end_forgotten(struct truth *truth, struct truth_job *job, const struct reply *reply)
{
    struct truth_attempt *attempt;

    job->reserve_maybe = job->commit_maybe = job->release_maybe = true;
    if (!reply->answered || reply->failure != FAILURE_NONE || !reply->has_hold)
        return;
    attempt = note_hold(job, &reply->hold);
    if (!attempt)
        return;
    if (!attempt->decision)
        attempt->decision = DECISION_ALLOW;
    check_admission(truth, job, attempt);
}

void truth_end(struct truth *truth, struct truth_job *job, const struct ask *ask, int64_t begun_us,
               const struct reply *reply)
{
    if (ask->verb == VERB_RESERVE)
        job->reserves_open--;
    if (ask->verb == VERB_EXTEND)
        job->extends_open--;
    if (finishes(ask->verb))
        job->finishes_open--;
    truth_answered(truth, job, ask, reply, begun_us);
    truth_read_only(truth, job, ask, begun_us, reply);
    if (job->forgotten) {
        end_forgotten(truth, job, reply);
        return;
    }
    switch (ask->verb) {
    case VERB_RESERVE:
        end_reserve(truth, job, ask, begun_us, reply);
        break;
    case VERB_EXTEND:
        end_extend(truth, job, ask, begun_us, reply);
        break;
    case VERB_COMMIT:
    case VERB_CHARGE:
        end_commit(truth, job, ask, begun_us, reply);
        break;
    case VERB_RELEASE:
        end_release(truth, job, ask, reply);
        break;
    case VERB_GET:
        end_get(truth, job, begun_us, reply);
        break;
    case VERB_USAGE:
    case VERB_PUT_LIMIT:
    case VERB_DELETE_LIMIT:
    case VERB_TENANT:
    case VERB_ADJUST:
    case VERBS:
        break;
    }
    if (ask->verb == VERB_RESERVE || ask->verb == VERB_EXTEND)
        job->reserve_last_us = fibre_now_us();
    if (finishes(ask->verb))
        job->finish_last_us = fibre_now_us();
}

void truth_usage(struct truth *truth, struct truth_tenant *tenant, int64_t begun_us,
                 const struct reply *reply)
{
    /* What is due and cannot be reaped, because of a lock, is shown as held. */
    if (!reply->answered || reply->failure != FAILURE_NONE || tenant->stuck ||
        begun_us < tenant->stuck_until_us)
        return;
    for (size_t i = 0; i < reply->usages_count; i++) {
        const struct sim_usage *usage = &reply->usages[i];
        int64_t maybe = 0;

        truth->checks++;
        for (size_t meter = 0; meter < SIM_METERS; meter++)
            maybe += truth_maybe(truth, tenant, meter, begun_us, NULL);
        if (!usage->upper_bound && usage->held > maybe)
            truth_break(truth, "GetUsage: held is live holds", NULL,
                        "%s limit %" PRId64 ": held %" PRId64 ", at most %" PRId64 " can be",
                        tenant->name, usage->limit_id, usage->held, maybe);
    }
}
