#include "stub/queue.h"

#include <stdlib.h>

struct stub_queue queue_bounds(const struct stub_queue *bounds)
{
    struct stub_queue full = *bounds;

    if (full.messages_max == 0)
        full.messages_max = QUEUE_MESSAGES_MAX;
    if (full.bytes_max == 0)
        full.bytes_max = QUEUE_BYTES_MAX;
    return full;
}

void queue_grow(struct queue *queue)
{
    const grpc_slice *old = queue->items ? queue->items : queue->few;
    size_t capacity = 2 * queue->capacity;
    grpc_slice *items = calloc(capacity, sizeof(*items));

    CHECK(items);
    for (size_t i = 0; i < queue->count; i++)
        items[i] = old[(queue->first + i) & (queue->capacity - 1)];
    free(queue->items);
    queue->items = items;
    queue->capacity = capacity;
    queue->first = 0;
}

static bool fits(const struct queue *queue, size_t bytes)
{
    if (queue->count == 0)
        return true;
    return queue->count < queue->bounds.messages_max && bytes <= queue->bounds.bytes_max &&
           queue->bytes <= queue->bounds.bytes_max - bytes;
}

static void drop_oldest(struct queue *queue)
{
    grpc_slice_unref(queue_pop(queue));
    queue->dropped++;
}

enum queue_room queue_make_room(struct queue *queue, size_t bytes)
{
    switch (queue->bounds.when_full) {
    case STUB_FULL_WAIT:
        return fits(queue, bytes) ? QUEUE_ROOM : QUEUE_FULL;
    case STUB_FULL_DROP_OLDEST:
        while (!fits(queue, bytes))
            drop_oldest(queue);
        return QUEUE_ROOM;
    case STUB_FULL_KEEP_LATEST:
        while (queue->count > 0)
            drop_oldest(queue);
        return QUEUE_ROOM;
    case STUB_FULL_FAIL:
    case STUB_FULL_ABORT:
        return fits(queue, bytes) ? QUEUE_ROOM : QUEUE_OVERRUN;
    }
    UNREACHABLE();
}

void queue_drop(struct queue *queue)
{
    while (queue->count > 0)
        grpc_slice_unref(queue_pop(queue));
}

void queue_done(struct queue *queue)
{
    queue_drop(queue);
    free(queue->items);
    queue->items = NULL;
    queue->capacity = 0;
}
