#include "op/extend.h"

#include "base/check.h"
#include "ledger/ledger.h"
#include "op/authority.h"
#include "op/granter.h"
#include "op/plans.h"
#include "op/quotas.h"
#include "op/recover.h"
#include "op/reserve.h"
#include "op/settle.h"
#include "quota/token.h"

static void *scratch(struct grant_context *context, size_t count, size_t size)
{
    void *memory = arena_array(&context->scratch, count ? count : 1, size);

    CHECK(memory);
    return memory;
}

static bool failed(const struct op_extend *op)
{
    return op->op.error.failure != FAILURE_NONE;
}

static struct attempt attempt_of(const struct op_extend *op)
{
    return op->token ? op->token->hold.attempt : (struct attempt){0};
}

/* What the database knows before Redis is asked. */
static void judge_facts(struct op_extend *op, const struct settle_facts *facts)
{
    if (facts->record) {
        op_fail(&op->op, FAILURE_COMMITTED, false, "the job is committed: nothing to extend");
        op->op.error.record = facts->record;
    } else if (op->token && settle_is_fenced(facts, op->token->hold.attempt))
        op_fail(&op->op, FAILURE_RELEASED, false, "this attempt was released: reserve again");
}

static void read_facts(struct grant_context *context, struct op_extend **ops,
                       struct ledger_job *jobs, size_t count)
{
    int64_t now_ms;
    enum status status;

    for (size_t i = 0; i < count; i++)
        jobs[i] = (struct ledger_job){.tenant_id = ops[i]->op.plan ? ops[i]->op.plan->tenant_id : 0,
                                      .job_id = ops[i]->job_id};
    status = ledger_facts_read(context->db, &context->scratch, jobs, count, &now_ms);
    for (size_t i = 0; i < count; i++) {
        if (failed(ops[i]))
            continue;
        if (status != STATUS_OK)
            op_fail(&ops[i]->op, FAILURE_POSTGRES_UNAVAILABLE, false,
                    "the database cannot be reached; the expiry is unchanged: try again");
        else
            judge_facts(ops[i], &jobs[i].facts);
    }
}

static struct counter_extend script_for(struct grant_context *context, const struct op_extend *op,
                                        int64_t now_ms)
{
    const struct service_options *options = &context->services->options;
    int64_t ttl_ms = op->ttl_ms < options->ttl_max_ms ? op->ttl_ms : options->ttl_max_ms;

    return (struct counter_extend){
        .call = {.kind = COUNTER_EXTEND,
                 .view.shard = op->op.plan->shard,
                 .arena = op->op.arena},
        .now_ms = now_ms,
        .tenant_id = op->op.plan->tenant_id,
        .job_id = op->job_id,
        .attempt = attempt_of(op),
        .deadline_ms = now_ms + ttl_ms,
        .lifetime_ms = options->lifetime_max_ms,
    };
}

/* SHORT: the leases of the hold are pushed to last as long as the new deadline. */
static bool push_leases(struct grant_context *context, struct op_extend *op,
                        const struct hold *hold, int64_t deadline_ms)
{
    struct ledger_grant *grants = scratch(context, hold->quotas_count, sizeof(*grants));
    struct counter_fill fill = {.call = {.kind = COUNTER_FILL,
                                         .view.shard = op->op.plan->shard,
                                         .arena = &context->scratch}};
    struct counter_call *call = &fill.call;
    struct shard_view view;
    enum recovery reason;
    int64_t now_ms;

    if (!authority_get(context->services->authority, op->op.plan->shard, &view))
        return false;
    for (size_t i = 0; i < hold->quotas_count; i++)
        grants[i] = (struct ledger_grant){
            .tenant_id = op->op.plan->tenant_id,
            .shard = op->op.plan->shard,
            .epoch = view.epoch,
            .ref = hold->quotas[i].quota,
            .deadline_ms = deadline_ms + context->services->options.lease_min_ms,
        };
    if (ledger_grant_run(context->db, &context->scratch, grants, hold->quotas_count, &now_ms) !=
        STATUS_OK)
        return false;
    fill.totals = scratch(context, hold->quotas_count, sizeof(*fill.totals));
    for (size_t i = 0; i < hold->quotas_count; i++)
        if (!grants[i].missing && !grants[i].epoch_changed)
            fill.totals[fill.totals_count++] = totals_from_row(&grants[i].quota);
    return run_counter_calls(context->services, context->db, context->counter, &call, 1, &reason);
}

