/* The machine under both forms of a client's stream; client_stream.h tells how it works. */
#include "stub/client_stream.h"

#include "stub/message.h"

#include <grpc/byte_buffer.h>
#include <grpc/slice_buffer.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- lifetime ------------------------------------------------------------------------------------ */

struct stub_stream *client_create(struct stub_channel *channel, const struct stub_method *method)
{
    struct stub_stream *stream = calloc(1, sizeof(*stream));
    pthread_condattr_t attributes;

    CHECK(stream);
    stream->channel = channel;
    stream->method = method;
    atomic_store_explicit(&stream->refs, 1, memory_order_relaxed);
    arena_init(&stream->arena, 512, SIZE_MAX / 2);
    arena_init(&stream->message_arena, CLIENT_ARENA_BYTES, SIZE_MAX / 2);
    status_source_init(&stream->source);
    CHECK(pthread_mutex_init(&stream->lock, NULL) == 0);
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&stream->changed, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
    return stream;
}

void client_unref(struct stub_stream *stream)
{
    if (atomic_fetch_sub_explicit(&stream->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (stream->received && stream->payload)
        grpc_byte_buffer_destroy(stream->payload);
    queue_done(&stream->queue);
    status_source_done(&stream->source);
    arena_done(&stream->arena);
    arena_done(&stream->message_arena);
    pthread_cond_destroy(&stream->changed);
    pthread_mutex_destroy(&stream->lock);
    free(stream);
}

void client_leave(struct stub_stream *stream)
{
    struct stub_channel *channel = stream->channel;
    bool begun;

    pthread_mutex_lock(&stream->lock);
    begun = stream->begun;
    stream->begun = false; /* nobody cancels it any more */
    pthread_mutex_unlock(&stream->lock);
    if (!begun)
        return;
    channel_end(channel, &stream->link);
    channel_unref(channel);
}

/* --- tags ---------------------------------------------------------------------------------------- */

/* With the lock held; unlocks. After it the stream may be gone. */
static void tag_done(struct stub_stream *stream)
{
    bool end = --stream->pending == 0 && stream->deliver;

    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
    if (end)
        client_deliver_end(stream);
}

static void status_run(struct client_tag *tag, bool ok)
{
    struct stub_stream *stream = container_of(tag, struct stub_stream, status_tag);

    (void)ok;
    pthread_mutex_lock(&stream->lock);
    stream->over = true;
    tag_done(stream);
}

static void open_run(struct client_tag *tag, bool ok)
{
    struct stub_stream *stream = container_of(tag, struct stub_stream, open_tag);

    (void)ok; /* what went wrong is in the status */
    pthread_mutex_lock(&stream->lock);
    stream->opened = true;
    tag_done(stream);
}

static void receive_run(struct client_tag *tag, bool ok)
{
    struct stub_stream *stream = container_of(tag, struct stub_stream, receive_tag);

    pthread_mutex_lock(&stream->lock);
    stream->received = true;
    if (!ok || !stream->payload)
        stream->ended = true;
    if (stream->deliver && !stream->ended) {
        pthread_mutex_unlock(&stream->lock);
        client_deliver_message(stream);
        pthread_mutex_lock(&stream->lock);
        stream->owes_read = !stream->ended && stream->paused;
        if (!stream->ended && !stream->paused)
            client_post_receive(stream);
    }
    tag_done(stream);
}

static void send_run(struct client_tag *tag, bool ok)
{
    struct stub_stream *stream = container_of(tag, struct stub_stream, send_tag);

    pthread_mutex_lock(&stream->lock);
    stream->sending = false;
    if (!ok) {
        stream->dead = true;
        queue_drop(&stream->queue);
    }
    client_pump(stream);
    if (stream->events.on_drained && !stream->sending && !stream->dead && !stream->over &&
        !stream->half_closed) {
        pthread_mutex_unlock(&stream->lock);
        stream->events.on_drained(stream->user, stream);
        pthread_mutex_lock(&stream->lock);
    }
    tag_done(stream);
}

/* With the lock held. */
static bool post(struct stub_stream *stream, const grpc_op *ops, size_t count,
                 struct client_tag *tag, void (*run)(struct client_tag *, bool))
{
    tag->run = run;
    stream->pending++;
    handoff_give(tag);
    if (grpc_call_start_batch(stream->link.core, ops, count, tag, NULL) == GRPC_CALL_OK)
        return true;
    stream->pending--;
    return false;
}

void client_post_receive(struct stub_stream *stream)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

    stream->received = false;
    stream->payload = NULL;
    op.data.recv_message.recv_message = &stream->payload;
    if (!post(stream, &op, 1, &stream->receive_tag, receive_run))
        stream->ended = stream->received = true;
}

void client_give_up(struct stub_stream *stream, const char *text)
{
    stream->unreadable = arena_strndup(&stream->arena, text, strlen(text));
    CHECK(stream->unreadable);
    stream->ended = stream->received = true;
    grpc_call_cancel(stream->link.core, NULL);
}

/* --- begin --------------------------------------------------------------------------------------- */

static bool post_status(struct stub_stream *stream)
{
    grpc_op op = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};

    op.data.recv_status_on_client.status = &stream->source.code;
    op.data.recv_status_on_client.status_details = &stream->source.text;
    op.data.recv_status_on_client.trailing_metadata = &stream->source.trailing;
    return post(stream, &op, 1, &stream->status_tag, status_run);
}

