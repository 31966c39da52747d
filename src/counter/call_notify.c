#include "counter/kind.h"
#include "counter/totals.h"

static size_t count_jobs(const struct counter_notify *notify, int64_t tenant_id, bool committed)
{
    size_t count = 0;

    for (size_t i = 0; i < notify->jobs_count; i++)
        count += notify->jobs[i].tenant_id == tenant_id && notify->jobs[i].committed == committed;
    return count;
}

static void write_jobs(struct request *request, const struct counter_notify *notify,
                       int64_t tenant_id, bool committed)
{
    for (size_t i = 0; i < notify->jobs_count; i++)
        if (notify->jobs[i].tenant_id == tenant_id && notify->jobs[i].committed == committed)
            request_job(request, tenant_id, notify->jobs[i].job_id);
}

/* Each of the totals of one tenant, in order. */
static struct counter_totals *next_totals(const struct counter_notify *notify, int64_t tenant_id,
                                          size_t *at)
{
    for (size_t i = *at; i < notify->totals_count; i++)
        if (notify->totals[i].tenant_id == tenant_id) {
            *at = i + 1;
            return &notify->totals[i];
        }
    return NULL;
}

static size_t count_totals(const struct counter_notify *notify, int64_t tenant_id)
{
    size_t count = 0, at = 0;

    while (next_totals(notify, tenant_id, &at))
        count++;
    return count;
}

static void write_tenant(struct request *request, const struct counter_notify *notify,
                         int64_t tenant_id)
{
    const struct counter_totals *totals;

    request_count(request, count_totals(notify, tenant_id));
    request_count(request, count_jobs(notify, tenant_id, true));
    request_count(request, count_jobs(notify, tenant_id, false));
    for (size_t at = 0; (totals = next_totals(notify, tenant_id, &at));)
        request_ref(request, totals->ref);
    request_text(request, SLICE("x"));
    write_jobs(request, notify, tenant_id, true);
    write_jobs(request, notify, tenant_id, false);
    for (size_t i = 0; i < notify->jobs_count; i++)
        if (notify->jobs[i].tenant_id == tenant_id && !notify->jobs[i].committed)
            request_attempt(request, notify->jobs[i].attempt);
    for (size_t at = 0; (totals = next_totals(notify, tenant_id, &at));)
        write_totals_numbers(request, totals);
    request_int(request, tenant_id);
}

static void list_tenants(struct request *request, const struct counter_notify *notify)
{
    for (size_t i = 0; i < notify->jobs_count; i++)
        request_tenant(request, notify->jobs[i].tenant_id);
    for (size_t i = 0; i < notify->totals_count; i++)
        request_tenant(request, notify->totals[i].tenant_id);
}

/* What is written tenant by tenant is answered so; the list ends with 0, which no tenant is. */
bool write_notify(struct request *request, struct counter_call *call)
{
    struct counter_notify *notify = container_of(call, struct counter_notify, call);
    int64_t *tenants = call->scratch;
    size_t count;

    CHECK(notify->totals_count <= COUNTER_LIST_MAX && notify->jobs_count <= COUNTER_LIST_MAX);
    list_tenants(request, notify);
    count = request_tenants_count(request);
    if (!tenants)
        call->scratch = tenants = arena_array(call->arena, count + 1, sizeof(*tenants));
    if (!tenants)
        return false;
    for (size_t i = 0; i < count; i++) {
        tenants[i] = request_tenant_at(request, i + 1);
        request_tenant_key(request, 't', tenants[i]);
    }
    request_guard(request, &call->view);
    request_views(request, call);
    request_int(request, notify->now_ms);
    request_count(request, count);
    for (size_t i = 0; i < count; i++)
        write_tenant(request, notify, tenants[i]);
    return true;
}

void read_notify(struct reply *reply, struct counter_call *call)
{
    struct counter_notify *notify = container_of(call, struct counter_notify, call);
    struct counter_totals *totals;

    read_below_zero(reply, call);
    for (const int64_t *tenant = call->scratch; *tenant != 0; tenant++)
        for (size_t at = 0; (totals = next_totals(notify, *tenant, &at)) && !reply->bad;)
            read_totals(reply, totals, 1);
}
