#include "interop/timer.h"

#include "base/check.h"
#include "base/clock.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct timer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* on CLOCK_MONOTONIC */
    struct timer_entry *first; /* the earliest */
    bool ending;
};

/* With the lock held: waits for the first to be due, or for a change. */
static void wait(struct timer *timer)
{
    struct timespec until;
    int64_t left_us;

    if (!timer->first) {
        pthread_cond_wait(&timer->changed, &timer->lock);
        return;
    }
    left_us = timer->first->due_us - clock_mono_us(clock_real());
    clock_gettime(CLOCK_MONOTONIC, &until);
    left_us = (left_us > 0 ? left_us : 0) + until.tv_nsec / 1000;
    until.tv_sec += (time_t)(left_us / 1000000);
    until.tv_nsec = (long)(left_us % 1000000) * 1000;
    pthread_cond_timedwait(&timer->changed, &timer->lock, &until);
}

static void *timer_thread(void *user)
{
    struct timer *timer = user;

    pthread_mutex_lock(&timer->lock);
    while (!timer->ending) {
        struct timer_entry *entry = timer->first;

        if (!entry || entry->due_us > clock_mono_us(clock_real())) {
            wait(timer);
            continue;
        }
        timer->first = entry->next;
        entry->set = false;
        pthread_mutex_unlock(&timer->lock);
        entry->run(entry);
        pthread_mutex_lock(&timer->lock);
    }
    pthread_mutex_unlock(&timer->lock);
    return NULL;
}

struct timer *timer_create_thread(void)
{
    struct timer *timer = calloc(1, sizeof(*timer));
    pthread_condattr_t attributes;

    CHECK(timer);
    CHECK(pthread_mutex_init(&timer->lock, NULL) == 0);
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&timer->changed, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
    CHECK(pthread_create(&timer->thread, NULL, timer_thread, timer) == 0);
    return timer;
}

bool timer_set(struct timer *timer, struct timer_entry *entry, int64_t due_us)
{
    struct timer_entry **at = &timer->first;
    bool taken;

    pthread_mutex_lock(&timer->lock);
    taken = !entry->set;
    if (taken) {
        while (*at && (*at)->due_us <= due_us)
            at = &(*at)->next;
        entry->set = true;
        entry->due_us = due_us;
        entry->next = *at;
        *at = entry;
        pthread_cond_signal(&timer->changed);
    }
    pthread_mutex_unlock(&timer->lock);
    return taken;
}

bool timer_unset(struct timer *timer, struct timer_entry *entry)
{
    struct timer_entry **at = &timer->first;
    bool was_set;

    pthread_mutex_lock(&timer->lock);
    was_set = entry->set;
    if (was_set) {
        while (*at != entry)
            at = &(*at)->next;
        *at = entry->next;
        entry->set = false;
    }
    pthread_mutex_unlock(&timer->lock);
    return was_set;
}

void timer_destroy(struct timer *timer)
{
    pthread_mutex_lock(&timer->lock);
    CHECK(!timer->first);
    timer->ending = true;
    pthread_cond_signal(&timer->changed);
    pthread_mutex_unlock(&timer->lock);
    pthread_join(timer->thread, NULL);
    pthread_mutex_destroy(&timer->lock);
    pthread_cond_destroy(&timer->changed);
    free(timer);
}
