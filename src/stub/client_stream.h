/*
 * A streaming call of a client, for the files that implement it: client_stream.c has what both forms
 * share, client_wait.c the one that waits, client_start.c the one that calls back.
 *
 * Four batches inside Core at most, each with a tag:
 *
 *   status   RECV_STATUS_ON_CLIENT, from the first moment to the end
 *   open     initial metadata both ways, and for one request: the request and the half-close
 *   receive  one RECV_MESSAGE; the next is posted when the application has taken this one
 *   send     the next of the queue, and the half-close behind the last
 *
 * `pending` counts those inside Core; the end of the call brings it to 0. What happens then depends on the
 * form. stub_stream_close waits for it and frees a stream that was opened. Until then the stream keeps its
 * reference to the channel, because reading on may start another batch even when all others are done. A
 * stream that was started is ended by the completion that finds `pending` at 0. It runs on_end, at once or
 * when TLS has said why the server was not reached. Then it gives up the channel, and the reference that
 * stood for all this. stub_stream_release gives up the other one.
 */
#ifndef HOLDFAST_STUB_CLIENT_STREAM_H
#define HOLDFAST_STUB_CLIENT_STREAM_H

#include "base/check.h"
#include "stub/channel.h"
#include "stub/client_stage.h"
#include "stub/core.h"
#include "stub/queue.h"

struct stub_stream {
    struct client_link link;
    struct stub_channel *channel;
    const struct stub_method *method;
    struct client_tag status_tag, open_tag, receive_tag, send_tag;
    struct status_source source;
    struct arena arena;
    grpc_byte_buffer *payload; /* Core writes it while a read is inside */
    atomic_int refs;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct queue queue;
    int pending;
    enum stream_life life; /* client_stage.h draws them and has the only functions that write them */
    enum stream_send send;
    enum stream_take take;
    bool opened;            /* the initial metadata are there */
    const char *unreadable; /* a message that could not be decoded, in the arena */

    /* the form that calls back; deliver is NULL in the other */
    stub_deliver_message *deliver;
    stub_function *on_message;
    struct stub_stream_events events;
    void *user;
    struct tls_wait wait;
    struct arena message_arena;
};

/*
 * A stream of which Core knows nothing yet, with one reference. Begin hands it to Core; false: it
 * could not, no completion will come, and the stream is over with the reason in its source.
 */
struct stub_stream *client_create(struct stub_channel *channel, const struct stub_method *method);
bool client_begin(struct stub_stream *stream, const struct stub_call_options *options,
                  const ProtobufCMessage *request);

/* With the lock held: Core has the call. */
static inline bool client_has_call(const struct stub_stream *stream)
{
    return stream->life == STREAM_RUNNING || stream->life == STREAM_OVER ||
           stream->life == STREAM_ASKS;
}

/* In a child of fork: it was begun before, and its lock may be held for ever. */
static inline bool client_is_parents(const struct stub_stream *stream)
{
    return core_is_forked() && stream->life != STREAM_FAILED;
}

/* With the lock held: asks for the next message. */
void client_post_receive(struct stub_stream *stream);

/* With the lock held: queues a message for which client_room has said STUB_SEND_OK, and takes it over. */
void client_push(struct stub_stream *stream, grpc_slice slice);

/* With the lock held: a message could not be read, and so the call ends. The text is copied. */
void client_give_up(struct stub_stream *stream, const char *text);

/* Packs a message to the server. False: it cannot be sent, and the call ends with the reason. */
bool client_encode(struct stub_stream *stream, const ProtobufCMessage *message, grpc_slice *ret);

/* With the lock held: what happens to a message of so many bytes? */
enum stub_send client_room(struct stub_stream *stream, size_t bytes);

/* When nothing is pending: gives up the call and the channel. */
void client_leave(struct stub_stream *stream);
void client_unref(struct stub_stream *stream);

/* --- client_start.c: callbacks, on the channel's thread and without the lock -------------------- */

/* Hands on stream->payload. */
void client_deliver_message(struct stub_stream *stream);

/* Nothing is pending any more. After it the stream may be gone. */
void client_deliver_end(struct stub_stream *stream);

#endif
