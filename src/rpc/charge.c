#include "rpc/handlers.h"

#include "base/check.h"
#include "rpc/auth.h"
#include "rpc/inbound.h"
#include "rpc/quota_state.h"
#include "rpc/record.h"
#include "rpc/timestamps.h"
#include "rpc/validate.h"

#include "holdfast/v1/quota_service.stub.h"

static void charge_done(struct op *base)
{
    struct op_commit *op = container_of(base, struct op_commit, op);
    const struct settle_item *item = &op->item.settle;
    Holdfast__V1__ChargeResponse reply = HOLDFAST__V1__CHARGE_RESPONSE__INIT;

    if (inbound_failed(base))
        return;
    reply.state = HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_COMMITTED;
    reply.n_committed = item->record->entries_count;
    reply.committed = committed_messages(base->arena, item->record);
    reply.replayed = item->replayed;
    reply.over_limit = record_is_over_limit(item->record);
    reply.commit_time = timestamp_of(base->arena, item->record->at_ms);
    reply.was_held = !attempt_is_open(item->record->attempt);
    reply.attempt = attempt_text(base->arena, item->record->attempt);
    reply.receipt = record_receipt(op);
    if (!op->brief) {
        reply.n_quotas = op->quotas_count;
        reply.quotas = quota_states(base->arena, op->quotas, op->quotas_count);
    }
    holdfast_v1_quota_service_charge_reply(inbound_call(base), &reply);
}

static bool decode(struct op_commit *op, const Holdfast__V1__ChargeRequest *request)
{
    struct op *base = &op->op;
    struct slice tenant = valid_name(base, FIELD("tenant"), request->tenant, true);

    op->item.settle.kind = SETTLE_CHARGE;
    op->job_id = valid_job_id(base, FIELD("job_id"), request->job_id, true);
    op->item.settle.scope = valid_scope(base, FIELD("scope"), request->scope);
    op->brief = request->brief;
    if (request->n_actual == 0)
        invalid(base, FIELD("actual"), "is required");
    record_actual(op, request->n_actual, request->actual);
    valid_later(base, FIELD("labels"), request->n_labels > 0);
    return valid(base) && auth_tenant(base, inbound_call(base), tenant);
}

void rpc_charge(void *user, struct stub_call *call, const Holdfast__V1__ChargeRequest *request)
{
    struct op_commit *op = stub_call_alloc(call, sizeof(*op));

    if (!inbound_begin(user, call, &op->op, charge_done))
        return;
    if (!decode(op, request)) {
        inbound_fail(&op->op);
        return;
    }
    inbound_hold(&op->op);
    op_commit_start(op, stub_call_worker(call));
}
