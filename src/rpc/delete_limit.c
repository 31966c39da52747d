#include "rpc/handlers.h"

#include "base/check.h"
#include "op/admin.h"
#include "rpc/admin.h"
#include "rpc/auth.h"
#include "rpc/inbound.h"

#include "holdfast/v1/admin_service.stub.h"

static void delete_limit_done(struct op *base)
{
    struct op_limit *op = container_of(base, struct op_limit, op);
    Holdfast__V1__DeleteLimitResponse reply = HOLDFAST__V1__DELETE_LIMIT_RESPONSE__INIT;

    if (inbound_failed(base))
        return;
    reply.limit = limit_message(base->arena, &op->limit);
    holdfast_v1_admin_service_delete_limit_reply(inbound_call(base), &reply);
}

void rpc_delete_limit(void *user, struct stub_call *call,
                      const Holdfast__V1__DeleteLimitRequest *request)
{
    struct op_limit *op = stub_call_alloc(call, sizeof(*op));
    struct op *base = &op->op;

    if (!inbound_begin(user, call, base, delete_limit_done))
        return;
    op->limit.tenant = valid_name(base, FIELD("tenant"), request->tenant, true);
    op->limit.limit_name = valid_name(base, FIELD("limit_id"), request->limit_id, true);
    op->note = admin_note(base, request->note);
    op->validate_only = request->validate_only;
    op->etag = admin_etag(base, FIELD("etag"), request->etag);
    if (!valid(base) || !auth_tenant(base, call, op->limit.tenant)) {
        inbound_fail(base);
        return;
    }
    inbound_hold(base);
    op_limit_delete_start(op);
}
