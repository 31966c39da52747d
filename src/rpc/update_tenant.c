#include "rpc/handlers.h"

#include "base/check.h"
#include "op/admin.h"
#include "rpc/admin.h"
#include "rpc/auth.h"
#include "rpc/inbound.h"

#include "holdfast/v1/admin_service.stub.h"

static void update_tenant_done(struct op *base)
{
    struct op_tenant *op = container_of(base, struct op_tenant, op);
    Holdfast__V1__UpdateTenantResponse reply = HOLDFAST__V1__UPDATE_TENANT_RESPONSE__INIT;

    if (inbound_failed(base))
        return;
    reply.tenant = tenant_message(base->arena, &op->tenant);
    holdfast_v1_admin_service_update_tenant_reply(inbound_call(base), &reply);
}

void rpc_update_tenant(void *user, struct stub_call *call,
                       const Holdfast__V1__UpdateTenantRequest *request)
{
    struct op_tenant *op = stub_call_alloc(call, sizeof(*op));

    if (!inbound_begin(user, call, &op->op, update_tenant_done))
        return;
    op->tenant = tenant_decode(&op->op, request->tenant);
    op->note = admin_note(&op->op, request->note);
    op->validate_only = request->validate_only;
    if (request->tenant)
        op->etag = admin_etag(&op->op, FIELD_IN("tenant", "etag"), request->tenant->etag);
    if (!valid(&op->op) || !auth_tenant(&op->op, call, op->tenant.tenant)) {
        inbound_fail(&op->op);
        return;
    }
    inbound_hold(&op->op);
    op_tenant_update_start(op);
}
