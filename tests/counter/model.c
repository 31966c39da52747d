#include "tests/counter/model.h"

#include <stdlib.h>
#include <string.h>

static struct model_tenant *tenant_at(struct model *model, int64_t tenant_id)
{
    CHECK(tenant_id >= 1 && tenant_id <= MODEL_TENANTS);
    return &model->tenants[tenant_id - 1];
}

static size_t job_index(struct slice job)
{
    size_t index = (size_t)strtoul(job.data + 1, NULL, 10);

    CHECK(index < MODEL_JOBS);
    return index;
}

struct model_hold *model_hold(struct model *model, int64_t tenant_id, struct slice job)
{
    return &tenant_at(model, tenant_id)->holds[job_index(job)];
}

static bool attempts_equal(struct attempt a, struct attempt b)
{
    return a.epoch == b.epoch && a.seq == b.seq;
}

static void raise_to(int64_t *value, int64_t to)
{
    if (to > *value)
        *value = to;
}

static void raise_totals(struct counter_quota *quota, const struct counter_totals *totals)
{
    if (quota->lease_id == totals->lease_id) {
        if (quota->returned <= totals->returned)
            raise_to(&quota->lease_deadline_ms, totals->lease_deadline_ms);
        raise_to(&quota->granted, totals->granted);
        raise_to(&quota->returned, totals->returned);
        raise_to(&quota->spent, totals->spent);
    }
    if (totals->used_seq > quota->used_seq) {
        quota->used = totals->used;
        quota->debt = totals->debt;
        quota->used_seq = totals->used_seq;
    }
}

/* What is told of a key that is missing: which lease it was filled with. */
static struct counter_quota told(const struct counter_quota *quota, int64_t filled)
{
    return quota->exists ? *quota : (struct counter_quota){.lease_id = filled};
}

static enum counter_took fill_one(struct counter_quota *quota, int64_t *filled,
                                  const struct counter_totals *totals, int64_t floor)
{
    int64_t lease_id = totals->lease_id;

    if ((quota->exists && quota->lease_id > lease_id) || *filled > lease_id || lease_id < floor)
        return TOTALS_OLDER;
    if (quota->exists && quota->lease_id == lease_id) {
        raise_totals(quota, totals);
    } else if (*filled == lease_id) {
        return TOTALS_VANISHED;
    } else {
        struct counter_quota fresh = {.exists = true, .lease_id = lease_id, .used_seq = -1};

        if (quota->exists && quota->used_seq > totals->used_seq) {
            fresh.used = quota->used;
            fresh.debt = quota->debt;
            fresh.used_seq = quota->used_seq;
        }
        *quota = fresh;
        raise_totals(quota, totals);
    }
    *filled = lease_id;
    return TOTALS_TAKEN;
}

static void fill_all(struct model *model, struct counter_totals *totals, size_t count, bool recall)
{
    for (size_t i = 0; i < count; i++) {
        struct model_tenant *tenant = tenant_at(model, totals[i].tenant_id);
        size_t limit = (size_t)totals[i].ref.limit_id - 1;
        struct counter_quota *quota = &tenant->quotas[limit];

        totals[i].took = fill_one(quota, &tenant->filled[limit], &totals[i],
                                  model->epoch << 20);
        if (recall && totals[i].took == TOTALS_TAKEN && counter_available(quota) > 0)
            quota->returned += counter_available(quota);
    }
    for (size_t i = 0; i < count; i++) {
        struct model_tenant *tenant = tenant_at(model, totals[i].tenant_id);
        size_t limit = (size_t)totals[i].ref.limit_id - 1;

        totals[i].now = told(&tenant->quotas[limit], tenant->filled[limit]);
    }
}

void model_fill(struct model *model, struct counter_fill *fill)
{
    fill_all(model, fill->totals, fill->totals_count, false);
    for (size_t i = 0; i < fill->versions_count; i++)
        raise_to(&tenant_at(model, fill->versions[i].tenant_id)->version,
                 fill->versions[i].config_version);
}

