#include "counter/kind.h"

bool write_read(struct request *request, struct counter_call *call)
{
    struct counter_read *read = container_of(call, struct counter_read, call);

    CHECK(read->refs_count <= COUNTER_LIST_MAX);
    request_tenant_key(request, 't', read->tenant_id);
    request_tenant_key(request, 'c', read->tenant_id);
    request_guard(request, &call->view);
    for (size_t i = 0; i < read->refs_count; i++)
        request_ref(request, read->refs[i]);
    return true;
}

void read_read(struct reply *reply, struct counter_call *call)
{
    struct counter_read *read = container_of(call, struct counter_read, call);

    read->states = reply_array(reply, read->refs_count, sizeof(*read->states));
    for (size_t i = 0; i < read->refs_count && !reply->bad; i++)
        reply_quota(reply, &read->states[i]);
}
