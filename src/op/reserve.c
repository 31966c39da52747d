#include "op/reserve.h"

#include "base/check.h"
#include "op/granter.h"
#include "op/plans.h"
#include "op/quotas.h"
#include "op/services.h"
#include "op/verdict.h"
#include "op/worker.h"

#include <string.h>

static int64_t effective_ttl_ms(const struct op_reserve *op)
{
    const struct op_reserve_work *work = op->work;
    int64_t ttl_ms = op->ttl_ms;

    if (ttl_ms > op->op.services->options.ttl_max_ms)
        ttl_ms = op->op.services->options.ttl_max_ms;
    for (size_t i = 0; i < work->quotas_count; i++) {
        const struct limit *limit = plan_limit(op->op.plan, work->quotas[i].quota.limit_id);

        if (limit->max_ttl_ms > 0 && ttl_ms > limit->max_ttl_ms)
            ttl_ms = limit->max_ttl_ms;
    }
    return ttl_ms;
}

bool reserve_plan(struct op_reserve *op, int64_t now_ms)
{
    struct op_reserve_work *work = op->work;
    size_t meter = 0;

    work->quotas_count = 0;
    switch (plan_select(op->op.plan, op->scope, op->meters, op->meters_count, now_ms,
                        work->quotas, &work->quotas_count, &meter)) {
    case PLAN_SELECTED:
        break;
    case PLAN_NO_LIMIT:
        op_fail_field(&op->op, FAILURE_NO_LIMIT,
                      arena_printf(op->op.arena, "amounts[%zu].meter", op->amounts_index[meter]),
                      "meter \"%.*s\" has no limit in tenant \"%.*s\": add one with PutLimit, or "
                      "let the tenant admit unlimited meters",
                      SLICE_ARGS(op->meters[meter].meter), SLICE_ARGS(op->op.tenant));
        return false;
    case PLAN_TOO_MANY:
        op_fail_field(&op->op, FAILURE_INVALID_FIELD, "amounts",
                      "counts against more than %d limits in all", HOLD_QUOTAS_MAX);
        return false;
    }
    for (size_t i = 0; i < work->quotas_count; i++)
        work->softs[i] = plan_limit(op->op.plan, work->quotas[i].quota.limit_id)->soft;
    return true;
}

struct counter_reserve_item reserve_item(struct op_reserve *op, int64_t now_ms)
{
    struct op_reserve_work *work = op->work;

    work->now_ms = now_ms;
    op->op.now_ms = now_ms;
    return (struct counter_reserve_item){
        .tenant_id = op->op.plan->tenant_id,
        .config_version = op->op.plan->config_version,
        .job_id = op->job_id,
        .identity = slice_from_cstr(work->identity),
        .deadline_ms = now_ms + effective_ttl_ms(op),
        .deferrable = op->deferrable,
        .quotas_count = work->quotas_count,
        .quotas = work->quotas,
        .softs = work->softs,
    };
}

static void *allocate(struct op_reserve *op, size_t count, size_t size)
{
    void *memory = arena_array(op->op.arena, count ? count : 1, size);

    CHECK(memory);
    return memory;
}

void reserve_keep_answer(struct op_reserve *op)
{
    struct counter_reserve_item *item = &op->work->item;
    size_t count = op->work->quotas_count;

    if (!op->work->asked)
        return;
    if (item->entry.len > 0) {
        item->entry.data = arena_strndup(op->op.arena, item->entry.data, item->entry.len);
        CHECK(item->entry.data);
    }
    if (item->states) {
        const struct counter_quota *states = item->states;

        item->states = allocate(op, count, sizeof(*item->states));
        memcpy(item->states, states, count * sizeof(*states));
    }
    if (item->shortfalls) {
        const int *shortfalls = item->shortfalls;

        item->shortfalls = allocate(op, count, sizeof(*item->shortfalls));
        memcpy(item->shortfalls, shortfalls, count * sizeof(*shortfalls));
    }
}

static void quotas_from_states(struct op_reserve *op)
{
    const struct op_reserve_work *work = op->work;

    op->quotas = allocate(op, work->quotas_count, sizeof(*op->quotas));
    op->quotas_count = work->quotas_count;
    for (size_t i = 0; i < work->quotas_count; i++)
        quota_from_counter(&op->quotas[i],
                           plan_limit(op->op.plan, work->quotas[i].quota.limit_id),
                           work->quotas[i].quota, &work->item.states[i]);
}

void reserve_admitted(struct op_reserve *op)
{
    struct op_reserve_work *work = op->work;
    struct hold *hold = allocate(op, 1, sizeof(*hold));
    int64_t projected_units[HOLD_QUOTAS_MAX];

    for (size_t i = 0; i < work->quotas_count; i++)
        work->quotas[i].lease_id = work->item.states[i].lease_id;
    *hold = (struct hold){
        .attempt = work->item.attempt,
        .deadline_ms = work->item.deadline_ms,
        .created_ms = work->now_ms,
        .scope = op->scope,
        .mode = op->mode,
        .meters_count = op->meters_count,
        .meters = allocate(op, op->meters_count, sizeof(*hold->meters)),
        .quotas_count = work->quotas_count,
        .quotas = work->quotas,
    };
    memcpy(hold->meters, op->meters, op->meters_count * sizeof(*hold->meters));
    op->hold = hold;
    quotas_from_states(op);
    hold_projected(work->item.entry, projected_units, work->quotas_count);
    op->decision = verdict_admitted(op->op.arena, op->quotas, projected_units, op->quotas_count,
                                    &op->reasons, &op->reasons_count);
    op->retry_after_ms = -1;
}

