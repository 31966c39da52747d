#include "ledger/alarms.h"

#include "base/log.h"
#include "quota/times.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct aside {
    int64_t tenant_id;
    int64_t until_us; /* clock_mono_us */
};

struct alarms {
    const struct clock *clock;
    struct log_limit log_fault, log_aside;
    atomic_int any;            /* places in use, perhaps of tenants whose time is over */
    pthread_mutex_t lock;      /* the fields below */
    struct alarms_state state; /* but for aside */
    size_t count;
    struct aside aside[ALARMS_ASIDE_MAX];
};

struct alarms *alarms_create(const struct clock *clock)
{
    struct alarms *alarms = calloc(1, sizeof(*alarms));

    CHECK(alarms);
    alarms->clock = clock;
    CHECK(pthread_mutex_init(&alarms->lock, NULL) == 0);
    return alarms;
}

void alarms_destroy(struct alarms *alarms)
{
    if (!alarms)
        return;
    pthread_mutex_destroy(&alarms->lock);
    free(alarms);
}

void alarms_fault(struct alarms *alarms, const char *sqlstate, const char *error)
{
    if (!alarms)
        return;
    pthread_mutex_lock(&alarms->lock);
    alarms->state.faults++;
    snprintf(alarms->state.sqlstate, sizeof(alarms->state.sqlstate), "%s", sqlstate);
    snprintf(alarms->state.fault, sizeof(alarms->state.fault), "%s", error);
    pthread_mutex_unlock(&alarms->lock);
    log_every(&alarms->log_fault, LOG_ERROR, "ledger", "database.fault sqlstate=%s error=%s",
              sqlstate, LOG_VALUE(error));
}

/* Forgets those whose time is over. */
static void expire(struct alarms *alarms, int64_t now_us)
{
    size_t kept = 0;

    for (size_t i = 0; i < alarms->count; i++)
        if (alarms->aside[i].until_us > now_us)
            alarms->aside[kept++] = alarms->aside[i];
    alarms->count = kept;
    atomic_store_explicit(&alarms->any, (int)kept, memory_order_relaxed);
}

/* The tenant's place, or a new one. */
static struct aside *place_of(struct alarms *alarms, int64_t tenant_id)
{
    struct aside *first = &alarms->aside[0];

    for (size_t i = 0; i < alarms->count; i++) {
        if (alarms->aside[i].tenant_id == tenant_id)
            return &alarms->aside[i];
        if (alarms->aside[i].until_us < first->until_us)
            first = &alarms->aside[i];
    }
    return alarms->count < ALARMS_ASIDE_MAX ? &alarms->aside[alarms->count++] : first;
}

void alarms_set_aside(struct alarms *alarms, int64_t tenant_id, const char *what)
{
    int64_t now_us;

    if (!alarms)
        return;
    now_us = clock_mono_us(alarms->clock);
    pthread_mutex_lock(&alarms->lock);
    alarms->state.set_aside++;
    expire(alarms, now_us);
    *place_of(alarms, tenant_id) =
        (struct aside){tenant_id, now_us + INT64_C(1000) * ALARMS_ASIDE_MS};
    atomic_store_explicit(&alarms->any, (int)alarms->count, memory_order_relaxed);
    pthread_mutex_unlock(&alarms->lock);
    log_every(&alarms->log_aside, LOG_ERROR, "ledger",
              "tenant.set_aside tenant_id=%" PRId64 " again_ms=%d what=%s", tenant_id,
              ALARMS_ASIDE_MS, LOG_VALUE(what));
}

bool alarms_is_aside(struct alarms *alarms, int64_t tenant_id)
{
    int64_t now_us;
    bool found = false;

    if (!alarms || atomic_load_explicit(&alarms->any, memory_order_relaxed) == 0)
        return false;
    now_us = clock_mono_us(alarms->clock);
    pthread_mutex_lock(&alarms->lock);
    expire(alarms, now_us);
    for (size_t i = 0; i < alarms->count; i++)
        found |= alarms->aside[i].tenant_id == tenant_id;
    pthread_mutex_unlock(&alarms->lock);
    return found;
}

void alarms_read(struct alarms *alarms, struct alarms_state *ret)
{
    *ret = (struct alarms_state){0};
    if (!alarms)
        return;
    pthread_mutex_lock(&alarms->lock);
    expire(alarms, clock_mono_us(alarms->clock));
    *ret = alarms->state;
    ret->aside_count = alarms->count;
    for (size_t i = 0; i < alarms->count; i++)
        ret->aside[i] = alarms->aside[i].tenant_id;
    pthread_mutex_unlock(&alarms->lock);
}
