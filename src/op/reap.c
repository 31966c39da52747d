#include "op/reap.h"

#include "base/check.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"
#include "op/notify.h"
#include "op/trace.h"

#include <inttypes.h>
#include <stdio.h>

/* The holds of all wants, want by want, and what goes to the database. */
struct reap {
    struct stores *stores;
    struct reap_want *wants;
    size_t wants_count;
    struct ledger_reap_job *jobs;
    size_t jobs_count;
    int64_t reaped_to_ms;
    struct quota_row *rows; /* by tenant */
    size_t rows_count;
    enum status refused; /* the database answered this error; STATUS_OK: it did not */
};

/* False: some shard did not answer. Each call is looked at by itself: the others go on. */
static bool run(struct stores *stores, struct counter_call *const *calls, size_t count)
{
    enum recovery reason;

    return count == 0 || stores_run(stores, calls, count, &reason);
}

static bool is_answered(const struct counter_call *call)
{
    return call->status == STATUS_OK && call->guard == GUARD_PASSED;
}

/* --- which holds -------------------------------------------------------------------------------- */

static void add_job(struct reap *reap, struct reap_want *want, struct slice job_id,
                    struct slice entry, const struct hold *hold)
{
    reap->jobs[reap->jobs_count++] = (struct ledger_reap_job){.tenant_id = want->tenant_id,
                                                              .job_id = job_id,
                                                              .hold = hold,
                                                              .text = entry};
    want->count++;
}

/*
 * The quotas of a want's holds, each once: no more than one script may be about. While the holds have
 * fewer in all, nobody looks which of them are the same.
 */
struct quotas {
    size_t in_all, count;
    struct quota_ref *slots; /* open addressing, a quarter full at most; limit_id 0: free */
};

enum { QUOTA_SLOTS = 4 * COUNTER_PART_MAX };

static void add_quotas(struct quotas *quotas, const struct hold *hold)
{
    for (size_t i = 0; i < hold->quotas_count && quotas->count <= COUNTER_PART_MAX; i++) {
        struct quota_ref ref = hold->quotas[i].quota;
        size_t at = hash_bytes(&ref, sizeof(ref)) % QUOTA_SLOTS;

        while (quotas->slots[at].limit_id != 0 && !quota_ref_equal(quotas->slots[at], ref))
            at = (at + 1) % QUOTA_SLOTS;
        quotas->count += quotas->slots[at].limit_id == 0;
        quotas->slots[at] = ref;
    }
}

/* With the hold, which is taken if so. */
static bool still_fit(struct reap *reap, const struct reap_want *want, struct quotas *quotas,
                      const struct hold *hold)
{
    quotas->in_all += hold->quotas_count;
    if (quotas->in_all <= COUNTER_PART_MAX)
        return true;
    if (!quotas->slots) {
        quotas->slots = stores_scratch(reap->stores, QUOTA_SLOTS, sizeof(*quotas->slots));
        for (size_t i = 0; i < want->count; i++)
            add_quotas(quotas, reap->jobs[want->first + i].hold);
    }
    add_quotas(quotas, hold);
    return quotas->count <= COUNTER_PART_MAX;
}

/* Takes off what the hold frees. True: all needs are met. */
static bool meet(struct reap_need *needs, size_t count, const struct hold *hold)
{
    bool met = true;

    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < hold->quotas_count; k++)
            if (quota_ref_equal(hold->quotas[k].quota, needs[i].ref))
                needs[i].units -= hold->quotas[k].units;
        met = met && needs[i].units <= 0;
    }
    return met;
}

/* The hold that Redis called due by itself. */
static void take_named(struct reap *reap, struct reap_want *want, struct quotas *quotas)
{
    struct hold *hold;

    if (want->entry.len == 0 || !hold_parse(&reap->stores->scratch, want->entry, &hold) ||
        !still_fit(reap, want, quotas, hold))
        return;
    add_job(reap, want, want->job_id, want->entry, hold);
}

