#include "counter/kind.h"
#include "counter/totals.h"

bool write_reap(struct request *request, struct counter_call *call)
{
    struct counter_reap *reap = container_of(call, struct counter_reap, call);

    CHECK(reap->totals_count <= COUNTER_LIST_MAX && reap->jobs_count <= COUNTER_LIST_MAX);
    request_tenant_key(request, 't', reap->tenant_id);
    request_guard(request, &call->view);
    request_int(request, reap->now_ms);
    request_int(request, reap->tenant_id);
    request_int(request, reap->reaped_to_ms);
    request_count(request, reap->totals_count);
    request_count(request, reap->jobs_count);
    for (size_t i = 0; i < reap->totals_count; i++) {
        CHECK(reap->totals[i].tenant_id == reap->tenant_id);
        write_totals(request, &reap->totals[i]);
    }
    for (size_t i = 0; i < reap->jobs_count; i++) {
        CHECK(reap->jobs[i].tenant_id == reap->tenant_id);
        request_job(request, reap->tenant_id, reap->jobs[i].job_id);
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
    if (due->tenant_id)
        request_tenant_key(request, 't', due->tenant_id);
    request_guard(request, &call->view);
    request_int(request, due->now_ms);
    request_count(request, due->max);
    request_int(request, due->tenant_id);
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
        due->holds[i].job_id = reply_job(reply);
        if (due->keep_packed)
            due->holds[i].packed = reply_peek_text(reply);
        due->holds[i].entry = reply_hold(reply);
    }
}

bool write_discard(struct request *request, struct counter_call *call)
{
    struct counter_discard *discard = container_of(call, struct counter_discard, call);

    CHECK(discard->holds_count > 0 && discard->holds_count <= COUNTER_LIST_MAX);
    request_tenant_key(request, 't', discard->tenant_id);
    request_tenant_key(request, 'c', discard->tenant_id);
    request_guard(request, &call->view);
    request_int(request, discard->tenant_id);
    for (size_t i = 0; i < discard->holds_count; i++) {
        request_job(request, discard->tenant_id, discard->holds[i].job_id);
        request_text(request, discard->holds[i].packed);
    }
    return true;
}

void read_discard(struct reply *reply, struct counter_call *call)
{
    struct counter_discard *discard = container_of(call, struct counter_discard, call);

    discard->discarded_count = (size_t)reply_code(reply, COUNTER_LIST_MAX);
    discard->quotas_count = (size_t)reply_code(reply, INT32_MAX);
}