static bool post_open(struct stub_stream *stream, const grpc_op *initial,
                      grpc_byte_buffer *request)
{
    grpc_op ops[4];
    size_t count = 2;

    memset(ops, 0, sizeof(ops));
    ops[0] = *initial;
    ops[1].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[1].data.recv_initial_metadata.recv_initial_metadata = &stream->source.initial;
    if (request) {
        ops[2].op = GRPC_OP_SEND_MESSAGE;
        ops[2].data.send_message.send_message = request;
        ops[3].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
        count = 4;
    }
    return post(stream, ops, count, &stream->open_tag, open_run);
}

static void set_ended(struct stub_stream *stream)
{
    stream->ended = stream->over = stream->received = true;
}

/* The channel's thread may complete batches from the first one on, so the lock is held. */
static void post_all(struct stub_stream *stream, const grpc_op *initial,
                     grpc_byte_buffer *request)
{
    stream->begun = true;
    stream->half_closed = stream->close_sent = request != NULL;
    if (!post_status(stream)) {
        set_ended(stream);
        return;
    }
    if (post_open(stream, initial, request))
        client_post_receive(stream);
    else
        stream->ended = stream->received = true;
    if (stream->ended) {
        stream->dead = true;
        grpc_call_cancel_with_status(stream->link.core, GRPC_STATUS_INTERNAL,
                                     "the call could not be started", NULL);
    }
}

static void cannot_begin(struct stub_stream *stream, grpc_status_code code, const char *text)
{
    set_ended(stream);
    stream->source.code = code;
    stream->source.text = grpc_slice_from_static_string(text);
}

bool client_begin(struct stub_stream *stream, const struct stub_call_options *options,
                  const ProtobufCMessage *request)
{
    static const struct stub_queue defaults;
    struct stub_queue bounds = queue_bounds(options ? &options->queue : &defaults);
    grpc_byte_buffer *buffer = NULL;
    grpc_op initial = {0};
    grpc_slice slice;
    bool pending;

    queue_reset(&stream->queue, &bounds);
    if (request && !message_encode(request, &slice)) {
        cannot_begin(stream, GRPC_STATUS_RESOURCE_EXHAUSTED, "the request is too large");
        return false;
    }
    if (request) {
        buffer = grpc_raw_byte_buffer_create(&slice, 1);
        grpc_slice_unref(slice);
    }
    outgoing_fill(stream->channel, stream->method, &stream->link, options, &stream->arena, &initial);
    pthread_mutex_lock(&stream->lock);
    if (channel_begin(stream->channel, stream->method, options, &stream->link))
        post_all(stream, &initial, buffer);
    else
        cannot_begin(stream, GRPC_STATUS_UNAVAILABLE, "the channel is closed");
    pending = stream->pending > 0;
    pthread_mutex_unlock(&stream->lock);
    outgoing_drop(&initial);
    if (buffer)
        grpc_byte_buffer_destroy(buffer);
    return pending;
}