void model_recall(struct model *model, struct counter_recall *recall)
{
    fill_all(model, recall->totals, recall->totals_count, true);
}

/* --- reserve ---------------------------------------------------------------------------------- */

static int shortfall(const struct model *model, const struct model_tenant *tenant,
                     const struct counter_reserve_item *item, size_t q)
{
    size_t limit = (size_t)item->quotas[q].quota.limit_id - 1;
    const struct counter_quota *quota = &tenant->quotas[limit];
    int64_t floor = model->epoch << 20;
    int64_t units = item->quotas[q].units;
    int bits = 0;

    if (quota->exists && quota->lease_id < floor)
        return SHORT_UNFILLED;
    if (!quota->exists)
        return tenant->filled[limit] >= floor ? SHORT_VANISHED : SHORT_UNFILLED;
    if (counter_available(quota) < units)
        bits |= SHORT_UNITS;
    if (quota->lease_deadline_ms < item->deadline_ms)
        bits |= SHORT_DEADLINE;
    if (item->deferrable && quota->used + quota->held + units > item->softs[q])
        bits |= SHORT_SOFT;
    return bits;
}

static void admit(struct model *model, struct model_tenant *tenant,
                  const struct counter_reserve_item *item, int64_t now_ms)
{
    struct model_hold *hold = &tenant->holds[job_index(item->job_id)];

    *hold = (struct model_hold){.exists = true,
                                .attempt = {model->epoch, ++model->seq},
                                .deadline_ms = item->deadline_ms,
                                .created_ms = now_ms,
                                .quotas_count = item->quotas_count};
    for (size_t q = 0; q < item->quotas_count; q++) {
        struct counter_quota *quota = &tenant->quotas[item->quotas[q].quota.limit_id - 1];

        hold->quotas[q] = item->quotas[q];
        hold->quotas[q].lease_id = quota->lease_id;
        quota->held += item->quotas[q].units;
    }
}

static void reserve_one(struct model *model, struct counter_reserve_item *item, int64_t now_ms)
{
    struct model_tenant *tenant = tenant_at(model, item->tenant_id);
    size_t job = job_index(item->job_id);
    const struct model_hold *hold = &tenant->holds[job];
    int any = 0;

    if (tenant->version == 0 || item->config_version != tenant->version) {
        item->answer = RESERVED_STALE;
    } else if (hold->exists) {
        item->answer = hold->deadline_ms > now_ms ? RESERVED_KNOWN : RESERVED_DUE;
    } else if (tenant->final_generation[job] &&
               tenant->final_generation[job] + 1 >= model->generation) {
        item->answer = RESERVED_FINAL;
    } else {
        for (size_t q = 0; q < item->quotas_count; q++)
            any |= item->shortfalls[q] = shortfall(model, tenant, item, q);
        item->answer = any ? RESERVED_SHORT : RESERVED_ADMITTED;
        if (!any)
            admit(model, tenant, item, now_ms);
    }
}

static bool same_group(const struct counter_reserve_item *a, const struct counter_reserve_item *b)
{
    return a->tenant_id == b->tenant_id && a->config_version == b->config_version;
}

/* A tenant's items come one after the other, in the order of the first ones: seq shows it. */
void model_reserve(struct model *model, struct counter_reserve *reserve)
{
    for (size_t i = 0; i < reserve->items_count; i++) {
        bool first = true;

        for (size_t j = 0; j < i; j++)
            first &= !same_group(&reserve->items[i], &reserve->items[j]);
        for (size_t j = i; first && j < reserve->items_count; j++)
            if (same_group(&reserve->items[i], &reserve->items[j]))
                reserve_one(model, &reserve->items[j], reserve->now_ms);
    }
}

/* --- FINAL marks ------------------------------------------------------------------------------- */

static void next_generation(struct model *model, int64_t now_ms)
{
    model->generation++;
    model->generation_since_ms = now_ms;
    model->marked_before = model->marked;
    model->marked = false;
}

