#include "rpc/handlers.h"

#include "base/check.h"
#include "op/queries.h"
#include "rpc/auth.h"
#include "rpc/page.h"
#include "rpc/quota_state.h"
#include "rpc/inbound.h"
#include "rpc/timestamps.h"
#include "rpc/validate.h"

#include "holdfast/v1/quota_service.stub.h"

static struct page_list list_of(const struct op_usage *op, struct slice tenant)
{
    const struct slice below = op->include_descendants ? SLICE("below") : SLICE("");

    return (struct page_list){"usage", {tenant, op->scope, op->meter, below}};
}

static void get_usage_done(struct op *base)
{
    struct op_usage *op = container_of(base, struct op_usage, op);
    Holdfast__V1__GetUsageResponse reply = HOLDFAST__V1__GET_USAGE_RESPONSE__INIT;
    struct page_list list = list_of(op, base->tenant);

    if (inbound_failed(base))
        return;
    reply.quotas = quota_states(base->arena, op->quotas, op->quotas_count);
    reply.n_quotas = PAGE_FIT(reply.quotas, op->quotas_count);
    if (reply.n_quotas < op->quotas_count)
        reply.next_page_token =
            page_token(base->arena, &list,
                       &(struct page){.name = op->quotas[reply.n_quotas - 1].limit_name});
    else if (op->more)
        reply.next_page_token = page_token(base->arena, &list, &(struct page){.name = op->last});
    reply.server_time = timestamp_of(base->arena, inbound_now_ms(base));
    reply.degraded = op->degraded;
    reply.event_seq = op->event_seq;
    holdfast_v1_quota_service_get_usage_reply(inbound_call(base), &reply);
}

void rpc_get_usage(void *user, struct stub_call *call, const Holdfast__V1__GetUsageRequest *request)
{
    struct op_usage *op = stub_call_alloc(call, sizeof(*op));
    struct op *base = &op->op;
    struct page_list list;
    struct slice tenant;

    if (!inbound_begin(user, call, base, get_usage_done))
        return;
    tenant = valid_name(base, FIELD("tenant"), request->tenant, true);
    op->scope = valid_scope(base, FIELD("scope"), request->scope);
    op->meter = valid_name(base, FIELD("meter"), request->meter, false);
    op->include_descendants = request->include_descendants;
    op->max = valid_page_size(base, request->page_size);
    list = list_of(op, tenant);
    op->after = page_decode(base, &list, request->page_token).name;
    if (!valid(base) || !auth_tenant(base, call, tenant)) {
        inbound_fail(base);
        return;
    }
    inbound_hold(base);
    op_usage_start(op);
}
