#include "rpc/handlers.h"

#include "base/check.h"
#include "op/admin.h"
#include "rpc/admin.h"
#include "rpc/auth.h"
#include "rpc/inbound.h"

#include "holdfast/v1/admin_service.stub.h"

static void create_tenant_done(struct op *base)
{
    struct op_tenant *op = container_of(base, struct op_tenant, op);
    Holdfast__V1__CreateTenantResponse reply = HOLDFAST__V1__CREATE_TENANT_RESPONSE__INIT;

    if (inbound_failed(base))
        return;
    reply.tenant = tenant_message(base->arena, &op->tenant);
    holdfast_v1_admin_service_create_tenant_reply(inbound_call(base), &reply);
}

void rpc_create_tenant(void *user, struct stub_call *call,
                       const Holdfast__V1__CreateTenantRequest *request)
{
    struct op_tenant *op = stub_call_alloc(call, sizeof(*op));

    if (!inbound_begin(user, call, &op->op, create_tenant_done))
        return;
    op->tenant = tenant_decode(&op->op, request->tenant);
    op->note = admin_note(&op->op, request->note);
    op->validate_only = request->validate_only;
    if (!valid(&op->op) || !auth_tenant(&op->op, call, op->tenant.tenant)) {
        inbound_fail(&op->op);
        return;
    }
    inbound_hold(&op->op);
    op_tenant_create_start(op);
}
