#include "op/queries.h"

#include "base/check.h"
#include "ledger/ledger.h"
#include "op/inbox.h"
#include "op/plans.h"
#include "op/services.h"
#include "op/stores.h"
#include "op/tenant.h"

bool query_plan(struct op *op, struct stores *stores)
{
    struct plan *plan = NULL;
    enum status status = stores->table->plan_load(stores->db, op->tenant, &plan);

    if (status != STATUS_OK)
        return op_need_plan(op, stores); /* a known plan will do while the database is away */
    plan_unref(op->plan);
    op->plan = plan;
    if (!plan) {
        plans_forget(op->services->plans, op->tenant);
        op_fail(op, FAILURE_UNKNOWN_TENANT, false,
                "there is no tenant \"%.*s\": create it first (CreateTenant)",
                SLICE_ARGS(op->tenant));
        return false;
    }
    plans_put(op->services->plans, plan);
    return !op_fail_if_bad(op);
}

void query_fail_counter(struct op *op, bool recovering)
{
    if (recovering)
        op_fail(op, FAILURE_SHARD_RECOVERING, false,
                "the tenant's counters are being rebuilt: try again in a second");
    else
        op_fail(op, FAILURE_REDIS_UNAVAILABLE, false,
                "Redis, which knows the holds, does not answer: try again in a moment");
}

void reservation_from_hold(struct op *op, const struct hold *hold, struct op_reservation *found)
{
    found->scope = hold->scope;
    found->attempt = hold->attempt;
    found->meters_count = hold->meters_count;
    found->meters = hold->meters;
    found->created_ms = hold->created_ms;
    found->expire_ms = hold->deadline_ms;
    found->counted = arena_array(op->arena, hold->quotas_count, sizeof(*found->counted));
    CHECK(found->counted);
    found->counted_count = 0;
    for (size_t i = 0; i < hold->quotas_count; i++) {
        const struct limit *limit = plan_limit(op->plan, hold->quotas[i].quota.limit_id);

        if (limit)
            found->counted[found->counted_count++] =
                (struct op_counted){limit->name, hold->quotas[i].quota.period_start_ms};
    }
}

static void find_plan(struct op *op, struct stores *stores)
{
    if (query_plan(op, stores))
        CHECK(op->plan);
    op_finish(op);
}

void op_plan_start(struct op *op)
{
    inbox_to_desk(op, find_plan);
}
