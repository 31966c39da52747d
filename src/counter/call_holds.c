#include "counter/kind.h"

#include "counter/packed.h"

bool write_lookup(struct request *request, struct counter_call *call)
{
    struct counter_lookup *lookup = container_of(call, struct counter_lookup, call);

    CHECK(lookup->jobs_count > 0 && lookup->jobs_count <= COUNTER_LIST_MAX);
    request_tenant_key(request, 't', lookup->tenant_id);
    request_tenant_key(request, 'c', lookup->tenant_id);
    request_guard(request, &call->view);
    for (size_t i = 0; i < lookup->jobs_count; i++)
        request_job(request, lookup->tenant_id, lookup->jobs[i]);
    return true;
}

void read_lookup(struct reply *reply, struct counter_call *call)
{
    struct counter_lookup *lookup = container_of(call, struct counter_lookup, call);

    lookup->entries = reply_array(reply, lookup->jobs_count, sizeof(*lookup->entries));
    lookup->lost = reply_array(reply, lookup->jobs_count, sizeof(*lookup->lost));
    for (size_t i = 0; i < lookup->jobs_count && !reply->bad; i++) {
        lookup->entries[i] = reply_hold(reply);
        lookup->lost[i] = reply_code(reply, 1) == 1;
    }
}

bool write_extend(struct request *request, struct counter_call *call)
{
    struct counter_extend *extend = container_of(call, struct counter_extend, call);
    bool any = extend->attempt.epoch == 0 && extend->attempt.seq == 0;
    char *kept = extend->kept ? packed_hold_quotas(call->arena, extend->kept) : NULL;

    if (extend->kept && !kept)
        return false;
    request_tenant_key(request, 't', extend->tenant_id);
    request_guard(request, &call->view);
    request_int(request, extend->now_ms);
    request_int(request, extend->tenant_id);
    request_job(request, extend->tenant_id, extend->job_id);
    if (any)
        request_text(request, SLICE(""));
    else
        request_attempt(request, extend->attempt);
    request_int(request, extend->deadline_ms);
    request_int(request, extend->lifetime_ms);
    request_text(request, kept ? slice_from_cstr(kept) : SLICE(""));
    return true;
}

void read_extend(struct reply *reply, struct counter_call *call)
{
    struct counter_extend *extend = container_of(call, struct counter_extend, call);

    extend->answer = (enum counter_extended)reply_code(reply, EXTENDED_OLD_LEASE);
    extend->entry = reply_hold(reply);
}

bool write_retake(struct request *request, struct counter_call *call)
{
    struct counter_retake *retake = container_of(call, struct counter_retake, call);
    const struct hold *hold = retake->hold;
    char *quotas = packed_hold_quotas(call->arena, hold);
    char *identity =
        hold_identity(call->arena, hold->scope, hold->mode, hold->meters, hold->meters_count);

    if (!quotas || !identity)
        return false;
    request_tenant_key(request, 't', retake->tenant_id);
    request_guard(request, &call->view);
    request_int(request, retake->now_ms);
    request_int(request, retake->tenant_id);
    request_job(request, retake->tenant_id, retake->job_id);
    request_int(request, hold->attempt.epoch);
    request_int(request, hold->attempt.seq);
    request_int(request, hold->deadline_ms);
    request_int(request, hold->created_ms);
    request_text(request, slice_from_cstr(quotas));
    request_text(request, slice_from_cstr(identity));
    request_int(request, retake->was_there ? 1 : 0);
    return true;
}

void read_retake(struct reply *reply, struct counter_call *call)
{
    struct counter_retake *retake = container_of(call, struct counter_retake, call);

    retake->answer = (enum counter_retaken)reply_code(reply, RETAKEN_SHORT);
    retake->entry = reply_hold(reply);
}

bool write_holds(struct request *request, struct counter_call *call)
{
    struct counter_holds *holds = container_of(call, struct counter_holds, call);

    CHECK(holds->max <= COUNTER_LIST_MAX);
    request_tenant_key(request, 't', holds->tenant_id);
    request_guard(request, &call->view);
    request_int(request, holds->now_ms);
    request_count(request, holds->max);
    request_int(request, holds->after_deadline_ms);
    request_text(request, holds->after_job_id);
    request_int(request, holds->tenant_id);
    return true;
}

void read_holds(struct reply *reply, struct counter_call *call)
{
    struct counter_holds *holds = container_of(call, struct counter_holds, call);

    holds->holds_total = reply_int(reply);
    holds->holds_due = reply_int(reply);
    holds->holds_count = reply_left(reply) / 2;
    holds->holds = reply_array(reply, holds->holds_count, sizeof(*holds->holds));
    for (size_t i = 0; i < holds->holds_count && !reply->bad; i++) {
        holds->holds[i].job_id = reply_job(reply);
        holds->holds[i].entry = reply_hold(reply);
    }
}
