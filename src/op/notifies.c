#include "op/notifies.h"

#include "base/check.h"
#include "base/thread.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct notifies {
    pthread_mutex_t lock; /* the fields below */
    pthread_cond_t landed;
    struct commit_item *first, **tail;
    struct notify_flight *flights;
    uint64_t takes;
    struct notify_mark *marks, **marks_tail;
    size_t marks_count;
    atomic_size_t count;
};

struct notifies *notifies_create(void)
{
    struct notifies *notifies = calloc(1, sizeof(*notifies));
    pthread_condattr_t attributes;

    CHECK(notifies);
    CHECK(pthread_mutex_init(&notifies->lock, NULL) == 0);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    CHECK(pthread_cond_init(&notifies->landed, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
    notifies->tail = &notifies->first;
    notifies->marks_tail = &notifies->marks;
    return notifies;
}

void notifies_destroy(struct notifies *notifies)
{
    struct notify_mark *mark;

    if (!notifies)
        return;
    CHECK(!notifies->first && !notifies->flights);
    while (notifies_take_marks(notifies, &mark, 1) > 0)
        free(mark);
    pthread_cond_destroy(&notifies->landed);
    pthread_mutex_destroy(&notifies->lock);
    free(notifies);
}

void notifies_add(struct notifies *notifies, struct op_commit *op)
{
    op->item.next = NULL;
    pthread_mutex_lock(&notifies->lock);
    *notifies->tail = &op->item;
    notifies->tail = &op->item.next;
    atomic_fetch_add_explicit(&notifies->count, 1, memory_order_relaxed);
    pthread_mutex_unlock(&notifies->lock);
}

bool notifies_pending(const struct notifies *notifies)
{
    return atomic_load_explicit(&notifies->count, memory_order_relaxed) > 0;
}

size_t notifies_take(struct notifies *notifies, struct notify_flight *flight,
                     struct op_commit **ops, size_t max)
{
    size_t taken = 0;

    CHECK(flight->number == 0);
    pthread_mutex_lock(&notifies->lock);
    while (taken < max && notifies->first) {
        ops[taken++] = container_of(notifies->first, struct op_commit, item);
        notifies->first = notifies->first->next;
    }
    if (!notifies->first)
        notifies->tail = &notifies->first;
    atomic_fetch_sub_explicit(&notifies->count, taken, memory_order_relaxed);
    if (taken > 0) {
        flight->number = ++notifies->takes;
        flight->next = notifies->flights;
        notifies->flights = flight;
    }
    pthread_mutex_unlock(&notifies->lock);
    return taken;
}

void notifies_landed(struct notifies *notifies, struct notify_flight *flight)
{
    struct notify_flight **link = &notifies->flights;

    if (flight->number == 0)
        return;
    pthread_mutex_lock(&notifies->lock);
    while (*link != flight)
        link = &(*link)->next;
    *link = flight->next;
    flight->number = 0;
    pthread_cond_broadcast(&notifies->landed);
    pthread_mutex_unlock(&notifies->lock);
}

static bool some_under_way(const struct notifies *notifies, uint64_t takes)
{
    for (const struct notify_flight *flight = notifies->flights; flight; flight = flight->next)
        if (flight->number <= takes)
            return true;
    return false;
}

void notifies_wait(struct notifies *notifies, int64_t wait_ms)
{
    const struct timespec until = thread_deadline(wait_ms * 1000);
    uint64_t takes;
    int error = 0;

    pthread_mutex_lock(&notifies->lock);
    takes = notifies->takes;
    while (error == 0 && some_under_way(notifies, takes))
        error = pthread_cond_timedwait(&notifies->landed, &notifies->lock, &until);
    pthread_mutex_unlock(&notifies->lock);
}

/* --- marks ---------------------------------------------------------------------------------------- */

void notifies_give_back_mark(struct notifies *notifies, struct notify_mark *mark)
{
    struct notify_mark *oldest = NULL;

    mark->next = NULL;
    pthread_mutex_lock(&notifies->lock);
    *notifies->marks_tail = mark;
    notifies->marks_tail = &mark->next;
    if (notifies->marks_count == NOTIFIES_MARKS_MAX) {
        oldest = notifies->marks;
        notifies->marks = oldest->next;
    } else {
        notifies->marks_count++;
    }
    pthread_mutex_unlock(&notifies->lock);
    free(oldest);
}

void notifies_keep_mark(struct notifies *notifies, int64_t tenant_id, int shard,
                        struct slice job_id, int64_t until_us)
{
    struct notify_mark *mark = calloc(1, sizeof(*mark));

    CHECK(mark && job_id.len <= sizeof(mark->job_id));
    mark->tenant_id = tenant_id;
    mark->shard = shard;
    mark->until_us = until_us;
    mark->job_len = job_id.len;
    memcpy(mark->job_id, job_id.data, job_id.len);
    notifies_give_back_mark(notifies, mark);
}

size_t notifies_take_marks(struct notifies *notifies, struct notify_mark **marks, size_t max)
{
    size_t taken = 0;

    pthread_mutex_lock(&notifies->lock);
    for (; taken < max && notifies->marks; taken++) {
        marks[taken] = notifies->marks;
        notifies->marks = notifies->marks->next;
    }
    if (!notifies->marks)
        notifies->marks_tail = &notifies->marks;
    notifies->marks_count -= taken;
    pthread_mutex_unlock(&notifies->lock);
    return taken;
}
