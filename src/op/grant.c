#include "op/grant.h"

#include "base/check.h"
#include "base/log.h"
#include "ledger/ledger.h"
#include "op/authority.h"
#include "op/plans.h"
#include "op/recover.h"
#include "op/refusals.h"
#include "op/reserve.h"
#include "op/settle.h"
#include "op/sweep.h"

#include <inttypes.h>
#include <string.h>

enum {
    PASSES_MAX = 12, /* more than any lawful sequence of answers takes */
    GRANT_ROUNDS_MAX = 3,
    REAPS_MAX = 2,
};

/* The ops that are not answered yet, and what the present pass gathers for Redis. */
struct pass {
    struct grant_context *context;
    struct op_reserve **ops;
    size_t count;
    int64_t now_ms;
    struct counter_totals *totals; /* of every grant, shard by shard picked below */
    int *totals_shards;
    size_t totals_count;
    struct removal {
        int shard;
        struct counter_settle_job job;
    } *removals;
    size_t removals_count;
};

static void *scratch(struct pass *pass, size_t count, size_t size)
{
    void *memory = arena_array(&pass->context->scratch, count ? count : 1, size);

    CHECK(memory);
    return memory;
}

/* The op is finished at the end of the pass, because the answer may point into scratch memory. */
static void answer(struct op_reserve *op)
{
    op->work->answered = true;
}

static void finish_answered(struct pass *pass)
{
    size_t kept = 0;

    for (size_t i = 0; i < pass->count; i++) {
        if (pass->ops[i]->work->answered)
            reserve_finish(pass->ops[i]);
        else
            pass->ops[kept++] = pass->ops[i];
    }
    pass->count = kept;
}

static void fail_postgres(struct op_reserve *op, bool effect_unknown)
{
    op_fail(&op->op, FAILURE_POSTGRES_UNAVAILABLE, effect_unknown,
            "the database cannot be reached; repeat with the same job_id in a moment");
    answer(op);
}

static bool last_answer_is(const struct op_reserve *op, enum counter_reserved reserved)
{
    return op->work->asked && op->work->item.answer == reserved;
}

/* --- plans ------------------------------------------------------------------------------------ */

/* A plan newer than the one that Redis called stale. False: the op has been answered. */
static bool renew_plan(struct pass *pass, struct op_reserve *op)
{
    struct services *services = pass->context->services;
    struct plan *plan = plans_get(services->plans, op->op.tenant);
    int64_t had = op->op.plan ? op->op.plan->config_version : -1;

    if (plan && plan->config_version <= had) {
        plan_unref(plan);
        plan = NULL;
    }
    if (!plan) {
        if (ledger_plan_load(pass->context->db, op->op.tenant, &plan) != STATUS_OK) {
            fail_postgres(op, false);
            return false;
        }
        if (!plan) {
            plans_forget(services->plans, op->op.tenant);
            op_fail(&op->op, FAILURE_UNKNOWN_TENANT, false,
                    "there is no tenant \"%.*s\": create it first (CreateTenant)",
                    SLICE_ARGS(op->op.tenant));
            answer(op);
            return false;
        }
        plans_put(services->plans, plan);
    }
    plan_unref(op->op.plan);
    op->op.plan = plan;
    return true;
}

/* A tenant may admit meters that no limit names: they get an unlimited one of their own. */
static bool add_implicit_limits(struct pass *pass, struct op_reserve *op)
{
    for (size_t i = 0; i < op->meters_count; i++) {
        struct hold_quota quotas[HOLD_QUOTAS_MAX];
        size_t count, meter;

        if (plan_select(op->op.plan, op->scope, &op->meters[i], 1, pass->now_ms, quotas, &count,
                        &meter) != PLAN_NO_LIMIT)
            continue;
        if (ledger_limit_implicit(pass->context->db, op->op.plan->tenant_id,
                                  op->meters[i].meter) != STATUS_OK) {
            fail_postgres(op, false);
            return false;
        }
    }
    return renew_plan(pass, op);
}

