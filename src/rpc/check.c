#include "rpc/handlers.h"

#include "base/check.h"
#include "op/queries.h"
#include "rpc/auth.h"
#include "rpc/quota_state.h"
#include "rpc/inbound.h"
#include "rpc/timestamps.h"
#include "rpc/validate.h"

#include "holdfast/v1/quota_service.stub.h"

static void check_done(struct op *base)
{
    struct op_check *op = container_of(base, struct op_check, op);
    Holdfast__V1__CheckResponse reply = HOLDFAST__V1__CHECK_RESPONSE__INIT;

    if (inbound_failed(base))
        return;
    reply.decision = (Holdfast__V1__Decision)op->decision;
    reply.n_reasons = op->reasons_count;
    reply.reasons = reason_messages(base->arena, op->reasons, op->reasons_count);
    reply.retry_after = duration_or_unset(base->arena, op->retry_after_ms);
    reply.n_quotas = op->quotas_count;
    reply.quotas = quota_states(base->arena, op->quotas, op->quotas_count);
    reply.server_time = timestamp_of(base->arena, inbound_now_ms(base));
    stub_call_add_initial_static(inbound_call(base), "holdfast-decision",
                                 decision_name(op->decision));
    holdfast_v1_quota_service_check_reply(inbound_call(base), &reply);
}

static bool decode(struct op_check *op, const Holdfast__V1__CheckRequest *request)
{
    struct op *base = &op->op;
    struct slice tenant = valid_name(base, FIELD("tenant"), request->tenant, true);
    struct valid_amounts amounts;

    op->scope = valid_scope(base, FIELD("scope"), request->scope);
    amounts = valid_amounts(base, "amounts", request->n_amounts, request->amounts);
    op->meters_count = amounts.count;
    op->meters = amounts.meters;
    op->amounts_index = amounts.index;
    (void)valid_enum(base, FIELD("priority"), &holdfast__v1__priority__descriptor,
                     (int)request->priority);
    op->deferrable = request->priority == HOLDFAST__V1__PRIORITY__PRIORITY_DEFERRABLE;
    return valid(base) && auth_tenant(base, inbound_call(base), tenant);
}

void rpc_check(void *user, struct stub_call *call, const Holdfast__V1__CheckRequest *request)
{
    struct op_check *op = stub_call_alloc(call, sizeof(*op));

    if (!inbound_begin(user, call, &op->op, check_done))
        return;
    if (!decode(op, request)) {
        inbound_fail(&op->op);
        return;
    }
    inbound_hold(&op->op);
    op_check_start(op);
}
