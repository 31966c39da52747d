/*
 * gRPC calls from C, under the generated client stubs: unary (synchronous and asynchronous) and
 * server-streaming.
 *
 * A channel is one or more connections to a target plus one background thread that does their I/O.
 * All functions may be used from any thread. A call never lasts longer than its timeout.
 */
#ifndef HOLDFAST_STUB_CLIENT_H
#define HOLDFAST_STUB_CLIENT_H

#include "base/check.h"
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
struct Google__Rpc__Status;

/* Zeroed options give the defaults. */
struct stub_channel_options {
    int connections;           /* calls are dealt out to them in turn; 0: 1 */
    int64_t message_bytes_max; /* of a reply; 0: 4 MiB */
    int64_t reconnect_ms_max;  /* longest pause between attempts to connect; 0: 2,000 */
    int64_t keepalive_ms;      /* ping a silent connection while calls run; 0: never */

    /* TLS by these, which may go before the channel does; NULL: plaintext. */
    const struct stub_credentials *credentials;

    /*
     * What the server's certificate must say it is, when that is not the target's host: an address that
     * is not in the certificate, a unix socket, a tunnel. It also becomes the calls' authority.
     */
    const char *server_name;
};

/* target: "127.0.0.1:8080", "unix:/path", "dns:///host:port". Connects with the first call. */
struct stub_channel *stub_channel_create(const char *target,
                                         const struct stub_channel_options *options);

/*
 * Cancels what still runs, waits until every callback has returned and every stream has been closed,
 * frees. Not from a callback.
 */
void stub_channel_destroy(struct stub_channel *channel);

/* Zeroed options, or NULL, give the defaults. */
struct stub_call_options {
    int64_t timeout_us;               /* 0: 10 s. There is always a deadline, INT64_MAX: a year */
    bool wait_for_ready;              /* wait for a connection instead of failing at once */
    const char *const *metadata;      /* key, value, key, value, ... */
    size_t metadata_count;            /* pairs */
};

struct stub_metadata {
    const char *key;
    const char *value; /* NUL-terminated, also when binary */
    size_t value_bytes;
};

/*
 * How a call ended. For the caller to clear with stub_status_clear; in a callback it is borrowed.
 * Zero it (or use STUB_STATUS_INIT) before the first use.
 */
struct stub_status {
    int code;            /* enum stub_code */
    const char *message; /* never NULL after a call */
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

void stub_status_clear(struct stub_status *status);

/* First value of this key in the reply's initial, then trailing metadata, or NULL. */
const char *stub_status_metadata(const struct stub_status *status, const char *key);

/*
 * The first detail of this type, unpacked (free with protobuf_c_message_free_unpacked), or NULL:
 * stub_status_detail(&st, &google__rpc__error_info__descriptor).
 */
ProtobufCMessage *stub_status_detail(const struct stub_status *status,
                                     const ProtobufCMessageDescriptor *type);

/*
 * The generated client functions come down to these.
 *
 * Synchronous: returns the code. When it is STUB_OK, *ret_reply is the reply, to be freed with
 * protobuf_c_message_free_unpacked(reply, NULL); else it is NULL. ret_status may be NULL.
 */
int stub_unary(struct stub_channel *channel, const struct stub_method *method,
               const struct stub_call_options *options, const ProtobufCMessage *request,
               ProtobufCMessage **ret_reply, struct stub_status *ret_status);

/* A function of whatever type; cast back before it is called. */
typedef void stub_function(void);

/*
 * Asynchronous: deliver(done, user, ...) runs once, on the channel's thread; done is whatever the
 * generated code passes on, in its x_async with the method's types. Status and reply are valid until
 * it returns; reply is NULL unless the code is STUB_OK. It must not block, and may begin further
 * calls. When the call cannot be started it runs on this thread, before the function returns.
 */
typedef void stub_deliver(stub_function *done, void *user, const struct stub_status *status,
                          const ProtobufCMessage *reply);
void stub_unary_async(struct stub_channel *channel, const struct stub_method *method,
                      const struct stub_call_options *options, const ProtobufCMessage *request,
                      stub_deliver *deliver, stub_function *done, void *user);

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
                                     const ProtobufCMessage *request);

/*
 * The next message, waiting up to timeout_us for it (< 0: until the call's deadline). On
 * STUB_RECV_MESSAGE *ret_message is to be freed with protobuf_c_message_free_unpacked(m, NULL).
 * One thread at a time.
 */
enum stub_recv stub_stream_recv(struct stub_stream *stream, int64_t timeout_us,
                                ProtobufCMessage **ret_message);

/* Sends a message, waiting until the transport takes it. False: the call is over. */
bool stub_stream_send(struct stub_stream *stream, const ProtobufCMessage *message);

/* No more messages from this side. */
void stub_stream_send_end(struct stub_stream *stream);

/* From any thread: the call ends soon, with STUB_CANCELLED unless it was over already. */
void stub_stream_cancel(struct stub_stream *stream);

/* Cancels it if it still runs, waits for its end, frees it. Returns the code; ret_status may be NULL. */
int stub_stream_close(struct stub_stream *stream, struct stub_status *ret_status);

#ifdef __cplusplus
}
#endif

#endif
