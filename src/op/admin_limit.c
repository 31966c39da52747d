#include "op/admin.h"

#include "base/amount.h"
#include "base/check.h"
#include "base/fault.h"
#include "counter/counter.h"
#include "op/inbox.h"
#include "op/plans.h"
#include "op/quotas.h"
#include "op/services.h"
#include "op/notify.h"
#include "op/stores.h"
#include "op/tenant.h"

static int64_t now_ms(const struct op *op)
{
    return services_now_ms(op->services);
}

/*
 * Both stores' numbers of a lowered quota move together: Redis gives back what nobody holds. False:
 * it could not be done now; the flag in the row stays, and the janitors see to it.
 */
static bool recall(struct op *op, struct stores *stores, const struct quota_row *rows, size_t count)
{
    struct counter_recall script = {.call = {.kind = COUNTER_RECALL, .arena = op->arena}};
    struct counter_call *call = &script.call;
    struct ledger_return *returns = arena_array(op->arena, count, sizeof(*returns));
    size_t returned = 0;
    bool recovering;

    script.totals = arena_array(op->arena, count, sizeof(*script.totals));
    if (!returns || !script.totals)
        return false;
    for (size_t i = 0; i < count; i++)
        if (rows[i].recall && rows[i].lease_id != 0)
            script.totals[script.totals_count++] = totals_from_row(&rows[i]);
    if (script.totals_count == 0)
        return true;
    if (!stores_run_shard(stores, op->plan->shard, &call, 1, &recovering))
        return false;
    for (size_t i = 0; i < script.totals_count; i++)
        if (script.totals[i].took == TOTALS_TAKEN)
            returns[returned++] = (struct ledger_return){
                .tenant_id = script.totals[i].tenant_id,
                .ref = script.totals[i].ref,
                .lease_id = script.totals[i].lease_id,
                .returned = script.totals[i].now.returned,
            };
    if (FAULT("recall.between"))
        return false;
    return returned == 0 ||
           stores->table->return_run(stores->db, op->arena, returns, returned) == STATUS_OK;
}

