#include "op/admin.h"

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "counter/counter.h"
#include "op/inbox.h"
#include "op/plans.h"
#include "op/services.h"
#include "op/stores.h"

bool admin_done(struct op *op, const struct stores *stores, enum status status,
                enum ledger_admin answer)
{
    if (status == STATUS_UNKNOWN && !stores_sqlstate(stores)[0]) {
        op_fail(op, FAILURE_POSTGRES_UNAVAILABLE, true,
                "the database did not confirm the change; repeat with the same request_id");
        return false;
    }
    if (status != STATUS_OK) {
        op_fail_status(op, status, stores_sqlstate(stores), "nothing was changed");
        return false;
    }
    switch (answer) {
    case ADMIN_DONE:
    case ADMIN_REPEATED:
        return true;
    case ADMIN_REQUEST_REUSED:
        op_fail_field(op, FAILURE_REQUEST_ID_REUSED, "note.request_id",
                      "this request_id was used before with other content; use a new one");
        return false;
    case ADMIN_EXISTS:
        op_fail(op, FAILURE_TENANT_EXISTS, false,
                "the tenant \"%.*s\" exists; change it with UpdateTenant", SLICE_ARGS(op->tenant));
        return false;
    case ADMIN_NOT_FOUND:
        op_fail(op, FAILURE_UNKNOWN_TENANT, false,
                "there is no tenant \"%.*s\": create it first (CreateTenant)",
                SLICE_ARGS(op->tenant));
        return false;
    case ADMIN_ETAG:
        op_fail(op, FAILURE_ETAG_MISMATCH, false,
                "it was changed since it was read; read it again, then decide");
        return false;
    case ADMIN_CONFLICT:
        if (op->error.failure == FAILURE_NONE) /* else the fields are named already */
            op_fail_field(op, FAILURE_LIMIT_CONFLICT, "limit",
                          "scope, meter, period, time zone and anchor of a limit cannot be "
                          "changed; delete it and add another");
        return false;
    case ADMIN_NO_ZONE:
        CHECK(op->error.failure == FAILURE_INVALID_FIELD); /* by whoever adds a limit */
        return false;
    case ADMIN_LIMITS_FULL:
    case ADMIN_CROWDED:
        CHECK(op->error.failure == FAILURE_LIMITS_FULL); /* by whoever adds a limit */
        return false;
    }
    UNREACHABLE();
}

bool admin_publish(struct op *op, struct stores *stores)
{
    struct counter_version version;
    struct counter_fill fill = {
        .call = {.kind = COUNTER_FILL, .arena = op->arena},
        .versions_count = 1,
        .versions = &version,
    };
    struct counter_call *call = &fill.call;
    bool recovering;

    plans_forget(op->services->plans, op->tenant);
    plan_unref(op->plan);
    op->plan = NULL;
    if (stores->table->plan_load(stores->db, op->tenant, &op->plan) != STATUS_OK || !op->plan)
        return false;
    plans_put(op->services->plans, op->plan);
    version = (struct counter_version){op->plan->tenant_id, op->plan->config_version};
    return stores_run_shard(stores, op->plan->shard, &call, 1, &recovering);
}

static void create(struct op *base, struct stores *stores)
{
    struct op_tenant *op = container_of(base, struct op_tenant, op);
    enum ledger_admin answer = ADMIN_DONE;
    enum status status = stores->table->tenant_create(stores->db, base->arena, &op->note,
                                                      op->validate_only, &op->tenant, &answer);

    (void)admin_done(base, stores, status, answer);
    op_finish(base);
}

void op_tenant_create_start(struct op_tenant *op)
{
    inbox_to_desk(&op->op, create);
}

static void update(struct op *base, struct stores *stores)
{
    struct op_tenant *op = container_of(base, struct op_tenant, op);
    enum ledger_admin answer = ADMIN_DONE;
    enum status status = stores->table->tenant_update(stores->db, base->arena, &op->note, op->etag,
                                                      op->validate_only, &op->tenant, &answer);

    /* The tenant is changed even if Redis cannot be told now: the janitors will. */
    if (admin_done(base, stores, status, answer) && answer == ADMIN_DONE && !op->validate_only &&
        (FAULT("limit.between") || !admin_publish(base, stores)))
        log_debug("admin", "publish.later tenant=%s", LOG_SLICE(base->tenant));
    op_finish(base);
}

void op_tenant_update_start(struct op_tenant *op)
{
    inbox_to_desk(&op->op, update);
}

static void list(struct op *base, struct stores *stores)
{
    struct op_tenants *op = container_of(base, struct op_tenants, op);

    enum status status = stores->table->tenant_list(stores->db, base->arena, op->prefix, op->after,
                                                    op->max + 1, &op->tenants, &op->tenants_count);

    if (status != STATUS_OK)
        op_fail_read(base, status, stores_sqlstate(stores));
    op->more = op->tenants_count > op->max;
    if (op->more)
        op->tenants_count = op->max;
    op_finish(base);
}

void op_tenants_start(struct op_tenants *op)
{
    inbox_to_desk(&op->op, list);
}
