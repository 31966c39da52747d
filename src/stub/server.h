/*
 * A gRPC server for generated services, on gRPC Core's C API.
 *
 *   struct stub_server *s = stub_server_create(&options, error, sizeof(error));
 *   pkg_service_register(s, &handlers, user);         as many services as there are
 *   stub_server_start(s);
 *   while (stub_server_next(s, -1, worker) != STUB_NEXT_SHUTDOWN)   in every worker thread
 *       ;
 *
 * and to stop, from any thread: stub_server_drain, wait until stub_server_calls is 0 (or the grace
 * time is over and then stub_server_cancel_all), stub_server_stop, join the workers,
 * stub_server_destroy. Handlers run on the worker threads, inside stub_server_next; a handler that
 * blocks holds up every other call of the process if it runs on the only worker.
 */
#ifndef HOLDFAST_STUB_SERVER_H
#define HOLDFAST_STUB_SERVER_H

#include "stub/attribute.h"
#include "stub/call.h"
#include "stub/intercept.h"
#include "stub/method.h"
#include "stub/tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stub_server;

/* Zeroed options give the defaults. Nothing is kept of the pointers after stub_server_create. */
struct stub_server_options {
    /* "127.0.0.1:8080", "[::1]:0", "unix:/path", nothing else; port 0: any free one */
    const char *const *listen;
    size_t listen_count;
    int64_t message_bytes_max;  /* larger ones are refused, RESOURCE_EXHAUSTED; 0: 4 MiB */
    int streams_max;            /* concurrent calls per connection; 0: 1,000 */
    int metadata_bytes_max;     /* request metadata; 0: 16 KiB */
    int posted_calls;           /* requests asked for in advance per busy method; 0: 16 */
    struct stub_queue queue;    /* of each stream, unless the handler says otherwise */
    int64_t elements_max;       /* submessages and repeated elements in one message; 0: 16,384 */
    int64_t connection_age_ms;  /* then GOAWAY and a new connection; 0: never */
    int64_t connection_idle_ms; /* without a call, then as above; 0: 1,800,000 */
    int64_t keepalive_ms;       /* ping a silent connection after this; 0: 60,000 */
    /*
     * How often a client may ping: one that does so more often three times has its connection ended (GOAWAY,
     * ENHANCE_YOUR_CALM, "too_many_pings"). A client's keepalive must not be shorter. 0: 10,000.
     */
    int64_t ping_ms_min;
    int64_t handshake_ms;  /* to say a first word, TLS included; 0: 20,000 */
    int descriptors_spare; /* no connection may take one of the last so many; 0: see below */
    /*
     * Requests may come compressed by gzip. Without it they are refused, UNIMPLEMENTED: Core 1.51
     * inflates a message before it compares its size with message_bytes_max.
     */
    bool compression;
    int64_t memory_bytes_max; /* of the process; beyond it who sends most is cut; 0: no bound */

    /*
     * Serves the TCP addresses by TLS; unix sockets stay plaintext, for their files' permissions say who
     * may connect. The paths are copied. NULL: plaintext everywhere. Give addresses as numbers then: a
     * name that means several (localhost) makes Core 1.51 accept on several threads at once, and it may
     * lose a certificate that is being changed.
     */
    const struct stub_tls_files *tls;
    stub_tls_report *tls_report; /* NULL: the log is told */
    void *tls_report_user;

    /*
     * Called instead of the handler when the runtime refuses a message; must answer with
     * stub_call_fail. NULL: INVALID_ARGUMENT, for bounds RESOURCE_EXHAUSTED, with the text.
     */
    void (*reject)(void *user, struct stub_call *call, const struct stub_reject *reject);
    void *reject_user;
};

/*
 * descriptors_spare is what the rest of the process may need at once, such as connections to its
 * stores: connections are closed when fewer would be left, so that a crowd of clients starves
 * nothing and cannot end the listener. 0: an eighth of RLIMIT_NOFILE, at least 16, at most 256. It
 * counts for the whole process; of several servers the largest holds.
 *
 * memory_bytes_max is for servers that strangers can reach: set it to several times what the process takes
 * under its own load. Without it one client can make Core 1.51 take all the memory there is.
 */

/*
 * Opens the ports (calls that arrive wait until stub_server_start). NULL: ret_error says why, naming
 * the address: it is in use, or not valid, or not permitted. Before that, block the signals that you want to
 * handle: Core starts threads here.
 */