static bool exceeds_a_cap(const struct op_reserve *op)
{
    for (size_t i = 0; i < op->work->quotas_count; i++) {
        const struct hold_quota *quota = &op->work->quotas[i];

        if (quota->units > plan_limit(op->op.plan, quota->quota.limit_id)->cap)
            return true;
    }
    return false;
}

/* Which quotas the op counts against now; a new period or plan makes the last answer void. */
static bool select_quotas(struct pass *pass, struct op_reserve *op)
{
    struct op_reserve_work *work = op->work;
    struct hold_quota before[HOLD_QUOTAS_MAX];
    size_t before_count = work->quotas_count;
    bool same;

    memcpy(before, work->quotas, before_count * sizeof(*before));
    if (!reserve_plan(op, pass->now_ms)) {
        if (op->op.error.failure != FAILURE_NO_LIMIT || !op->op.plan->admit_unlimited_meters) {
            answer(op);
            return false;
        }
        op->op.error = (struct op_error){0};
        if (!add_implicit_limits(pass, op))
            return false;
        if (!reserve_plan(op, pass->now_ms)) {
            answer(op);
            return false;
        }
    }
    same = before_count == work->quotas_count;
    for (size_t i = 0; same && i < before_count; i++)
        same = quota_ref_equal(before[i].quota, work->quotas[i].quota);
    if (!same) {
        work->asked = false;
        memset(work->known, 0, HOLD_QUOTAS_MAX * sizeof(*work->known));
    }
    work->never = exceeds_a_cap(op);
    return true;
}

static void prepare(struct pass *pass, struct op_reserve *op, int64_t mono_us)
{
    if (op->op.give_up_us <= mono_us) {
        op_fail(&op->op, FAILURE_DEADLINE, false, "the deadline passed; nothing was held");
        answer(op);
        return;
    }
    if (!op->work->known) {
        op->work->known = arena_array(op->op.arena, HOLD_QUOTAS_MAX, sizeof(*op->work->known));
        CHECK(op->work->known);
    }
    if ((!op->op.plan || last_answer_is(op, RESERVED_STALE)) && !renew_plan(pass, op))
        return;
    if (op->op.plan->suspended) {
        reserve_suspended(op);
        answer(op);
        return;
    }
    if (!select_quotas(pass, op))
        return;
    op->op.now_ms = op->work->now_ms = pass->now_ms;
}

/* --- known jobs ------------------------------------------------------------------------------- */

static bool is_superseded(const struct op_reserve *op, struct attempt attempt)
{
    return attempt.epoch == op->work->superseded.epoch && attempt.seq == op->work->superseded.seq;
}

static void judge_known(struct pass *pass, struct op_reserve *op, const struct settle_facts *facts)
{
    struct hold *hold;

    if (facts->record) {
        reserve_committed(op, facts->record);
        answer(op);
        return;
    }
    if (last_answer_is(op, RESERVED_FINAL)) {
        op_fail(&op->op, FAILURE_INTERNAL, true,
                "Redis remembers a commit of this job that the ledger does not have");
        answer(op);
        return;
    }
    if (hold_parse(&pass->context->scratch, op->work->item.entry, &hold) &&
        (settle_is_fenced(facts, hold->attempt) || is_superseded(op, hold->attempt))) {
        pass->removals[pass->removals_count++] = (struct removal){
            .shard = op->op.plan->shard,
            .job = {.tenant_id = op->op.plan->tenant_id,
                    .job_id = op->job_id,
                    .committed = false,
                    .attempt = hold->attempt},
        };
        return;
    }
    reserve_replay(op, op->work->item.entry);
    answer(op);
}

static void read_facts(struct pass *pass)
{
    struct ledger_job *jobs = scratch(pass, pass->count, sizeof(*jobs));
    struct op_reserve **asking = scratch(pass, pass->count, sizeof(struct op_reserve *));
    size_t count = 0;
    int64_t now_ms;
    enum status status;

    for (size_t i = 0; i < pass->count; i++) {
        struct op_reserve *op = pass->ops[i];

        if (op->work->answered ||
            !(last_answer_is(op, RESERVED_KNOWN) || last_answer_is(op, RESERVED_FINAL)))
            continue;
        jobs[count] =
            (struct ledger_job){.tenant_id = op->op.plan->tenant_id, .job_id = op->job_id};
        asking[count++] = op;
    }
    if (count == 0)
        return;
    status = ledger_facts_read(pass->context->db, &pass->context->scratch, jobs, count, &now_ms);
    for (size_t i = 0; i < count; i++) {
        if (status != STATUS_OK)
            fail_postgres(asking[i], true);
        else
            judge_known(pass, asking[i], &jobs[i].facts);
    }
}

