/* Streams of a client in the form that waits. */
#include "stub/client_stream.h"

#include "stub/message.h"

#include <errno.h>
#include <grpc/byte_buffer.h>
#include <string.h>
#include <time.h>

/* The channel's thread does the I/O: if it waited, nothing would ever come. */
static void check_thread(const struct stub_stream *stream)
{
    CHECK(!pthread_equal(pthread_self(), stream->channel->thread));
}

static struct timespec until_of(int64_t timeout_us)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_us / 1000000;
    until.tv_nsec += timeout_us % 1000000 * 1000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    return until;
}

/* With the lock held, which is given up meanwhile. False: the time is over; until NULL: never. */
static bool wait_for_change(struct stub_stream *stream, const struct timespec *until)
{
    if (!until)
        return pthread_cond_wait(&stream->changed, &stream->lock) == 0;
    return pthread_cond_timedwait(&stream->changed, &stream->lock, until) != ETIMEDOUT;
}

struct stub_stream *stub_stream_open(struct stub_channel *channel, const struct stub_method *method,
                                     const struct stub_call_options *options,
                                     const ProtobufCMessage *request)
{
    struct stub_stream *stream = client_create(channel, method);

    (void)client_begin(stream, options, request); /* close tells */
    return stream;
}

/* --- receive ------------------------------------------------------------------------------------- */

static bool wait_received(struct stub_stream *stream, int64_t timeout_us)
{
    struct timespec until = until_of(timeout_us < 0 ? 0 : timeout_us);

    while (!stream->received) {
        if (!wait_for_change(stream, timeout_us < 0 ? NULL : &until))
            return stream->received;
    }
    return true;
}

enum stub_recv stub_stream_recv(struct stub_stream *stream, int64_t timeout_us,
                                ProtobufCMessage **ret_message)
{
    struct message_error error;
    grpc_byte_buffer *payload;

    check_thread(stream);
    CHECK(!stream->deliver);
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
    client_post_receive(stream);
    pthread_mutex_unlock(&stream->lock);
    *ret_message =
        message_decode_malloc(stream->method->response, payload, CLIENT_ELEMENTS_MAX, &error);
    grpc_byte_buffer_destroy(payload);
    if (*ret_message)
        return STUB_RECV_MESSAGE;
    pthread_mutex_lock(&stream->lock);
    client_give_up(stream, error.text);
    pthread_mutex_unlock(&stream->lock);
    return STUB_RECV_END;
}

/* With the lock held. A copy in the arena. */
static const char *find_initial(struct stub_stream *stream, const char *key)
{
    const grpc_metadata_array *initial = &stream->source.initial;

    for (size_t i = 0; i < initial->count; i++) {
        grpc_slice value = initial->metadata[i].value;
        const char *copy;

        if (grpc_slice_str_cmp(initial->metadata[i].key, key) != 0)
            continue;
        copy = arena_strndup(&stream->arena, (const char *)GRPC_SLICE_START_PTR(value),
                             GRPC_SLICE_LENGTH(value));
        CHECK(copy);
        return copy;
    }
    return NULL;
}

const char *stub_stream_initial(struct stub_stream *stream, const char *key, int64_t timeout_us)
{
    struct timespec until = until_of(timeout_us < 0 ? 0 : timeout_us);
    const char *value = NULL;

    pthread_mutex_lock(&stream->lock);
    while (stream->begun && !stream->opened && !stream->over && timeout_us != 0) {
        if (!wait_for_change(stream, timeout_us < 0 ? NULL : &until))
            break;
    }
    if (stream->begun && stream->opened) /* Core lends them while it has the call */
        value = find_initial(stream, key);
    pthread_mutex_unlock(&stream->lock);
    return value;
}

/* --- send ---------------------------------------------------------------------------------------- */

bool stub_stream_send(struct stub_stream *stream, const ProtobufCMessage *message)
{
    enum stub_send state;
    grpc_slice slice;

    check_thread(stream);
    if (!message_encode(message, &slice))
        return false;
    pthread_mutex_lock(&stream->lock);
    while ((state = client_room(stream, GRPC_SLICE_LENGTH(slice))) == STUB_SEND_FULL)
        (void)wait_for_change(stream, NULL);
    if (state == STUB_SEND_OK) {
        queue_push(&stream->queue, slice);
        client_pump(stream);
    } else {
        grpc_slice_unref(slice);
    }
    pthread_mutex_unlock(&stream->lock);
    return state == STUB_SEND_OK;
}

/* --- close --------------------------------------------------------------------------------------- */

static void wait_for_end(struct stub_stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    if (stream->begun && !stream->ended)
        grpc_call_cancel(stream->link.core, NULL);
    while (stream->pending > 0)
        (void)wait_for_change(stream, NULL);
    pthread_mutex_unlock(&stream->lock);
}

int stub_stream_close(struct stub_stream *stream, struct stub_status *ret_status)
{
    const char *text = stream->unreadable;
    int code;

    check_thread(stream);
    CHECK(!stream->deliver);
    wait_for_end(stream);
    code = text ? STUB_INTERNAL : (int)stream->source.code;
    if (stream->link.intercepted)
        outgoing_after(stream->channel, stream->method, &stream->link, code,
                       text ? text : status_source_text(&stream->arena, &stream->source));
    if (ret_status) {
        status_fill_owned(ret_status, &stream->source);
        if (text)
            status_override(ret_status, status_arena(ret_status), code, text);
    }
    client_leave(stream);
    client_unref(stream);
    return code;
}