void model_age_marks(struct model *model, int64_t now_ms)
{
    if (model->generation > 0 && now_ms - model->generation_since_ms > 600000 &&
        (model->marked || model->marked_before))
        next_generation(model, now_ms);
}

static void mark_all(struct model *model, const struct counter_notify_job *jobs, size_t count,
                     int64_t now_ms)
{
    bool any = false;

    for (size_t i = 0; i < count; i++)
        any |= jobs[i].committed;
    if (any && (model->generation == 0 || now_ms - model->generation_since_ms > 600000))
        next_generation(model, now_ms);
    model->marked |= any;
    for (size_t i = 0; i < count; i++)
        if (jobs[i].committed)
            tenant_at(model, jobs[i].tenant_id)->final_generation[job_index(jobs[i].job_id)] =
                model->generation;
}

/* --- notify, reap, extend ---------------------------------------------------------------------- */

static void remove_hold(struct model_tenant *tenant, struct model_hold *hold)
{
    for (size_t q = 0; q < hold->quotas_count; q++) {
        struct counter_quota *quota = &tenant->quotas[hold->quotas[q].quota.limit_id - 1];

        if (quota->exists && quota->lease_id == hold->quotas[q].lease_id)
            quota->held -= hold->quotas[q].units;
    }
    hold->exists = false;
}

static void raise_all(struct model *model, struct counter_totals *totals, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct counter_quota *quota =
            &tenant_at(model, totals[i].tenant_id)->quotas[totals[i].ref.limit_id - 1];

        totals[i].took = TOTALS_ABSENT;
        if (quota->exists) {
            raise_totals(quota, &totals[i]);
            totals[i].took =
                quota->lease_id == totals[i].lease_id ? TOTALS_TAKEN : TOTALS_OLDER;
        }
    }
    for (size_t i = 0; i < count; i++)
        totals[i].now =
            told(&tenant_at(model, totals[i].tenant_id)->quotas[totals[i].ref.limit_id - 1], 0);
}

void model_notify(struct model *model, struct counter_notify *notify)
{
    for (size_t i = 0; i < notify->jobs_count; i++) {
        const struct counter_notify_job *job = &notify->jobs[i];
        struct model_tenant *tenant = tenant_at(model, job->tenant_id);
        struct model_hold *hold = &tenant->holds[job_index(job->job_id)];

        if (hold->exists && (job->committed || attempts_equal(hold->attempt, job->attempt)))
            remove_hold(tenant, hold);
    }
    mark_all(model, notify->jobs, notify->jobs_count, notify->now_ms);
    raise_all(model, notify->totals, notify->totals_count);
}

void model_reap(struct model *model, struct counter_reap *reap)
{
    struct model_tenant *tenant = tenant_at(model, reap->tenant_id);

    reap->removed_count = 0;
    for (size_t i = 0; i < reap->jobs_count; i++) {
        const struct counter_notify_job *job = &reap->jobs[i];
        struct model_hold *hold = &tenant->holds[job_index(job->job_id)];

        if (hold->exists && attempts_equal(hold->attempt, job->attempt) &&
            hold->deadline_ms <= reap->reaped_to_ms) {
            remove_hold(tenant, hold);
            reap->removed_count++;
        }
    }
    mark_all(model, reap->jobs, reap->jobs_count, reap->now_ms);
    raise_all(model, reap->totals, reap->totals_count);
}

/* Are these the leases that the root keeps? */
static bool is_kept(const struct model_hold *hold, const struct hold *kept)
{
    for (size_t q = 0; kept && q < hold->quotas_count; q++)
        if (kept->quotas[q].lease_id != hold->quotas[q].lease_id)
            return false;
    return kept != NULL;
}

/* Has more come back than the root knew when it kept them? */
static bool has_more(const struct model_tenant *tenant, const struct model_hold *hold,
                     const int64_t *returned)
{
    for (size_t q = 0; q < hold->quotas_count; q++) {
        const struct counter_quota *quota = &tenant->quotas[hold->quotas[q].quota.limit_id - 1];

        if (quota->exists && quota->lease_id == hold->quotas[q].lease_id &&
            quota->returned > returned[q])
            return true;
    }
    return false;
}

