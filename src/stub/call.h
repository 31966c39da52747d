/*
 * One call on the server, as a handler sees it.
 *
 * A handler gets a struct stub_call and answers it exactly once, now or later, from any thread:
 *
 *   unary, client stream:  stub_call_reply  or stub_call_fail
 *   server stream, bidi:   stub_call_send any number of times, then stub_call_finish or _fail
 *
 * The generated x_reply and x_send only add the message's type. With the answer the call belongs to
 * the runtime again: do not touch it afterwards, unless you hold a reference (stub_call_ref). That
 * holds for a vanished client too: the call lives until it is answered, the answer then goes
 * nowhere, and nothing aborts.
 *
 * Everything reached from the call (request, arena memory, metadata) lives as long as the call.
 *
 * Threads: a call belongs to one thread at a time, as an item in a queue does, except for the
 * functions marked [any], which several threads may use on one call at once.
 *
 * Answering twice is the caller's bug: the second answer is ignored, logged once, and the function
 * returns false. (It is no CHECK: two threads may lose that race for a reason the application can
 * survive.) The caller needs a reference for that.
 *
 * For other mistakes the function returns false, and the client and the log get a sentence that names the
 * method and the reason. The call ends with INTERNAL when a reply or message is NULL, not initialised or of
 * another type, when it holds a text that is not UTF-8 or NULL where a count or a length says that there is
 * something, and when the answer is of the wrong kind for the method. A message
 * sent to a method with one reply is refused (STUB_SEND_DEAD) and changes nothing. NULL for a call, channel,
 * server or stream is a CHECK, and declared (nonnull).
 */
#ifndef HOLDFAST_STUB_CALL_H
#define HOLDFAST_STUB_CALL_H

#include "stub/attribute.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stub_call;

/* gRPC's status codes. */
enum stub_code {
    STUB_OK = 0,
    STUB_CANCELLED = 1,
    STUB_UNKNOWN = 2,
    STUB_INVALID_ARGUMENT = 3,
    STUB_DEADLINE_EXCEEDED = 4,
    STUB_NOT_FOUND = 5,
    STUB_ALREADY_EXISTS = 6,
    STUB_PERMISSION_DENIED = 7,
    STUB_RESOURCE_EXHAUSTED = 8,
    STUB_FAILED_PRECONDITION = 9,
    STUB_ABORTED = 10,
    STUB_OUT_OF_RANGE = 11,
    STUB_UNIMPLEMENTED = 12,
    STUB_INTERNAL = 13,
    STUB_UNAVAILABLE = 14,
    STUB_DATA_LOSS = 15,
    STUB_UNAUTHENTICATED = 16,
};

/* "RESOURCE_EXHAUSTED"; "no such code" for other numbers. Static text. */
const char *stub_code_name(int code);

enum stub_send {
    STUB_SEND_OK,   /* queued; the peer may still vanish before it reads it */
    STUB_SEND_FULL, /* STUB_FULL_WAIT, and as much waits already as may: this one was not taken */
    STUB_SEND_DEAD, /* peer gone, call over, or a message that cannot be sent: nothing was taken */
};

/*
 * A slow reader: what one more message does to a stream's queue that is full. For either side; the
 * queue holds what is not yet handed to the transport, which takes some 64 KiB ahead of the reader.
 */
enum stub_full {
    STUB_FULL_WAIT,        /* the sender waits: STUB_SEND_FULL and on_drained, or by blocking */
    STUB_FULL_DROP_OLDEST, /* those that have waited longest go, until it fits */
    STUB_FULL_KEEP_LATEST, /* one waits at most, full or not: a new one takes its place */
    STUB_FULL_FAIL,        /* the call ends with RESOURCE_EXHAUSTED, after what is queued */
    STUB_FULL_ABORT,       /* the same at once: what is queued is dropped */
};

struct stub_queue {
    size_t messages_max; /* that wait; 0: 1,024 */
    size_t bytes_max;    /* of all that wait; one alone may be larger. 0: 4 MiB */
    enum stub_full when_full;
};

/* Why the runtime itself refuses a message before a handler sees it. */
enum stub_reject_kind {
    STUB_REJECT_MISSING,   /* the client half-closed without a message */
    STUB_REJECT_MALFORMED, /* not a protobuf message of this type */
    STUB_REJECT_UTF8,      /* a string field holds bytes that are not UTF-8 */
    STUB_REJECT_NUL,       /* a string field holds a NUL, at which C would cut it */
    STUB_REJECT_BOUND,     /* nested too deep, too many elements, or too large once unpacked */
};

struct stub_reject {
    enum stub_reject_kind kind;
    const char *method; /* "/package.Service/Method" */
    const char *field;  /* dotted path, "amounts[1].meter"; "" if there is none */
    const char *text;   /* a sentence for people */
};

/* --- memory and lifetime ---------------------------------------------------------------------- */

/* Zeroed memory that lives as long as the call. Never NULL: the process aborts without memory. */
void *stub_call_alloc(struct stub_call *call, size_t size) STUB_NONNULL;

