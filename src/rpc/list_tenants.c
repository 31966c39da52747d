#include "rpc/handlers.h"

#include "base/check.h"
#include "op/admin.h"
#include "rpc/admin.h"
#include "rpc/page.h"
#include "rpc/inbound.h"

#include "holdfast/v1/admin_service.stub.h"

static struct page_list list_of(const struct op_tenants *op)
{
    return (struct page_list){"tenants", {op->prefix}};
}

static void list_tenants_done(struct op *base)
{
    struct op_tenants *op = container_of(base, struct op_tenants, op);
    Holdfast__V1__ListTenantsResponse reply = HOLDFAST__V1__LIST_TENANTS_RESPONSE__INIT;
    struct page_list list = list_of(op);

    if (inbound_failed(base))
        return;
    reply.tenants = arena_array(base->arena, op->tenants_count, sizeof(Holdfast__V1__Tenant *));
    CHECK(reply.tenants);
    for (size_t i = 0; i < op->tenants_count; i++)
        reply.tenants[i] = tenant_message(base->arena, &op->tenants[i]);
    reply.n_tenants = PAGE_FIT(reply.tenants, op->tenants_count);
    if (op->more || reply.n_tenants < op->tenants_count)
        reply.next_page_token =
            page_token(base->arena, &list,
                       &(struct page){.name = op->tenants[reply.n_tenants - 1].tenant});
    holdfast_v1_admin_service_list_tenants_reply(inbound_call(base), &reply);
}

void rpc_list_tenants(void *user, struct stub_call *call,
                      const Holdfast__V1__ListTenantsRequest *request)
{
    struct op_tenants *op = stub_call_alloc(call, sizeof(*op));
    struct page_list list;

    if (!inbound_begin(user, call, &op->op, list_tenants_done))
        return;
    op->prefix = valid_name(&op->op, FIELD("prefix"), request->prefix, false);
    op->max = valid_page_size(&op->op, request->page_size);
    list = list_of(op);
    op->after = page_decode(&op->op, &list, request->page_token).name;
    if (!valid(&op->op)) {
        inbound_fail(&op->op);
        return;
    }
    inbound_hold(&op->op);
    op_tenants_start(op);
}
