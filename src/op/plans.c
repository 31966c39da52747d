#include "op/plans.h"

#include "base/check.h"
#include "base/hash.h"

#include <pthread.h>
#include <stdlib.h>

/* Chained by name; buckets double when there are more plans than buckets. */
struct entry {
    struct entry *next;
    uint64_t hash;
    struct plan *plan;
};

struct plans {
    pthread_rwlock_t lock;
    size_t buckets_count; /* a power of two */
    size_t count;
    struct entry **buckets;
};

enum { BUCKETS_FIRST = 256 };

static struct entry **allocate_buckets(size_t count)
{
    struct entry **buckets = calloc(count, sizeof(struct entry *));

    CHECK(buckets);
    return buckets;
}

struct plans *plans_create(void)
{
    struct plans *plans = calloc(1, sizeof(*plans));

    CHECK(plans);
    CHECK(pthread_rwlock_init(&plans->lock, NULL) == 0);
    plans->buckets_count = BUCKETS_FIRST;
    plans->buckets = allocate_buckets(BUCKETS_FIRST);
    return plans;
}

void plans_destroy(struct plans *plans)
{
    if (!plans)
        return;
    for (size_t i = 0; i < plans->buckets_count; i++) {
        struct entry *next;

        for (struct entry *entry = plans->buckets[i]; entry; entry = next) {
            next = entry->next;
            plan_unref(entry->plan);
            free(entry);
        }
    }
    free(plans->buckets);
    pthread_rwlock_destroy(&plans->lock);
    free(plans);
}

/* The link that points to the tenant's entry, or to NULL at the end of its chain. */
static struct entry **find(struct plans *plans, struct slice tenant, uint64_t hash)
{
    struct entry **link = &plans->buckets[hash & (plans->buckets_count - 1)];

    while (*link && ((*link)->hash != hash || !slice_equal((*link)->plan->tenant, tenant)))
        link = &(*link)->next;
    return link;
}

struct plan *plans_get(struct plans *plans, struct slice tenant)
{
    uint64_t hash = hash_bytes(tenant.data, tenant.len);
    struct plan *plan = NULL;
    struct entry *entry;

    pthread_rwlock_rdlock(&plans->lock);
    entry = *find(plans, tenant, hash);
    if (entry)
        plan = plan_ref(entry->plan);
    pthread_rwlock_unlock(&plans->lock);
    return plan;
}

static void grow(struct plans *plans)
{
    size_t count = plans->buckets_count * 2;
    struct entry **buckets = allocate_buckets(count);

    for (size_t i = 0; i < plans->buckets_count; i++) {
        struct entry *next;

        for (struct entry *entry = plans->buckets[i]; entry; entry = next) {
            next = entry->next;
            entry->next = buckets[entry->hash & (count - 1)];
            buckets[entry->hash & (count - 1)] = entry;
        }
    }
    free(plans->buckets);
    plans->buckets = buckets;
    plans->buckets_count = count;
}

void plans_put(struct plans *plans, struct plan *plan)
{
    uint64_t hash = hash_bytes(plan->tenant.data, plan->tenant.len);
    struct entry **link;

    pthread_rwlock_wrlock(&plans->lock);
    link = find(plans, plan->tenant, hash);
    if (!*link) {
        struct entry *entry = calloc(1, sizeof(*entry));

        CHECK(entry);
        entry->hash = hash;
        entry->plan = plan_ref(plan);
        *link = entry;
        if (++plans->count > plans->buckets_count)
            grow(plans);
    } else if ((*link)->plan->config_version <= plan->config_version) {
        struct plan *old = (*link)->plan;

        (*link)->plan = plan_ref(plan);
        plan_unref(old);
    }
    pthread_rwlock_unlock(&plans->lock);
}

void plans_forget(struct plans *plans, struct slice tenant)
{
    plans_forget_older(plans, tenant, INT64_MAX);
}

void plans_forget_older(struct plans *plans, struct slice tenant, int64_t config_version)
{
    uint64_t hash = hash_bytes(tenant.data, tenant.len);
    struct entry **link;

    pthread_rwlock_wrlock(&plans->lock);
    link = find(plans, tenant, hash);
    if (*link && (*link)->plan->config_version < config_version) {
        struct entry *entry = *link;

        *link = entry->next;
        plan_unref(entry->plan);
        free(entry);
        plans->count--;
    }
    pthread_rwlock_unlock(&plans->lock);
}