/* The current period of the limit, from its rows if there are any, with what Redis holds. */
static void show_quota(struct op_limit *op, struct stores *stores, const struct quota_row *rows,
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
    ref = (struct quota_ref){limit->limit_id, limit_start_ms(limit, base->now_ms)};
    quota_from_counter(&op->quota, limit, ref, &none);
    read.refs = &ref;
    for (size_t i = 0; i < count; i++) {
        if (!quota_ref_equal(rows[i].ref, ref))
            continue;
        quota_from_row(&op->quota, base->plan, &rows[i]);
        if (stores_run_shard(stores, base->plan->shard, &call, 1, &recovering))
            quota_set_held(&op->quota, &rows[i], &read.states[0]);
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
    quota->period_start_ms = calendar_start_ms(&limit->calendar, limit->period, op->op.now_ms);
    quota->period_end_ms = calendar_end_ms(&limit->calendar, limit->period, quota->period_start_ms);
    quota->stops.unlimited = limit->unlimited;
    if (limit->unlimited)
        return;
    quota->stops.amount = limit->amount;
    quota->stops.soft =
        amount_mul_percent_ceil(limit->amount, limit->soft_percent ? limit->soft_percent : 90);
    quota->stops.cap = limit->amount;
    if (limit->overage_kind == OVERAGE_UNITS)
        quota->stops.cap = amount_add_saturated(limit->amount, limit->overage);
    else if (limit->overage_kind == OVERAGE_PERCENT)
        quota->stops.cap =
            amount_add_saturated(limit->amount,
                                 amount_mul_percent_floor(limit->amount, limit->overage));
    else if (limit->overage_kind == OVERAGE_UNLIMITED)
        quota->stops.cap = AMOUNT_MAX;
}

/* Which of the fields that cannot be changed are others than the limit's, which op->limit shows. */
static void name_conflicts(struct op_limit *op)
{
    const struct ledger_limit *is = &op->limit, *asked = &op->asked;
    struct op *base = &op->op;

    if (!slice_equal(is->scope, asked->scope))
        op_fail_field(base, FAILURE_LIMIT_CONFLICT, "limit.scope",
                      "limit.scope is \"%.*s\" and cannot be changed; delete the limit and add "
                      "another",
                      SLICE_ARGS(is->scope));
    if (!slice_equal(is->meter, asked->meter))
        op_fail_field(base, FAILURE_LIMIT_CONFLICT, "limit.meter",
                      "limit.meter is \"%.*s\" and cannot be changed; delete the limit and add "
                      "another",
                      SLICE_ARGS(is->meter));
    if (is->period != asked->period)
        op_fail_field(base, FAILURE_LIMIT_CONFLICT, "limit.period",
                      "limit.period cannot be changed; delete the limit and add another");
    if (!slice_equal(is->time_zone, asked->time_zone))
        op_fail_field(base, FAILURE_LIMIT_CONFLICT, "limit.time_zone",
                      "limit.time_zone is \"%.*s\" and cannot be changed; delete the limit and add "
                      "another",
                      SLICE_ARGS(is->time_zone));
    if (is->has_anchor != asked->has_anchor || is->anchor_ms != asked->anchor_ms)
        op_fail_field(base, FAILURE_LIMIT_CONFLICT, "limit.anchor_time",
                      "limit.anchor_time cannot be changed; delete the limit and add another");
}

/* What the two bounds on adding a limit say to the caller. */
static void fail_crowded(struct op_limit *op, enum ledger_admin answer)
{
    struct op *base = &op->op;

    if (answer == ADMIN_LIMITS_FULL)
        op_fail(base, FAILURE_LIMITS_FULL, false,
                "the tenant \"%.*s\" has %lld limits, as many as this server allows; delete some "
                "(DeleteLimit), or raise --limits-per-tenant",
                SLICE_ARGS(base->tenant), (long long)base->services->options.limits_max);
    else if (answer == ADMIN_CROWDED)
        op_fail(base, FAILURE_LIMITS_FULL, false,
                "a reservation of \"%.*s\" at this scope or below would count against more than "
                "%d limits; delete limits of the meter at this scope, above it or below it",
                SLICE_ARGS(op->limit.meter), HOLD_QUOTAS_MAX);
}

static void put(struct op *base, struct stores *stores)
{
    struct op_limit *op = container_of(base, struct op_limit, op);
    struct quota_row *rows = NULL;
    size_t count = 0;
    enum ledger_admin answer = ADMIN_DONE;
    enum status status;

    op->asked = op->limit;
    status = stores->table->limit_put(stores->db, base->arena, &op->note, op->etag,
                                      op->validate_only, base->services->options.limits_max,
                                      &op->limit, &op->created, &rows, &count, &answer);
    if (status == STATUS_OK && answer == ADMIN_CONFLICT)
        name_conflicts(op);
    if (status == STATUS_OK && answer == ADMIN_NO_ZONE)
        op_fail_field(base, FAILURE_INVALID_FIELD, "limit.time_zone",
                      "limit.time_zone \"%.*s\" is not a time zone that the database knows; use an "
                      "IANA name such as \"Europe/Berlin\"",
                      SLICE_ARGS(op->limit.time_zone));
    if (status == STATUS_OK)
        fail_crowded(op, answer);
    if (!admin_done(base, stores, status, answer)) {
        op_finish(base);
        return;
    }
    base->now_ms = now_ms(base);
    show_asked(op);
    if (!op->validate_only && FAULT("limit.between")) {
        op->pending = true;
    } else if (!op->validate_only) {
        op->pending = !admin_publish(base, stores);
        if (base->plan && !recall(base, stores, rows, count))
            op->pending = true;
        if (base->plan)
            show_quota(op, stores, rows, count);
        base->now_ms = now_ms(base);
    }
    op_finish(base);
}

void op_limit_put_start(struct op_limit *op)
{
    inbox_to_desk(&op->op, put);
}

static void delete (struct op *base, struct stores *stores)
{
    struct op_limit *op = container_of(base, struct op_limit, op);
    enum ledger_admin answer = ADMIN_DONE;
    enum status status;

    if (!op_need_plan(base, stores)) {
        op_finish(base);
        return;
    }
    status = stores->table->limit_delete(stores->db, base->arena, &op->note, op->etag,
                                         op->validate_only, &op->limit, &answer);
    if (status == STATUS_OK && answer == ADMIN_NOT_FOUND)
        op_fail(base, FAILURE_UNKNOWN_LIMIT, false, "there is no limit \"%.*s\" in tenant \"%.*s\"",
                SLICE_ARGS(op->limit.limit_name), SLICE_ARGS(base->tenant));
    else if (admin_done(base, stores, status, answer) && !op->validate_only)
        op->pending = FAULT("limit.between") || !admin_publish(base, stores);
    op_finish(base);
}

void op_limit_delete_start(struct op_limit *op)
{
    inbox_to_desk(&op->op, delete);
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

static void list(struct op *base, struct stores *stores)
{
    struct op_limits *op = container_of(base, struct op_limits, op);
    bool exists = true;
    enum status status =
        stores->table->limit_list(stores->db, base->arena, base->tenant, op->after, op->max + 1,
                                  &op->limits, &op->limits_count, &exists);

    if (status != STATUS_OK) {
        op->limits_count = 0;
        op_fail_read(base, status, stores_sqlstate(stores));
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
    inbox_to_desk(&op->op, list);
}