static void show(struct op_extend *op, const struct hold *hold)
{
    op->hold = hold;
    op->held_job_id = op->job_id;
    op->lifetime_end_ms = hold->created_ms + op->op.services->options.lifetime_max_ms;
}

/* --- a new attempt for a hold whose leases are gone ------------------------------------------- */

/* A Reserve inside an Extend; both live in the arena of the Extend's call. */
struct retake {
    struct op_reserve reserve;
    struct op_extend *extend;
};

static void retaken(struct op *base)
{
    struct op_reserve *reserve = container_of(base, struct op_reserve, op);
    struct retake *retake = container_of(reserve, struct retake, reserve);
    struct op_extend *op = retake->extend;

    if (base->error.failure != FAILURE_NONE || !reserve->hold)
        return; /* the old expiry stands */
    show(op, reserve->hold);
    op->op.now_ms = base->now_ms;
    op->quotas = reserve->quotas;
    op->quotas_count = reserve->quotas_count;
}

static void retake_over(struct op *base)
{
    struct op_reserve *reserve = container_of(base, struct op_reserve, op);

    op_finish(&container_of(reserve, struct retake, reserve)->extend->op);
}

/* Shows the old hold until the new one is there, and queues the Reserve. */
static void retake(struct op_extend *op, const struct hold *old)
{
    struct retake *retake = arena_zalloc(op->op.arena, sizeof(*retake));
    int64_t left_ms = old->deadline_ms - op->op.now_ms;

    CHECK(retake);
    show(op, old);
    retake->extend = op;
    retake->reserve = (struct op_reserve){
        .op = {.services = op->op.services,
               .arena = op->op.arena,
               .plan = plan_ref(op->op.plan),
               .tenant = op->op.tenant,
               .give_up_us = op->op.give_up_us,
               .done = retaken,
               .release = retake_over},
        .scope = old->scope,
        .job_id = op->job_id,
        .meters_count = old->meters_count,
        .meters = old->meters,
        .ttl_ms = op->ttl_ms > left_ms ? op->ttl_ms : left_ms,
        .mode = old->mode,
    };
    reserve_begin(&retake->reserve);
    retake->reserve.work->superseded = old->attempt;
    op->retake = &retake->reserve;
}

static void judge_absent(struct op_extend *op, const struct settle_facts *facts)
{
    if (op->token && op->token->hold.deadline_ms > op->op.now_ms)
        retake(op, &op->token->hold);
    else if (op->token || facts->expired)
        op_fail(&op->op, FAILURE_EXPIRED, false,
                "the hold has expired: commit it late, or reserve again");
    else if (facts->fences_count > 0)
        op_fail(&op->op, FAILURE_RELEASED, false, "the job was released: reserve again");
    else
        op_fail(&op->op, FAILURE_UNKNOWN_JOB, false, "no hold of this job");
}

static void judge_script(struct op_extend *op, const struct counter_extend *script,
                         const struct settle_facts *facts)
{
    struct hold *hold = NULL;

    if (script->answer == EXTENDED_ABSENT) {
        judge_absent(op, facts);
        return;
    }
    if (!hold_parse(op->op.arena, script->entry, &hold))
        op_fail(&op->op, FAILURE_INTERNAL, true, "the hold of this job in Redis is not readable");
    else if (settle_is_fenced(facts, hold->attempt))
        op_fail(&op->op, FAILURE_RELEASED, false, "the job was released: reserve again");
    else if (script->answer == EXTENDED_DUE)
        op_fail(&op->op, FAILURE_EXPIRED, false,
                "the hold has expired: commit it late, or reserve again");
    else if (script->answer == EXTENDED_OLD_LEASE)
        retake(op, hold);
    else
        show(op, hold);
}