/* --- send ---------------------------------------------------------------------------------------- */

static void pump_failed(struct stub_stream *stream)
{
    stream->sending = false;
    stream->dead = true;
    queue_drop(&stream->queue);
    grpc_call_cancel_with_status(stream->link.core, GRPC_STATUS_INTERNAL,
                                 "the message cannot be sent", NULL);
}

/* As on the server: one batch at a time, the hint to buffer while more wait, the end with the last. */
void client_pump(struct stub_stream *stream)
{
    bool message = stream->queue.count > 0;
    bool close = stream->half_closed && !stream->close_sent && stream->queue.count <= 1;
    grpc_byte_buffer buffer;
    grpc_op ops[2];
    size_t count = 0;
    bool ok;

    if (stream->sending || stream->dead || stream->over || (!message && !close))
        return;
    memset(ops, 0, sizeof(ops));
    if (message) {
        memset(&buffer, 0, sizeof(buffer));
        buffer.type = GRPC_BB_RAW;
        buffer.data.raw.compression = GRPC_COMPRESS_NONE;
        grpc_slice_buffer_init(&buffer.data.raw.slice_buffer);
        grpc_slice_buffer_add(&buffer.data.raw.slice_buffer, queue_pop(&stream->queue));
        ops[count].op = GRPC_OP_SEND_MESSAGE;
        ops[count].data.send_message.send_message = &buffer;
        if (stream->queue.count > 0)
            ops[count].flags = GRPC_WRITE_BUFFER_HINT;
        count++;
    }
    if (close) {
        ops[count++].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
        stream->close_sent = true;
    }
    stream->sending = true;
    ok = post(stream, ops, count, &stream->send_tag, send_run);
    if (message)
        grpc_slice_buffer_destroy(&buffer.data.raw.slice_buffer);
    if (!ok)
        pump_failed(stream);
}

enum stub_send client_room(struct stub_stream *stream, size_t bytes)
{
    if (stream->dead || stream->over || stream->half_closed)
        return STUB_SEND_DEAD;
    switch (queue_make_room(&stream->queue, bytes)) {
    case QUEUE_ROOM:
        return STUB_SEND_OK;
    case QUEUE_FULL:
        return STUB_SEND_FULL;
    case QUEUE_OVERRUN:
        stream->dead = true;
        queue_drop(&stream->queue);
        grpc_call_cancel_with_status(stream->link.core, GRPC_STATUS_RESOURCE_EXHAUSTED,
                                     "the reader is too slow", NULL);
        return STUB_SEND_DEAD;
    }
    UNREACHABLE();
}

enum stub_send stub_stream_try_send(struct stub_stream *stream, const ProtobufCMessage *message)
{
    enum stub_send state;
    grpc_slice slice;

    if (!message_encode(message, &slice))
        return STUB_SEND_DEAD;
    pthread_mutex_lock(&stream->lock);
    state = client_room(stream, GRPC_SLICE_LENGTH(slice));
    if (state == STUB_SEND_OK) {
        queue_push(&stream->queue, slice);
        client_pump(stream);
    } else {
        grpc_slice_unref(slice);
    }
    pthread_mutex_unlock(&stream->lock);
    return state;
}

void stub_stream_send_end(struct stub_stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    stream->half_closed = true;
    client_pump(stream);
    pthread_cond_broadcast(&stream->changed); /* a send that waits for room */
    pthread_mutex_unlock(&stream->lock);
}

uint64_t stub_stream_dropped(struct stub_stream *stream)
{
    uint64_t dropped;

    pthread_mutex_lock(&stream->lock);
    dropped = stream->queue.dropped;
    pthread_mutex_unlock(&stream->lock);
    return dropped;
}

/* --- cancel -------------------------------------------------------------------------------------- */

void stub_stream_cancel(struct stub_stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    if (stream->begun)
        grpc_call_cancel(stream->link.core, NULL);
    pthread_mutex_unlock(&stream->lock);
}
