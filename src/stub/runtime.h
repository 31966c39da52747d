/*
 * What the files of the server's runtime share; nobody outside src/stub/ includes it.
 *
 * Everything hangs on two counts.
 *
 * A call's refs: one for the answer that is still owed, one for each batch inside Core, one for each
 * stub_call_ref. At 0 the call is over and goes back to the server's free list.
 *
 * A server's refs: one until stub_server_stop, one for each call that is not on the free list
 * (posted and waiting for a request, or running), one while Core shuts down. At 0 nothing can start a
 * batch any more, and only then is the completion queue shut down: starting a batch on a queue that
 * is shut down would abort the process.
 */
#ifndef HOLDFAST_STUB_RUNTIME_H
#define HOLDFAST_STUB_RUNTIME_H

#include "base/arena.h"
#include "base/check.h"
#include "base/log.h"
#include "stub/brief.h"
#include "stub/call.h"
#include "stub/call_stage.h"
#include "stub/handoff.h"
#include "stub/message.h"
#include "stub/method.h"
#include "stub/queue.h"
#include "stub/server.h"

#include <grpc/grpc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum {
    CALL_ARENA_BYTES = 8192, /* kept by a recycled call */
    CALL_METADATA_MAX = 16,  /* pairs that an application may add on either side */
    CALL_METADATA_BYTES_MAX =
        56 << 10,               /* of them, with details: clients of this runtime take 64 KiB */
    UNKNOWN_METHODS_POSTED = 4, /* requests for methods that nobody serves */
};

/* What Core gives back when a batch is done. */
struct stub_tag {
    void (*run)(struct stub_tag *tag, bool ok, void *worker);
};

/* A method as this server serves it; the one with method == NULL takes all unknown ones. */
struct served_method {
    struct stub_server *server;
    const struct stub_method *method;
    const struct stub_service *service;
    size_t index; /* in the service */
    const void *handlers;
    void *user;
    void *core;        /* grpc_server_register_method's handle */
    atomic_int posted; /* requests asked for and not yet arrived */
    struct served_method *next;
};

struct call_metadata {
    grpc_metadata *items; /* CALL_METADATA_MAX + 1, in the arena; NULL until the first is added */
    size_t count;
    size_t bytes; /* as HTTP/2 counts them */
};

struct stub_call {
    struct stub_server *server;
    struct served_method *served;
    struct stub_call *next_free;
    grpc_call *core;
    atomic_int refs;

    /* its stages; call_stage.h draws them and has the only functions that write them */
    enum call_life life;
    enum call_out out;
    enum call_close close;
    enum call_read read;

    /* the request */
    struct stub_tag request_tag;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_call_details details; /* unknown methods only */
    grpc_byte_buffer *payload;
    const ProtobufCMessage *message;     /* the payload, once stub_call_request has unpacked it */
    const struct message_error *refused; /* or why it could not */
    char *method_text;                   /* unknown methods only */
    char *peer;
    const struct stub_identity *identities;
    size_t identities_count;
    bool identities_known;
    struct arena arena;
    void *worker;
    void *user;

    /* the answer; under lock from the first send on */
    pthread_mutex_t lock;
    struct call_metadata initial;
    struct call_metadata trailing;
    struct queue queue;
    int status;
    grpc_slice status_text;
    bool told;     /* Core sends the status itself, as a cancellation */
    bool rejected; /* the runtime has answered: the application's answer is not a bug */
    struct stub_tag send_tag;

    /* its end */
    struct stub_tag close_tag;
    int core_cancelled;
    int callbacks; /* that run now; the handler is one */
    atomic_bool cancelled;

    /* what the application wants to run on a worker; fn: NULL if there is nothing */
    struct stub_tag post_tag;
    void (*post_fn)(void *user, void *worker);
    void *post_user;

    /* callbacks */
    void (*on_closed)(void *user);
    void *on_closed_user;
    void (*on_drained)(void *user);
    void *on_drained_user;
    void (*on_message)(void *user, struct stub_call *call, const ProtobufCMessage *message);
    void *on_message_user;
    struct stub_tag message_tag;
    grpc_byte_buffer *message_payload;
    struct arena message_arena;

    /* for interceptors; the times and all below only if there are any */
    uint64_t messages_in, bytes_in, messages_out, bytes_out;
    int64_t arrived_us, answered_us;
    size_t intercepted; /* how many have seen it begin */
    void **states;      /* one for each, in the arena */
};

struct stub_server {
    grpc_server *core;
    grpc_completion_queue *cq;
    struct stub_server_options options; /* listen is not kept */
    int *ports;
    size_t ports_count;
    struct served_method *methods;
    struct served_method unknown;
    const struct stub_service **services;
    size_t services_count;
    const struct stub_file **files;
    size_t files_count;
    void **owned; /* copies of handlers and whatever else goes with the server */
    size_t owned_count;
    struct health *health;
    struct guard *guard;   /* NULL without a bound on memory */
    struct tls_store *tls; /* NULL: plaintext */
    struct stub_interceptor *interceptors;
    size_t interceptors_count;

    atomic_bool started;
    atomic_bool draining;
    atomic_bool stopped;
    atomic_bool queue_done; /* the completion queue has told its end */
    atomic_long refs;
    atomic_long calls; /* begun and not over */
    struct stub_tag shutdown_tag;

    struct brief free_lock;
    struct stub_call *free_calls;
    struct log_limit batch_failed;
    struct log_limit misused; /* by the application */
};

/* --- server.c ------------------------------------------------------------------------------- */

void server_unref(struct stub_server *server);

/* Keeps memory from malloc until the server is destroyed. */
void *server_own(struct stub_server *server, void *memory);

/* --- request.c: from a posted request to a handler ------------------------------------------- */

void request_post(struct served_method *served);

/* --- call.c: lifetime ------------------------------------------------------------------------ */

struct stub_call *call_take(struct served_method *served);
void call_recycle(struct stub_call *call);
void call_destroy(struct stub_call *call);

/*
 * Callbacks of one call and its end: on_closed runs after the callbacks that run already, and once
 * it is due no other begins. False from begin: do not call back.
 */
bool call_callback_begin(struct stub_call *call);
void call_callback_end(struct stub_call *call);

/* With call->lock held: nothing can be sent any more, and what is queued goes. */
void call_die(struct stub_call *call);

/* --- answer.c: what goes out ------------------------------------------------------------------ */

void answer_init(struct stub_call *call);

/* stub_call_send without a look at the message: reflection's two versions share one layout. */
void answer_send_unchecked(struct stub_call *call, const ProtobufCMessage *message);

/* Asks Core to tell when the call is over; call->lock is held or nobody else knows the call yet. */
void answer_post_close(struct stub_call *call);

/* --- receive.c: messages of a streaming client ------------------------------------------------ */

void receive_init(struct stub_call *call);

/* --- reject.c ---------------------------------------------------------------------------------- */

void reject_message(struct stub_call *call, const struct message_error *error);

/* --- intercept.c: only when there are interceptors -------------------------------------------- */

/* False: one of them has taken the call. */
MUST_CHECK bool intercept_before(struct stub_call *call);
void intercept_answered(struct stub_call *call);
void intercept_after(struct stub_call *call);

/* --- health.c ---------------------------------------------------------------------------------- */

void health_destroy(struct health *health);

#endif
