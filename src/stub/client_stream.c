/* The machine under both forms of a client's stream; client_stream.h tells how it works. */
#include "stub/client_stream.h"

#include "stub/core.h"
#include "stub/message.h"

#include <grpc/byte_buffer.h>
#include <grpc/slice_buffer.h>
#include <stdio.h>
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
    if (stream->payload)
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
    bool has_call;

    pthread_mutex_lock(&stream->lock);
    has_call = client_has_call(stream);
    if (has_call)
        stream_life_step(stream, STREAM_LEFT); /* nobody cancels it any more */
    pthread_mutex_unlock(&stream->lock);
    if (!has_call)
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

/* With the lock held: nothing can be sent any more. */
static void send_die(struct stub_stream *stream)
{
    queue_drop(&stream->queue);
    if (stream->send != SEND_DEAD)
        stream_send_step(stream, SEND_DEAD);
}

/* With the lock held: no more messages come. */
static void take_end(struct stub_stream *stream)
{
    if (stream->take != TAKE_END)
        stream_take_step(stream, TAKE_END);
}

static void status_run(struct client_tag *tag, bool ok)
{
    struct stub_stream *stream = container_of(tag, struct stub_stream, status_tag);

    (void)ok;
    pthread_mutex_lock(&stream->lock);
    stream_life_step(stream, STREAM_OVER);
    send_die(stream);
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

/* With the lock held, which is given up meanwhile. Then the next, unless the callback has paused. */
static void deliver_one(struct stub_stream *stream)
{
    pthread_mutex_unlock(&stream->lock);
    client_deliver_message(stream);
    pthread_mutex_lock(&stream->lock);
    if (stream->take == TAKE_PAUSED)
        stream_take_step(stream, TAKE_OWED);
    else if (stream->take != TAKE_END)
        client_post_receive(stream);
}

static void receive_run(struct client_tag *tag, bool ok)
{
    struct stub_stream *stream = container_of(tag, struct stub_stream, receive_tag);

    pthread_mutex_lock(&stream->lock);
    if (!ok || !stream->payload)
        take_end(stream);
    if (stream->take != TAKE_END && stream->deliver)
        deliver_one(stream);
    else if (stream->take != TAKE_END) /* client_give_up may have been first */
        stream_take_step(stream, TAKE_HERE);
    tag_done(stream);
}

static void send_next(struct stub_stream *stream);

static void send_run(struct client_tag *tag, bool ok)
{
    struct stub_stream *stream = container_of(tag, struct stub_stream, send_tag);

    pthread_mutex_lock(&stream->lock);
    if (!ok)
        send_die(stream);
    else if (stream->send == SEND_BUSY || stream->send == SEND_CLOSING)
        send_next(stream);
    if (stream->events.on_drained && stream->send == SEND_READY) {
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

    stream_take_step(stream, TAKE_ASKED);
    stream->payload = NULL;
    op.data.recv_message.recv_message = &stream->payload;
    if (!post(stream, &op, 1, &stream->receive_tag, receive_run))
        take_end(stream);
}

void client_give_up(struct stub_stream *stream, const char *text)
{
    stream->unreadable = arena_strndup(&stream->arena, text, strlen(text));
    CHECK(stream->unreadable);
    take_end(stream);
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

static bool post_open(struct stub_stream *stream, const grpc_op *initial, grpc_byte_buffer *request)
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

/* The channel's thread may complete batches from the first one on, so the lock is held. */
static void post_all(struct stub_stream *stream, const grpc_op *initial, grpc_byte_buffer *request)
{
    stream_life_step(stream, STREAM_RUNNING);
    if (request)
        stream_send_step(stream, SEND_CLOSED);
    if (!post_status(stream)) {
        stream_life_step(stream, STREAM_OVER);
        send_die(stream);
        take_end(stream);
        return;
    }
    if (post_open(stream, initial, request))
        client_post_receive(stream);
    else
        take_end(stream);
    if (stream->take == TAKE_END) {
        send_die(stream);
        grpc_call_cancel_with_status(stream->link.core, GRPC_STATUS_INTERNAL,
                                     "the call could not be started", NULL);
    }
}

static void set_failed(struct stub_stream *stream)
{
    stream_life_step(stream, STREAM_FAILED);
    send_die(stream);
    take_end(stream);
}

static void cannot_begin(struct stub_stream *stream, grpc_status_code code, const char *text)
{
    set_failed(stream);
    stream->source.code = code;
    stream->source.text = grpc_slice_from_copied_string(text);
}

bool client_begin(struct stub_stream *stream, const struct stub_call_options *options,
                  const ProtobufCMessage *request)
{
    static const struct stub_queue defaults;
    bool one = stream->method->kind == STUB_KIND_SERVER_STREAM;
    struct message_refusal refusal;
    struct stub_queue bounds = queue_bounds(options ? &options->queue : &defaults);
    grpc_byte_buffer *buffer = NULL;
    grpc_op initial = {0};
    const char *fault;
    grpc_slice slice;
    bool pending;

    CHECK(one || (!request && stream->method->kind != STUB_KIND_UNARY));
    queue_reset(&stream->queue, &bounds);
    if (core_is_forked()) {
        cannot_begin(stream, GRPC_STATUS_UNAVAILABLE, CORE_FORKED_TEXT);
        return false;
    }
    if (one && !message_encode_request(stream->method->request, request, &slice, &refusal)) {
        set_failed(stream);
        status_source_refuse(&stream->source, &refusal);
        return false;
    }
    if (one) {
        buffer = grpc_raw_byte_buffer_create(&slice, 1);
        grpc_slice_unref(slice);
    }
    fault = outgoing_fill(stream->channel, stream->method, &stream->link, options, &stream->arena,
                          &initial);
    pthread_mutex_lock(&stream->lock);
    if (fault)
        cannot_begin(stream, GRPC_STATUS_INTERNAL, fault);
    else if (channel_begin(stream->channel, stream->method, options, &stream->link))
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

static void send_failed(struct stub_stream *stream)
{
    send_die(stream);
    grpc_call_cancel_with_status(stream->link.core, GRPC_STATUS_INTERNAL,
                                 "the message cannot be sent", NULL);
}

/*
 * As on the server: one batch at a time, the hint to buffer while more wait, the end with the last. None is
 * inside Core.
 */
static void send_next(struct stub_stream *stream)
{
    bool message = stream->queue.count > 0;
    bool close = stream->send == SEND_CLOSING && stream->queue.count <= 1;
    grpc_byte_buffer buffer;
    grpc_op ops[2];
    size_t count = 0;
    bool ok;

    if (!message && !close) {
        if (stream->send == SEND_BUSY)
            stream_send_step(stream, SEND_READY);
        return;
    }
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
        stream_send_step(stream, SEND_CLOSED);
    } else if (stream->send != SEND_CLOSING) {
        stream_send_step(stream, SEND_BUSY);
    }
    ok = post(stream, ops, count, &stream->send_tag, send_run);
    if (message)
        grpc_slice_buffer_destroy(&buffer.data.raw.slice_buffer);
    if (!ok)
        send_failed(stream);
}

void client_push(struct stub_stream *stream, grpc_slice slice)
{
    queue_push(&stream->queue, slice);
    if (stream->send == SEND_READY)
        send_next(stream);
}

/* With the lock held: messages may be queued. */
static bool may_send(const struct stub_stream *stream)
{
    return stream->send == SEND_READY || stream->send == SEND_BUSY;
}

bool client_encode(struct stub_stream *stream, const ProtobufCMessage *message, grpc_slice *ret)
{
    struct message_refusal refusal;
    char text[sizeof(refusal.text) + 32];

    CHECK(stream);
    if (client_is_parents(stream))
        return false;
    if (message_encode_request(stream->method->request, message, ret, &refusal))
        return true;
    snprintf(text, sizeof(text), "a message of the stream: %s", refusal.text);
    pthread_mutex_lock(&stream->lock);
    if (may_send(stream)) {
        send_die(stream);
        grpc_call_cancel_with_status(stream->link.core, (grpc_status_code)refusal.code, text, NULL);
    }
    pthread_mutex_unlock(&stream->lock);
    return false;
}

enum stub_send client_room(struct stub_stream *stream, size_t bytes)
{
    if (!may_send(stream))
        return STUB_SEND_DEAD;
    switch (queue_make_room(&stream->queue, bytes)) {
    case QUEUE_ROOM:
        return STUB_SEND_OK;
    case QUEUE_FULL:
        return STUB_SEND_FULL;
    case QUEUE_OVERRUN:
        send_die(stream);
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

    CHECK(stream);
    if (!client_encode(stream, message, &slice))
        return STUB_SEND_DEAD;
    pthread_mutex_lock(&stream->lock);
    state = client_room(stream, GRPC_SLICE_LENGTH(slice));
    if (state == STUB_SEND_OK)
        client_push(stream, slice);
    else
        grpc_slice_unref(slice);
    pthread_mutex_unlock(&stream->lock);
    return state;
}

void stub_stream_send_end(struct stub_stream *stream)
{
    bool ready;

    CHECK(stream);
    if (client_is_parents(stream))
        return;
    pthread_mutex_lock(&stream->lock);
    ready = stream->send == SEND_READY;
    if (may_send(stream))
        stream_send_step(stream, SEND_CLOSING);
    if (ready)
        send_next(stream);
    pthread_cond_broadcast(&stream->changed); /* a send that waits for room */
    pthread_mutex_unlock(&stream->lock);
}

uint64_t stub_stream_dropped(struct stub_stream *stream)
{
    uint64_t dropped;

    CHECK(stream);
    if (client_is_parents(stream))
        return 0;
    pthread_mutex_lock(&stream->lock);
    dropped = stream->queue.dropped;
    pthread_mutex_unlock(&stream->lock);
    return dropped;
}

/* --- cancel -------------------------------------------------------------------------------------- */

void stub_stream_cancel(struct stub_stream *stream)
{
    CHECK(stream);
    if (client_is_parents(stream))
        return;
    pthread_mutex_lock(&stream->lock);
    if (client_has_call(stream))
        grpc_call_cancel(stream->link.core, NULL);
    pthread_mutex_unlock(&stream->lock);
}