static void fail_store(struct op_extend *op, enum status status, enum recovery reason)
{
    bool unknown = status != STATUS_OK && status_may_have_happened(status);

    op_fail(&op->op,
            reason == RECOVERY_NO_REDIS ? FAILURE_REDIS_UNAVAILABLE : FAILURE_SHARD_RECOVERING,
            unknown, "the live balance cannot be used now; repeat the Extend in a moment");
}

static void extend_one(struct grant_context *context, struct op_extend *op,
                       const struct settle_facts *facts)
{
    for (int round = 0; round < 2 && !failed(op); round++) {
        int64_t now_ms = estimate_now_ms(context->services->estimate,
                                         clock_mono_us(context->services->clock));
        struct counter_extend script = script_for(context, op, now_ms);
        struct counter_call *call = &script.call;
        struct hold *hold;
        enum recovery reason;

        op->op.now_ms = now_ms;
        if (!run_counter_calls(context->services, context->db, context->counter, &call, 1,
                               &reason)) {
            fail_store(op, call->status, reason);
            return;
        }
        if (script.answer == EXTENDED_SHORT && round == 0 &&
            hold_parse(&context->scratch, script.entry, &hold) &&
            push_leases(context, op, hold, script.deadline_ms))
            continue;
        judge_script(op, &script, facts);
        return;
    }
}

static void show_quotas(struct grant_context *context, struct op_extend *op)
{
    const struct hold *hold = op->hold;
    struct quota_ref *refs = scratch(context, hold->quotas_count, sizeof(*refs));
    struct counter_read read = {
        .call = {.kind = COUNTER_READ,
                 .view.shard = op->op.plan->shard,
                 .arena = &context->scratch},
        .tenant_id = op->op.plan->tenant_id,
        .refs_count = hold->quotas_count,
        .refs = refs,
    };
    struct counter_call *call = &read.call;
    enum recovery reason;

    for (size_t i = 0; i < hold->quotas_count; i++)
        refs[i] = hold->quotas[i].quota;
    if (!run_counter_calls(context->services, context->db, context->counter, &call, 1, &reason))
        return;
    op->quotas = arena_array(op->op.arena, hold->quotas_count + 1, sizeof(*op->quotas));
    CHECK(op->quotas);
    for (size_t i = 0; i < hold->quotas_count; i++) {
        const struct limit *limit = plan_limit(op->op.plan, refs[i].limit_id);

        if (limit)
            quota_from_counter(&op->quotas[op->quotas_count++], limit, refs[i], &read.states[i]);
    }
}

static void load_plan(struct grant_context *context, struct op_extend *op)
{
    op->op.now_ms = estimate_now_ms(context->services->estimate,
                                    clock_mono_us(context->services->clock));
    if (op->op.give_up_us <= clock_mono_us(context->services->clock))
        op_fail(&op->op, FAILURE_DEADLINE, false, "the deadline passed; the expiry is unchanged");
    else
        (void)op_need_plan(&op->op, context->db);
}

void extend_ops(struct grant_context *context, struct op_extend **ops, size_t count)
{
    struct ledger_job *jobs = scratch(context, count, sizeof(*jobs));
    struct op_reserve *retakes[GRANT_OPS_MAX];
    size_t retakes_count = 0;

    if (count == 0)
        return;
    CHECK(count <= GRANT_OPS_MAX);
    for (size_t i = 0; i < count; i++)
        load_plan(context, ops[i]);
    read_facts(context, ops, jobs, count);
    for (size_t i = 0; i < count; i++) {
        extend_one(context, ops[i], &jobs[i].facts);
        if (ops[i]->retake) {
            retakes[retakes_count++] = ops[i]->retake;
            continue;
        }
        if (!failed(ops[i]))
            show_quotas(context, ops[i]);
        op_finish(&ops[i]->op);
    }
    if (retakes_count > 0)
        grant_reserves(context, retakes, retakes_count);
}

void op_extend_start(struct op_extend *op, struct worker *worker)
{
    (void)worker;
    op->op.run = granter_run_extend;
    if (granter_push(op->op.services->granter, &op->op))
        return;
    op_fail(&op->op, FAILURE_OVERLOADED, false, "too many calls wait; try again in a moment");
    op_finish(&op->op);
}
