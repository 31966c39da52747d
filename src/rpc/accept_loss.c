#include "rpc/handlers.h"

#include "base/amount.h"
#include "base/check.h"
#include "op/admin.h"
#include "rpc/admin.h"
#include "rpc/auth.h"
#include "rpc/inbound.h"
#include "rpc/quota_state.h"
#include "rpc/timestamps.h"

#include "holdfast/v1/admin_service.stub.h"

static Holdfast__V1__Loss *loss_message(struct arena *arena, const struct ledger_loss *loss)
{
    Holdfast__V1__Loss *message = arena_alloc(arena, sizeof(*message));

    CHECK(message);
    holdfast__v1__loss__init(message);
    message->limit_id = text_copy(arena, loss->limit_name);
    if (loss->loss.ref.period_start_ms > 0)
        message->period_start = timestamp_of(arena, loss->loss.ref.period_start_ms);
    message->units = loss->loss.units;
    message->entries = amount_max(loss->loss.seen_seq - loss->loss.seq, 0);
    message->committed = loss->amount;
    message->debt = loss->debt;
    message->job_id = text_copy(arena, loss->job_id);
    return message;
}

static void accept_loss_done(struct op *base)
{
    struct op_accept *op = container_of(base, struct op_accept, op);
    Holdfast__V1__AcceptLossResponse reply = HOLDFAST__V1__ACCEPT_LOSS_RESPONSE__INIT;

    if (inbound_failed(base))
        return;
    reply.losses = arena_array(base->arena, op->losses_count + 1, sizeof(Holdfast__V1__Loss *));
    CHECK(reply.losses);
    for (size_t i = 0; i < op->losses_count; i++)
        reply.losses[reply.n_losses++] = loss_message(base->arena, &op->losses[i]);
    holdfast_v1_admin_service_accept_loss_reply(inbound_call(base), &reply);
}

void rpc_accept_loss(void *user, struct stub_call *call,
                     const Holdfast__V1__AcceptLossRequest *request)
{
    struct op_accept *op = stub_call_alloc(call, sizeof(*op));
    struct op *base = &op->op;

    if (!inbound_begin(user, call, base, accept_loss_done))
        return;
    base->tenant = valid_name(base, FIELD("tenant"), request->tenant, true);
    op->note = admin_note(base, request->note);
    op->validate_only = request->validate_only;
    if (!valid(base) || !auth_tenant(base, call, base->tenant)) {
        inbound_fail(base);
        return;
    }
    inbound_hold(base);
    op_accept_start(op);
}
