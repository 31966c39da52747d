#include "counter/final.h"
#include "counter/kind.h"
#include "counter/totals.h"

static void write_keys(struct request *request, const struct counter_settle *settle)
{
    size_t tenants = request_tenants_count(request);

    for (size_t i = 1; i <= tenants; i++) {
        int64_t tenant_id = request_tenant_at(request, i);

        request_key(request, "h:%" PRId64, tenant_id);
        request_key(request, "x:%" PRId64, tenant_id);
        request_final_key(request, tenant_id, settle->now_ms, 0);
    }
    for (size_t i = 0; i < settle->totals_count; i++)
        request_quota_key(request, settle->totals[i].tenant_id, settle->totals[i].ref);
}

static size_t count_jobs(const struct counter_settle *settle, int64_t tenant_id, bool committed)
{
    size_t count = 0;

    for (size_t i = 0; i < settle->jobs_count; i++)
        count += settle->jobs[i].tenant_id == tenant_id && settle->jobs[i].committed == committed;
    return count;
}

static void write_jobs(struct request *request, const struct counter_settle *settle,
                       int64_t tenant_id, bool committed)
{
    for (size_t i = 0; i < settle->jobs_count; i++)
        if (settle->jobs[i].tenant_id == tenant_id && settle->jobs[i].committed == committed)
            request_text(request, settle->jobs[i].job_id);
}

static void write_tenant(struct request *request, const struct counter_settle *settle,
                         int64_t tenant_id)
{
    request_int(request, tenant_id);
    request_count(request, count_jobs(settle, tenant_id, true));
    request_count(request, count_jobs(settle, tenant_id, false));
    write_jobs(request, settle, tenant_id, true);
    write_jobs(request, settle, tenant_id, false);
    for (size_t i = 0; i < settle->jobs_count; i++)
        if (settle->jobs[i].tenant_id == tenant_id && !settle->jobs[i].committed)
            request_attempt(request, settle->jobs[i].attempt);
}

bool write_settle(struct request *request, struct counter_call *call)
{
    struct counter_settle *settle = container_of(call, struct counter_settle, call);

    CHECK(settle->totals_count <= COUNTER_LIST_MAX && settle->jobs_count <= COUNTER_LIST_MAX);
    for (size_t i = 0; i < settle->jobs_count; i++)
        request_tenant(request, settle->jobs[i].tenant_id);
    write_keys(request, settle);
    request_guard(request, &call->view);
    request_count(request, request_tenants_count(request));
    request_count(request, settle->totals_count);
    for (size_t i = 0; i < settle->totals_count; i++)
        write_totals(request, &settle->totals[i]);
    for (size_t i = 1; i <= request_tenants_count(request); i++)
        write_tenant(request, settle, request_tenant_at(request, i));
    return true;
}

void read_settle(struct reply *reply, struct counter_call *call)
{
    struct counter_settle *settle = container_of(call, struct counter_settle, call);

    read_below_zero(reply, call);
    read_totals(reply, settle->totals, settle->totals_count);
}