/* --- reaps ------------------------------------------------------------------------------------ */

static bool reaped_before(struct pass *pass, const struct op_reserve *op, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (pass->ops[k]->work->wants_reap && pass->ops[k]->op.plan &&
            pass->ops[k]->op.plan->tenant_id == op->op.plan->tenant_id)
            return true;
    return false;
}

static void reap_due(struct pass *pass)
{
    struct grant_context *context = pass->context;

    for (size_t i = 0; i < pass->count; i++) {
        struct op_reserve *op = pass->ops[i];
        size_t removed;

        if (op->work->answered)
            continue;
        op->work->wants_reap = op->work->wants_reap || last_answer_is(op, RESERVED_DUE);
        if (!op->work->wants_reap || reaped_before(pass, op, i))
            continue;
        if (!sweep_tenant(context->services, context->db, context->counter, &context->scratch,
                          op->op.plan->shard, op->op.plan->tenant_id, &removed))
            log_debug("granter", "reap.incomplete tenant=%" PRId64, op->op.plan->tenant_id);
    }
}

/* --- grants ----------------------------------------------------------------------------------- */

enum { ROOT_BITS = SHORT_UNITS | SHORT_DEADLINE | SHORT_UNFILLED | SHORT_VANISHED };

static struct ledger_grant grant_for(const struct op_reserve *op, size_t i)
{
    const struct op_reserve_work *work = op->work;
    const struct counter_quota none = {0};
    const struct counter_quota *state =
        work->asked && work->item.states ? &work->item.states[i] : &none;
    int bits = work->asked && work->item.shortfalls ? work->item.shortfalls[i] : 0;
    int64_t units = work->quotas[i].units;
    struct ledger_grant grant = {
        .tenant_id = op->op.plan->tenant_id,
        .shard = op->op.plan->shard,
        .ref = work->quotas[i].quota,
        .outstanding = state->held + units,
    };

    if (bits & (SHORT_UNFILLED | SHORT_VANISHED))
        grant.needed = units;
    else if (bits & SHORT_UNITS)
        grant.needed = units - counter_available(state);
    if (bits & SHORT_VANISHED)
        grant.vanished_lease_id = state->lease_id;
    return grant;
}

/* The lease is to outlive the hold: twice the TTL, at least lease_min, at most lease_max ahead. */
static int64_t lease_deadline_ms(const struct services *services, const struct op_reserve *op,
                                 int64_t now_ms)
{
    int64_t ahead_ms = 2 * op->ttl_ms;

    if (ahead_ms < services->options.lease_min_ms)
        ahead_ms = services->options.lease_min_ms;
    if (ahead_ms > services->options.lease_max_ms)
        ahead_ms = services->options.lease_max_ms;
    return now_ms + ahead_ms;
}

/* Which of the op's quotas go to the root in this pass. */
static bool asks_root(struct pass *pass, struct op_reserve *op, size_t i, int64_t mono_us)
{
    struct reserve_quota *known = &op->work->known[i];
    int bits;

    if (op->work->never)
        return true;
    if (!last_answer_is(op, RESERVED_SHORT) || op->work->wants_reap)
        return false;
    bits = op->work->item.shortfalls[i];
    if (!(bits & ROOT_BITS))
        return false;
    if (bits == SHORT_UNITS &&
        refusals_get(pass->context->refusals, op->op.plan->tenant_id, op->work->quotas[i].quota,
                     mono_us, &known->row, &known->old_leases_units)) {
        known->have_row = true;
        known->root_refused = true;
        return false;
    }
    return true;
}

