#include "op/desk_queue.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    QUEUE_MAX = 1024,
    QUEUE_TENANT_MAX = 256, /* of it, by one tenant */
};

/* What is at a desk. */
struct place {
    bool busy;
    struct slice tenant; /* in name, because the op goes before the desk is free */
    char name[NAME_BYTES_MAX];
};

struct desk_queue {
    pthread_mutex_t lock;   /* the fields below */
    pthread_cond_t changed; /* an op was queued or finished, or the queue closes */
    struct mailbox_item *first, **end;
    size_t queued;
    bool closing;
    struct place places[DESKS_MAX];
};

struct desk_queue *desk_queue_create(void)
{
    struct desk_queue *queue = calloc(1, sizeof(*queue));

    CHECK(queue);
    CHECK(pthread_mutex_init(&queue->lock, NULL) == 0);
    CHECK(pthread_cond_init(&queue->changed, NULL) == 0);
    queue->end = &queue->first;
    return queue;
}

void desk_queue_destroy(struct desk_queue *queue)
{
    if (!queue)
        return;
    CHECK(!queue->first);
    pthread_cond_destroy(&queue->changed);
    pthread_mutex_destroy(&queue->lock);
    free(queue);
}

static struct op *op_of(struct mailbox_item *item)
{
    return container_of(item, struct op, mailbox);
}

static bool is_served(const struct desk_queue *queue, struct slice tenant)
{
    for (size_t i = 0; i < DESKS_MAX && tenant.len > 0; i++)
        if (queue->places[i].busy && slice_equal(queue->places[i].tenant, tenant))
            return true;
    return false;
}

/* The first in the queue whose tenant has no desk yet, or NULL. The lock is held. */
static struct op *first_that_may(struct desk_queue *queue)
{
    for (struct mailbox_item **link = &queue->first; *link; link = &(*link)->next) {
        struct op *op = op_of(*link);

        if (is_served(queue, op->tenant))
            continue;
        *link = op->mailbox.next;
        if (!*link)
            queue->end = link;
        queue->queued--;
        return op;
    }
    return NULL;
}

static void occupy(struct place *place, const struct op *op)
{
    size_t len = op->tenant.len < sizeof(place->name) ? op->tenant.len : sizeof(place->name);

    if (len > 0)
        memcpy(place->name, op->tenant.data, len);
    place->tenant = slice_of(place->name, len);
    place->busy = true;
}

struct op *desk_queue_take(struct desk_queue *queue, size_t desk)
{
    struct place *place = &queue->places[desk];
    struct op *op;

    CHECK(desk < DESKS_MAX);
    pthread_mutex_lock(&queue->lock);
    if (place->busy) {
        place->busy = false;
        pthread_cond_broadcast(&queue->changed);
    }
    while (!(op = first_that_may(queue)) && !(queue->closing && queue->queued == 0))
        pthread_cond_wait(&queue->changed, &queue->lock);
    if (op)
        occupy(place, op);
    pthread_mutex_unlock(&queue->lock);
    return op;
}

/* The lock is held. */
static bool may_queue(const struct desk_queue *queue, struct slice tenant)
{
    size_t own = 0;

    if (queue->closing || queue->queued >= QUEUE_MAX)
        return false;
    if (queue->queued < QUEUE_TENANT_MAX || tenant.len == 0)
        return true;
    for (struct mailbox_item *item = queue->first; item; item = item->next)
        own += slice_equal(op_of(item)->tenant, tenant);
    return own < QUEUE_TENANT_MAX;
}

bool desk_queue_push(struct desk_queue *queue, struct op *op)
{
    bool queued;

    pthread_mutex_lock(&queue->lock);
    queued = may_queue(queue, op->tenant);
    if (queued) {
        op->mailbox.next = NULL;
        *queue->end = &op->mailbox;
        queue->end = &op->mailbox.next;
        queue->queued++;
        pthread_cond_signal(&queue->changed);
    }
    pthread_mutex_unlock(&queue->lock);
    return queued;
}

void desk_queue_close(struct desk_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->closing = true;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}
