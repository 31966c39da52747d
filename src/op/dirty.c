#include "op/dirty.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* A tenant of which this server itself has taken a hold. */
struct own {
    int64_t tenant_id;
    int64_t since_us; /* the last one */
};

struct dirty {
    pthread_mutex_t lock;
    _Atomic bool any;
    bool all;         /* more than are listed */
    int64_t asked_us; /* when the list was asked for; it counts for DIRTY_LASTS_MS */
    int64_t tenants[DIRTY_MAX];
    size_t count;
    int64_t own_all_us; /* more own ones than there is place for: everybody, since then; 0: no */
    struct own own[DIRTY_MAX];
    size_t own_count;
};

struct dirty *dirty_create(void)
{
    struct dirty *dirty = calloc(1, sizeof(*dirty));

    CHECK(dirty);
    CHECK(pthread_mutex_init(&dirty->lock, NULL) == 0);
    return dirty;
}

void dirty_destroy(struct dirty *dirty)
{
    if (!dirty)
        return;
    pthread_mutex_destroy(&dirty->lock);
    free(dirty);
}

static bool lasts(int64_t since_us, int64_t mono_us)
{
    return mono_us < since_us + DIRTY_LASTS_MS * INT64_C(1000);
}

/* What a beat has seen since is not kept twice. */
static void forget_own(struct dirty *dirty, int64_t asked_us)
{
    size_t kept = 0;

    for (size_t i = 0; i < dirty->own_count; i++)
        if (dirty->own[i].since_us >= asked_us)
            dirty->own[kept++] = dirty->own[i];
    dirty->own_count = kept;
    if (dirty->own_all_us < asked_us)
        dirty->own_all_us = 0;
}

static void note_any(struct dirty *dirty)
{
    atomic_store(&dirty->any,
                 dirty->all || dirty->count > 0 || dirty->own_count > 0 || dirty->own_all_us > 0);
}

void dirty_set(struct dirty *dirty, const int64_t *tenants, size_t count, int64_t asked_us)
{
    pthread_mutex_lock(&dirty->lock);
    dirty->all = count > DIRTY_MAX;
    dirty->count = dirty->all ? 0 : count;
    if (dirty->count > 0)
        memcpy(dirty->tenants, tenants, dirty->count * sizeof(*tenants));
    dirty->asked_us = asked_us;
    forget_own(dirty, asked_us);
    note_any(dirty);
    pthread_mutex_unlock(&dirty->lock);
}

static void add_own(struct dirty *dirty, int64_t tenant_id, int64_t mono_us)
{
    for (size_t i = 0; i < dirty->own_count; i++)
        if (dirty->own[i].tenant_id == tenant_id) {
            dirty->own[i].since_us = mono_us;
            return;
        }
    if (dirty->own_count < DIRTY_MAX)
        dirty->own[dirty->own_count++] = (struct own){tenant_id, mono_us};
    else
        dirty->own_all_us = mono_us;
}

void dirty_doubt(struct dirty *dirty, int64_t mono_us)
{
    pthread_mutex_lock(&dirty->lock);
    dirty->own_all_us = mono_us;
    note_any(dirty);
    pthread_mutex_unlock(&dirty->lock);
}

void dirty_add(struct dirty *dirty, int64_t tenant_id, int64_t mono_us)
{
    pthread_mutex_lock(&dirty->lock);
    add_own(dirty, tenant_id, mono_us);
    note_any(dirty);
    pthread_mutex_unlock(&dirty->lock);
}

static bool is_own(const struct dirty *dirty, int64_t tenant_id, int64_t mono_us)
{
    if (dirty->own_all_us > 0 && lasts(dirty->own_all_us, mono_us))
        return true;
    for (size_t i = 0; i < dirty->own_count; i++)
        if (dirty->own[i].tenant_id == tenant_id && lasts(dirty->own[i].since_us, mono_us))
            return true;
    return false;
}

static int order(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

bool dirty_any(const struct dirty *dirty)
{
    return atomic_load_explicit(&dirty->any, memory_order_relaxed);
}

bool dirty_has(struct dirty *dirty, int64_t tenant_id, int64_t mono_us)
{
    bool has;

    if (!atomic_load_explicit(&dirty->any, memory_order_relaxed))
        return false;
    pthread_mutex_lock(&dirty->lock);
    has = is_own(dirty, tenant_id, mono_us) ||
          (lasts(dirty->asked_us, mono_us) &&
           (dirty->all || (dirty->count > 0 && bsearch(&tenant_id, dirty->tenants, dirty->count,
                                                       sizeof(tenant_id), order))));
    pthread_mutex_unlock(&dirty->lock);
    return has;
}
