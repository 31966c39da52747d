#include "op/degraded.h"

#include "quota/times.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct place {
    int64_t tenant_id;
    int64_t told_us; /* 0: not yet */
    bool waits;
};

struct degraded {
    pthread_mutex_t lock;
    _Atomic int64_t last_us;
    size_t waiting;
    struct place places[DEGRADED_PLACES];
};

struct degraded *degraded_create(void)
{
    struct degraded *degraded = calloc(1, sizeof(*degraded));

    CHECK(degraded);
    CHECK(pthread_mutex_init(&degraded->lock, NULL) == 0);
    return degraded;
}

void degraded_destroy(struct degraded *degraded)
{
    if (!degraded)
        return;
    pthread_mutex_destroy(&degraded->lock);
    free(degraded);
}

static struct place *place_of(struct degraded *degraded, int64_t tenant_id)
{
    return &degraded->places[(uint64_t)tenant_id % DEGRADED_PLACES];
}

void degraded_note(struct degraded *degraded, int64_t tenant_id, int64_t mono_us)
{
    struct place *place = place_of(degraded, tenant_id);
    bool same;

    atomic_store_explicit(&degraded->last_us, mono_us, memory_order_relaxed);
    pthread_mutex_lock(&degraded->lock);
    same = place->tenant_id == tenant_id;
    if (!place->waits && !(same && place->told_us > 0 &&
                           mono_us < place->told_us + DEGRADED_TOLD_MS * INT64_C(1000))) {
        *place = (struct place){.tenant_id = tenant_id, .waits = true};
        degraded->waiting++;
    }
    pthread_mutex_unlock(&degraded->lock);
}

size_t degraded_waiting(struct degraded *degraded, int64_t *ret, size_t max)
{
    size_t count = 0;

    pthread_mutex_lock(&degraded->lock);
    for (size_t i = 0; i < DEGRADED_PLACES && count < max && count < degraded->waiting; i++)
        if (degraded->places[i].waits)
            ret[count++] = degraded->places[i].tenant_id;
    pthread_mutex_unlock(&degraded->lock);
    return count;
}

void degraded_told(struct degraded *degraded, const int64_t *tenants, size_t count, int64_t mono_us)
{
    pthread_mutex_lock(&degraded->lock);
    for (size_t i = 0; i < count; i++) {
        struct place *place = place_of(degraded, tenants[i]);

        if (!place->waits || place->tenant_id != tenants[i])
            continue;
        place->waits = false;
        place->told_us = mono_us;
        degraded->waiting--;
    }
    pthread_mutex_unlock(&degraded->lock);
}

void degraded_over(struct degraded *degraded)
{
    pthread_mutex_lock(&degraded->lock);
    for (size_t i = 0; i < DEGRADED_PLACES; i++)
        degraded->places[i].told_us = 0;
    pthread_mutex_unlock(&degraded->lock);
}

int64_t degraded_last_us(const struct degraded *degraded)
{
    return atomic_load_explicit(&degraded->last_us, memory_order_relaxed);
}
