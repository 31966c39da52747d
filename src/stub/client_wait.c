/* Streams of a client in the form that waits. */
#include "base/thread.h"
#include "stub/client_stream.h"

#include "stub/core.h"
#include "stub/message.h"
#include "stub/tls_reason.h"

#include <errno.h>
#include <grpc/byte_buffer.h>
#include <string.h>
#include <time.h>

/* The channel's thread does the I/O: if it waited, nothing would ever come. */
static void check_thread(const struct stub_stream *stream)
{
    CHECK(!pthread_equal(pthread_self(), stream->channel->thread));
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

    CHECK(channel && method);
    (void)client_begin(stream, options, request); /* close tells */
    return stream;
}

/* --- receive ------------------------------------------------------------------------------------- */

static bool wait_received(struct stub_stream *stream, int64_t timeout_us)
{
    struct timespec until = thread_deadline(timeout_us < 0 ? 0 : timeout_us);

    while (stream->take == TAKE_ASKED) {
        if (!wait_for_change(stream, timeout_us < 0 ? NULL : &until))
            return stream->take != TAKE_ASKED;
    }
    return true;
}

enum stub_recv stub_stream_recv(struct stub_stream *stream, int64_t timeout_us,
                                ProtobufCMessage **ret_message)
{
    struct message_error error;
    grpc_byte_buffer *payload;

    CHECK(stream && ret_message);
    check_thread(stream);
    CHECK(!stream->deliver);
    *ret_message = NULL;
    if (core_is_forked())
        return STUB_RECV_END;
    pthread_mutex_lock(&stream->lock);
    if (!wait_received(stream, timeout_us)) {
        pthread_mutex_unlock(&stream->lock);
        return STUB_RECV_TIMEOUT;
    }
    if (stream->take == TAKE_END) {
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
    struct timespec until = thread_deadline(timeout_us < 0 ? 0 : timeout_us);
    const char *value = NULL;

    CHECK(stream && key);
    if (client_is_parents(stream))
        return NULL;
    pthread_mutex_lock(&stream->lock);
    while (stream->life == STREAM_RUNNING && !stream->opened && timeout_us != 0) {
        if (!wait_for_change(stream, timeout_us < 0 ? NULL : &until))
            break;
    }
    if (client_has_call(stream) && stream->opened) /* Core lends them while it has the call */
        value = find_initial(stream, key);
    pthread_mutex_unlock(&stream->lock);
    return value;
}

/* --- send ---------------------------------------------------------------------------------------- */

bool stub_stream_send(struct stub_stream *stream, const ProtobufCMessage *message)
{
    enum stub_send state;
    grpc_slice slice;

    CHECK(stream);
    check_thread(stream);
    if (!client_encode(stream, message, &slice))
        return false;
    pthread_mutex_lock(&stream->lock);
    while ((state = client_room(stream, GRPC_SLICE_LENGTH(slice))) == STUB_SEND_FULL)
        (void)wait_for_change(stream, NULL);
    if (state == STUB_SEND_OK)
        client_push(stream, slice);
    else
        grpc_slice_unref(slice);
    pthread_mutex_unlock(&stream->lock);
    return state == STUB_SEND_OK;
}

/* --- close --------------------------------------------------------------------------------------- */

static void wait_for_end(struct stub_stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    if (client_has_call(stream) && stream->take != TAKE_END)
        grpc_call_cancel(stream->link.core, NULL);
    while (stream->pending > 0)
        (void)wait_for_change(stream, NULL);
    pthread_mutex_unlock(&stream->lock);
}

/* A stream of the parent's: it stays as it is. */
static int close_forked(struct stub_status *ret_status)
{
    struct status_source source;

    status_source_init(&source);
    source.code = GRPC_STATUS_UNAVAILABLE;
    source.text = grpc_slice_from_static_string(CORE_FORKED_TEXT);
    if (ret_status)
        status_fill_owned(ret_status, &source);
    status_source_done(&source);
    return STUB_UNAVAILABLE;
}

int stub_stream_close(struct stub_stream *stream, struct stub_status *ret_status)
{
    const char *text;
    int code;

    CHECK(stream);
    text = stream->unreadable;
    check_thread(stream);
    CHECK(!stream->deliver);
    if (client_is_parents(stream))
        return close_forked(ret_status);
    wait_for_end(stream);
    if (client_has_call(stream))
        tls_reason_append(stream->channel->reason, &stream->link, &stream->source, true);
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
