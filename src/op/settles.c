#include "op/settles.h"

#include "base/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

struct settles {
    pthread_mutex_t lock; /* the fields below */
    pthread_cond_t landed;
    struct commit_item *first, **tail;
    struct settle_flight *flights;
    uint64_t takes;
    atomic_size_t count;
};

struct settles *settles_create(void)
{
    struct settles *settles = calloc(1, sizeof(*settles));
    pthread_condattr_t attributes;

    CHECK(settles);
    CHECK(pthread_mutex_init(&settles->lock, NULL) == 0);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    CHECK(pthread_cond_init(&settles->landed, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
    settles->tail = &settles->first;
    return settles;
}

void settles_destroy(struct settles *settles)
{
    if (!settles)
        return;
    CHECK(!settles->first && !settles->flights);
    pthread_cond_destroy(&settles->landed);
    pthread_mutex_destroy(&settles->lock);
    free(settles);
}

void settles_add(struct settles *settles, struct op_commit *op)
{
    op->item.next = NULL;
    pthread_mutex_lock(&settles->lock);
    *settles->tail = &op->item;
    settles->tail = &op->item.next;
    atomic_fetch_add_explicit(&settles->count, 1, memory_order_relaxed);
    pthread_mutex_unlock(&settles->lock);
}

bool settles_pending(const struct settles *settles)
{
    return atomic_load_explicit(&settles->count, memory_order_relaxed) > 0;
}

size_t settles_take(struct settles *settles, struct settle_flight *flight, struct op_commit **ops,
                    size_t max)
{
    size_t taken = 0;

    CHECK(flight->number == 0);
    pthread_mutex_lock(&settles->lock);
    while (taken < max && settles->first) {
        ops[taken++] = container_of(settles->first, struct op_commit, item);
        settles->first = settles->first->next;
    }
    if (!settles->first)
        settles->tail = &settles->first;
    atomic_fetch_sub_explicit(&settles->count, taken, memory_order_relaxed);
    if (taken > 0) {
        flight->number = ++settles->takes;
        flight->next = settles->flights;
        settles->flights = flight;
    }
    pthread_mutex_unlock(&settles->lock);
    return taken;
}

void settles_landed(struct settles *settles, struct settle_flight *flight)
{
    struct settle_flight **link = &settles->flights;

    if (flight->number == 0)
        return;
    pthread_mutex_lock(&settles->lock);
    while (*link != flight)
        link = &(*link)->next;
    *link = flight->next;
    flight->number = 0;
    pthread_cond_broadcast(&settles->landed);
    pthread_mutex_unlock(&settles->lock);
}

static bool some_under_way(const struct settles *settles, uint64_t takes)
{
    for (const struct settle_flight *flight = settles->flights; flight; flight = flight->next)
        if (flight->number <= takes)
            return true;
    return false;
}

void settles_wait(struct settles *settles, int64_t wait_ms)
{
    struct timespec until;
    uint64_t takes;
    int error = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += wait_ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&settles->lock);
    takes = settles->takes;
    while (error == 0 && some_under_way(settles, takes))
        error = pthread_cond_timedwait(&settles->landed, &settles->lock, &until);
    pthread_mutex_unlock(&settles->lock);
}
