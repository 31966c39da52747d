/*
 * gRPC calls from C, under the generated client stubs: all four kinds of method, each in a form that
 * waits and in one that calls back.
 *
 *                      waits                                    calls back
 *   unary              x(channel, options, request, ...)        x_async
 *   streams            x_open, x_recv, x_write,                 x_start, x_try_write,
 *                      stub_stream_send_end, _close             stub_stream_send_end, _release
 *
 * A channel is one or more connections to a target plus one background thread that does their I/O.
 * All functions may be used from any thread. Callbacks run on the channel's thread and must not block. They
 * must not use the form that waits: on that thread it aborts. A call never lasts longer than its timeout.
 *
 * fork: Core's threads do not exist in a child of a process that has used it. There every call of every
 * channel ends at once with UNAVAILABLE and a text that says so, and streams end; no server can be made
 * or started, and answers to the parent's calls are refused with a line in the log. What else is done
 * with the parent's streams, calls and servers has no effect; the parent goes on. A child that execs, or
 * a process that forks before its first channel, server or credentials, is free.
 */
#ifndef HOLDFAST_STUB_CLIENT_H
#define HOLDFAST_STUB_CLIENT_H

#include "stub/call.h"
#include "stub/method.h"
#include "stub/tls.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stub_channel;
struct stub_stream;
struct stub_cancel;
struct stub_outgoing;
struct Google__Rpc__Status;

/* --- interceptors ------------------------------------------------------------------------------- */

/* How a call ended; times are those of one monotonic clock. */
struct stub_client_ended {
    const struct stub_method *method;
    int code;
    const char *message;
    int64_t began_us;
    int64_t ended_us;
};

/*
 * What runs around every call of a channel. Either function may be NULL.
 *
 * before: on the thread that begins the call, in order; may add metadata with stub_outgoing_add.
 * after: once per call whose `before` has run, in reverse order, when its outcome is known and before the
 * caller learns it: on the channel's thread, or on the one that waited. It must not block.
 */
struct stub_client_interceptor {
    void (*before)(void *user, const struct stub_method *method, struct stub_outgoing *outgoing);
    void (*after)(void *user, const struct stub_client_ended *ended);
    void *user;
};

/* Copies; inside `before` only. The _bin form is for keys that end in -bin. */
void stub_outgoing_add(struct stub_outgoing *outgoing, const char *key,
                       const char *value) STUB_NONNULL;
void stub_outgoing_add_bin(struct stub_outgoing *outgoing, const char *key, const void *data,
                           size_t bytes) STUB_NONNULL;

/* --- channels ----------------------------------------------------------------------------------- */

/* Zeroed options give the defaults. */
struct stub_channel_options {
    int connections;           /* calls are dealt out to them in turn; 0: 1 */
    int64_t message_bytes_max; /* of a reply; 0: 4 MiB */

    /*
     * Of the metadata that a call sends, 32 more for each pair; 0: 15 KiB. A call with more ends with
     * INTERNAL. What is more than the server takes costs other calls of the connection too: a server of
     * this runtime takes 16 KiB unless its metadata_bytes_max says otherwise, many others 8.
     */
    int64_t metadata_bytes_max;
    int64_t reconnect_ms_max; /* longest pause between attempts to connect; 0: 2,000 */
    /*
     * Ping a silent connection while calls run; 0: never. A server bounds how often: one of this
     * runtime at its ping_ms_min, 10 s unless it says otherwise, many at 5 minutes. Who pings more
     * often loses the connection.
     */
    int64_t keepalive_ms;

    /*
     * Requests go compressed by gzip, which the server must take, and replies may come so. Without it the
     * server is told that none may: one could fill the client's memory.
     */
    bool compression;

    /* TLS by these, which may go before the channel does; NULL: plaintext. */
    const struct stub_credentials *credentials;

    /*
     * What the server's certificate must say it is, when that is not the target's host: an address that
     * is not in the certificate, a unix socket, a tunnel. It also becomes the calls' authority.
     */
    const char *server_name;

    const struct stub_client_interceptor *interceptors; /* copied */
    size_t interceptors_count;
};

/*
 * target: "127.0.0.1:8080", "unix:/path", "dns:///host:port". Connects with the first call. The first
 * channel of a process takes some milliseconds longer than others (src/stub/core.c says what for).
 */
struct stub_channel *stub_channel_create(const char *target,
                                         const struct stub_channel_options *options) STUB_NONNULL;

/*
 * Cancels what still runs, waits until every callback has returned and every stream that was opened
 * has been closed, and up to a second for connections that are just being made; frees. Not from a
 * callback.
 */
void stub_channel_destroy(struct stub_channel *channel);

struct stub_metadata {
    const char *key;
    const char *value; /* NUL-terminated, also when binary, in what is received */
    size_t value_bytes;
};

