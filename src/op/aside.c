#include "op/aside.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { PAUSE_FIRST_US = 50000, PAUSE_MAX_US = 800000, KEEP_US = 2000000 };

_Static_assert(KEEP_US > PAUSE_MAX_US, "a tenant is not forgotten while its pause lasts");

struct stuck {
    int64_t tenant_id; /* 0: free */
    int64_t until_us;  /* of its pause */
    int64_t keep_us;   /* until then it is left out */
    int64_t pause_us;
};

struct aside {
    pthread_mutex_t lock; /* stuck */
    atomic_int count;
    struct stuck stuck[ASIDE_MAX];
};

struct aside *aside_create(void)
{
    struct aside *aside = calloc(1, sizeof(*aside));

    CHECK(aside);
    CHECK(pthread_mutex_init(&aside->lock, NULL) == 0);
    return aside;
}

void aside_destroy(struct aside *aside)
{
    if (!aside)
        return;
    pthread_mutex_destroy(&aside->lock);
    free(aside);
}

/* The lock is held; what is past its time goes. NULL: it is not there. */
static struct stuck *find(struct aside *aside, int64_t tenant_id, int64_t mono_us)
{
    struct stuck *found = NULL;

    for (size_t i = 0; i < ASIDE_MAX; i++) {
        struct stuck *stuck = &aside->stuck[i];

        if (stuck->tenant_id != 0 && stuck->keep_us <= mono_us) {
            *stuck = (struct stuck){0};
            atomic_fetch_sub(&aside->count, 1);
        }
        if (stuck->tenant_id == tenant_id)
            found = stuck;
    }
    return found;
}

/* The lock is held: a free place, or that of the tenant whose pause is over first. */
static struct stuck *make_room(struct aside *aside)
{
    struct stuck *first = &aside->stuck[0];

    for (size_t i = 0; i < ASIDE_MAX; i++) {
        if (aside->stuck[i].tenant_id == 0) {
            atomic_fetch_add(&aside->count, 1);
            return &aside->stuck[i];
        }
        if (aside->stuck[i].until_us < first->until_us)
            first = &aside->stuck[i];
    }
    return first;
}

void aside_put(struct aside *aside, int64_t tenant_id, int64_t mono_us)
{
    struct stuck *stuck;

    pthread_mutex_lock(&aside->lock);
    stuck = find(aside, tenant_id, mono_us);
    if (!stuck) {
        stuck = make_room(aside);
        *stuck = (struct stuck){.tenant_id = tenant_id, .pause_us = PAUSE_FIRST_US / 2};
    }
    if (stuck->until_us <= mono_us) { /* not because two found it out at once */
        stuck->pause_us = 2 * stuck->pause_us < PAUSE_MAX_US ? 2 * stuck->pause_us : PAUSE_MAX_US;
        stuck->until_us = mono_us + stuck->pause_us;
    }
    stuck->keep_us = mono_us + KEEP_US;
    pthread_mutex_unlock(&aside->lock);
}

void aside_forget(struct aside *aside, int64_t tenant_id)
{
    if (atomic_load(&aside->count) == 0)
        return;
    pthread_mutex_lock(&aside->lock);
    for (size_t i = 0; i < ASIDE_MAX; i++) {
        if (aside->stuck[i].tenant_id != tenant_id)
            continue;
        aside->stuck[i] = (struct stuck){0};
        atomic_fetch_sub(&aside->count, 1);
    }
    pthread_mutex_unlock(&aside->lock);
}

bool aside_has(struct aside *aside, int64_t tenant_id, int64_t mono_us)
{
    bool has;

    if (atomic_load_explicit(&aside->count, memory_order_relaxed) == 0)
        return false;
    pthread_mutex_lock(&aside->lock);
    has = find(aside, tenant_id, mono_us) != NULL;
    pthread_mutex_unlock(&aside->lock);
    return has;
}

int64_t aside_until_us(struct aside *aside, int64_t tenant_id, int64_t mono_us)
{
    const struct stuck *stuck;
    int64_t until_us = mono_us;

    if (atomic_load_explicit(&aside->count, memory_order_relaxed) == 0)
        return mono_us;
    pthread_mutex_lock(&aside->lock);
    stuck = find(aside, tenant_id, mono_us);
    if (stuck)
        until_us = stuck->until_us;
    pthread_mutex_unlock(&aside->lock);
    return until_us;
}

size_t aside_waiting(struct aside *aside, int64_t mono_us, int64_t ret[ASIDE_MAX])
{
    size_t count = 0;

    if (atomic_load_explicit(&aside->count, memory_order_relaxed) == 0)
        return 0;
    pthread_mutex_lock(&aside->lock);
    for (size_t i = 0; i < ASIDE_MAX; i++)
        if (aside->stuck[i].tenant_id != 0 && aside->stuck[i].until_us > mono_us)
            ret[count++] = aside->stuck[i].tenant_id;
    pthread_mutex_unlock(&aside->lock);
    return count;
}