static void take_due(struct reap *reap, struct reap_want *want, struct quotas *quotas,
                     const struct counter_due *due)
{
    struct reap_need *needs = stores_scratch(reap->stores, want->needs_count, sizeof(*needs));
    bool met = false;
    size_t taken = 0;

    for (size_t i = 0; i < want->needs_count; i++)
        needs[i] = want->needs[i];
    for (; taken < due->holds_count && !met; taken++) {
        const struct counter_due_hold *one = &due->holds[taken];
        struct hold *hold;

        if (want->job_id.len > 0 && slice_equal(one->job_id, want->job_id))
            continue;
        if (!hold_parse(&reap->stores->scratch, one->entry, &hold)) {
            /* Nothing is thrown away for lack of memory. */
            want->unreadable += !hold_is_readable(one->entry);
            continue;
        }
        if (!still_fit(reap, want, quotas, hold))
            break;
        add_job(reap, want, one->job_id, one->entry, hold);
        met = want->needs_count > 0 && meet(needs, want->needs_count, hold);
    }
    want->more = taken < due->holds_count || due->holds_count == want->max;
}

static struct counter_due due_of(const struct reap *reap, const struct reap_want *want)
{
    struct stores *stores = reap->stores;

    return (struct counter_due){
        .call = {.kind = COUNTER_DUE, .view.shard = want->shard, .arena = &stores->scratch},
        .now_ms = stores_now_ms(stores),
        .tenant_id = want->tenant_id,
        .max = want->max,
    };
}

/* Asks once more, for the texts as Redis has them, and has those that cannot be read thrown away. */
static void discard(struct reap *reap, struct reap_want *want)
{
    struct stores *stores = reap->stores;
    struct counter_due due = due_of(reap, want);
    struct counter_discard discard = {.call = due.call, .tenant_id = want->tenant_id};
    struct counter_call *asked = &due.call, *thrown = &discard.call;

    discard.call.kind = COUNTER_DISCARD;
    due.keep_packed = true;
    if (!run(stores, &asked, 1))
        return;
    for (size_t i = 0; i < due.holds_count; i++)
        if (!hold_is_readable(due.holds[i].entry))
            due.holds[discard.holds_count++] = due.holds[i];
    discard.holds = due.holds;
    if (discard.holds_count == 0 || !run(stores, &thrown, 1) || discard.discarded_count == 0)
        return;
    want->discarded = discard.discarded_count;
    log_error(
        "reap",
        "redis.unreadable shard=%d tenant=%" PRId64 " holds=%zu quotas=%zu: due holds that"
        " nobody can read are thrown away; what they held stays set aside until the leases end",
        want->shard, want->tenant_id, discard.discarded_count, discard.quotas_count);
}

/* Asks Redis for the due holds of all. False: it did not answer for some; of these nothing is reaped. */
static bool find_holds(struct reap *reap)
{
    struct stores *stores = reap->stores;
    struct counter_due *dues = stores_scratch(stores, reap->wants_count, sizeof(*dues));
    struct counter_call **calls =
        stores_scratch(stores, reap->wants_count, sizeof(struct counter_call *));
    size_t count = 0, asked = 0;
    bool all;

    for (size_t i = 0; i < reap->wants_count; i++) {
        const struct reap_want *want = &reap->wants[i];

        dues[i] = due_of(reap, want);
        if (want->max > 0)
            calls[count++] = &dues[i].call;
        asked += want->max + 1;
    }
    all = run(stores, calls, count);
    reap->jobs = stores_scratch(stores, asked, sizeof(*reap->jobs));
    for (size_t i = 0; i < reap->wants_count; i++) {
        struct reap_want *want = &reap->wants[i];
        struct quotas quotas = {0};

        want->first = reap->jobs_count;
        take_named(reap, want, &quotas);
        if (want->max > 0 && is_answered(&dues[i].call))
            take_due(reap, want, &quotas, &dues[i]);
        want->found = want->count;
    }
    /*
     * They go before anything else is done: left where they are, they would be the first of their tenant
     * each time. If Redis does not hear of it, the next reap finds them again.
     */
    for (size_t i = 0; i < reap->wants_count; i++)
        if (reap->wants[i].unreadable > 0)
            discard(reap, &reap->wants[i]);
    return all;
}