/* Zeroed options, or NULL, give the defaults. Nothing is kept of them but the handle. */
struct stub_call_options {
    int64_t timeout_us;                 /* 0: 10 s. There is always a deadline, INT64_MAX: a year */
    bool wait_for_ready;                /* wait for a connection instead of failing at once */
    const char *const *metadata;        /* key, value, key, value, ... */
    size_t metadata_count;              /* pairs */
    const struct stub_metadata *binary; /* more metadata, of keys that end in -bin: any bytes */
    size_t binary_count;
    struct stub_cancel *cancel; /* a handle that ends the call, or NULL */
    struct stub_queue queue;    /* of a stream's messages to the server */
};

/* --- cancelling --------------------------------------------------------------------------------- */

/*
 * A handle for one call or many, of any kind, given in their options:
 *
 *   struct stub_cancel *cancel = stub_cancel_create();
 *   options.cancel = cancel;                           any number of calls
 *   stub_cancel_fire(cancel);                          from any thread, at any time
 *   stub_cancel_destroy(cancel);                       at any time: calls go on
 *
 * Calls under way when it fires end soon, with STUB_CANCELLED unless they were over; calls begun later
 * end at once. The server is told. Firing twice does nothing more.
 */
struct stub_cancel *stub_cancel_create(void);
void stub_cancel_fire(struct stub_cancel *cancel) STUB_NONNULL;
void stub_cancel_destroy(struct stub_cancel *cancel);

/* --- how a call ended --------------------------------------------------------------------------- */

/*
 * How a call ended. For the caller to clear with stub_status_clear; in a callback it is borrowed.
 * Zero it (or use STUB_STATUS_INIT) before the first use.
 */
struct stub_status {
    int code;                                  /* enum stub_code */
    const char *message;                       /* never NULL after a call */
    const struct Google__Rpc__Status *details; /* parsed grpc-status-details-bin, or NULL */
    const struct stub_metadata *initial;
    size_t initial_count;
    const struct stub_metadata *trailing;
    size_t trailing_count;
    void *memory; /* private */
};

#define STUB_STATUS_INIT                                                                           \
    {                                                                                              \
        0                                                                                          \
    }

void stub_status_clear(struct stub_status *status) STUB_NONNULL;

/* First value of this key in the reply's initial, then trailing metadata, or NULL. */
const char *stub_status_metadata(const struct stub_status *status, const char *key) STUB_NONNULL;

/*
 * The first detail of this type, unpacked (free with protobuf_c_message_free_unpacked), or NULL:
 * stub_status_detail(&st, &google__rpc__error_info__descriptor). Checked like every message that
 * comes in; NULL as well when it is refused.
 */
ProtobufCMessage *stub_status_detail(const struct stub_status *status,
                                     const ProtobufCMessageDescriptor *type) STUB_NONNULL;

/* --- unary calls -------------------------------------------------------------------------------- */

/*
 * The generated client functions come down to these.
 *
 * Synchronous: returns the code. When it is STUB_OK, *ret_reply is the reply, to be freed with
 * protobuf_c_message_free_unpacked(reply, NULL); else it is NULL. ret_reply and ret_status may be NULL. No
 * call is made for a request that is NULL or not initialised, or that holds a message of another type or
 * something NULL that its count or length says is there: INTERNAL, with the field's name. The server checks
 * whether its texts are UTF-8.
 */
int stub_unary(struct stub_channel *channel, const struct stub_method *method,
               const struct stub_call_options *options, const ProtobufCMessage *request,
               ProtobufCMessage **ret_reply, struct stub_status *ret_status) STUB_NONNULL;

/* A function of whatever type; cast back before it is called. */
typedef void stub_function(void);

/*
 * Asynchronous: deliver(done, user, ...) runs once, on the channel's thread, when the call is over; over
 * TLS, for a server that was not reached, up to two seconds later, with the reason. done is whatever
 * the generated code passes on, in its x_async with the method's types. Status and reply are valid until
 * it returns; reply is NULL unless the code is STUB_OK. It must not block, and may begin further
 * calls. When the call cannot be started it runs on this thread, before the function returns.
 */
typedef void stub_deliver(stub_function *done, void *user, const struct stub_status *status,
                          const ProtobufCMessage *reply);
void stub_unary_async(struct stub_channel *channel, const struct stub_method *method,
                      const struct stub_call_options *options, const ProtobufCMessage *request,
                      stub_deliver *deliver, stub_function *done, void *user) STUB_NONNULL;

/* --- streams: what both forms share -------------------------------------------------------------- */

/*
 * Messages to the server wait in a queue (options.queue) until the transport takes them, and what one
 * more does to a full queue is said by its policy; a client can only end its call as a whole, so
 * STUB_FULL_FAIL and STUB_FULL_ABORT are the same here. Messages from the server are read one ahead:
 * who takes them slowly holds up the server.
 */

