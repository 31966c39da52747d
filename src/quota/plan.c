#include "quota/plan.h"

#include "base/hash.h"

#include <stdatomic.h>
#include <stdlib.h>

/* The plan, its count of references, its limits and the bytes of all names are one allocation. */
struct plan_shared {
    struct plan plan;
    atomic_uint references;
    struct limit limits[];
};

static struct plan_shared *shared_of(struct plan *plan)
{
    return container_of(plan, struct plan_shared, plan);
}

static struct slice put_name(char **at, struct slice name)
{
    struct slice copy = slice_of(*at, name.len);

    if (name.len > 0)
        memcpy(*at, name.data, name.len);
    *at += name.len;
    return copy;
}

static int limit_compare(const void *a, const void *b)
{
    const struct limit *left = a;
    const struct limit *right = b;

    return (left->limit_id > right->limit_id) - (left->limit_id < right->limit_id);
}

struct plan *plan_create(const struct plan *from)
{
    size_t names_bytes = from->tenant.len;
    struct plan_shared *shared;
    char *names;

    for (size_t i = 0; i < from->limits_count; i++) {
        const struct limit *limit = &from->limits[i];

        names_bytes += limit->name.len + limit->scope.len + limit->meter.len;
    }
    shared = malloc(sizeof(*shared) + from->limits_count * sizeof(struct limit) + names_bytes);
    CHECK(shared);
    names = (char *)(shared->limits + from->limits_count);
    shared->plan = *from;
    shared->plan.tenant = put_name(&names, from->tenant);
    shared->plan.limits = shared->limits;
    atomic_init(&shared->references, 1);
    for (size_t i = 0; i < from->limits_count; i++) {
        struct limit *limit = &shared->limits[i];

        *limit = from->limits[i];
        limit->name = put_name(&names, limit->name);
        limit->scope = put_name(&names, limit->scope);
        limit->meter = put_name(&names, limit->meter);
    }
    qsort(shared->limits, from->limits_count, sizeof(struct limit), limit_compare);
    return &shared->plan;
}

struct plan *plan_ref(struct plan *plan)
{
    atomic_fetch_add_explicit(&shared_of(plan)->references, 1, memory_order_relaxed);
    return plan;
}

void plan_unref(struct plan *plan)
{
    if (!plan)
        return;
    if (atomic_fetch_sub_explicit(&shared_of(plan)->references, 1, memory_order_acq_rel) == 1)
        free(shared_of(plan));
}

int plan_shard(struct slice tenant)
{
    return (int)(hash_slice(tenant) % SHARDS);
}

const struct limit *plan_limit(const struct plan *plan, int64_t limit_id)
{
    size_t low = 0;
    size_t high = plan->limits_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (plan->limits[middle].limit_id < limit_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < plan->limits_count && plan->limits[low].limit_id == limit_id ? &plan->limits[low]
                                                                              : NULL;
}

/* True for the tenant itself, the scope, and each scope that it lies in. */
static bool covers(struct slice limit_scope, struct slice scope)
{
    if (limit_scope.len == 0)
        return true;
    return slice_starts_with(scope, limit_scope) &&
           (scope.len == limit_scope.len || scope.data[limit_scope.len] == '/');
}

enum plan_selection plan_select(const struct plan *plan, struct slice scope,
                                const struct hold_meter *meters, size_t meters_count,
                                int64_t now_ms, struct hold_quota *quotas,
                                size_t *ret_quotas_count, size_t *ret_meter)
{
    bool limited[HOLD_METERS_MAX] = {false};
    size_t count = 0;

    CHECK(meters_count <= HOLD_METERS_MAX);
    for (size_t i = 0; i < plan->limits_count; i++) {
        const struct limit *limit = &plan->limits[i];
        size_t meter = 0;

        while (meter < meters_count && !slice_equal(meters[meter].meter, limit->meter))
            meter++;
        if (meter == meters_count || !covers(limit->scope, scope))
            continue;
        if (count == HOLD_QUOTAS_MAX)
            return PLAN_TOO_MANY;
        limited[meter] = true;
        quotas[count++] = (struct hold_quota){
            .meter = (uint32_t)meter,
            .quota = {limit->limit_id, period_start_ms(limit->period, now_ms)},
            .units = meters[meter].units,
        };
    }
    for (size_t meter = 0; meter < meters_count; meter++) {
        if (!limited[meter]) {
            *ret_meter = meter;
            return PLAN_NO_LIMIT;
        }
    }
    *ret_quotas_count = count;
    return PLAN_SELECTED;
}
