#include "counter/final.h"
#include "counter/kind.h"
#include "counter/totals.h"

bool write_reap(struct request *request, struct counter_call *call)
{
    struct counter_reap *reap = container_of(call, struct counter_reap, call);

    CHECK(reap->totals_count <= COUNTER_LIST_MAX && reap->jobs_count <= COUNTER_LIST_MAX);
    request_key(request, "x");
    request_key(request, "h:%" PRId64, reap->tenant_id);
    request_key(request, "x:%" PRId64, reap->tenant_id);
    request_final_key(request, reap->tenant_id, reap->now_ms, 0);
    for (size_t i = 0; i < reap->totals_count; i++) {
        CHECK(reap->totals[i].tenant_id == reap->tenant_id);
        request_quota_key(request, reap->tenant_id, reap->totals[i].ref);
    }
    request_guard(request, &call->view);
    request_int(request, reap->tenant_id);
    request_int(request, reap->reaped_to_ms);
    request_count(request, reap->totals_count);
    request_count(request, reap->jobs_count);
    for (size_t i = 0; i < reap->totals_count; i++)
        write_totals(request, &reap->totals[i]);
    for (size_t i = 0; i < reap->jobs_count; i++) {
        CHECK(reap->jobs[i].tenant_id == reap->tenant_id);
        request_text(request, reap->jobs[i].job_id);
        request_attempt(request, reap->jobs[i].attempt);
        request_int(request, reap->jobs[i].committed);
    }
    return true;
}

void read_reap(struct reply *reply, struct counter_call *call)
{
    struct counter_reap *reap = container_of(call, struct counter_reap, call);

    reap->removed_count = (size_t)reply_code(reply, COUNTER_LIST_MAX);
    read_below_zero(reply, call);
    read_totals(reply, reap->totals, reap->totals_count);
}

bool write_due(struct request *request, struct counter_call *call)
{
    struct counter_due *due = container_of(call, struct counter_due, call);

    CHECK(due->max > 0 && due->max <= COUNTER_LIST_MAX);
    if (due->tenant_id) {
        request_key(request, "x:%" PRId64, due->tenant_id);
        request_key(request, "h:%" PRId64, due->tenant_id);
    } else {
        request_key(request, "x");
    }
    request_guard(request, &call->view);
    request_int(request, due->now_ms);
    request_count(request, due->max);
    request_text(request, due->tenant_id ? SLICE("holds") : SLICE("tenants"));
    return true;
}

void read_due(struct reply *reply, struct counter_call *call)
{
    struct counter_due *due = container_of(call, struct counter_due, call);
    size_t left = reply_left(reply);

    due->tenants_count = due->tenant_id ? 0 : left;
    due->holds_count = due->tenant_id ? left / 2 : 0;
    due->tenants = reply_array(reply, due->tenants_count, sizeof(*due->tenants));
    due->holds = reply_array(reply, due->holds_count, sizeof(*due->holds));
    for (size_t i = 0; i < due->tenants_count && !reply->bad; i++)
        due->tenants[i] = reply_int(reply);
    for (size_t i = 0; i < due->holds_count && !reply->bad; i++) {
        due->holds[i].job_id = reply_text(reply);
        due->holds[i].entry = reply_text(reply);
    }
}
