#include "rpc/handlers.h"

#include "base/check.h"
#include "op/admin.h"
#include "rpc/admin.h"
#include "rpc/auth.h"
#include "rpc/page.h"
#include "rpc/inbound.h"

#include "holdfast/v1/admin_service.stub.h"

static struct page_list list_of(struct slice tenant)
{
    return (struct page_list){"limits", {tenant}};
}

static void list_limits_done(struct op *base)
{
    struct op_limits *op = container_of(base, struct op_limits, op);
    Holdfast__V1__ListLimitsResponse reply = HOLDFAST__V1__LIST_LIMITS_RESPONSE__INIT;
    struct page_list list = list_of(base->tenant);

    if (inbound_failed(base))
        return;
    reply.limits = arena_array(base->arena, op->limits_count, sizeof(Holdfast__V1__Limit *));
    CHECK(reply.limits);
    for (size_t i = 0; i < op->limits_count; i++)
        reply.limits[i] = limit_message(base->arena, &op->limits[i]);
    reply.n_limits = PAGE_FIT(reply.limits, op->limits_count);
    if (reply.n_limits < op->limits_count)
        reply.next_page_token =
            page_token(base->arena, &list,
                       &(struct page){.name = op->limits[reply.n_limits - 1].limit_name});
    else if (op->more)
        reply.next_page_token =
            page_token(base->arena, &list, &(struct page){.name = op->next_after});
    holdfast_v1_admin_service_list_limits_reply(inbound_call(base), &reply);
}

void rpc_list_limits(void *user, struct stub_call *call,
                     const Holdfast__V1__ListLimitsRequest *request)
{
    struct op_limits *op = stub_call_alloc(call, sizeof(*op));
    struct op *base = &op->op;
    struct page_list list;
    struct slice tenant;

    if (!inbound_begin(user, call, base, list_limits_done))
        return;
    tenant = valid_name(base, FIELD("tenant"), request->tenant, true);
    op->max = valid_page_size(base, request->page_size);
    list = list_of(tenant);
    op->after = page_decode(base, &list, request->page_token).name;
    if (!valid(base) || !auth_tenant(base, call, tenant)) {
        inbound_fail(base);
        return;
    }
    inbound_hold(base);
    op_limits_start(op);
}