/*
 * Queues a message without waiting; from any thread, callbacks included. STUB_SEND_FULL: with
 * STUB_FULL_WAIT, try again after on_drained. STUB_SEND_DEAD: the call is over or half-closed, or the message
 * cannot be sent (as the request of a unary call), which ends the call with INTERNAL and the
 * reason.
 */
enum stub_send stub_stream_try_send(struct stub_stream *stream,
                                    const ProtobufCMessage *message) STUB_NONNULL;

/* Half-closes: no more messages from this side, after those that are queued. Does not wait. */
void stub_stream_send_end(struct stub_stream *stream) STUB_NONNULL;

/* Messages that the queue's policy has dropped. */
uint64_t stub_stream_dropped(struct stub_stream *stream) STUB_NONNULL;

/* From any thread: the call ends soon, with STUB_CANCELLED unless it was over already. */
void stub_stream_cancel(struct stub_stream *stream) STUB_NONNULL;

/*
 * First value of this key in the reply's initial metadata, for which it waits up to timeout_us (< 0:
 * until the call's deadline; 0, not at all, in callbacks). NULL: there is none, or not yet. Valid as
 * long as the stream.
 */
const char *stub_stream_initial(struct stub_stream *stream, const char *key,
                                int64_t timeout_us) STUB_NONNULL;

/* --- streams: the form that waits ----------------------------------------------------------------- */

enum stub_recv {
    STUB_RECV_MESSAGE, /* here is one */
    STUB_RECV_TIMEOUT, /* none within the time */
    STUB_RECV_END,     /* the stream is over: stub_stream_close tells how */
};

/*
 * A server-streaming call (request != NULL), or one whose client streams (request == NULL: use
 * stub_stream_send). Never NULL; what goes wrong is told by stub_stream_close.
 */
struct stub_stream *stub_stream_open(struct stub_channel *channel, const struct stub_method *method,
                                     const struct stub_call_options *options,
                                     const ProtobufCMessage *request) STUB_NONNULL;

/*
 * The next message, waiting up to timeout_us for it (< 0: until the call's deadline). On
 * STUB_RECV_MESSAGE *ret_message is to be freed with protobuf_c_message_free_unpacked(m, NULL).
 * One thread at a time.
 */
enum stub_recv stub_stream_recv(struct stub_stream *stream, int64_t timeout_us,
                                ProtobufCMessage **ret_message) STUB_NONNULL;

/*
 * Queues a message, waiting for room while the queue is full (STUB_FULL_WAIT). False: the call is
 * over or half-closed. Several threads may send, and another may receive.
 */
bool stub_stream_send(struct stub_stream *stream, const ProtobufCMessage *message) STUB_NONNULL;

/*
 * Cancels the call if the end of its messages has not been received, waits for its end, frees it.
 * Returns the code; ret_status may be NULL.
 */
int stub_stream_close(struct stub_stream *stream, struct stub_status *ret_status) STUB_NONNULL;

/* --- streams: the form that calls back ------------------------------------------------------------ */

/* Either may be NULL. All callbacks of a stream run on the channel's thread, one at a time. */
struct stub_stream_events {
    /* The transport has taken all that was queued. */
    void (*on_drained)(void *user, struct stub_stream *stream);

    /*
     * Once, after every other callback: the call is over. The status is valid until it returns. Over
     * TLS, for a server that was not reached, up to two seconds later, with the reason.
     */
    void (*on_end)(void *user, struct stub_stream *stream, const struct stub_status *status);
};

/* Calls on_message with its own type; the message is valid until that returns. */
typedef void stub_deliver_message(stub_function *on_message, void *user, struct stub_stream *stream,
                                  const ProtobufCMessage *message);

/*
 * Begins a stream whose messages come by callback; the generated x_start passes on its on_message, which is
 * not NULL (a CHECK).
 * *events (which may be NULL) is copied. When the call cannot be started, on_end runs on this thread
 * before the function returns. Never NULL; to be given up with stub_stream_release.
 */
struct stub_stream *stub_stream_start(struct stub_channel *channel,
                                      const struct stub_method *method,
                                      const struct stub_call_options *options,
                                      const ProtobufCMessage *request,
                                      stub_deliver_message *deliver, stub_function *on_message,
                                      const struct stub_stream_events *events,
                                      void *user) STUB_NONNULL;

/*
 * Inside on_message: this message is the last until stub_stream_resume, which is for any thread. The
 * server is held up meanwhile; on_end may come all the same. Of a stream that was opened, which is read as
 * fast as its owner asks, it is a CHECK.
 */
void stub_stream_pause(struct stub_stream *stream) STUB_NONNULL;
void stub_stream_resume(struct stub_stream *stream) STUB_NONNULL;

/*
 * Gives up the caller's hold on a started stream, at any time, from any thread, callbacks included;
 * the call goes on and the callbacks still come. Do not use it afterwards, except inside them.
 */
void stub_stream_release(struct stub_stream *stream) STUB_NONNULL;

#ifdef __cplusplus
}
#endif

#endif
