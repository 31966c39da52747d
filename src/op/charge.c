#include "op/charge.h"

#include "op/open.h"
#include "op/plans.h"
#include "op/services.h"
#include "op/stores.h"
#include "op/tenant.h"
#include "quota/times.h"

#include <string.h>

static struct hold_meter *meters_of(const struct op_commit *op)
{
    const struct settle_item *settle = &op->item.settle;
    struct hold_meter *meters = arena_array(op->op.arena, settle->actual_count, sizeof(*meters));

    CHECK(meters);
    for (size_t i = 0; i < settle->actual_count; i++)
        meters[i] = (struct hold_meter){.meter = settle->actual[i].meter};
    return meters;
}

static enum plan_selection select_quotas(const struct op_commit *op, struct hold *hold,
                                         size_t *ret_meter)
{
    struct hold_quota found[HOLD_QUOTAS_MAX];
    enum plan_selection selection =
        plan_select(op->op.plan, hold->scope, hold->meters, hold->meters_count, hold->created_ms,
                    found, &hold->quotas_count, ret_meter);

    if (selection != PLAN_SELECTED)
        return selection;
    hold->quotas = arena_array(op->op.arena, hold->quotas_count, sizeof(*hold->quotas));
    CHECK(hold->quotas);
    memcpy(hold->quotas, found, hold->quotas_count * sizeof(*found));
    return selection;
}

bool charge_choose(struct op_commit *op)
{
    struct services *services = op->op.services;
    int64_t now_ms = services_now_ms(services);
    struct hold *hold = arena_zalloc(op->op.arena, sizeof(*hold));
    size_t meter = 0;

    CHECK(hold);
    *hold = (struct hold){
        .attempt = open_attempt(services, op->op.plan->shard, now_ms),
        .created_ms = now_ms,
        .deadline_ms = now_ms + LIFETIME_MAX_MS, /* however long it waits, it is not late */
        .scope = op->item.settle.scope,
        .meters_count = op->item.settle.actual_count,
        .meters = meters_of(op),
    };
    op->selection = select_quotas(op, hold, &meter);
    op->selection_meter = meter;
    op->item.settle.token = op->selection == PLAN_SELECTED ? hold : NULL;
    op->item.settle.plan_version = op->op.plan->config_version;
    return op->selection == PLAN_SELECTED;
}

/* Past the cache, which may not know yet what an admin has just said. */
static bool load_plan_anew(struct op_commit *op, struct stores *stores)
{
    plans_forget(op->op.services->plans, op->op.tenant);
    plan_unref(op->op.plan);
    op->op.plan = NULL;
    return op_need_plan(&op->op, stores);
}

static bool add_limit(struct op_commit *op, struct stores *stores)
{
    struct slice meter = op->item.settle.actual[op->selection_meter].meter;
    enum status status = stores->table->limit_implicit(stores->db, op->op.plan->tenant_id, meter,
                                                       op->op.services->options.limits_max);

    if (status == STATUS_EXHAUSTED)
        op_fail_limits_full(&op->op, meter);
    else if (status != STATUS_OK) /* a limit that was made all the same is the one that it needs */
        op_fail_harmless(&op->op, status, stores_sqlstate(stores), "nothing was recorded");
    return status == STATUS_OK;
}

/* The first is the one of the cache, which others may just have loaded: each load costs a desk. */
bool charge_plan(struct op_commit *op, struct stores *stores)
{
    if (!op_need_plan(&op->op, stores))
        return false;
    if (charge_choose(op))
        return true;
    if (!plans_may_refuse(op->op.services->plans, op->op.plan) && !load_plan_anew(op, stores))
        return false;
    for (size_t i = 0; i <= op->item.settle.actual_count; i++) {
        if (charge_choose(op) || op->selection != PLAN_NO_LIMIT ||
            !op->op.plan->admit_unlimited_meters)
            return true;
        if (!add_limit(op, stores) || !load_plan_anew(op, stores))
            return false;
    }
    return true;
}

void charge_refuse(struct op_commit *op)
{
    switch (op->selection) {
    case PLAN_NO_LIMIT:
        op_fail_no_limit(&op->op,
                         arena_printf(op->op.arena, "actual[%zu].meter", op->selection_meter),
                         op->item.settle.actual[op->selection_meter].meter);
        return;
    case PLAN_TOO_MANY:
        op_fail_field(&op->op, FAILURE_INVALID_FIELD, "actual", PLAN_TOO_MANY_TEXT,
                      op->item.settle.actual_count, HOLD_QUOTAS_MAX);
        return;
    case PLAN_SELECTED:
        break;
    }
    CHECK_MSG(false, "the plan has not refused it");
}
