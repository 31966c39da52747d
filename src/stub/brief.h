/*
 * A lock for a few assignments, held over no call of any kind. It is nearly always free, and taking it
 * then costs far less than a pthread mutex. A thread that finds it taken yields, in case the holder
 * waits to run. Any thread; zeroed memory is an open lock.
 */
#ifndef HOLDFAST_STUB_BRIEF_H
#define HOLDFAST_STUB_BRIEF_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

struct brief {
    atomic_bool held;
};

static inline void brief_lock(struct brief *brief)
{
    while (atomic_exchange_explicit(&brief->held, true, memory_order_acquire))
        sched_yield();
}

static inline void brief_unlock(struct brief *brief)
{
    atomic_store_explicit(&brief->held, false, memory_order_release);
}

#endif
