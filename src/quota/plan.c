#include "quota/plan.h"

#include "base/hash.h"

#include <stdatomic.h>
#include <stdlib.h>

/*
 * The plan, its count of references, its limits, their calendars, its index and the bytes of all names are
 * one allocation.
 *
 * The index finds the limits on a meter at one scope: chains of limits (next) begin in buckets, a
 * power of two. Both hold positions in limits, counted from 1; 0 ends a chain.
 */
struct plan_shared {
    struct plan plan;
    atomic_uint references;
    size_t bytes;
    size_t buckets_count;
    uint32_t *buckets;
    uint32_t *next;
    struct calendar *calendars;
    struct limit limits[];
};

static struct plan_shared *shared_of(struct plan *plan)
{
    return container_of(plan, struct plan_shared, plan);
}

static const struct plan_shared *shared_of_const(const struct plan *plan)
{
    return (const struct plan_shared *)(const void *)((const char *)plan -
                                                      offsetof(struct plan_shared, plan));
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

static uint64_t place_hash(struct slice scope, struct slice meter)
{
    return hash_slice(scope) * UINT64_C(0x9e3779b97f4a7c15) ^ hash_slice(meter);
}

/* Later limits first, so that each chain is in the order of limits. */
static void index_limits(struct plan_shared *shared)
{
    memset(shared->buckets, 0, shared->buckets_count * sizeof(*shared->buckets));
    for (size_t i = shared->plan.limits_count; i-- > 0;) {
        const struct limit *limit = &shared->limits[i];
        size_t bucket = place_hash(limit->scope, limit->meter) & (shared->buckets_count - 1);

        shared->next[i] = shared->buckets[bucket];
        shared->buckets[bucket] = (uint32_t)i + 1;
    }
}

static size_t names_bytes(const struct plan *plan)
{
    size_t bytes = plan->tenant.len;

    for (size_t i = 0; i < plan->limits_count; i++)
        bytes += plan->limits[i].name.len + plan->limits[i].scope.len + plan->limits[i].meter.len;
    return bytes;
}

static size_t calendars_bytes(const struct plan *plan)
{
    size_t count = 0;

    for (size_t i = 0; i < plan->limits_count; i++)
        count += plan->limits[i].calendar != NULL;
    return count * sizeof(struct calendar);
}

static struct plan_shared *allocate(const struct plan *from)
{
    struct plan_shared *shared;
    size_t buckets_count = 1;
    size_t bytes;

    CHECK(from->limits_count < UINT32_MAX);
    while (buckets_count < from->limits_count)
        buckets_count *= 2;
    bytes = sizeof(*shared) + from->limits_count * (sizeof(struct limit) + sizeof(uint32_t)) +
            calendars_bytes(from) + buckets_count * sizeof(uint32_t) + names_bytes(from);
    shared = malloc(bytes);
    CHECK(shared);
    shared->plan = *from;
    shared->plan.limits = shared->limits;
    shared->bytes = bytes;
    shared->buckets_count = buckets_count;
    shared->calendars = (struct calendar *)(shared->limits + from->limits_count);
    shared->buckets = (uint32_t *)(void *)((char *)shared->calendars + calendars_bytes(from));
    shared->next = shared->buckets + buckets_count;
    atomic_init(&shared->references, 1);
    return shared;
}

struct plan *plan_create(const struct plan *from)
{
    struct plan_shared *shared = allocate(from);
    char *names = (char *)(shared->next + from->limits_count);
    struct calendar *calendar = shared->calendars;

    shared->plan.tenant = put_name(&names, from->tenant);
    shared->plan.has_max_ttl = false;
    for (size_t i = 0; i < from->limits_count; i++) {
        struct limit *limit = &shared->limits[i];

        *limit = from->limits[i];
        limit->name = put_name(&names, limit->name);
        limit->scope = put_name(&names, limit->scope);
        limit->meter = put_name(&names, limit->meter);
        if (limit->calendar) {
            *calendar = *limit->calendar;
            limit->calendar = calendar++;
        }
        shared->plan.has_max_ttl |= limit->max_ttl_ms > 0;
    }
    qsort(shared->limits, from->limits_count, sizeof(struct limit), limit_compare);
    index_limits(shared);
    return &shared->plan;
}

size_t plan_bytes(const struct plan *plan)
{
    return shared_of_const(plan)->bytes;
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

/* What a selection has found so far. */
struct selection {
    const struct plan_shared *shared;
    const struct hold_meter *meters;
    int64_t now_ms;
    struct hold_quota *quotas;
    size_t count;
};

/* Into its place: by limit, which is the order of the plan. Few are found, mostly in order. */
static void insert(struct selection *selection, const struct limit *limit, uint32_t meter)
{
    struct hold_quota quota = {
        .meter = meter,
        .quota = {limit->limit_id, limit_start_ms(limit, selection->now_ms)},
        .units = selection->meters[meter].units,
    };
    size_t at = selection->count++;

    for (; at > 0 && quota_ref_compare(selection->quotas[at - 1].quota, quota.quota) > 0; at--)
        selection->quotas[at] = selection->quotas[at - 1];
    selection->quotas[at] = quota;
}

/* Adds the limits on a meter at exactly this scope. False: there are too many. */
static bool select_at(struct selection *selection, struct slice scope, uint32_t meter)
{
    const struct plan_shared *shared = selection->shared;
    struct slice name = selection->meters[meter].meter;
    size_t bucket = place_hash(scope, name) & (shared->buckets_count - 1);

    for (uint32_t at = shared->buckets[bucket]; at != 0; at = shared->next[at - 1]) {
        const struct limit *limit = &shared->limits[at - 1];

        if (!slice_equal(limit->meter, name) || !slice_equal(limit->scope, scope))
            continue;
        if (selection->count == HOLD_QUOTAS_MAX)
            return false;
        insert(selection, limit, meter);
    }
    return true;
}

/* At the tenant itself (no scope), at each scope that this one lies in, and at this one. */
static bool select_meter(struct selection *selection, struct slice scope, uint32_t meter)
{
    if (!select_at(selection, slice_of(NULL, 0), meter))
        return false;
    for (size_t len = 1; len <= scope.len; len++) {
        bool ends = len == scope.len || scope.data[len] == '/';

        if (ends && !select_at(selection, slice_of(scope.data, len), meter))
            return false;
    }
    return true;
}

enum plan_selection plan_select(const struct plan *plan, struct slice scope,
                                const struct hold_meter *meters, size_t meters_count,
                                int64_t now_ms, struct hold_quota *quotas, size_t *ret_quotas_count,
                                size_t *ret_meter)
{
    struct selection selection = {.shared = shared_of_const(plan),
                                  .meters = meters,
                                  .now_ms = now_ms,
                                  .quotas = quotas};
    bool lacking = false;

    CHECK(meters_count <= HOLD_METERS_MAX);
    for (size_t meter = 0; meter < meters_count; meter++) {
        size_t before = selection.count;

        if (!select_meter(&selection, scope, (uint32_t)meter))
            return PLAN_TOO_MANY;
        if (selection.count == before && !lacking) {
            lacking = true;
            *ret_meter = meter;
        }
    }
    if (lacking)
        return PLAN_NO_LIMIT;
    *ret_quotas_count = selection.count;
    return PLAN_SELECTED;
}

enum redis_away plan_redis_away(const struct plan *plan, const struct hold_quota *quotas,
                                size_t count)
{
    enum redis_away strictest = REDIS_AWAY_OPEN;

    for (size_t i = 0; i < count; i++) {
        const struct limit *limit = plan_limit(plan, quotas[i].quota.limit_id);
        enum redis_away away = limit ? limit->redis_away : REDIS_AWAY_POSTGRES;

        if (away == REDIS_AWAY_CLOSED)
            return away;
        if (away != REDIS_AWAY_OPEN)
            strictest = REDIS_AWAY_POSTGRES;
    }
    return count > 0 ? strictest : REDIS_AWAY_POSTGRES;
}
