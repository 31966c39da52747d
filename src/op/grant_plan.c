#include "op/grant_pass.h"

#include "base/check.h"
#include "base/log.h"
#include "op/aside.h"
#include "op/authority.h"
#include "op/plans.h"
#include "op/recover.h"

#include <inttypes.h>

enum { LIMITS_QUICK_MAX = 500 }; /* of a tenant whose plan is loaded while everybody waits */

static void went_back(struct pass *pass, const struct plan *plan, int64_t had)
{
    log_error("granter",
              "root.went_back tenant=%.*s version=%" PRId64 " had=%" PRId64
              ": the database has an earlier plan than was used",
              SLICE_ARGS(plan->tenant), plan->config_version, had);
    plans_forget(pass->stores->services->plans, plan->tenant);
}

/*
 * Redis was given this version and calls it stale, and the root has no later one: Redis saw one that
 * the root has lost. Versions count within an epoch.
 */
static void redis_is_ahead(struct pass *pass, const struct plan *plan)
{
    struct shard_view view;

    if (authority_get(pass->stores->services->authority, plan->shard, &view))
        recover_above(pass->stores, plan->shard, view.epoch, "a later version of a tenant");
}

static void fail_no_tenant(struct pass *pass, struct op_reserve *op)
{
    plans_forget(pass->stores->services->plans, op->op.tenant);
    op_fail(&op->op, FAILURE_UNKNOWN_TENANT, false,
            "there is no tenant \"%.*s\": create it first (CreateTenant)",
            SLICE_ARGS(op->op.tenant));
    reserve_step(op, RESERVE_ANSWERED);
}

static void set_plan(struct op_reserve *op, struct plan *plan)
{
    plan_unref(op->op.plan);
    op->op.plan = plan;
}

/* From the cache, if it is newer than the one that Redis called stale. */
static bool renew_from_cache(struct pass *pass, struct op_reserve *op)
{
    struct plan *plan = plans_get(pass->stores->services->plans, op->op.tenant);

    if (plan && op->op.plan && plan->config_version <= op->op.plan->config_version) {
        plan_unref(plan);
        plan = NULL;
    }
    if (plan)
        set_plan(op, plan);
    return plan != NULL;
}

/* What is loaded, with what Redis called stale. */
static void compare(struct pass *pass, const struct op_reserve *op, const struct plan *plan)
{
    int64_t had = op->op.plan->config_version;

    if (plan->config_version < had)
        went_back(pass, plan, had);
    else if (plan->config_version == had && op->work->stales > 1)
        redis_is_ahead(pass, plan);
}

/* What takes long is left to the patient granter. True: it was. */
static bool leaves(struct pass *pass, struct op_reserve *op)
{
    if (pass->granting->quick)
        reserve_step(op, RESERVE_STUCK);
    return pass->granting->quick;
}

/* Still in the pass, with nothing to say yet. */
static bool stays(const struct op_reserve *op)
{
    return !reserve_is(op, RESERVE_ANSWERED) && !reserve_is(op, RESERVE_STUCK);
}

/*
 * Those of these ops that have no plan that Redis would take, in one statement. What is refused is run again
 * in halves, until the tenant that it is refused for is alone.
 */
static void load_plans(struct pass *pass, struct op_reserve *const *ops, size_t count)
{
    struct stores *stores = pass->stores;
    struct slice *tenants = stores_scratch(stores, count, sizeof(*tenants));
    struct plan **plans = stores_scratch(stores, count, sizeof(struct plan *));
    bool *large = stores_scratch(stores, count, sizeof(*large));
    size_t half = count / 2;
    enum status status;

    for (size_t i = 0; i < count; i++)
        tenants[i] = ops[i]->op.tenant;
    status = stores->table->plans_load(stores->db, tenants, count,
                                       pass->granting->quick ? LIMITS_QUICK_MAX : 0, plans, large);
    if (half > 0 && stores_refused(stores, status)) {
        load_plans(pass, ops, half);
        load_plans(pass, ops + half, count - half);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (status != STATUS_OK) {
            pass_fail_postgres(pass, ops[i], status, false);
        } else if (large[i]) { /* read where nobody waits for it */
            reserve_step(ops[i], RESERVE_STUCK);
        } else if (!plans[i]) {
            fail_no_tenant(pass, ops[i]);
        } else {
            if (ops[i]->op.plan)
                compare(pass, ops[i], plans[i]);
            plans_put(stores->services->plans, plans[i]);
            set_plan(ops[i], plans[i]);
        }
    }
}