STUB_MUST_CHECK struct stub_server *stub_server_create(const struct stub_server_options *options,
                                                       char *ret_error,
                                                       size_t error_bytes) STUB_NONNULL;

/*
 * Adds a service; called by the generated x_register, which has the typed handlers. The handlers are
 * copied; a NULL handler leaves its method UNIMPLEMENTED. Before stub_server_start only. False: a
 * service of that name is there already, or this is a child of fork (client.h), which the log says.
 */
bool stub_server_register(struct stub_server *server, const struct stub_service *service,
                          const void *handlers, void *user) STUB_NONNULL;

/* Makes reflection serve one more file and all that it imports. Before stub_server_start only. */
void stub_server_add_file(struct stub_server *server, const struct stub_file *file) STUB_NONNULL;

/* Adds an interceptor behind those that are there; *interceptor is copied. Before stub_server_start. */
void stub_server_intercept(struct stub_server *server,
                           const struct stub_interceptor *interceptor) STUB_NONNULL;

/* Begins to serve. False: started already, or drained, or this is a child of fork (client.h). */
STUB_MUST_CHECK bool stub_server_start(struct stub_server *server) STUB_NONNULL;

/* The bound port of options.listen[listen_index]; 1 for a unix socket. */
int stub_server_port(const struct stub_server *server, size_t listen_index) STUB_NONNULL;

enum stub_next {
    STUB_NEXT_EVENT,    /* something was done: a handler may have run */
    STUB_NEXT_TIMEOUT,  /* nothing to do within the time */
    STUB_NEXT_SHUTDOWN, /* nothing will ever come again: leave the loop */
};

/*
 * Does one piece of work, waiting for it up to timeout_us (< 0: for ever, 0: not at all). Any number
 * of threads; handlers and callbacks run inline on this thread. `worker` is what stub_call_worker
 * gives to the handlers that run here. Do not call it from a handler.
 */
enum stub_next stub_server_next(struct stub_server *server, int64_t timeout_us,
                                void *worker) STUB_NONNULL;

/* [any thread] Closes the listeners, tells clients to go elsewhere; running calls go on. */
void stub_server_drain(struct stub_server *server) STUB_NONNULL;

/* [any thread] Cancels what still runs. Every call still wants its answer; see stub_call_on_closed. */
void stub_server_cancel_all(struct stub_server *server) STUB_NONNULL;

/*
 * [any thread] Looks at the TLS files now instead of at the next connection. True: what lies there is in
 * use; always true without TLS.
 */
bool stub_server_tls_reload(struct stub_server *server) STUB_NONNULL;

/* [any thread] Connections of this process that were closed at once for want of descriptors. */
long stub_connections_refused(void);

/* [any thread] Connections of this process that were cut because its memory grew beyond its bound. */
long stub_connections_cut(void);

/* [any thread] Calls that were begun and are not yet over. */
long stub_server_calls(const struct stub_server *server) STUB_NONNULL;

/*
 * [any thread] Ends the server: drains and cancels if that has not been done, and once the last call
 * has been answered and is over, every stub_server_next returns STUB_NEXT_SHUTDOWN.
 */
void stub_server_stop(struct stub_server *server) STUB_NONNULL;

/*
 * Frees it, after all threads have left stub_server_next. Stops it first if need be, and then works
 * off what is left on this thread for up to 10 s. A call that is never answered within this time
 * leaks the server, with a line in the log, instead of aborting the process.
 */
void stub_server_destroy(struct stub_server *server);

/* --- built-in services ------------------------------------------------------------------------- */

/* grpc.health.v1.Health, Check and Watch. "" (the whole server) begins as NOT_SERVING. */
bool stub_health_register(struct stub_server *server) STUB_NONNULL;

/* [any thread] service "" is the whole server. Unknown until set for the first time. */
void stub_health_set(struct stub_server *server, const char *service, bool serving) STUB_NONNULL;

/*
 * Everything NOT_SERVING from now on, later sets are ignored, and Watch streams end after having been
 * told: called first thing when the process is asked to stop.
 */
void stub_health_shutdown(struct stub_server *server) STUB_NONNULL;

/*
 * grpc.reflection.v1 and v1alpha over every registered service and file, with google.rpc's error
 * details. After all other services.
 */
bool stub_reflection_register(struct stub_server *server) STUB_NONNULL;

#ifdef __cplusplus
}
#endif

#endif
