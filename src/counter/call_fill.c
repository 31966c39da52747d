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

static void write_one(struct request *request, const struct counter_totals *totals)
{
    request_count(request, request_tenant(request, totals->tenant_id));
    write_totals(request, totals);
    request_int(request, totals->over);
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
    for (size_t i = 0; i < fill->totals_count; i++)
        write_one(request, &fill->totals[i]);
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
    static const struct counter_spare all = {.how = RECALL_ALL};
    struct counter_recall *recall = container_of(call, struct counter_recall, call);

    CHECK(recall->totals_count <= COUNTER_LIST_MAX);
    for (size_t i = 0; i < recall->totals_count; i++)
        request_tenant(request, recall->totals[i].tenant_id);
    write_keys(request);
    request_guard(request, &call->view);
    request_count(request, recall->totals_count);
    request_int(request, recall->now_ms);
    request_int(request, recall->lease_min_ms);
    for (size_t i = 0; i < recall->totals_count; i++) {
        const struct counter_spare *spare = recall->spares ? &recall->spares[i] : &all;

        write_one(request, &recall->totals[i]);
        request_int(request, spare->how);
        request_int(request, spare->room);
    }
    return true;
}

void read_recall(struct reply *reply, struct counter_call *call)
{
    struct counter_recall *recall = container_of(call, struct counter_recall, call);

    for (size_t i = 0; i < recall->totals_count && !reply->bad; i++) {
        int64_t lowered_ms;

        recall->totals[i].took = (enum counter_took)reply_code(reply, TOTALS_ABSENT);
        lowered_ms = reply_int(reply);
        reply_quota(reply, &recall->totals[i].now);
        if (recall->spares)
            recall->spares[i].lowered_deadline_ms = lowered_ms;
    }
}