static struct grant_owner {
    struct op_reserve *op;
    size_t quota;
} *list_grants(struct pass *pass, struct ledger_grant **ret_grants, size_t *ret_count)
{
    size_t max = pass->count * HOLD_QUOTAS_MAX, count = 0;
    struct ledger_grant *grants = scratch(pass, max, sizeof(*grants));
    struct grant_owner *owners = scratch(pass, max, sizeof(*owners));
    int64_t mono_us = clock_mono_us(pass->context->services->clock);

    for (size_t k = 0; k < pass->count; k++) {
        struct op_reserve *op = pass->ops[k];
        struct shard_view view;

        if (op->work->answered ||
            !authority_get(pass->context->services->authority, op->op.plan->shard, &view))
            continue;
        for (size_t i = 0; i < op->work->quotas_count; i++) {
            if (!asks_root(pass, op, i, mono_us))
                continue;
            grants[count] = grant_for(op, i);
            grants[count].epoch = view.epoch;
            grants[count].deadline_ms =
                op->work->never ? 0 : lease_deadline_ms(pass->context->services, op, pass->now_ms);
            owners[count++] = (struct grant_owner){.op = op, .quota = i};
        }
    }
    *ret_grants = grants;
    *ret_count = count;
    return owners;
}

static void keep_totals(struct pass *pass, const struct ledger_grant *grant)
{
    for (size_t i = 0; i < pass->totals_count; i++)
        if (pass->totals[i].tenant_id == grant->tenant_id &&
            quota_ref_equal(pass->totals[i].ref, grant->ref)) {
            pass->totals[i] = totals_from_row(&grant->quota);
            return;
        }
    pass->totals_shards[pass->totals_count] = grant->shard;
    pass->totals[pass->totals_count++] = totals_from_row(&grant->quota);
}

static void refresh_authority(struct pass *pass, int shard)
{
    struct shard_view view;

    if (ledger_authority_read(pass->context->db, &shard, 1, &view) == STATUS_OK)
        authority_set(pass->context->services->authority, &view);
}

static void take_grant(struct pass *pass, const struct grant_owner *owner,
                       const struct ledger_grant *grant)
{
    struct op_reserve *op = owner->op;
    struct reserve_quota *known = &op->work->known[owner->quota];

    if (op->work->answered)
        return;
    if (grant->missing) { /* the limit was deleted or the period closed: plan anew */
        plans_forget(pass->context->services->plans, op->op.tenant);
        plan_unref(op->op.plan);
        op->op.plan = NULL;
        op->work->asked = false;
        op->work->rounds++;
        return;
    }
    if (grant->epoch_changed) {
        refresh_authority(pass, grant->shard);
        return;
    }
    known->have_row = true;
    known->row = grant->quota;
    known->old_leases_units = grant->old_leases_units;
    known->root_refused = grant->needed > 0 && grant->granted_units < grant->needed;
    estimate_floor(pass->context->services->estimate, grant->quota.reaped_to_ms);
    if (known->root_refused)
        refusals_put(pass->context->refusals, &grant->quota, grant->old_leases_units,
                     clock_mono_us(pass->context->services->clock));
    if (!op->work->never)
        keep_totals(pass, grant);
}

static void ask_root(struct pass *pass)
{
    struct ledger_grant *grants;
    struct grant_owner *owners;
    size_t count;
    int64_t now_ms;
    enum status status;

    owners = list_grants(pass, &grants, &count);
    pass->totals = scratch(pass, count, sizeof(*pass->totals));
    pass->totals_shards = scratch(pass, count, sizeof(int));
    if (count == 0)
        return;
    status = ledger_grant_run(pass->context->db, &pass->context->scratch, grants, count, &now_ms);
    for (size_t i = 0; i < count; i++) {
        if (status == STATUS_OK)
            take_grant(pass, &owners[i], &grants[i]);
        else if (!owners[i].op->work->answered)
            fail_postgres(owners[i].op, false);
    }
}

/* --- the script ------------------------------------------------------------------------------- */

/* What goes to one shard, in this order on one connection. */
struct shard_calls {
    int shard;
    struct counter_fill fill;
    struct counter_settle settle;
    struct counter_reserve reserve;
    struct counter_version *versions;
    struct counter_settle_job *jobs;
    struct op_reserve **ops;
};