static void mismatch(struct op_reserve *op, const struct hold *hold)
{
    const char *asked = hold_identity(op->op.arena, op->scope, op->mode, hold->meters,
                                      hold->meters_count);

    if (!slice_equal(hold->scope, op->scope))
        op_fail_field(&op->op, FAILURE_JOB_MISMATCH, "scope",
                      "the job was reserved before with scope \"%.*s\"", SLICE_ARGS(hold->scope));
    if (hold->mode != op->mode)
        op_fail_field(&op->op, FAILURE_JOB_MISMATCH, "mode",
                      "the job was reserved before with mode %d", hold->mode);
    if (!asked || strcmp(asked, op->work->identity) != 0)
        op_fail_field(&op->op, FAILURE_JOB_MISMATCH, "amounts",
                      "the job was reserved before with other amounts; use a new job_id");
}

/*
 * The replayed hold's quotas, with the live states where the script gave them; the decision is that
 * of the time when the hold was made.
 */
static void replay_quotas(struct op_reserve *op, const struct hold *hold)
{
    int64_t projected_units[HOLD_QUOTAS_MAX];
    size_t count = 0;

    op->quotas = allocate(op, hold->quotas_count, sizeof(*op->quotas));
    for (size_t i = 0; i < hold->quotas_count; i++) {
        const struct limit *limit = plan_limit(op->op.plan, hold->quotas[i].quota.limit_id);
        struct counter_quota none = {.lease_id = hold->quotas[i].lease_id};
        const struct counter_quota *state = &none;

        if (!limit)
            continue;
        for (size_t k = 0; op->work->item.states && k < op->work->quotas_count; k++)
            if (quota_ref_equal(op->work->quotas[k].quota, hold->quotas[i].quota))
                state = &op->work->item.states[k];
        projected_units[count] = hold->projected ? hold->projected[i] : 0;
        quota_from_counter(&op->quotas[count++], limit, hold->quotas[i].quota, state);
    }
    op->quotas_count = count;
    op->decision = verdict_admitted(op->op.arena, op->quotas, projected_units, count,
                                    &op->reasons, &op->reasons_count);
}

void reserve_replay(struct op_reserve *op, struct slice entry)
{
    struct hold *hold;
    const char *identity;

    if (!hold_parse(op->op.arena, entry, &hold)) {
        op_fail(&op->op, FAILURE_INTERNAL, true, "the hold of this job in Redis is not readable");
        return;
    }
    identity = hold_identity(op->op.arena, hold->scope, hold->mode, hold->meters,
                             hold->meters_count);
    if (!identity || strcmp(identity, op->work->identity) != 0) {
        mismatch(op, hold);
        return;
    }
    op->hold = hold;
    op->replayed = true;
    replay_quotas(op, hold);
    op->retry_after_ms = -1;
}

void reserve_committed(struct op_reserve *op, const struct settle_record *record)
{
    op->decision = DECISION_ALREADY_COMMITTED;
    op->replayed = true;
    op->record = record;
    op->retry_after_ms = -1;
}

void reserve_rejected(struct op_reserve *op, int64_t earliest_free_ms, int64_t latest_free_ms)
{
    const struct op_reserve_work *work = op->work;

    op->quotas = allocate(op, work->quotas_count, sizeof(*op->quotas));
    op->quotas_count = work->quotas_count;
    for (size_t i = 0; i < work->quotas_count; i++) {
        const struct reserve_quota *known = work->known ? &work->known[i] : NULL;
        const struct counter_quota none = {0};
        const struct counter_quota *state =
            work->asked && work->item.states ? &work->item.states[i] : &none;

        if (known && known->have_row) {
            quota_from_row(&op->quotas[i], op->op.plan, &known->row);
            quota_set_held(&op->quotas[i], &known->row, state, known->old_leases_units);
        } else {
            quota_from_counter(&op->quotas[i],
                               plan_limit(op->op.plan, work->quotas[i].quota.limit_id),
                               work->quotas[i].quota, state);
        }
    }
    op->decision = DECISION_REJECT;
    verdict_rejected(op->op.arena, op->quotas, work->quotas, work->quotas_count, op->deferrable,
                     work->now_ms, earliest_free_ms, latest_free_ms, &op->reasons,
                     &op->reasons_count, &op->retry_after_ms);
}

void reserve_suspended(struct op_reserve *op)
{
    op->reasons = allocate(op, 1, sizeof(*op->reasons));
    op->reasons[0] = (struct op_reason){
        .code = REASON_SUSPENDED,
        .retry_after_ms = -1,
        .message = "the tenant is suspended: nothing is reserved; Commit and Release still work",
    };
    op->reasons_count = 1;
    op->decision = DECISION_REJECT;
    op->retry_after_ms = -1;
}

void reserve_finish(struct op_reserve *op)
{
    op_finish(&op->op);
}

void reserve_to_granter(struct op_reserve *op)
{
    op->op.run = granter_run_reserve;
    if (granter_push(op->op.services->granter, &op->op))
        return;
    op_fail(&op->op, FAILURE_OVERLOADED, false,
            "too many reservations wait for the database; try again in a moment");
    reserve_finish(op);
}

void reserve_begin(struct op_reserve *op)
{
    op->work = allocate(op, 1, sizeof(*op->work));
    op->retry_after_ms = -1;
    op->work->identity = hold_identity(op->op.arena, op->scope, op->mode, op->meters,
                                       op->meters_count);
    CHECK(op->work->identity);
}

void op_reserve_start(struct op_reserve *op, struct worker *worker)
{
    reserve_begin(op);
    op->op.plan = plans_get(op->op.services->plans, op->op.tenant);
    if (!op->op.plan)
        reserve_to_granter(op);
    else if (op->op.plan->suspended)
        reserve_suspended(op), reserve_finish(op);
    else
        worker_add_reserve(worker, op);
}
