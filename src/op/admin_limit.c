#include "op/admin.h"

#include "base/amount.h"
#include "base/check.h"
#include "counter/counter.h"
#include "op/plans.h"
#include "op/quotas.h"
#include "op/services.h"
#include "op/settle.h"

static int64_t now_ms(const struct op *op)
{
    return estimate_now_ms(op->services->estimate, clock_mono_us(op->services->clock));
}

/* Both stores' numbers of a lowered quota move together: Redis gives back what nobody holds. */
static bool recall(struct op *op, struct desk *desk, const struct settle_quota *rows, size_t count)
{
    struct counter_recall script = {.call = {.kind = COUNTER_RECALL, .arena = op->arena}};
    struct counter_call *call = &script.call;
    struct ledger_return *returns = arena_array(op->arena, count, sizeof(*returns));
    size_t returned = 0;
    bool recovering;

    script.totals = arena_array(op->arena, count, sizeof(*script.totals));
    CHECK(returns && script.totals);
    for (size_t i = 0; i < count; i++)
        if (rows[i].recall && rows[i].lease_id != 0)
            script.totals[script.totals_count++] = totals_from_row(&rows[i]);
    if (script.totals_count == 0)
        return true;
    if (!op_run_counter(op->services, desk->db, desk->counter, op->plan->shard, &call, 1,
                        &recovering))
        return false;
    for (size_t i = 0; i < script.totals_count; i++)
        if (script.totals[i].took == TOTALS_TAKEN)
            returns[returned++] = (struct ledger_return){
                .tenant_id = script.totals[i].tenant_id,
                .ref = script.totals[i].ref,
                .lease_id = script.totals[i].lease_id,
                .returned = script.totals[i].now.returned,
            };
    return returned == 0 ||
           ledger_return_run(desk->db, op->arena, returns, returned) == STATUS_OK;
}

/* The current period of the limit, from its rows if there are any, with what Redis holds. */
static void show_quota(struct op_limit *op, struct desk *desk, const struct settle_quota *rows,
                       size_t count)
{
    struct op *base = &op->op;
    const struct limit *limit = plan_limit(base->plan, op->limit.limit_id);
    struct counter_read read = {
        .call = {.kind = COUNTER_READ, .arena = base->arena},
        .tenant_id = base->plan->tenant_id,
        .refs_count = 1,
    };
    struct counter_call *call = &read.call;
    const struct counter_quota none = {0};
    struct quota_ref ref;
    bool recovering;

    if (!limit)
        return;
    ref = (struct quota_ref){limit->limit_id, period_start_ms(limit->period, base->now_ms)};
    quota_from_counter(&op->quota, limit, ref, &none);
    read.refs = &ref;
    for (size_t i = 0; i < count; i++) {
        if (!quota_ref_equal(rows[i].ref, ref))
            continue;
        quota_from_row(&op->quota, base->plan, &rows[i]);
        if (op_run_counter(base->services, desk->db, desk->counter, base->plan->shard, &call, 1,
                           &recovering))
            quota_set_held(&op->quota, &rows[i], &read.states[0], 0);
    }
}

/* A limit that nothing was stored of: what its first period would be. */
static void show_asked(struct op_limit *op)
{
    const struct ledger_limit *limit = &op->limit;
    struct op_quota *quota = &op->quota;

    quota->limit_name = limit->limit_name;
    quota->scope = limit->scope;
    quota->meter = limit->meter;
    quota->period = limit->period;
    quota->period_start_ms = period_start_ms(limit->period, op->op.now_ms);
    quota->period_end_ms = period_end_ms(limit->period, quota->period_start_ms);
    quota->stops.unlimited = limit->unlimited;
    if (limit->unlimited)
        return;
    quota->stops.amount = limit->amount;
    quota->stops.soft = amount_mul_percent_ceil(limit->amount,
                                                limit->soft_percent ? limit->soft_percent : 90);
    quota->stops.cap = limit->amount;
    if (limit->overage_kind == OVERAGE_UNITS)
        quota->stops.cap = amount_add_saturated(limit->amount, limit->overage);
    else if (limit->overage_kind == OVERAGE_PERCENT)
        quota->stops.cap = amount_add_saturated(
            limit->amount, amount_mul_percent_floor(limit->amount, limit->overage));
    else if (limit->overage_kind == OVERAGE_UNLIMITED)
        quota->stops.cap = AMOUNT_MAX;
}

