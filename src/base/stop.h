/*
 * The moment at which a stopping program no longer waits for the outside world, one for all its threads.
 * Whoever waits for a store looks at it at least every STOP_LOOK_MS and, once it is past, gives up as if
 * the store did not answer. Any thread; functions accept NULL, which never stops.
 */
#ifndef HOLDFAST_BASE_STOP_H
#define HOLDFAST_BASE_STOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STOP_LOOK_MS = 100 };

struct stop {
    _Atomic int64_t by_us; /* clock_mono_us; INT64_MAX: not yet */
};

static inline void stop_init(struct stop *stop)
{
    atomic_init(&stop->by_us, INT64_MAX);
}

/* From this time on (clock_mono_us) nobody waits; an earlier time that was set before stays. */
static inline void stop_set(struct stop *stop, int64_t by_us)
{
    int64_t set_us = atomic_load(&stop->by_us);

    while (by_us < set_us && !atomic_compare_exchange_weak(&stop->by_us, &set_us, by_us))
        continue;
}

static inline bool stop_is_due(const struct stop *stop, int64_t now_us)
{
    return stop && now_us >= atomic_load_explicit(&stop->by_us, memory_order_relaxed);
}

/* How long to wait at once, of left_ms in all. */
static inline int stop_slice_ms(const struct stop *stop, int64_t left_ms)
{
    return (int)(stop && left_ms > STOP_LOOK_MS ? STOP_LOOK_MS : left_ms);
}

#endif