/* --- the database's half ------------------------------------------------------------------------ */

/* Without those who are stuck. */
static void leave_out_stuck(struct reap *reap)
{
    size_t kept = 0;

    for (size_t i = 0; i < reap->wants_count; i++) {
        struct reap_want *want = &reap->wants[i];
        size_t first = kept;

        for (size_t k = 0; k < want->count; k++)
            if (!reap->jobs[want->first + k].locked)
                reap->jobs[kept++] = reap->jobs[want->first + k];
        want->stuck = want->stuck || kept - first < want->count;
        want->first = first;
        want->count = kept - first;
    }
    reap->jobs_count = kept;
}

/* One transaction; where it ran into locked rows, one more without their tenants. */
static bool write_down(struct reap *reap)
{
    struct stores *stores = reap->stores;

    for (int i = 0; i < 2 && reap->jobs_count > 0; i++) {
        enum status status =
            stores->table->reap_run(stores->db, &stores->scratch, reap->jobs, reap->jobs_count,
                                    &reap->reaped_to_ms, &reap->rows, &reap->rows_count);

        if (status == STATUS_OK) {
            services_note_reaped_to(stores->services, reap->reaped_to_ms);
            trace_rows(stores->services->trace, reap->reaped_to_ms, reap->rows, reap->rows_count);
            trace_expired(stores->services->trace, reap->reaped_to_ms, reap->jobs,
                          reap->jobs_count);
            return true;
        }
        if (status != STATUS_CONFLICT) {
            reap->refused = stores_refused(stores, status) ? status : STATUS_OK;
            return false;
        }
        leave_out_stuck(reap);
    }
    return reap->jobs_count == 0;
}

/* --- Redis' half -------------------------------------------------------------------------------- */

/* Of one that is closed all that was not spent counts as returned, what is held in Redis as well. */
static bool is_told(const struct quota_row *row, int64_t tenant_id)
{
    return row->tenant_id == tenant_id && row->state != QUOTA_CLOSED;
}

static struct counter_reap letting_go(const struct reap *reap, const struct reap_want *want)
{
    struct stores *stores = reap->stores;
    struct counter_notify_job *named = stores_scratch(stores, want->count, sizeof(*named));
    struct counter_totals *totals;
    size_t totals_count = 0;

    for (size_t i = 0; i < want->count; i++) {
        const struct ledger_reap_job *job = &reap->jobs[want->first + i];

        named[i] = (struct counter_notify_job){.tenant_id = want->tenant_id,
                                               .job_id = job->job_id,
                                               .committed = job->committed,
                                               .attempt = job->hold->attempt};
    }
    for (size_t i = 0; i < reap->rows_count; i++)
        totals_count += is_told(&reap->rows[i], want->tenant_id);
    totals = stores_scratch(stores, totals_count, sizeof(*totals));
    totals_count = 0;
    for (size_t i = 0; i < reap->rows_count; i++)
        if (is_told(&reap->rows[i], want->tenant_id))
            totals[totals_count++] = totals_from_row(&reap->rows[i]);
    return (struct counter_reap){
        .call = {.kind = COUNTER_REAP, .view.shard = want->shard, .arena = &stores->scratch},
        .now_ms = stores_now_ms(stores),
        .tenant_id = want->tenant_id,
        .reaped_to_ms = reap->reaped_to_ms,
        .jobs_count = want->count,
        .jobs = named,
        .totals_count = totals_count,
        .totals = totals,
    };
}

