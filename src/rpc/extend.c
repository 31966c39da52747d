#include "rpc/handlers.h"

#include "base/check.h"
#include "quota/token.h"
#include "rpc/quota_state.h"
#include "rpc/inbound.h"
#include "rpc/timestamps.h"
#include "rpc/validate.h"

#include "holdfast/v1/quota_service.stub.h"

static void extend_done(struct op *base)
{
    struct op_extend *op = container_of(base, struct op_extend, op);
    struct arena *arena = base->arena;
    Holdfast__V1__ExtendResponse reply = HOLDFAST__V1__EXTEND_RESPONSE__INIT;
    struct token token;
    int64_t now_ms, left_ms;

    if (inbound_failed(base))
        return;
    token = (struct token){.tenant = base->tenant, .job_id = op->held_job_id, .hold = *op->hold};
    now_ms = inbound_now_ms(base);
    left_ms = op->hold->deadline_ms - now_ms;
    reply.reservation_id = token_issue(rpc_seal(inbound_rpc(base)), arena, &token);
    CHECK(reply.reservation_id);
    reply.expire_time = timestamp_of(arena, op->hold->deadline_ms);
    reply.remaining_ttl = duration_of(arena, left_ms > 0 ? left_ms : 0);
    reply.server_time = timestamp_of(arena, now_ms);
    reply.lifetime_end_time = timestamp_of(arena, op->lifetime_end_ms);
    reply.n_granted = op->hold->meters_count;
    reply.granted = amount_messages(arena, op->hold->meters, op->hold->meters_count);
    reply.n_quotas = op->quotas_count;
    reply.quotas = quota_states(arena, op->quotas, op->quotas_count);
    reply.attempt = attempt_text(arena, op->hold->attempt);
    reply.degraded = op->degraded;
    holdfast_v1_quota_service_extend_reply(inbound_call(base), &reply);
}

static bool decode(struct op_extend *op, const Holdfast__V1__ExtendRequest *request)
{
    struct op *base = &op->op;

    op->ttl_ms =
        valid_ttl(base, FIELD("ttl"), request->ttl, base->services->options.ttl_default_ms);
    valid_later(base, FIELD("raise_to"), request->n_raise_to > 0);
    return inbound_job(base, request->tenant, request->job_id, request->reservation_id, &op->token,
                       &op->job_id);
}

void rpc_extend(void *user, struct stub_call *call, const Holdfast__V1__ExtendRequest *request)
{
    struct op_extend *op = stub_call_alloc(call, sizeof(*op));

    if (!inbound_begin(user, call, &op->op, extend_done))
        return;
    if (!decode(op, request)) {
        inbound_fail(&op->op);
        return;
    }
    inbound_hold(&op->op);
    op_extend_start(op, stub_call_worker(call));
}