/* The arena behind stub_call_alloc, for code that allocates in arenas. */
struct arena;
struct arena *stub_call_arena(struct stub_call *call) STUB_NONNULL;

/* [any] Keeps call and arena alive past the answer. Every ref needs its unref, from any thread. */
void stub_call_ref(struct stub_call *call) STUB_NONNULL;
void stub_call_unref(struct stub_call *call) STUB_NONNULL;

/*
 * [any] Has fn(user, worker) run once, soon, on one of the threads in stub_server_next, whose `worker`
 * it gets: so a thread that has no business with calls wakes one that has. The call is only the way
 * there (an empty batch, which Core completes at once: grpc_call_start_batch) and is kept alive until
 * fn runs; one at a time for a call, and before the answer or with a reference of your own.
 */
void stub_call_post(struct stub_call *call, void (*fn)(void *user, void *worker),
                    void *user) STUB_NONNULL;

/* A pointer of the application's own, NULL at first. */
void stub_call_set_user(struct stub_call *call, void *user) STUB_NONNULL;
void *stub_call_user(const struct stub_call *call) STUB_NONNULL;

/* The `worker` argument of the stub_server_next that ran the handler. */
void *stub_call_worker(const struct stub_call *call) STUB_NONNULL;

/* --- what the client sent --------------------------------------------------------------------- */

const char *stub_call_method(const struct stub_call *call)
    STUB_NONNULL; /* "/package.Service/Method" */

/* Microseconds to the client's deadline: INT64_MAX without one, 0 or less when it has passed. */
int64_t stub_call_deadline_left_us(const struct stub_call *call) STUB_NONNULL;

/*
 * [any] True when an answer will not be read: client gone, cancelled, or past its deadline. A unary
 * call learns of a cancellation only if stub_call_on_closed was used on it; its deadline always.
 */
bool stub_call_cancelled(const struct stub_call *call) STUB_NONNULL;

/* "ipv4:127.0.0.1:4711" or "unix:"; not authenticated. */
const char *stub_call_peer(struct stub_call *call) STUB_NONNULL;

/* The kinds of subject alternative names. */
enum stub_identity_kind {
    STUB_IDENTITY_URI, /* such as a SPIFFE id, spiffe://domain/path */
    STUB_IDENTITY_DNS,
    STUB_IDENTITY_EMAIL,
    STUB_IDENTITY_IP, /* as inet_ntop writes it */
};

struct stub_identity {
    enum stub_identity_kind kind;
    const char *name; /* NUL-terminated */
};

/*
 * Who the client is: the names in the certificate by which it has proven itself, URIs first, within a
 * kind in the certificate's order. Only what TLS has verified: NULL and 0 on a plaintext port, on a
 * server that does not ask for certificates, and for a certificate without such names. Authorise by
 * this, never by stub_call_peer.
 */
const struct stub_identity *stub_call_peer_identities(struct stub_call *call,
                                                      size_t *ret_count) STUB_NONNULL;

/*
 * First value of this (lower-case) key, or NULL. Keys that end in -bin may hold NULs: their length. A
 * text with a control character in it is no value: it is passed over.
 */
const char *stub_call_metadata(struct stub_call *call, const char *key) STUB_NONNULL;
const void *stub_call_metadata_bin(struct stub_call *call, const char *key,
                                   size_t *ret_bytes) STUB_NONNULL;

/*
 * All values of this key, one after the other, NUL-terminated: *at is 0 at first and moves on. NULL:
 * no more. Each is a copy in the call's arena.
 */
const void *stub_call_metadata_next(struct stub_call *call, const char *key, size_t *at,
                                    size_t *ret_bytes) STUB_NONNULL;

/*
 * The request of a unary or server-streaming call, as the handler gets it, for interceptors: unpacked
 * when it is first asked for. NULL: the method is unknown, its client streams, or the message is one
 * that the runtime refuses.
 */
const ProtobufCMessage *stub_call_request(struct stub_call *call) STUB_NONNULL;

/* --- what the answer carries ------------------------------------------------------------------ */

/*
 * Metadata before (initial) or after (trailing) the messages. Call it before the first message, or
 * before the answer. At most 16 and 56 KiB each; a key or value that gRPC forbids, a key that is gRPC's or
 * HTTP's own (content-type, grpc-timeout), one more, or one that comes too late is dropped and logged by its
 * key. Keys that end in -bin carry any bytes (_bin,
 * the others stop at a NUL). The plain and the _bin form copy; in the static form key and value must
 * live as long as the process and nothing is allocated.
 */
void stub_call_add_initial(struct stub_call *call, const char *key, const char *value) STUB_NONNULL;
void stub_call_add_trailing(struct stub_call *call, const char *key,
                            const char *value) STUB_NONNULL;
void stub_call_add_initial_bin(struct stub_call *call, const char *key, const void *data,
                               size_t bytes) STUB_NONNULL;
