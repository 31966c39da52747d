/*
 * What the files of the client's runtime share; nobody outside src/stub/ includes it.
 *
 * A channel's refs: one until stub_channel_destroy, one for each call. At 0 its completion queue is
 * shut down and the thread ends. After that no batch can be started.
 */
#ifndef HOLDFAST_STUB_CHANNEL_H
#define HOLDFAST_STUB_CHANNEL_H

#include "base/arena.h"
#include "stub/client.h"
#include "stub/handoff.h"

#include <grpc/grpc.h>
#include <pthread.h>
#include <stdatomic.h>

enum { CLIENT_ARENA_BYTES = 4096, CLIENT_ELEMENTS_MAX = 1 << 20 };

/* What Core gives back when a batch is done. */
struct client_tag {
    void (*run)(struct client_tag *tag, bool ok);
};

/* A call in the channel's list, so that destroying the channel can cancel it. */
struct client_link {
    struct client_link *next;
    struct client_link *previous;
    grpc_call *core;
    grpc_channel *connection; /* it is on */
    gpr_timespec deadline;

    /* in the list of its handle, if the caller gave one */
    struct stub_cancel *cancel;
    struct client_link *cancel_next;
    struct client_link *cancel_previous;

    bool intercepted; /* interceptors have seen it begin */
    int64_t began_us; /* then */
};

/* A call whose callback waits for the reason of its end (tls_reason.h); in a ring of those. */
struct tls_wait {
    struct client_tag tag;
    grpc_call *core;
    int64_t until_us; /* of CLOCK_MONOTONIC */
    struct tls_wait *next;
    struct tls_wait *previous;
};

struct stub_channel {
    grpc_channel **connections;
    int connections_count;
    atomic_uint next_connection;
    grpc_completion_queue *cq;
    pthread_t thread;
    atomic_long refs;
    pthread_mutex_t lock;
    bool closing;
    struct client_link live; /* head of a ring */
    struct unary *free_unaries;
    struct stub_client_interceptor *interceptors;
    size_t interceptors_count;
    size_t metadata_bytes_max;
    struct tls_reason *reason; /* NULL: no TLS */
};

/*
 * Begins a call and enters it in the list with a reference to the channel. False: the channel closes
 * or Core refused; nothing is held then.
 */
MUST_CHECK bool channel_begin(struct stub_channel *channel, const struct stub_method *method,
                              const struct stub_call_options *options, struct client_link *link);

/*
 * Takes it off the lists and gives up the call, and with it the metadata that Core has lent; the
 * reference goes with channel_unref.
 */
void channel_end(struct stub_channel *channel, struct client_link *link);
void channel_unref(struct stub_channel *channel);

/* --- cancel.c ----------------------------------------------------------------------------------- */

/* link->core is there, and stays until cancel_leave. */
void cancel_join(struct stub_cancel *cancel, struct client_link *link);
void cancel_leave(struct client_link *link);

/* --- outgoing.c --------------------------------------------------------------------------------- */

/*
 * Runs the interceptors and makes *op the one that sends the metadata, which lie in the arena. NULL: they are
 * legal. Else a sentence, in the arena, that names the first key that is not; the call must not be begun.
 */
MUST_CHECK const char *outgoing_fill(struct stub_channel *channel, const struct stub_method *method,
                                     struct client_link *link,
                                     const struct stub_call_options *options, struct arena *arena,
                                     grpc_op *op);

/* Gives up what outgoing_fill holds, after the batch was started or refused. */
void outgoing_drop(const grpc_op *op);

/* Runs the interceptors again, once the outcome is known; only if link->intercepted. */
void outgoing_after(struct stub_channel *channel, const struct stub_method *method,
                    struct client_link *link, int code, const char *message);

/* unary.c */
void unary_free_all(struct stub_channel *channel);

/* --- status.c: what Core says about a call's end, in memory that goes with the status ----------- */

struct status_source {
    grpc_status_code code;
    grpc_slice text;
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
};

void status_source_init(struct status_source *source);
void status_source_done(struct status_source *source);

/* A request that could not be packed: it never was a call. */
struct message_refusal;
void status_source_refuse(struct status_source *source, const struct message_refusal *refusal);

/* What Core says in words, in the arena. */
const char *status_source_text(struct arena *arena, const struct status_source *source);

/* Everything lies in the arena. */
void status_fill(struct stub_status *status, struct arena *arena,
                 const struct status_source *source);

/* The same in memory that stub_status_clear frees; what was in *status before is cleared. */
void status_fill_owned(struct stub_status *status, const struct status_source *source);

/* Another outcome than Core's, such as a reply that cannot be read. */
void status_override(struct stub_status *status, struct arena *arena, int code, const char *text);

/* The arena of a status filled by status_fill_owned. */
struct arena *status_arena(struct stub_status *status);

#endif