/* Which of the fields that cannot be changed are others than the limit's. */
static void name_conflicts(struct op_limit *op, struct desk *desk)
{
    struct op *base = &op->op;

    if (!op_need_plan(base, desk->db))
        return;
    for (size_t i = 0; i < base->plan->limits_count; i++) {
        const struct limit *limit = &base->plan->limits[i];

        if (!slice_equal(limit->name, op->asked.limit_name))
            continue;
        if (!slice_equal(limit->scope, op->asked.scope))
            op_fail_field(base, FAILURE_LIMIT_CONFLICT, "limit.scope",
                          "limit.scope is \"%.*s\" and cannot be changed; delete the limit and "
                          "add another",
                          SLICE_ARGS(limit->scope));
        if (!slice_equal(limit->meter, op->asked.meter))
            op_fail_field(base, FAILURE_LIMIT_CONFLICT, "limit.meter",
                          "limit.meter is \"%.*s\" and cannot be changed; delete the limit and "
                          "add another",
                          SLICE_ARGS(limit->meter));
        if (limit->period != op->asked.period)
            op_fail_field(base, FAILURE_LIMIT_CONFLICT, "limit.period",
                          "limit.period cannot be changed; delete the limit and add another");
    }
}

static void put(struct op *base, void *thread)
{
    struct op_limit *op = container_of(base, struct op_limit, op);
    struct desk *desk = thread;
    struct settle_quota *rows = NULL;
    size_t count = 0;
    enum ledger_admin answer = ADMIN_DONE;
    enum status status;

    op->asked = op->limit;
    status = ledger_limit_put(desk->db, base->arena, &op->note, op->etag, op->validate_only,
                              &op->limit, &op->created, &rows, &count, &answer);
    if (status == STATUS_OK && answer == ADMIN_CONFLICT)
        name_conflicts(op, desk);
    if (!admin_done(base, status, answer)) {
        op_finish(base);
        return;
    }
    base->now_ms = now_ms(base);
    show_asked(op);
    if (!op->validate_only) {
        op->pending = !admin_publish(base, desk);
        if (base->plan && !recall(base, desk, rows, count))
            op->pending = true;
        if (base->plan)
            show_quota(op, desk, rows, count);
        base->now_ms = now_ms(base);
    }
    op_finish(base);
}

void op_limit_put_start(struct op_limit *op)
{
    op_desk_start(&op->op, put);
}

static void delete(struct op *base, void *thread)
{
    struct op_limit *op = container_of(base, struct op_limit, op);
    struct desk *desk = thread;
    enum ledger_admin answer = ADMIN_DONE;
    enum status status;

    if (!op_need_plan(base, desk->db)) {
        op_finish(base);
        return;
    }
    status = ledger_limit_delete(desk->db, base->arena, &op->note, op->etag, &op->limit, &answer);
    if (status == STATUS_OK && answer == ADMIN_NOT_FOUND)
        op_fail(base, FAILURE_UNKNOWN_LIMIT, false,
                "there is no limit \"%.*s\" in tenant \"%.*s\"", SLICE_ARGS(op->limit.limit_name),
                SLICE_ARGS(base->tenant));
    else if (admin_done(base, status, answer))
        op->pending = !admin_publish(base, desk);
    op_finish(base);
}

void op_limit_delete_start(struct op_limit *op)
{
    op_desk_start(&op->op, delete);
}

/* The limits that callers have made, without those that stand in for none. */
static void keep_explicit(struct op_limits *op)
{
    size_t kept = 0;

    for (size_t i = 0; i < op->limits_count; i++)
        if (!op->limits[i].implicit)
            op->limits[kept++] = op->limits[i];
    op->limits_count = kept;
}

static void list(struct op *base, void *thread)
{
    struct op_limits *op = container_of(base, struct op_limits, op);
    struct desk *desk = thread;
    bool exists = true;

    if (ledger_limit_list(desk->db, base->arena, base->tenant, op->after, op->max + 1,
                          &op->limits, &op->limits_count, &exists) != STATUS_OK) {
        op->limits_count = 0;
        op_fail(base, FAILURE_POSTGRES_UNAVAILABLE, false,
                "the database cannot be reached: try again");
    } else if (!exists) {
        op_fail(base, FAILURE_UNKNOWN_TENANT, false,
                "there is no tenant \"%.*s\": create it first (CreateTenant)",
                SLICE_ARGS(base->tenant));
    }
    op->more = op->limits_count > op->max;
    if (op->more)
        op->limits_count = op->max;
    if (op->more)
        op->next_after = op->limits[op->max - 1].limit_name;
    keep_explicit(op);
    op_finish(base);
}

void op_limits_start(struct op_limits *op)
{
    op_desk_start(&op->op, list);
}