static enum counter_extended extended(const struct model *model, const struct model_tenant *tenant,
                                      const struct model_hold *hold, int64_t wanted_ms)
{
    bool ends = false;

    for (size_t q = 0; q < hold->quotas_count; q++) {
        const struct counter_quota *quota = &tenant->quotas[hold->quotas[q].quota.limit_id - 1];

        if (!quota->exists || quota->lease_id != hold->quotas[q].lease_id ||
            quota->lease_id < model->epoch << 20)
            return EXTENDED_OLD_LEASE;
        ends |= quota->lease_deadline_ms < wanted_ms;
    }
    return ends ? EXTENDED_SHORT : EXTENDED_DONE;
}

void model_extend(struct model *model, struct counter_extend *extend)
{
    struct model_tenant *tenant = tenant_at(model, extend->tenant_id);
    struct model_hold *hold = &tenant->holds[job_index(extend->job_id)];
    bool any = extend->attempt.epoch == 0 && extend->attempt.seq == 0;
    int64_t wanted_ms = extend->deadline_ms;

    extend->answer = EXTENDED_ABSENT;
    if (!hold->exists || (!any && !attempts_equal(hold->attempt, extend->attempt)))
        return;
    if (wanted_ms > hold->created_ms + extend->lifetime_ms)
        wanted_ms = hold->created_ms + extend->lifetime_ms;
    if (hold->deadline_ms <= extend->now_ms)
        extend->answer = EXTENDED_DUE;
    else if (wanted_ms <= hold->deadline_ms)
        extend->answer = EXTENDED_DONE;
    else if (is_kept(hold, extend->kept))
        extend->answer = has_more(tenant, hold, extend->kept_returned) ? EXTENDED_SHORT
                                                                      : EXTENDED_DONE;
    else
        extend->answer = extended(model, tenant, hold, wanted_ms);
    if (extend->answer == EXTENDED_DONE)
        raise_to(&hold->deadline_ms, wanted_ms);
}

void model_lose_quota(struct model *model, int64_t tenant_id, int64_t limit_id)
{
    tenant_at(model, tenant_id)->quotas[limit_id - 1] = (struct counter_quota){0};
}

void model_lose_tenant(struct model *model, int64_t tenant_id)
{
    struct model_tenant *tenant = tenant_at(model, tenant_id);

    tenant->version = 0;
    memset(tenant->quotas, 0, sizeof(tenant->quotas));
    memset(tenant->holds, 0, sizeof(tenant->holds));
}

void model_rebuild_filled(struct model *model, int64_t tenant_id)
{
    struct model_tenant *tenant = tenant_at(model, tenant_id);

    for (size_t q = 0; q < MODEL_LIMITS; q++)
        tenant->filled[q] = tenant->quotas[q].exists ? tenant->quotas[q].lease_id : 0;
}

bool model_attempt_equal(const struct model_hold *hold, struct attempt attempt)
{
    return hold->exists && attempts_equal(attempt, hold->attempt);
}

bool model_entry_equal(const struct model_hold *hold, struct slice entry, struct arena *arena)
{
    struct hold *parsed;

    if (!hold->exists)
        return entry.len == 0;
    if (!hold_parse(arena, entry, &parsed) || !attempts_equal(parsed->attempt, hold->attempt) ||
        parsed->deadline_ms != hold->deadline_ms || parsed->created_ms != hold->created_ms ||
        parsed->quotas_count != hold->quotas_count)
        return false;
    for (size_t q = 0; q < hold->quotas_count; q++)
        if (!quota_ref_equal(parsed->quotas[q].quota, hold->quotas[q].quota) ||
            parsed->quotas[q].lease_id != hold->quotas[q].lease_id ||
            parsed->quotas[q].units != hold->quotas[q].units ||
            parsed->quotas[q].meter != hold->quotas[q].meter)
            return false;
    return true;
}
