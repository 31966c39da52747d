#include "op/plans.h"

#include "base/check.h"
#include "base/hash.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Chained by name; buckets double when there are more plans than buckets. */
struct entry {
    struct entry *next;
    uint64_t hash;
    struct plan *plan;
    int64_t put_us;
    atomic_bool used; /* since the hand came by */
};

struct plans {
    const struct clock *clock;
    size_t bytes_max;
    pthread_rwlock_t lock;
    size_t buckets_count; /* a power of two */
    size_t count;
    size_t bytes; /* of entries and plans */
    size_t hand;  /* the bucket that is looked at next when room is needed */
    struct entry **buckets;
};

enum { BUCKETS_FIRST = 256 };

static struct entry **allocate_buckets(size_t count)
{
    struct entry **buckets = calloc(count, sizeof(struct entry *));

    CHECK(buckets);
    return buckets;
}

struct plans *plans_create(const struct clock *clock, size_t bytes_max)
{
    struct plans *plans = calloc(1, sizeof(*plans));

    CHECK(plans);
    CHECK(pthread_rwlock_init(&plans->lock, NULL) == 0);
    plans->clock = clock;
    plans->bytes_max = bytes_max;
    plans->buckets_count = BUCKETS_FIRST;
    plans->buckets = allocate_buckets(BUCKETS_FIRST);
    return plans;
}

static size_t bytes_of(const struct entry *entry)
{
    return sizeof(*entry) + plan_bytes(entry->plan);
}

/* Takes the entry that the link points to out of its chain. */
static void drop(struct plans *plans, struct entry **link)
{
    struct entry *entry = *link;

    *link = entry->next;
    plans->bytes -= bytes_of(entry);
    plans->count--;
    plan_unref(entry->plan);
    free(entry);
}

static void drop_all(struct plans *plans)
{
    for (size_t i = 0; i < plans->buckets_count; i++)
        while (plans->buckets[i])
            drop(plans, &plans->buckets[i]);
}

void plans_destroy(struct plans *plans)
{
    if (!plans)
        return;
    drop_all(plans);
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

static bool is_younger(const struct plans *plans, const struct entry *entry, int64_t ms)
{
    return clock_mono_us(plans->clock) - entry->put_us < ms * 1000;
}

struct plan *plans_get(struct plans *plans, struct slice tenant)
{
    uint64_t hash = hash_bytes(tenant.data, tenant.len);
    struct plan *plan = NULL;
    struct entry *entry;

    pthread_rwlock_rdlock(&plans->lock);
    entry = *find(plans, tenant, hash);
    if (entry && is_younger(plans, entry, PLANS_LAST_MS)) {
        plan = plan_ref(entry->plan);
        if (!atomic_load_explicit(&entry->used, memory_order_relaxed))
            atomic_store_explicit(&entry->used, true, memory_order_relaxed);
    }
    pthread_rwlock_unlock(&plans->lock);
    return plan;
}

bool plans_may_refuse(struct plans *plans, const struct plan *plan)
{
    uint64_t hash = hash_bytes(plan->tenant.data, plan->tenant.len);
    struct entry **link;
    bool young;

    pthread_rwlock_wrlock(&plans->lock);
    link = find(plans, plan->tenant, hash);
    young = *link && (*link)->plan == plan && is_younger(plans, *link, PLANS_REFUSE_MS);
    if (!young && *link && (*link)->plan == plan)
        drop(plans, link);
    pthread_rwlock_unlock(&plans->lock);
    return young;
}

size_t plans_bytes(struct plans *plans)
{
    size_t bytes;

    pthread_rwlock_rdlock(&plans->lock);
    bytes = plans->bytes + plans->buckets_count * sizeof(struct entry *);
    pthread_rwlock_unlock(&plans->lock);
    return bytes;
}

/* Entries that nobody used since the last round go, until the rest fits; `last` stays. */
static void make_room(struct plans *plans, const struct entry *last)
{
    while (plans->bytes > plans->bytes_max && plans->count > 1) {
        struct entry **link = &plans->buckets[plans->hand];

        plans->hand = (plans->hand + 1) & (plans->buckets_count - 1);
        while (*link) {
            if (*link != last &&
                !atomic_exchange_explicit(&(*link)->used, false, memory_order_relaxed))
                drop(plans, link);
            else
                link = &(*link)->next;
        }
    }
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

static struct entry *add(struct plans *plans, struct entry **link, uint64_t hash)
{
    struct entry *entry = calloc(1, sizeof(*entry));

    CHECK(entry);
    entry->hash = hash;
    *link = entry;
    plans->count++;
    return entry;
}

void plans_put(struct plans *plans, struct plan *plan)
{
    uint64_t hash = hash_bytes(plan->tenant.data, plan->tenant.len);
    struct entry **link, *entry;

    pthread_rwlock_wrlock(&plans->lock);
    link = find(plans, plan->tenant, hash);
    entry = *link;
    if (!entry || entry->plan->config_version <= plan->config_version) {
        if (entry) {
            plans->bytes -= bytes_of(entry);
            plan_unref(entry->plan);
        } else {
            entry = add(plans, link, hash);
        }
        entry->plan = plan_ref(plan);
        entry->put_us = clock_mono_us(plans->clock);
        plans->bytes += bytes_of(entry);
        if (plans->count > plans->buckets_count)
            grow(plans);
        make_room(plans, entry);
    }
    pthread_rwlock_unlock(&plans->lock);
}

void plans_forget(struct plans *plans, struct slice tenant)
{
    uint64_t hash = hash_bytes(tenant.data, tenant.len);
    struct entry **link;

    pthread_rwlock_wrlock(&plans->lock);
    link = find(plans, tenant, hash);
    if (*link)
        drop(plans, link);
    pthread_rwlock_unlock(&plans->lock);
}

void plans_forget_all(struct plans *plans)
{
    pthread_rwlock_wrlock(&plans->lock);
    drop_all(plans);
    pthread_rwlock_unlock(&plans->lock);
}
