#include "counter/kind.h"
#include "counter/packed.h"

#include <string.h>

bool write_survey(struct request *request, struct counter_call *call)
{
    struct counter_survey *survey = container_of(call, struct counter_survey, call);

    CHECK(survey->max > 0 && survey->max <= COUNTER_LIST_MAX);
    CHECK(survey->quotas_max > 0 && survey->rests_count <= COUNTER_LIST_MAX);
    request_guard(request, &call->view);
    request_cursor(request, survey->cursor);
    request_count(request, survey->max);
    request_count(request, survey->quotas_max);
    request_count(request, survey->rests_count);
    for (size_t i = 0; i < survey->rests_count; i++) {
        request_int(request, survey->rests[i].tenant_id);
        request_cursor(request, survey->rests[i].cursor);
    }
    return true;
}

static void read_rests(struct reply *reply, struct counter_survey *survey)
{
    survey->rests_count = (size_t)reply_code(reply, INT32_MAX);
    if (survey->rests_count > reply_left(reply) / 2)
        reply->bad = true;
    if (reply->bad)
        return;
    survey->rests = reply_array(reply, survey->rests_count, sizeof(*survey->rests));
    for (size_t i = 0; i < survey->rests_count && !reply->bad; i++) {
        survey->rests[i].tenant_id = reply_int(reply);
        reply_cursor(reply, survey->rests[i].cursor);
    }
}

void read_survey(struct reply *reply, struct counter_call *call)
{
    struct counter_survey *survey = container_of(call, struct counter_survey, call);

    reply_cursor(reply, survey->cursor);
    read_rests(reply, survey);
    survey->quotas_count = reply_left(reply) / 3;
    survey->quotas = reply_array(reply, survey->quotas_count, sizeof(*survey->quotas));
    for (size_t i = 0; i < survey->quotas_count && !reply->bad; i++) {
        struct counter_surveyed *quota = &survey->quotas[i];

        quota->tenant_id = reply_int(reply);
        if (!packed_ref_read(reply_text(reply), &quota->ref))
            reply->bad = true;
        reply_quota(reply, &quota->now);
    }
    if (reply_left(reply) > 0)
        reply->bad = true;
}

bool write_check(struct request *request, struct counter_call *call)
{
    struct counter_check *check = container_of(call, struct counter_check, call);

    CHECK(check->max > 0 && check->max <= COUNTER_LIST_MAX);
    request_guard(request, &call->view);
    request_int(request, check->now_ms);
    request_cursor(request, check->cursor);
    request_count(request, check->max);
    return true;
}

static void read_finding(struct reply *reply, struct counter_finding *finding)
{
    finding->kind = (enum counter_finding_kind)reply_code(reply, FINDING_UNREADABLE);
    finding->tenant_id = reply_int(reply);
    finding->quotas_count = (size_t)reply_code(reply, COUNTER_LIST_MAX);
    finding->quotas = reply_array(reply, finding->quotas_count, sizeof(*finding->quotas));
    for (size_t i = 0; i < finding->quotas_count && !reply->bad; i++) {
        struct slice name = reply_text(reply);

        finding->quotas[i].lease_id = reply_int(reply);
        if (!packed_ref_read(name, &finding->quotas[i].ref))
            reply->bad = true;
    }
    if (finding->kind < FINDING_LOST)
        reply->bad = true;
}

void read_check(struct reply *reply, struct counter_call *call)
{
    struct counter_check *check = container_of(call, struct counter_check, call);
    size_t findings_max;

    reply_cursor(reply, check->cursor);
    check->whole = reply_code(reply, 1) == 1;
    check->tenants_count = (size_t)reply_code(reply, INT32_MAX);
    check->findings_count = 0;
    findings_max = reply_left(reply) / 3; /* each has three elements at least */
    check->findings = reply_array(reply, findings_max, sizeof(*check->findings));
    while (!reply->bad && reply_left(reply) > 0 && check->findings_count < findings_max)
        read_finding(reply, &check->findings[check->findings_count++]);
}

bool write_rebuild(struct request *request, struct counter_call *call)
{
    struct counter_rebuild *rebuild = container_of(call, struct counter_rebuild, call);

    CHECK(rebuild->max > 0 && rebuild->max <= COUNTER_LIST_MAX);
    request_tenant_key(request, 't', rebuild->tenant_id);
    request_tenant_key(request, 'c', rebuild->tenant_id);
    request_guard(request, &call->view);
    request_int(request, rebuild->tenant_id);
    request_cursor(request, rebuild->cursor);
    request_count(request, rebuild->max);
    return true;
}

void read_rebuild(struct reply *reply, struct counter_call *call)
{
    reply_cursor(reply, container_of(call, struct counter_rebuild, call)->cursor);
}

bool write_register(struct request *request, struct counter_call *call)
{
    struct counter_register *list = container_of(call, struct counter_register, call);

    CHECK(list->tenants_count <= COUNTER_LIST_MAX);
    request_guard(request, &call->view);
    request_int(request, list->last);
    for (size_t i = 0; i < list->tenants_count; i++)
        request_int(request, list->tenants[i]);
    return true;
}

void read_register(struct reply *reply, struct counter_call *call)
{
    container_of(call, struct counter_register, call)->missing =
        (size_t)reply_code(reply, COUNTER_LIST_MAX);
}

bool write_forget(struct request *request, struct counter_call *call)
{
    struct counter_forget *forget = container_of(call, struct counter_forget, call);

    CHECK(forget->quotas_count <= COUNTER_LIST_MAX);
    request_tenant_key(request, 't', forget->tenant_id);
    request_tenant_key(request, 'c', forget->tenant_id);
    request_guard(request, &call->view);
    for (size_t i = 0; i < forget->quotas_count; i++) {
        request_ref(request, forget->quotas[i].ref);
        request_int(request, forget->quotas[i].lease_id);
    }
    return true;
}

void read_forget(struct reply *reply, struct counter_call *call)
{
    (void)reply_code(reply, COUNTER_LIST_MAX);
    (void)call;
}

bool write_clean(struct request *request, struct counter_call *call)
{
    struct counter_clean *clean = container_of(call, struct counter_clean, call);

    CHECK(clean->tenants_count <= COUNTER_LIST_MAX);
    for (size_t i = 0; i < clean->tenants_count; i++) {
        request_tenant_key(request, 't', clean->tenants[i]);
        request_tenant_key(request, 'c', clean->tenants[i]);
    }
    request_guard(request, &call->view);
    for (size_t i = 0; i < clean->tenants_count; i++)
        request_int(request, clean->tenants[i]);
    return true;
}

void read_clean(struct reply *reply, struct counter_call *call)
{
    container_of(call, struct counter_clean, call)->removed = (size_t)reply_code(reply, INT32_MAX);
}
