/*
 * Check: what Reserve would say, by the same rules (verdict.h) on numbers read from both stores. No
 * lock is held, so the answer may be old when it arrives.
 */
#include "op/queries.h"

#include "base/check.h"
#include "counter/counter.h"
#include "op/inbox.h"
#include "op/services.h"
#include "op/stores.h"
#include "op/tenant.h"
#include "op/usage.h"
#include "op/verdict.h"

#include <string.h>

/* Meters without a limit count against nothing yet, where the tenant admits them. */
static bool select_quotas(struct op_check *op, struct hold_quota *quotas, size_t *ret_count)
{
    struct op *base = &op->op;
    size_t count = 0;

    for (size_t i = 0; i < op->meters_count; i++) {
        struct hold_quota some[HOLD_QUOTAS_MAX];
        size_t some_count = 0, missing;

        switch (plan_select(base->plan, op->scope, &op->meters[i], 1, base->now_ms, some,
                            &some_count, &missing)) {
        case PLAN_SELECTED:
            break;
        case PLAN_NO_LIMIT:
            if (base->plan->admit_unlimited_meters)
                continue;
            op_fail_no_limit(base,
                             arena_printf(base->arena, "amounts[%zu].meter", op->amounts_index[i]),
                             op->meters[i].meter);
            continue;
        case PLAN_TOO_MANY:
            some_count = HOLD_QUOTAS_MAX + 1;
            break;
        }
        if (count + some_count > HOLD_QUOTAS_MAX) {
            op_fail_field(base, FAILURE_INVALID_FIELD, "amounts", PLAN_TOO_MANY_TEXT,
                          op->meters_count, HOLD_QUOTAS_MAX);
            return false;
        }
        for (size_t k = 0; k < some_count; k++) {
            some[k].meter = (uint32_t)i;
            quotas[count++] = some[k];
        }
    }
    *ret_count = count;
    return base->error.failure == FAILURE_NONE;
}

/* The soonest deadline among the tenant's holds, or -1. */
static int64_t earliest_deadline_ms(struct op *op, struct stores *stores)
{
    struct counter_holds holds = {
        .call = {.kind = COUNTER_HOLDS, .arena = op->arena},
        .tenant_id = op->plan->tenant_id,
        .after_deadline_ms = -1,
        .max = 1,
        .now_ms = op->now_ms,
    };
    struct counter_call *call = &holds.call;
    struct hold *hold;
    bool recovering;

    if (!stores_run_shard(stores, op->plan->shard, &call, 1, &recovering) ||
        holds.holds_count == 0 || !hold_parse(op->arena, holds.holds[0].entry, &hold))
        return -1;
    return hold->deadline_ms;
}

static void admit(struct op_check *op, const struct hold_quota *wanted)
{
    int64_t projected_units[HOLD_QUOTAS_MAX];

    for (size_t i = 0; i < op->quotas_count; i++)
        projected_units[i] = op_quota_taken(&op->quotas[i]) + wanted[i].units;
    op->decision = verdict_admitted(op->op.arena, op->quotas, projected_units, op->quotas_count,
                                    &op->reasons, &op->reasons_count);
}

static void suspend(struct op_check *op)
{
    op->reasons = arena_zalloc(op->op.arena, sizeof(*op->reasons));
    CHECK(op->reasons);
    *op->reasons = (struct op_reason){
        .code = REASON_SUSPENDED,
        .retry_after_ms = -1,
        .message = "the tenant is suspended: nothing is reserved; Commit and Release still work",
    };
    op->reasons_count = 1;
    op->decision = DECISION_REJECT;
}

static void decide(struct op_check *op, struct stores *stores)
{
    struct op *base = &op->op;
    struct hold_quota wanted[HOLD_QUOTAS_MAX];
    const struct limit *limits[HOLD_QUOTAS_MAX];
    struct usage usage;
    size_t count;

    if (op_fail_if_read_only(base, "nothing would be held"))
        return;
    if (base->plan->suspended) {
        suspend(op);
        return;
    }
    if (!select_quotas(op, wanted, &count))
        return;
    for (size_t i = 0; i < count; i++)
        limits[i] = plan_limit(base->plan, wanted[i].quota.limit_id);
    if (!usage_read(base, stores, limits, count, &usage))
        return;
    if (usage.redis_away) {
        query_fail_counter(base, usage.recovering);
        return;
    }
    op->quotas = usage.quotas;
    op->quotas_count = count;
    if (verdict_fits(op->quotas, wanted, count, op->deferrable)) {
        admit(op, wanted);
    } else {
        int64_t free_ms = earliest_deadline_ms(base, stores);

        op->decision = DECISION_REJECT;
        verdict_rejected(base->arena, op->quotas, wanted, count, op->deferrable, base->now_ms,
                         free_ms, free_ms, &op->reasons, &op->reasons_count, &op->retry_after_ms);
    }
}

static void check(struct op *base, struct stores *stores)
{
    struct op_check *op = container_of(base, struct op_check, op);

    op->retry_after_ms = -1;
    base->now_ms = services_now_ms(base->services);
    if (query_plan(base, stores))
        decide(op, stores);
    op_finish(base);
}

void op_check_start(struct op_check *op)
{
    inbox_to_desk(&op->op, check);
}
