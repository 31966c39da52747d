/* Streams of a client in the form that calls back. */
#include "stub/client_stream.h"

#include "stub/message.h"
#include "stub/tls_reason.h"

#include <grpc/byte_buffer.h>

void client_deliver_message(struct stub_stream *stream)
{
    struct message_error error;
    ProtobufCMessage *message = message_decode(&stream->message_arena, stream->method->response,
                                               stream->payload, CLIENT_ELEMENTS_MAX, &error);

    grpc_byte_buffer_destroy(stream->payload);
    stream->payload = NULL;
    if (message) {
        stream->deliver(stream->on_message, stream->user, stream, message);
    } else {
        pthread_mutex_lock(&stream->lock);
        client_give_up(stream, error.text);
        pthread_mutex_unlock(&stream->lock);
    }
    arena_reset(&stream->message_arena);
}

void stub_stream_pause(struct stub_stream *stream)
{
    CHECK(stream && stream->deliver);
    if (client_is_parents(stream))
        return;
    pthread_mutex_lock(&stream->lock);
    if (stream->take == TAKE_ASKED)
        stream_take_step(stream, TAKE_PAUSED);
    pthread_mutex_unlock(&stream->lock);
}

void stub_stream_resume(struct stub_stream *stream)
{
    CHECK(stream && stream->deliver);
    if (client_is_parents(stream))
        return;
    pthread_mutex_lock(&stream->lock);
    if (stream->take == TAKE_PAUSED)
        stream_take_step(stream, TAKE_ASKED);
    else if (stream->take == TAKE_OWED && stream->life == STREAM_RUNNING)
        client_post_receive(stream);
    pthread_mutex_unlock(&stream->lock);
}

static void deliver_end(struct stub_stream *stream)
{
    struct stub_status status = STUB_STATUS_INIT;

    pthread_mutex_lock(&stream->lock); /* of the arena, that is */
    if (client_has_call(stream))
        tls_reason_append(stream->channel->reason, &stream->link, &stream->source, false);
    status_fill(&status, &stream->arena, &stream->source);
    if (stream->unreadable)
        status_override(&status, &stream->arena, STUB_INTERNAL, stream->unreadable);
    pthread_mutex_unlock(&stream->lock);
    if (stream->link.intercepted)
        outgoing_after(stream->channel, stream->method, &stream->link, status.code, status.message);
    if (stream->events.on_end)
        stream->events.on_end(stream->user, stream, &status);
    client_leave(stream);
    client_unref(stream);
}

static void wait_run(struct client_tag *tag, bool ok)
{
    (void)ok;
    deliver_end(container_of(tag, struct stub_stream, wait.tag));
}

void client_deliver_end(struct stub_stream *stream)
{
    bool asks;

    pthread_mutex_lock(&stream->lock);
    asks = client_has_call(stream) && tls_reason_defer(stream->channel->reason, &stream->link,
                                                       &stream->source, &stream->wait, wait_run);
    if (asks)
        stream_life_step(stream, STREAM_ASKS);
    pthread_mutex_unlock(&stream->lock);
    if (!asks)
        deliver_end(stream);
}

struct stub_stream *stub_stream_start(struct stub_channel *channel,
                                      const struct stub_method *method,
                                      const struct stub_call_options *options,
                                      const ProtobufCMessage *request,
                                      stub_deliver_message *deliver, stub_function *on_message,
                                      const struct stub_stream_events *events, void *user)
{
    struct stub_stream *stream = client_create(channel, method);

    CHECK(channel && method && deliver && on_message);
    stream->deliver = deliver;
    stream->on_message = on_message;
    if (events)
        stream->events = *events;
    stream->user = user;
    atomic_store_explicit(&stream->refs, 3, memory_order_relaxed); /* and this function's */
    if (!client_begin(stream, options, request))
        client_deliver_end(stream);
    client_unref(stream);
    return stream;
}

void stub_stream_release(struct stub_stream *stream)
{
    CHECK(stream && stream->deliver);
    if (!client_is_parents(stream))
        client_unref(stream);
}