void stub_call_add_trailing_bin(struct stub_call *call, const char *key, const void *data,
                                size_t bytes) STUB_NONNULL;
void stub_call_add_initial_static(struct stub_call *call, const char *key,
                                  const char *value) STUB_NONNULL;
void stub_call_add_trailing_static(struct stub_call *call, const char *key,
                                   const char *value) STUB_NONNULL;

/* --- answers ---------------------------------------------------------------------------------- */

/*
 * For whoever has the answers of several calls at one moment, such as the results of one round trip to
 * a store: the answers that this thread gives between the two leave with uncork, in as few packets as
 * possible, which saves both sides CPU. The first answer waits for the last, so do not use it for a group
 * that takes long to answer, and do not wait for anything in between. Any thread, each its own pair; a
 * second cork before the uncork is a bug.
 */
void stub_cork(void);
void stub_uncork(void);

/*
 * The one message of a unary or client-streaming method, status OK. Packed before it returns. A message that
 * cannot be sent ends the call with INTERNAL and the field's name (too large: RESOURCE_EXHAUSTED).
 */
bool stub_call_reply(struct stub_call *call, const ProtobufCMessage *message) STUB_NONNULL;

/*
 * Ends the call with an error; message may be NULL and is cut behind 2,047 bytes, a code that is none
 * becomes UNKNOWN, bytes of the message that are not ASCII become ? unless they are UTF-8. With details
 * the reply carries a google.rpc.Status, each detail packed into an Any as
 * "type.googleapis.com/<full name>". On a stream the queued messages go out first. A detail that is NULL
 * or cannot be sent is left out and logged. Together the details should stay under 4 KiB; above 8 KiB most
 * clients refuse the reply, and may lose other calls with it; with what makes the trailing metadata more
 * than 56 KiB, they are left out and logged.
 */
bool stub_call_fail(struct stub_call *call, int code, const char *message,
                    const ProtobufCMessage *const *details, size_t details_count) STUB_NONNULL;

/* As stub_call_fail, but queued messages of a stream are dropped. */
bool stub_call_abort(struct stub_call *call, int code, const char *message,
                     const ProtobufCMessage *const *details, size_t details_count) STUB_NONNULL;

/* --- streams ---------------------------------------------------------------------------------- */

/* Another queue than the server's option says. In the handler, before the first message. */
void stub_call_set_queue(struct stub_call *call, const struct stub_queue *queue) STUB_NONNULL;

/*
 * [any] Queues one message of a server-streaming or bidi method; packed before it returns. What a full
 * queue does is said by its policy. When that ends the call, or the message is one that cannot be sent, this
 * returns STUB_SEND_DEAD as it does when the client is gone, and as then the call lives until it is
 * answered and the answer goes nowhere.
 */
enum stub_send stub_call_send(struct stub_call *call, const ProtobufCMessage *message) STUB_NONNULL;

/* [any] Messages that wait to be handed to the transport. */
size_t stub_call_queued(struct stub_call *call) STUB_NONNULL;

/* [any] Messages that the queue's policy has dropped. */
uint64_t stub_call_dropped(struct stub_call *call) STUB_NONNULL;

/* [any] Sends the initial metadata now, so that a client sees the stream open before any message. */
void stub_call_send_initial(struct stub_call *call) STUB_NONNULL;

/* Ends a stream with OK after what is queued. */
bool stub_call_finish(struct stub_call *call) STUB_NONNULL;

/*
 * fn runs once, on a poller thread, when the call is over: answered, or its client gone, or
 * cancelled by the server. The call is still valid inside fn, and fn may answer it if nobody has.
 * If it is over already, or answered with nothing more to wait for, fn runs at once on this thread, or as
 * soon as the callback that runs has returned. One fn per call: a second one is a CHECK.
 */
void stub_call_on_closed(struct stub_call *call, void (*fn)(void *user), void *user) STUB_NONNULL;

/*
 * fn runs on a poller thread each time the queue has become empty, which may be while another thread
 * still sends. One fn per call.
 */
void stub_call_on_drained(struct stub_call *call, void (*fn)(void *user), void *user) STUB_NONNULL;

/*
 * Client-streaming and bidi: fn runs on a poller thread for each message, in order, one at a time;
 * the message is valid until fn returns. message == NULL: the client sends no more (or is gone), fn
 * is not called again, and the call still wants its answer. To be called once, in the handler or later.
 * Not taking messages is back-pressure: the next one is read when fn has returned, and if fn has
 * called stub_call_pause, not before stub_call_resume.
 */
void stub_call_on_message(struct stub_call *call,
                          void (*fn)(void *user, struct stub_call *call,
                                     const ProtobufCMessage *message),
                          void *user) STUB_NONNULL;

/* Inside on_message's fn: this message is the last until stub_call_resume, which is for any thread. */
void stub_call_pause(struct stub_call *call) STUB_NONNULL;
void stub_call_resume(struct stub_call *call) STUB_NONNULL;

#ifdef __cplusplus
}
#endif

#endif