/* A tenant may admit meters that no limit names: they get an unlimited one of their own. */
static bool add_implicit_limits(struct pass *pass, struct op_reserve *op)
{
    const struct services *services = pass->stores->services;

    for (size_t i = 0; i < op->meters_count; i++) {
        struct hold_quota quotas[HOLD_QUOTAS_MAX];
        size_t count, meter;
        enum status status;

        if (plan_select(op->op.plan, op->scope, &op->meters[i], 1, pass->now_ms, quotas, &count,
                        &meter) != PLAN_NO_LIMIT)
            continue;
        status =
            pass->stores->table->limit_implicit(pass->stores->db, op->op.plan->tenant_id,
                                                op->meters[i].meter, services->options.limits_max);
        if (status == STATUS_EXHAUSTED) {
            op_fail_limits_full(&op->op, op->meters[i].meter);
            reserve_step(op, RESERVE_ANSWERED);
            return false;
        }
        if (status == STATUS_CONFLICT) { /* a row is locked */
            aside_put(services->aside, op->op.plan->tenant_id, services_mono_us(services));
            reserve_step(op, RESERVE_STUCK);
            return false;
        }
        if (status != STATUS_OK) {
            pass_fail_postgres(pass, op, status, false);
            return false;
        }
    }
    load_plans(pass, &op, 1);
    return stays(op);
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

/* Only a repeat is answered otherwise than by the plan's no, which is said again when that is known. */
static void refuse(struct op_reserve *op)
{
    op->op.error = (struct op_error){0};
    reserve_step(op, RESERVE_REFUSED);
}

/* False: the op has been answered, or is refused. */
static bool plan_quotas(struct pass *pass, struct op_reserve *op)
{
    if (reserve_plan(op, pass->now_ms))
        return true;
    if (op->op.error.failure != FAILURE_NO_LIMIT || !op->op.plan->admit_unlimited_meters) {
        refuse(op);
        return false;
    }
    op->op.error = (struct op_error){0};
    if (leaves(pass, op) || !add_implicit_limits(pass, op)) /* a transaction for each limit */
        return false;
    if (!reserve_plan(op, pass->now_ms)) {
        refuse(op);
        return false;
    }
    return true;
}

/* Which quotas the op counts against now; a new period or plan makes the last answer void. */
static void select_quotas(struct pass *pass, struct op_reserve *op)
{
    struct op_reserve_work *work = op->work;
    const struct hold_quota *before = work->quotas;
    size_t before_count = work->quotas_count;
    bool same;

    if (!plan_quotas(pass, op))
        return;
    same = before_count == work->quotas_count;
    for (size_t i = 0; same && i < before_count; i++)
        same = quota_ref_equal(before[i].quota, work->quotas[i].quota);
    if (!work->known || !same) {
        work->known = arena_array(op->op.arena, work->quotas_count, sizeof(*work->known));
        CHECK(work->known);
    }
    if (reserve_is(op, RESERVE_AWAY))
        return;
    if (reserve_is_long(op) && !reserve_has_answer(op)) {
        refuse(op); /* no script makes it; does Redis hold the job all the same? */
        return;
    }
    if (!same || !reserve_has_answer(op) || reserve_is(op, RESERVE_STALE))
        reserve_step(op, RESERVE_PLANNED);
    else if (reserve_is(op, RESERVE_SHORT) && exceeds_a_cap(op))
        reserve_step(op, RESERVE_NEVER);
}

static void prepare(struct pass *pass, struct op_reserve *op)
{
    if (plan_refuses(op->op.plan))
        refuse(op);
    else
        select_quotas(pass, op);
    op->op.now_ms = op->work->now_ms = pass->now_ms;
}

void pass_plan(struct pass *pass)
{
    struct op_reserve **lacking =
        stores_scratch(pass->stores, pass->count, sizeof(struct op_reserve *));
    int64_t mono_us = stores_mono_us(pass->stores);
    size_t count = 0;

    for (size_t i = 0; i < pass->count; i++) {
        struct op_reserve *op = pass->ops[i];

        if (op->op.give_up_us <= mono_us) {
            op_fail(&op->op, FAILURE_DEADLINE, false, "the deadline passed; nothing was held");
            reserve_step(op, RESERVE_ANSWERED);
        } else if ((!op->op.plan || reserve_is(op, RESERVE_STALE)) && !renew_from_cache(pass, op)) {
            lacking[count++] = op;
        }
    }
    load_plans(pass, lacking, count);
    for (size_t i = 0; i < pass->count; i++)
        if (stays(pass->ops[i]))
            prepare(pass, pass->ops[i]);
}
