#include "rpc/handlers.h"

#include "base/check.h"
#include "rpc/quota_state.h"
#include "rpc/inbound.h"
#include "rpc/record.h"
#include "rpc/timestamps.h"
#include "rpc/validate.h"

#include "holdfast/v1/quota_service.stub.h"

static void commit_done(struct op *base)
{
    struct op_commit *op = container_of(base, struct op_commit, op);
    const struct settle_record *record = op->item.settle.record;
    Holdfast__V1__CommitResponse reply = HOLDFAST__V1__COMMIT_RESPONSE__INIT;

    if (inbound_failed(base))
        return;
    reply.state = HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_COMMITTED;
    reply.n_committed = record->entries_count;
    reply.committed = committed_messages(base->arena, record);
    reply.replayed = op->item.settle.replayed;
    reply.late = record->late;
    reply.over_limit = record_is_over_limit(record);
    reply.commit_time = timestamp_of(base->arena, record->at_ms);
    reply.attempt = attempt_text(base->arena, record->attempt);
    reply.receipt = record_receipt(op);
    if (!op->brief) {
        reply.n_quotas = op->quotas_count;
        reply.quotas = quota_states(base->arena, op->quotas, op->quotas_count);
    }
    holdfast_v1_quota_service_commit_reply(inbound_call(base), &reply);
}

static bool decode(struct op_commit *op, const Holdfast__V1__CommitRequest *request)
{
    op->item.settle.kind = SETTLE_COMMIT;
    op->brief = request->brief;
    record_actual(op, request->n_actual, request->actual);
    valid_later(&op->op, FIELD("partial"), request->partial != NULL);
    valid_later(&op->op, FIELD("labels"), request->n_labels > 0);
    return inbound_job(&op->op, request->tenant, request->job_id, request->reservation_id,
                       &op->token, &op->job_id);
}

void rpc_commit(void *user, struct stub_call *call, const Holdfast__V1__CommitRequest *request)
{
    struct op_commit *op = stub_call_alloc(call, sizeof(*op));

    if (!inbound_begin(user, call, &op->op, commit_done))
        return;
    if (!decode(op, request)) {
        inbound_fail(&op->op);
        return;
    }
    inbound_hold(&op->op);
    op_commit_start(op, stub_call_worker(call));
}
