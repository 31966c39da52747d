#include "rpc/handlers.h"

#include "base/check.h"
#include "quota/token.h"
#include "rpc/auth.h"
#include "rpc/quota_state.h"
#include "rpc/inbound.h"
#include "rpc/timestamps.h"
#include "rpc/validate.h"

#include "holdfast/v1/quota_service.stub.h"

struct reserve_call {
    struct op_reserve op;
    bool brief;
};

static void encode_hold(const struct op_reserve *op, Holdfast__V1__ReserveResponse *reply)
{
    struct arena *arena = op->op.arena;
    int64_t now_ms = inbound_now_ms(&op->op);
    int64_t left_ms = op->hold->deadline_ms - now_ms;
    struct token token = {.tenant = op->op.tenant, .job_id = op->job_id, .hold = *op->hold};

    reply->reservation_id = token_issue(rpc_seal(inbound_rpc(&op->op)), arena, &token);
    CHECK(reply->reservation_id);
    reply->attempt = attempt_text(arena, op->hold->attempt);
    reply->state = HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_HELD;
    reply->n_granted = op->hold->meters_count;
    reply->granted = amount_messages(arena, op->hold->meters, op->hold->meters_count);
    reply->expire_time = timestamp_of(arena, op->hold->deadline_ms);
    reply->remaining_ttl = duration_of(arena, left_ms > 0 ? left_ms : 0);
}

static void encode(const struct reserve_call *call, Holdfast__V1__ReserveResponse *reply)
{
    const struct op_reserve *op = &call->op;
    struct arena *arena = op->op.arena;

    reply->decision = (Holdfast__V1__Decision)op->decision;
    reply->n_reasons = op->reasons_count;
    reply->reasons = reason_messages(arena, op->reasons, op->reasons_count);
    reply->replayed = op->replayed;
    reply->degraded = op->degraded;
    reply->uncounted = op->uncounted;
    reply->server_time = timestamp_of(arena, inbound_now_ms(&op->op));
    reply->retry_after = duration_or_unset(arena, op->retry_after_ms);
    if (op->hold && op->decision != DECISION_REJECT)
        encode_hold(op, reply);
    if (op->decision == DECISION_ALREADY_COMMITTED) {
        reply->state = HOLDFAST__V1__RESERVATION_STATE__RESERVATION_STATE_COMMITTED;
        reply->n_committed = op->record->entries_count;
        reply->committed = committed_messages(arena, op->record);
    }
    if (!(call->brief && op->decision == DECISION_ALLOW)) {
        reply->n_quotas = op->quotas_count;
        reply->quotas = quota_states(arena, op->quotas, op->quotas_count);
    }
}

static void reserve_done(struct op *base)
{
    struct op_reserve *op = container_of(base, struct op_reserve, op);
    Holdfast__V1__ReserveResponse reply = HOLDFAST__V1__RESERVE_RESPONSE__INIT;

    if (inbound_failed(base))
        return;
    encode(container_of(op, struct reserve_call, op), &reply);
    stub_call_add_initial_static(inbound_call(base), "holdfast-decision",
                                 decision_name(op->decision));
    holdfast_v1_quota_service_reserve_reply(inbound_call(base), &reply);
}

static bool decode(struct reserve_call *call, const Holdfast__V1__ReserveRequest *request)
{
    struct op_reserve *op = &call->op;
    struct op *base = &op->op;
    struct slice tenant = valid_name(base, FIELD("tenant"), request->tenant, true);
    struct valid_amounts amounts;

    op->scope = valid_scope(base, FIELD("scope"), request->scope);
    op->job_id = valid_job_id(base, FIELD("job_id"), request->job_id, true);
    amounts = valid_amounts(base, "amounts", request->n_amounts, request->amounts);
    op->meters_count = amounts.count;
    op->meters = amounts.meters;
    op->amounts_index = amounts.index;
    op->ttl_ms =
        valid_ttl(base, FIELD("ttl"), request->ttl, base->services->options.ttl_default_ms);
    (void)valid_enum(base, FIELD("priority"), &holdfast__v1__priority__descriptor,
                     (int)request->priority);
    op->deferrable = request->priority == HOLDFAST__V1__PRIORITY__PRIORITY_DEFERRABLE;
    op->mode = valid_only(base, FIELD("mode"), &holdfast__v1__reserve_mode__descriptor,
                          (int)request->mode, HOLDFAST__V1__RESERVE_MODE__RESERVE_MODE_NORMAL);
    valid_later(base, FIELD("min_amounts"), request->n_min_amounts > 0);
    valid_later(base, FIELD("labels"), request->n_labels > 0);
    call->brief = request->brief;
    return valid(base) && auth_tenant(base, inbound_call(base), tenant);
}

void rpc_reserve(void *user, struct stub_call *call, const Holdfast__V1__ReserveRequest *request)
{
    struct reserve_call *reserve = stub_call_alloc(call, sizeof(*reserve));

    if (!inbound_begin(user, call, &reserve->op.op, reserve_done))
        return;
    if (!decode(reserve, request)) {
        inbound_fail(&reserve->op.op);
        return;
    }
    inbound_hold(&reserve->op.op);
    op_reserve_start(&reserve->op, stub_call_worker(call));
}
