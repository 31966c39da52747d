/*
 * Streaming calls of a client. Four batches inside Core at most, each with a tag:
 *
 *   status   RECV_STATUS_ON_CLIENT, from the first moment to the end
 *   open     initial metadata both ways, and for one request: the request and the half-close
 *   receive  one RECV_MESSAGE; the next is posted when the application has taken this one
 *   send     one SEND_MESSAGE or SEND_CLOSE of a streaming client
 *
 * `pending` counts those inside Core; the end of the call brings it to 0 by itself, and then
 * stub_stream_close frees everything. Until then the stream holds a reference to its channel, since
 * reading on may start a batch even when all that was under way is done.
 */
#include "stub/channel.h"

#include "stub/message.h"

#include <grpc/byte_buffer.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct stub_stream {
    struct client_link link;
    struct stub_channel *channel;
    const struct stub_method *method;
    struct client_tag status_tag, open_tag, receive_tag, send_tag;
    struct status_source source;
    struct arena arena;
    grpc_byte_buffer *payload; /* as Core writes it; to be looked at when `received` */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    int pending;
    bool begun;    /* Core has a call */
    bool received; /* payload holds a message or the end */
    bool ended;    /* no more messages */
    bool over;     /* the status is there */
    bool sending;
    bool send_ok;
    const char *unreadable; /* a message that could not be decoded, in the arena */
};

/* --- tags -------------------------------------------------------------------------------------- */

/* With the lock held; unlocks. After it the stream may be gone. */
static void tag_done(struct stub_stream *stream)
{
    stream->pending--;
    pthread_cond_broadcast(&stream->changed);
    pthread_mutex_unlock(&stream->lock);
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
    tag_done(stream);
}

static void receive_run(struct client_tag *tag, bool ok)
{
    struct stub_stream *stream = container_of(tag, struct stub_stream, receive_tag);

    pthread_mutex_lock(&stream->lock);
    stream->received = true;
    if (!ok || !stream->payload)
        stream->ended = true;
    tag_done(stream);
}

static void send_run(struct client_tag *tag, bool ok)
{
    struct stub_stream *stream = container_of(tag, struct stub_stream, send_tag);

    pthread_mutex_lock(&stream->lock);
    stream->sending = false;
    stream->send_ok = ok;
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

static void post_receive(struct stub_stream *stream)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

    stream->received = false;
    stream->payload = NULL;
    op.data.recv_message.recv_message = &stream->payload;
    if (!post(stream, &op, 1, &stream->receive_tag, receive_run))
        stream->ended = stream->received = true;
}

/* --- open -------------------------------------------------------------------------------------- */

static bool post_status(struct stub_stream *stream)
{
    grpc_op op = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};

    op.data.recv_status_on_client.status = &stream->source.code;
    op.data.recv_status_on_client.status_details = &stream->source.text;
    op.data.recv_status_on_client.trailing_metadata = &stream->source.trailing;
    return post(stream, &op, 1, &stream->status_tag, status_run);
}

static bool post_open(struct stub_stream *stream, const struct stub_call_options *options,
                      grpc_byte_buffer *request)
{
    size_t metadata_count = options ? options->metadata_count : 0;
    grpc_op ops[4];
    size_t count = 2;
    bool ok;

    memset(ops, 0, sizeof(ops));
    channel_fill_initial(options, &stream->arena, &ops[0]);
    ops[1].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[1].data.recv_initial_metadata.recv_initial_metadata = &stream->source.initial;
    if (request) {
        ops[2].op = GRPC_OP_SEND_MESSAGE;
        ops[2].data.send_message.send_message = request;
        ops[3].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
        count = 4;
    }
    ok = post(stream, ops, count, &stream->open_tag, open_run);
    for (size_t i = 0; i < metadata_count; i++) {
        grpc_slice_unref(ops[0].data.send_initial_metadata.metadata[i].key);
        grpc_slice_unref(ops[0].data.send_initial_metadata.metadata[i].value);
    }
    return ok;
}

static void begin(struct stub_stream *stream, const struct stub_call_options *options,
                  grpc_byte_buffer *request)
{
    pthread_mutex_lock(&stream->lock);
    stream->begun = true;
    if (!post_status(stream)) {
        stream->ended = stream->over = stream->received = true;
        pthread_mutex_unlock(&stream->lock);
        return;
    }
    if (post_open(stream, options, request))
        post_receive(stream);
    else
        stream->ended = stream->received = true;
    if (stream->ended)
        grpc_call_cancel_with_status(stream->link.core, GRPC_STATUS_INTERNAL,
                                     "the call could not be started", NULL);
    pthread_mutex_unlock(&stream->lock);
}

struct stub_stream *stub_stream_open(struct stub_channel *channel, const struct stub_method *method,
                                     const struct stub_call_options *options,
                                     const ProtobufCMessage *request)
{
    struct stub_stream *stream = calloc(1, sizeof(*stream));
    grpc_byte_buffer *buffer = NULL;
    pthread_condattr_t attributes;
    grpc_slice slice;

    CHECK(stream);
    stream->channel = channel;
    stream->method = method;
    arena_init(&stream->arena, 512, SIZE_MAX / 2);
    status_source_init(&stream->source);
    CHECK(pthread_mutex_init(&stream->lock, NULL) == 0);
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&stream->changed, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
    stream->ended = stream->over = stream->received = true;
    if (request && !message_encode(request, &slice)) {
        stream->source.code = GRPC_STATUS_RESOURCE_EXHAUSTED;
        stream->source.text = grpc_slice_from_static_string("the request is too large");
        return stream;
    }
    if (request) {
        buffer = grpc_raw_byte_buffer_create(&slice, 1);
        grpc_slice_unref(slice);
    }
    if (channel_begin(channel, method, options, &stream->link)) {
        stream->ended = stream->over = stream->received = false;
        begin(stream, options, buffer);
    } else {
        stream->source.code = GRPC_STATUS_UNAVAILABLE;
        stream->source.text = grpc_slice_from_static_string("the channel is closed");
    }
    if (buffer)
        grpc_byte_buffer_destroy(buffer);
    return stream;
}

