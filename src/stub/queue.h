/*
 * Packed messages that wait for the transport: bounded in number and bytes, with a policy for one more when
 * the queue is full. Inside the runtime only; under the lock of its call.
 */
#ifndef HOLDFAST_STUB_QUEUE_H
#define HOLDFAST_STUB_QUEUE_H

#include "base/check.h"
#include "stub/call.h"

#include <grpc/slice.h>
#include <stddef.h>
#include <stdint.h>

enum {
    QUEUE_INLINE = 4, /* messages that wait without an allocation */
    QUEUE_MESSAGES_MAX = 1024,
    QUEUE_BYTES_MAX = 4 << 20,
};

/* Zeroed, then queue_reset. */
struct queue {
    grpc_slice *items; /* ring; NULL: in `few` */
    grpc_slice few[QUEUE_INLINE];
    size_t first, count, capacity; /* the capacity is a power of two */
    size_t bytes;
    struct stub_queue bounds;
    uint64_t dropped; /* by the policy */
};

enum queue_room {
    QUEUE_ROOM,    /* push it; older ones may have been dropped */
    QUEUE_FULL,    /* let the sender wait */
    QUEUE_OVERRUN, /* end the stream */
};

/* The bounds with the constants above for zeros. */
struct stub_queue queue_bounds(const struct stub_queue *bounds);

/* A new call: empty, nothing dropped yet. The bounds have no zeros. */
static inline void queue_reset(struct queue *queue, const struct stub_queue *bounds)
{
    queue->bounds = *bounds;
    queue->dropped = 0;
    if (queue->capacity == 0)
        queue->capacity = QUEUE_INLINE;
}

/*
 * Is there room for a message of so many bytes? An empty queue always has room for one. Drops what
 * the policy says.
 */
enum queue_room queue_make_room(struct queue *queue, size_t bytes);

/* True when queue_make_room would say QUEUE_FULL for a message of any size. */
static inline bool queue_is_full(const struct queue *queue)
{
    return queue->bounds.when_full == STUB_FULL_WAIT &&
           (queue->count >= queue->bounds.messages_max || queue->bytes > queue->bounds.bytes_max);
}

void queue_grow(struct queue *queue);

/* Takes over the slice, whatever the bounds say. */
static inline void queue_push(struct queue *queue, grpc_slice slice)
{
    grpc_slice *items;

    if (queue->count == queue->capacity)
        queue_grow(queue);
    items = queue->items ? queue->items : queue->few;
    items[(queue->first + queue->count++) & (queue->capacity - 1)] = slice;
    queue->bytes += GRPC_SLICE_LENGTH(slice);
}

/* The oldest, for the caller to unref. There must be one. */
static inline grpc_slice queue_pop(struct queue *queue)
{
    const grpc_slice *items = queue->items ? queue->items : queue->few;
    grpc_slice slice = items[queue->first];

    queue->first = (queue->first + 1) & (queue->capacity - 1);
    queue->count--;
    queue->bytes -= GRPC_SLICE_LENGTH(slice);
    return slice;
}

/* Drops all that waits; the ring's memory stays. */
void queue_drop(struct queue *queue);

/* Drops all and frees the ring. */
void queue_done(struct queue *queue);

#endif
