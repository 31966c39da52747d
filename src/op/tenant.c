#include "op/tenant.h"

#include "ledger/alarms.h"
#include "op/plans.h"
#include "op/services.h"

bool op_fail_if_bad(struct op *op)
{
    if (!op->plan || !alarms_is_aside(op->services->alarms, op->plan->tenant_id))
        return false;
    op_fail(
        op, FAILURE_INTERNAL, false,
        "the rows of tenant \"%.*s\" contradict each other; nothing is done for it until that is "
        "mended; the server's log says more",
        SLICE_ARGS(op->tenant));
    return true;
}

bool op_fail_if_read_only(struct op *op, const char *undone)
{
    if (!op->plan || !op->plan->read_only)
        return false;
    op_fail(op, FAILURE_READ_ONLY, false,
            "the database has lost acknowledged use of tenant \"%.*s\", which is read-only until an "
            "operator runs \"holdfast reconcile --accept --tenant %.*s\"; %s",
            SLICE_ARGS(op->tenant), SLICE_ARGS(op->tenant), undone);
    return true;
}

bool op_need_plan(struct op *op, struct stores *stores)
{
    enum status status;

    if (!op->plan)
        op->plan = plans_get(op->services->plans, op->tenant);
    if (op->plan)
        return !op_fail_if_bad(op);
    status = stores->table->plan_load(stores->db, op->tenant, &op->plan);
    if (status != STATUS_OK) {
        /* It was to be read only. */
        op_fail_harmless(op, status, stores_sqlstate(stores), "nothing was done");
        return false;
    }
    if (!op->plan) {
        op_fail(op, FAILURE_UNKNOWN_TENANT, false,
                "there is no tenant \"%.*s\": create it first (CreateTenant)",
                SLICE_ARGS(op->tenant));
        return false;
    }
    plans_put(op->services->plans, op->plan);
    return !op_fail_if_bad(op);
}