/* --- receive ------------------------------------------------------------------------------------ */

/* False: the time is over. */
static bool wait_received(struct stub_stream *stream, int64_t timeout_us)
{
    struct timespec until;

    if (timeout_us >= 0) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += timeout_us / 1000000;
        until.tv_nsec += timeout_us % 1000000 * 1000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
    }
    while (!stream->received) {
        if (timeout_us < 0)
            pthread_cond_wait(&stream->changed, &stream->lock);
        else if (pthread_cond_timedwait(&stream->changed, &stream->lock, &until) == ETIMEDOUT)
            return stream->received;
    }
    return true;
}

static void give_up(struct stub_stream *stream, const char *text)
{
    stream->unreadable = arena_strndup(&stream->arena, text, strlen(text));
    CHECK(stream->unreadable);
    stream->ended = stream->received = true;
    grpc_call_cancel(stream->link.core, NULL);
}

enum stub_recv stub_stream_recv(struct stub_stream *stream, int64_t timeout_us,
                                ProtobufCMessage **ret_message)
{
    struct message_error error;
    grpc_byte_buffer *payload;

    *ret_message = NULL;
    pthread_mutex_lock(&stream->lock);
    if (!wait_received(stream, timeout_us)) {
        pthread_mutex_unlock(&stream->lock);
        return STUB_RECV_TIMEOUT;
    }
    if (stream->ended) {
        pthread_mutex_unlock(&stream->lock);
        return STUB_RECV_END;
    }
    payload = stream->payload;
    post_receive(stream);
    pthread_mutex_unlock(&stream->lock);
    *ret_message =
        message_decode_malloc(stream->method->response, payload, CLIENT_ELEMENTS_MAX, &error);
    grpc_byte_buffer_destroy(payload);
    if (*ret_message)
        return STUB_RECV_MESSAGE;
    pthread_mutex_lock(&stream->lock);
    give_up(stream, error.text);
    pthread_mutex_unlock(&stream->lock);
    return STUB_RECV_END;
}

/* --- send --------------------------------------------------------------------------------------- */

/* Posts and waits until the transport has taken it. With the lock held. */
static bool send_and_wait(struct stub_stream *stream, const grpc_op *op)
{
    if (stream->over || stream->sending)
        return false;
    stream->sending = true;
    if (!post(stream, op, 1, &stream->send_tag, send_run)) {
        stream->sending = false;
        return false;
    }
    while (stream->sending)
        pthread_cond_wait(&stream->changed, &stream->lock);
    return stream->send_ok;
}

bool stub_stream_send(struct stub_stream *stream, const ProtobufCMessage *message)
{
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};
    grpc_byte_buffer *buffer;
    grpc_slice slice;
    bool ok;

    if (!message_encode(message, &slice))
        return false;
    buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    op.data.send_message.send_message = buffer;
    pthread_mutex_lock(&stream->lock);
    ok = send_and_wait(stream, &op);
    pthread_mutex_unlock(&stream->lock);
    grpc_byte_buffer_destroy(buffer);
    return ok;
}

void stub_stream_send_end(struct stub_stream *stream)
{
    grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};

    pthread_mutex_lock(&stream->lock);
    (void)send_and_wait(stream, &op);
    pthread_mutex_unlock(&stream->lock);
}

/* --- end ---------------------------------------------------------------------------------------- */

void stub_stream_cancel(struct stub_stream *stream)
{
    if (stream->begun)
        grpc_call_cancel(stream->link.core, NULL);
}

static int final_status(struct stub_stream *stream, struct stub_status *ret_status)
{
    int code = stream->unreadable ? STUB_INTERNAL : (int)stream->source.code;

    if (!ret_status)
        return code;
    status_fill_owned(ret_status, &stream->source);
    if (stream->unreadable)
        status_override(ret_status, status_arena(ret_status), code, stream->unreadable);
    return code;
}

int stub_stream_close(struct stub_stream *stream, struct stub_status *ret_status)
{
    int code;

    if (stream->begun) {
        pthread_mutex_lock(&stream->lock);
        if (!stream->ended)
            grpc_call_cancel(stream->link.core, NULL);
        while (stream->pending > 0)
            pthread_cond_wait(&stream->changed, &stream->lock);
        pthread_mutex_unlock(&stream->lock);
    }
    code = final_status(stream, ret_status);
    if (stream->begun) {
        channel_end(stream->channel, &stream->link);
        channel_unref(stream->channel);
    }
    if (stream->received && stream->payload)
        grpc_byte_buffer_destroy(stream->payload);
    status_source_done(&stream->source);
    arena_done(&stream->arena);
    pthread_cond_destroy(&stream->changed);
    pthread_mutex_destroy(&stream->lock);
    free(stream);
    return code;
}