static struct shard_calls *calls_of(struct pass *pass, struct shard_calls *calls, size_t *count,
                                    int shard)
{
    struct shard_calls *call;

    for (size_t i = 0; i < *count; i++)
        if (calls[i].shard == shard)
            return &calls[i];
    call = &calls[(*count)++];
    call->shard = shard;
    call->fill.call = (struct counter_call){
        .kind = COUNTER_FILL, .view.shard = shard, .arena = &pass->context->scratch};
    call->fill.totals = scratch(pass, pass->totals_count, sizeof(*call->fill.totals));
    call->fill.versions = call->versions = scratch(pass, pass->count, sizeof(*call->versions));
    call->settle.call = (struct counter_call){
        .kind = COUNTER_SETTLE, .view.shard = shard, .arena = &pass->context->scratch};
    call->settle.now_ms = pass->now_ms;
    call->settle.jobs = call->jobs = scratch(pass, pass->removals_count, sizeof(*call->jobs));
    call->reserve.call = (struct counter_call){
        .kind = COUNTER_RESERVE, .view.shard = shard, .arena = &pass->context->scratch};
    call->reserve.now_ms = pass->now_ms;
    call->reserve.items = scratch(pass, pass->count, sizeof(*call->reserve.items));
    call->ops = scratch(pass, pass->count, sizeof(struct op_reserve *));
    return call;
}

static void add_reserve(struct pass *pass, struct shard_calls *calls, struct op_reserve *op)
{
    size_t at = calls->reserve.items_count++;

    calls->ops[at] = op;
    calls->reserve.items[at] = reserve_item(op, pass->now_ms);
    if (!op->work->asked || last_answer_is(op, RESERVED_STALE))
        calls->versions[calls->fill.versions_count++] = (struct counter_version){
            .tenant_id = op->op.plan->tenant_id, .config_version = op->op.plan->config_version};
}

static size_t build_calls(struct pass *pass, struct shard_calls *calls)
{
    size_t count = 0;

    for (size_t i = 0; i < pass->count; i++)
        if (!pass->ops[i]->work->answered && pass->ops[i]->op.plan)
            add_reserve(pass, calls_of(pass, calls, &count, pass->ops[i]->op.plan->shard),
                        pass->ops[i]);
    for (size_t i = 0; i < pass->totals_count; i++) {
        struct shard_calls *call = calls_of(pass, calls, &count, pass->totals_shards[i]);

        call->fill.totals[call->fill.totals_count++] = pass->totals[i];
    }
    for (size_t i = 0; i < pass->removals_count; i++) {
        struct shard_calls *call = calls_of(pass, calls, &count, pass->removals[i].shard);

        call->jobs[call->settle.jobs_count++] = pass->removals[i].job;
    }
    return count;
}

static bool refused_for_good(const struct op_reserve *op)
{
    const struct op_reserve_work *work = op->work;

    for (size_t i = 0; i < work->quotas_count; i++) {
        int bits = work->item.shortfalls[i];

        if (bits & SHORT_SOFT)
            return true;
        if ((bits & SHORT_UNITS) && work->known[i].root_refused)
            return true;
    }
    return false;
}

static void judge_short(struct op_reserve *op)
{
    struct op_reserve_work *work = op->work;

    if (refused_for_good(op)) {
        if (work->item.tenant_has_due && work->reaps < REAPS_MAX) {
            work->reaps++;
            work->wants_reap = true;
            return;
        }
        reserve_rejected(op, work->item.earliest_deadline_ms, work->item.latest_deadline_ms);
        answer(op);
    } else if (++work->rounds > GRANT_ROUNDS_MAX) {
        op_fail(&op->op, FAILURE_CONTENTION, false,
                "other callers took what was granted, %d times; nothing was held: try again",
                GRANT_ROUNDS_MAX);
        answer(op);
    }
}

