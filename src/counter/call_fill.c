#include "counter/kind.h"
#include "counter/totals.h"

/* t and c of the tenants so far. */
static void write_keys(struct request *request)
{
    size_t tenants = request_tenants_count(request);

    for (size_t i = 1; i <= tenants; i++) {
        request_tenant_key(request, 't', request_tenant_at(request, i));
        request_tenant_key(request, 'c', request_tenant_at(request, i));
    }
}

static void write_all(struct request *request, const struct counter_totals *totals, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        request_count(request, request_tenant(request, totals[i].tenant_id));
        write_totals(request, &totals[i]);
        request_int(request, totals[i].over);
    }
}

bool write_fill(struct request *request, struct counter_call *call)
{
    struct counter_fill *fill = container_of(call, struct counter_fill, call);

    CHECK(fill->totals_count <= COUNTER_LIST_MAX && fill->versions_count <= COUNTER_LIST_MAX);
    for (size_t i = 0; i < fill->totals_count; i++)
        request_tenant(request, fill->totals[i].tenant_id);
    for (size_t i = 0; i < fill->versions_count; i++)
        request_tenant(request, fill->versions[i].tenant_id);
    write_keys(request);
    request_guard(request, &call->view);
    request_count(request, fill->totals_count);
    request_count(request, fill->versions_count);
    request_int(request, fill->now_ms);
    write_all(request, fill->totals, fill->totals_count);
    for (size_t i = 0; i < fill->versions_count; i++) {
        request_count(request, request_tenant(request, fill->versions[i].tenant_id));
        request_int(request, fill->versions[i].config_version);
    }
    return true;
}

void read_fill(struct reply *reply, struct counter_call *call)
{
    struct counter_fill *fill = container_of(call, struct counter_fill, call);

    read_totals(reply, fill->totals, fill->totals_count);
}

bool write_recall(struct request *request, struct counter_call *call)
{
    struct counter_recall *recall = container_of(call, struct counter_recall, call);

    CHECK(recall->totals_count <= COUNTER_LIST_MAX);
    for (size_t i = 0; i < recall->totals_count; i++)
        request_tenant(request, recall->totals[i].tenant_id);
    write_keys(request);
    request_guard(request, &call->view);
    request_count(request, recall->totals_count);
    write_all(request, recall->totals, recall->totals_count);
    return true;
}

void read_recall(struct reply *reply, struct counter_call *call)
{
    struct counter_recall *recall = container_of(call, struct counter_recall, call);

    read_totals(reply, recall->totals, recall->totals_count);
}
