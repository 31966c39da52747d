#include "counter/kind.h"

#include <inttypes.h>

bool write_lookup(struct request *request, struct counter_call *call)
{
    struct counter_lookup *lookup = container_of(call, struct counter_lookup, call);

    CHECK(lookup->jobs_count > 0 && lookup->jobs_count <= COUNTER_LIST_MAX);
    request_key(request, "h:%" PRId64, lookup->tenant_id);
    request_guard(request, &call->view);
    for (size_t i = 0; i < lookup->jobs_count; i++)
        request_text(request, lookup->jobs[i]);
    return true;
}

void read_lookup(struct reply *reply, struct counter_call *call)
{
    struct counter_lookup *lookup = container_of(call, struct counter_lookup, call);

    lookup->entries = reply_array(reply, lookup->jobs_count, sizeof(*lookup->entries));
    for (size_t i = 0; i < lookup->jobs_count && !reply->bad; i++)
        lookup->entries[i] = reply_text(reply);
}

bool write_extend(struct request *request, struct counter_call *call)
{
    struct counter_extend *extend = container_of(call, struct counter_extend, call);
    bool any = extend->attempt.epoch == 0 && extend->attempt.seq == 0;

    request_key(request, "h:%" PRId64, extend->tenant_id);
    request_key(request, "x:%" PRId64, extend->tenant_id);
    request_guard(request, &call->view);
    request_int(request, extend->now_ms);
    request_int(request, extend->tenant_id);
    request_text(request, extend->job_id);
    if (any)
        request_text(request, SLICE(""));
    else
        request_attempt(request, extend->attempt);
    request_int(request, extend->deadline_ms);
    request_int(request, extend->lifetime_ms);
    return true;
}

void read_extend(struct reply *reply, struct counter_call *call)
{
    struct counter_extend *extend = container_of(call, struct counter_extend, call);

    extend->answer = (enum counter_extended)reply_code(reply, EXTENDED_OLD_LEASE);
    extend->entry = reply_text(reply);
}

bool write_holds(struct request *request, struct counter_call *call)
{
    struct counter_holds *holds = container_of(call, struct counter_holds, call);

    CHECK(holds->max <= COUNTER_LIST_MAX);
    request_key(request, "h:%" PRId64, holds->tenant_id);
    request_key(request, "x:%" PRId64, holds->tenant_id);
    request_guard(request, &call->view);
    request_int(request, holds->now_ms);
    request_count(request, holds->max);
    request_int(request, holds->after_deadline_ms);
    request_text(request, holds->after_job_id);
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
        holds->holds[i].job_id = reply_text(reply);
        holds->holds[i].entry = reply_text(reply);
    }
}