static void judge_script(struct op_reserve *op, struct counter_call *call,
                         const struct counter_reserve_item *item, enum recovery reason)
{
    struct op_reserve_work *work = op->work;

    if (call->status != STATUS_OK || call->guard != GUARD_PASSED) {
        bool unknown = status_may_have_happened(call->status) && call->status != STATUS_OK;

        op_fail(&op->op,
                reason == RECOVERY_NO_REDIS ? FAILURE_REDIS_UNAVAILABLE
                : reason == RECOVERY_NO_POSTGRES ? FAILURE_POSTGRES_UNAVAILABLE
                                                 : FAILURE_SHARD_RECOVERING,
                unknown,
                unknown ? "Redis did not answer; the hold may exist: repeat with the same job_id"
                        : "the live balance cannot be used now; nothing was held: try again");
        answer(op);
        return;
    }
    work->item = *item;
    work->asked = true;
    work->wants_reap = false;
    if (item->answer == RESERVED_ADMITTED) {
        reserve_admitted(op);
        answer(op);
        return;
    }
    reserve_keep_answer(op);
    if (item->answer == RESERVED_SHORT)
        judge_short(op);
}

static void run_scripts(struct pass *pass)
{
    size_t max = pass->count + pass->totals_count + pass->removals_count;
    struct shard_calls *calls = scratch(pass, max, sizeof(*calls));
    struct counter_call **list = scratch(pass, 3 * max, sizeof(struct counter_call *));
    size_t shards = build_calls(pass, calls), count = 0;
    enum recovery reason;

    for (size_t i = 0; i < shards; i++) {
        if (calls[i].fill.totals_count > 0 || calls[i].fill.versions_count > 0)
            list[count++] = &calls[i].fill.call;
        if (calls[i].settle.jobs_count > 0)
            list[count++] = &calls[i].settle.call;
        if (calls[i].reserve.items_count > 0)
            list[count++] = &calls[i].reserve.call;
    }
    if (count == 0)
        return;
    run_counter_calls(pass->context->services, pass->context->db, pass->context->counter, list,
                      count, &reason);
    for (size_t i = 0; i < shards; i++)
        for (size_t k = 0; k < calls[i].reserve.items_count; k++)
            judge_script(calls[i].ops[k], &calls[i].reserve.call,
                         &calls[i].reserve.items[k], reason);
}

/* --- the pass --------------------------------------------------------------------------------- */

static void reject_never(struct pass *pass)
{
    for (size_t i = 0; i < pass->count; i++) {
        struct op_reserve *op = pass->ops[i];

        if (op->work->answered || !op->work->never || !op->op.plan)
            continue;
        reserve_rejected(op, -1, -1);
        answer(op);
    }
}

static bool know_the_time(struct grant_context *context)
{
    return estimate_ready(context->services->estimate) || database_ping(context->db) == STATUS_OK;
}

static void run_pass(struct pass *pass)
{
    struct grant_context *context = pass->context;
    int64_t mono_us;
    bool ready = know_the_time(context);

    arena_reset(&context->scratch);
    context->collect(context->user);
    mono_us = clock_mono_us(context->services->clock);
    pass->now_ms = estimate_now_ms(context->services->estimate, mono_us);
    pass->totals_count = pass->removals_count = 0;
    pass->removals = scratch(pass, pass->count, sizeof(*pass->removals));
    for (size_t i = 0; i < pass->count; i++) {
        if (ready)
            prepare(pass, pass->ops[i], mono_us);
        else
            fail_postgres(pass->ops[i], false);
    }
    read_facts(pass);
    reap_due(pass);
    ask_root(pass);
    reject_never(pass);
    run_scripts(pass);
    finish_answered(pass);
}

void grant_reserves(struct grant_context *context, struct op_reserve **ops, size_t count)
{
    struct pass pass = {.context = context, .ops = ops, .count = count};

    CHECK(count <= GRANT_OPS_MAX);
    for (int i = 0; i < PASSES_MAX && pass.count > 0; i++)
        run_pass(&pass);
    for (size_t i = 0; i < pass.count; i++) {
        op_fail(&pass.ops[i]->op, FAILURE_CONTENTION, false,
                "the answer kept changing while it was made; nothing was held: try again");
        reserve_finish(pass.ops[i]);
    }
    arena_reset(&context->scratch);
}