/* Redis lets go of the holds, knowing what was spent. */
static bool let_go(struct reap *reap)
{
    struct stores *stores = reap->stores;
    struct counter_reap *reaps = stores_scratch(stores, reap->wants_count, sizeof(*reaps));
    struct counter_call **calls =
        stores_scratch(stores, reap->wants_count, sizeof(struct counter_call *));
    size_t count = 0;
    bool all;

    for (size_t i = 0; i < reap->wants_count; i++) {
        if (reap->wants[i].count == 0)
            continue;
        reaps[i] = letting_go(reap, &reap->wants[i]);
        calls[count++] = &reaps[i].call;
    }
    all = run(stores, calls, count);
    for (size_t i = 0; i < reap->wants_count; i++)
        if (reap->wants[i].count > 0 && is_answered(&reaps[i].call))
            reap->wants[i].removed = reaps[i].removed_count;
    return all;
}

static bool carry_out(struct reap *reap);

static struct reap part_of(const struct reap *reap, size_t from, size_t count)
{
    struct reap part = {.stores = reap->stores, .wants = reap->wants + from, .wants_count = count};
    size_t first = part.wants[0].first;

    part.jobs = reap->jobs + first;
    for (size_t i = 0; i < count; i++) {
        part.wants[i].first -= first;
        part.jobs_count += part.wants[i].count;
    }
    return part;
}

/* What the database refuses is one tenant's affair: it is looked for by halves, and left out. */
static bool in_parts(struct reap *reap)
{
    size_t half = reap->wants_count / 2;
    struct reap left, right;
    bool all;

    if (reap->wants_count == 1) {
        reap->wants[0].stuck = true;
        reap->wants[0].refused = reap->refused;
        snprintf(reap->wants[0].sqlstate, sizeof(reap->wants[0].sqlstate), "%s",
                 stores_sqlstate(reap->stores));
        return true;
    }
    left = part_of(reap, 0, half);
    right = part_of(reap, half, reap->wants_count - half);
    all = carry_out(&left);
    return carry_out(&right) && all;
}

static bool carry_out(struct reap *reap)
{
    if (reap->jobs_count == 0)
        return true;
    if (!write_down(reap))
        return reap->refused != STATUS_OK && in_parts(reap);
    return !FAULT("reap.between") && let_go(reap);
}

bool reap_tenants(struct stores *stores, struct reap_want *wants, size_t count)
{
    struct reap reap = {.stores = stores, .wants = wants, .wants_count = count};
    size_t share = REAP_HOLDS_MAX / (count ? count : 1);
    bool all;

    CHECK(count <= REAP_TENANTS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (wants[i].max > share)
            wants[i].max = share;
        wants[i].found = wants[i].removed = wants[i].discarded = 0;
        wants[i].count = wants[i].unreadable = 0;
        wants[i].more = wants[i].stuck = false;
        wants[i].refused = STATUS_OK;
    }
    all = find_holds(&reap);
    return carry_out(&reap) && all;
}

bool reap_list(struct stores *stores, const int *shards, size_t shards_count, int64_t late_ms,
               struct reap_want *wants, size_t *ret_count)
{
    struct counter_due *dues = stores_scratch(stores, shards_count, sizeof(*dues));
    struct counter_call **calls =
        stores_scratch(stores, shards_count, sizeof(struct counter_call *));
    size_t count = 0;
    bool all;

    for (size_t i = 0; i < shards_count; i++) {
        dues[i] = (struct counter_due){.call = {.kind = COUNTER_DUE,
                                                .view.shard = shards[i],
                                                .arena = &stores->scratch},
                                       .now_ms = stores_now_ms(stores) - late_ms,
                                       .max = REAP_TENANTS_MAX};
        calls[i] = &dues[i].call;
    }
    all = run(stores, calls, shards_count);
    for (size_t i = 0; i < shards_count; i++)
        for (size_t k = 0;
             is_answered(calls[i]) && k < dues[i].tenants_count && count < REAP_TENANTS_MAX; k++)
            wants[count++] = (struct reap_want){.shard = shards[i],
                                                .tenant_id = dues[i].tenants[k],
                                                .max = REAP_HOLDS_MAX};
    *ret_count = count;
    return all;
}
