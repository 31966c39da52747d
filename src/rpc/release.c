#include "rpc/handlers.h"

#include "base/check.h"
#include "base/log.h"
#include "quota/token.h"
#include "rpc/quota_state.h"
#include "rpc/inbound.h"
#include "rpc/validate.h"

#include "holdfast/v1/quota_service.stub.h"

enum { NOTE_BYTES_MAX = 256 };

static void release_done(struct op *base)
{
    struct op_commit *op = container_of(base, struct op_commit, op);
    const struct settle_item *item = &op->item.settle;
    Holdfast__V1__ReleaseResponse reply = HOLDFAST__V1__RELEASE_RESPONSE__INIT;

    if (inbound_failed(base))
        return;
    reply.state = HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_RELEASED;
    reply.replayed = item->replayed;
    if (item->subject && item->was_live && !item->replayed) {
        reply.n_freed = item->subject->meters_count;
        reply.freed =
            amount_messages(base->arena, item->subject->meters, item->subject->meters_count);
    }
    reply.attempt = attempt_text(base->arena, item->released);
    if (!op->brief) {
        reply.n_quotas = op->quotas_count;
        reply.quotas = quota_states(base->arena, op->quotas, op->quotas_count);
    }
    holdfast_v1_quota_service_release_reply(inbound_call(base), &reply);
}

static bool decode(struct op_commit *op, const Holdfast__V1__ReleaseRequest *request)
{
    struct slice note = valid_text(&op->op, FIELD("note"), request->note, NOTE_BYTES_MAX);

    op->item.settle.kind = SETTLE_RELEASE;
    op->brief = request->brief;
    if (!inbound_job(&op->op, request->tenant, request->job_id, request->reservation_id, &op->token,
                     &op->job_id))
        return false;
    if (note.len > 0)
        log_info("rpc", "release.note tenant=%s job_id=%s note=%s", LOG_SLICE(op->op.tenant),
                 LOG_SLICE(op->job_id), LOG_SLICE(note));
    return true;
}

void rpc_release(void *user, struct stub_call *call, const Holdfast__V1__ReleaseRequest *request)
{
    struct op_commit *op = stub_call_alloc(call, sizeof(*op));

    if (!inbound_begin(user, call, &op->op, release_done))
        return;
    if (!decode(op, request)) {
        inbound_fail(&op->op);
        return;
    }
    inbound_hold(&op->op);
    op_commit_start(op, stub_call_worker(call));
}
