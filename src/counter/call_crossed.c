#include "counter/kind.h"

bool write_crossed(struct request *request, struct counter_call *call)
{
    struct counter_crossed *crossed = container_of(call, struct counter_crossed, call);

    CHECK(crossed->max > 0 && crossed->max <= COUNTER_LIST_MAX);
    request_guard(request, &call->view);
    request_count(request, crossed->max);
    request_cursor(request, crossed->cursor);
    request_text(request, slice_from_cstr(crossed->after));
    return true;
}

void read_crossed(struct reply *reply, struct counter_call *call)
{
    enum { ELEMENTS = 4 };
    struct counter_crossed *crossed = container_of(call, struct counter_crossed, call);

    reply_cursor(reply, crossed->cursor);
    reply_chars(reply, crossed->after, COUNTER_FIELD_CHARS);
    crossed->quotas_count = reply_left(reply) / ELEMENTS;
    crossed->quotas = reply_array(reply, crossed->quotas_count, sizeof(*crossed->quotas));
    for (size_t i = 0; i < crossed->quotas_count && !reply->bad; i++) {
        struct counter_crossed_quota *quota = &crossed->quotas[i];

        quota->tenant_id = reply_int(reply);
        quota->shard = reply_code(reply, SHARDS - 1);
        quota->ref = reply_ref(reply);
        quota->reached = reply_array(reply, REACHED_MAX, sizeof(*quota->reached));
        quota->reached_count = reply->bad ? 0 : reply_reached(reply, quota->reached);
    }
}

bool write_told(struct request *request, struct counter_call *call)
{
    struct counter_told *told = container_of(call, struct counter_told, call);

    CHECK(told->quotas_count <= COUNTER_LIST_MAX);
    for (size_t i = 0; i < told->quotas_count; i++)
        request_tenant(request, told->quotas[i].tenant_id);
    for (size_t i = 1; i <= request_tenants_count(request); i++)
        request_tenant_key(request, 't', request_tenant_at(request, i));
    request_guard(request, &call->view);
    for (size_t i = 0; i < told->quotas_count; i++) {
        const struct counter_told_quota *quota = &told->quotas[i];

        request_count(request, request_tenant(request, quota->tenant_id));
        request_ref(request, quota->ref);
        request_tenant_ref(request, quota->tenant_id, quota->ref);
        request_int(request, quota->last.lease_id);
        request_int(request, quota->last.n);
    }
    return true;
}

void read_told(struct reply *reply, struct counter_call *call)
{
    (void)reply;
    (void)call;
}
