/*
 * The server's life: created (ports open), started, draining, stopped, its queue at an end.
 *
 * Shutting down has one dangerous edge: a batch that is started on a completion queue that has been
 * shut down aborts the process. So stub_server_stop does not shut the queue down itself; it gives up
 * one of the server's refs, and whoever gives up the last one does (runtime.h).
 */
#include "stub/server.h"

#include "base/address.h"
#include "stub/accept.h"
#include "stub/core.h"
#include "stub/guard.h"
#include "stub/runtime.h"
#include "stub/security.h"
#include "stub/socket_file.h"
#include "stub/tls_store.h"

#include <grpc/support/time.h>
#include <netdb.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { DESTROY_WAIT_US = 10 * 1000 * 1000 };

/* --- options ----------------------------------------------------------------------------------- */

static void set_defaults(struct stub_server_options *options)
{
    if (options->message_bytes_max <= 0)
        options->message_bytes_max = 4 << 20;
    if (options->streams_max <= 0)
        options->streams_max = 1000;
    if (options->metadata_bytes_max <= 0)
        options->metadata_bytes_max = 16 << 10;
    if (options->posted_calls <= 0)
        options->posted_calls = 16;
    options->queue = queue_bounds(&options->queue);
    if (options->elements_max <= 0)
        options->elements_max = 16384;
    if (options->keepalive_ms <= 0)
        options->keepalive_ms = 60000;
    if (options->connection_idle_ms <= 0)
        options->connection_idle_ms = 30 * 60000;
    if (options->ping_ms_min <= 0)
        options->ping_ms_min = 10000;
    if (options->handshake_ms <= 0)
        options->handshake_ms = 20000;
}

static int to_int(int64_t value)
{
    return value > INT32_MAX ? INT32_MAX : (int)value;
}

static grpc_arg int_arg(const char *key, int64_t value)
{
    union {
        const char *in;
        char *out; /* Core only reads it; the member lacks the const */
    } name = {key};

    return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = name.out, .value.integer = to_int(value)};
}

static void create_core(struct stub_server *server)
{
    const struct stub_server_options *options = &server->options;
    grpc_arg list[] = {
        int_arg(GRPC_ARG_ALLOW_REUSEPORT, 0), /* a port in use is an error */
        int_arg(GRPC_ARG_ENABLE_CHANNELZ, 0),
        int_arg(GRPC_ARG_HTTP2_BDP_PROBE, 0),
        int_arg(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET,
                core_algorithms(options->compression)),
        int_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, options->message_bytes_max),
        int_arg(GRPC_ARG_MAX_CONCURRENT_STREAMS, options->streams_max),
        int_arg(GRPC_ARG_MAX_METADATA_SIZE, options->metadata_bytes_max),
        int_arg(GRPC_ARG_KEEPALIVE_TIME_MS, options->keepalive_ms),
        int_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                options->keepalive_ms < 20000 ? options->keepalive_ms : 20000),
        int_arg(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1), /* a vanished peer frees its place */
        int_arg(GRPC_ARG_MAX_CONNECTION_IDLE_MS, options->connection_idle_ms),
        int_arg(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, options->ping_ms_min),
        int_arg(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0),
        int_arg(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, options->handshake_ms),
        int_arg(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, 10000),
        int_arg(GRPC_ARG_MAX_CONNECTION_AGE_MS, options->connection_age_ms), /* last: optional */
    };
    grpc_channel_args args = {.num_args = ARRAY_COUNT(list), .args = list};

    if (options->connection_age_ms <= 0)
        args.num_args--;
    server->core = grpc_server_create(&args, NULL);
    server->cq = grpc_completion_queue_create_for_next(NULL);
    grpc_server_register_completion_queue(server->core, server->cq, NULL);
}

/* --- ports -------------------------------------------------------------------------------------- */

/* 0: it can be bound now. */
static int bind_unix_errno(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int error = 0;
    int fd;

    if (strlen(path) >= sizeof(address.sun_path))
        return ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        error = errno;
    else
        unlink(path);
    if (fd >= 0)
        close(fd);
    return error;
}

/* Core does not say why it could not bind, so it is tried once more by hand for the reason. */
static int bind_errno(const char *address)
{
    const char *colon = strrchr(address, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found;
    char host[256];
    int error = 0;
    int fd;

    if (strncmp(address, "unix:", 5) == 0)
        return bind_unix_errno(address + 5);
    if (!colon)
        return 0;
    snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address);
    if (*host == '[') {
        memmove(host, host + 1, strlen(host));
        host[strcspn(host, "]")] = '\0';
    }
    if (getaddrinfo(*host ? host : NULL, colon + 1, &hints, &found) != 0)
        return EINVAL;
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) < 0)
        error = errno;
    if (fd >= 0)
        close(fd);
    freeaddrinfo(found);
    return error;
}

/* Core makes port 443 of one that is missing, and of 99999 another one that is free. */
static bool check_address(const char *address, char *ret_error, size_t error_bytes)
{
    static const struct address_use use = {.usual_port = 8080,
                                           .listen = true,
                                           .tls = "; TLS is asked for by the option tls"};
    char error[ADDRESS_ERROR_BYTES];
    struct address parsed;

    CHECK(address);
    if (address_parse(slice_from_cstr(address), &use, &parsed, error))
        return true;
    snprintf(ret_error, error_bytes, "cannot listen on %s: %s", address, error);
    return false;
}

static bool open_port(struct stub_server *server, const char *address, char *ret_error,
                      size_t error_bytes)
{
    grpc_server_credentials *credentials;
    int error, port;

    if (!check_address(address, ret_error, error_bytes))
        return false;
    error = socket_file_claim(address);
    if (error) {
        snprintf(ret_error, error_bytes, "cannot listen on %s: %s", address, strerror(error));
        return false;
    }
    credentials = server->tls && strncmp(address, "unix", 4) != 0
                      ? tls_store_port(server->tls)
                      : grpc_insecure_server_credentials_create();
    port = grpc_server_add_http2_port(server->core, address, credentials);
    grpc_server_credentials_release(credentials);
    if (port > 0) {
        server->ports[server->ports_count++] = port;
        return true;
    }
    error = bind_errno(address);
    snprintf(ret_error, error_bytes, "cannot listen on %s: %s", address,
             error ? strerror(error) : "not a valid address, or not permitted");
    return false;
}

static bool open_ports(struct stub_server *server, const struct stub_server_options *options,
                       char *ret_error, size_t error_bytes)
{
    if (options->tls) {
        server->tls = tls_store_create(options->tls, options->tls_report, options->tls_report_user,
                                       ret_error, error_bytes);
        if (!server->tls)
            return false;
    }
    for (size_t i = 0; i < options->listen_count; i++) {
        if (!open_port(server, options->listen[i], ret_error, error_bytes))
            return false;
    }
    return true;
}

int stub_server_port(const struct stub_server *server, size_t listen_index)
{
    CHECK(server);
    CHECK(listen_index < server->ports_count);
    return server->ports[listen_index];
}

/* --- create and start --------------------------------------------------------------------------- */

static void shutdown_run(struct stub_tag *tag, bool ok, void *worker)
{
    (void)ok, (void)worker;
    server_unref(container_of(tag, struct stub_server, shutdown_tag));
}

struct stub_server *stub_server_create(const struct stub_server_options *options, char *ret_error,
                                       size_t error_bytes)
{
    struct stub_server *server;

    CHECK(options && (ret_error || error_bytes == 0));
    if (core_is_forked()) {
        snprintf(ret_error, error_bytes, "%s", CORE_FORKED_TEXT);
        return NULL;
    }
    server = calloc(1, sizeof(*server));
    CHECK(server);
    core_use();
    grpc_init();
    core_log();
    server->options = *options;
    server->options.listen = NULL;
    server->options.tls = NULL;
    set_defaults(&server->options);
    atomic_store(&server->refs, 1);
    server->shutdown_tag.run = shutdown_run;
    server->unknown.server = server;
    server->ports = calloc(options->listen_count + 1, sizeof(*server->ports));
    CHECK(server->ports);
    create_core(server);
    if (!accept_guard(server->options.descriptors_spare)) {
        snprintf(
            ret_error, error_bytes,
            "RLIMIT_NOFILE leaves no descriptor for a connection: raise it (ulimit -n), to some "
            "thousands for as many clients");
        stub_server_destroy(server);
        return NULL;
    }
    if (server->options.memory_bytes_max > 0)
        server->guard = guard_create(server->options.memory_bytes_max);
    if (!open_ports(server, options, ret_error, error_bytes)) {
        stub_server_destroy(server);
        return NULL;
    }
    return server;
}

bool stub_server_tls_reload(struct stub_server *server)
{
    CHECK(server);
    if (core_is_forked())
        return false;
    return !server->tls || tls_store_refresh(server->tls);
}

void *server_own(struct stub_server *server, void *memory)
{
    CHECK(memory);
    server->owned = realloc(server->owned, (server->owned_count + 1) * sizeof(*server->owned));
    CHECK(server->owned);
    server->owned[server->owned_count++] = memory;
    return memory;
}

void stub_server_add_file(struct stub_server *server, const struct stub_file *file)
{
    CHECK(server && file && !atomic_load(&server->started));
    for (size_t i = 0; i < server->files_count; i++) {
        if (strcmp(server->files[i]->name, file->name) == 0)
            return;
    }
    server->files = realloc(server->files, (server->files_count + 1) * sizeof(*server->files));
    CHECK(server->files);
    server->files[server->files_count++] = file;
    for (size_t i = 0; i < file->dependencies_count; i++)
        stub_server_add_file(server, file->dependencies[i]);
}

static void add_method(struct stub_server *server, const struct stub_service *service, size_t index,
                       const void *handlers, void *user)
{
    struct served_method *served = server_own(server, calloc(1, sizeof(*served)));
    bool payload;

    *served = (struct served_method){
        .server = server,
        .method = &service->methods[index],
        .service = service,
        .index = index,
        .handlers = handlers,
        .user = user,
        .next = server->methods,
    };
    payload =
        served->method->kind == STUB_KIND_UNARY || served->method->kind == STUB_KIND_SERVER_STREAM;
    served->core = grpc_server_register_method(server->core, served->method->path, NULL,
                                               payload ? GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER
                                                       : GRPC_SRM_PAYLOAD_NONE,
                                               0);
    CHECK(served->core);
    server->methods = served;
}

/* In a child of fork; the log has it. */
static bool is_parents(struct stub_server *server)
{
    if (core_is_forked())
        log_every(&server->misused, LOG_ERROR, "stub", "server.misused reason=%s",
                  LOG_VALUE(CORE_FORKED_TEXT));
    return core_is_forked();
}

bool stub_server_register(struct stub_server *server, const struct stub_service *service,
                          const void *handlers, void *user)
{
    void *copy;

    CHECK(server && service && handlers && !atomic_load(&server->started));
    if (is_parents(server))
        return false;
    for (size_t i = 0; i < server->services_count; i++) {
        if (strcmp(server->services[i]->name, service->name) == 0)
            return false;
    }
    server->services =
        realloc(server->services, (server->services_count + 1) * sizeof(*server->services));
    CHECK(server->services);
    server->services[server->services_count++] = service;
    copy = server_own(server, malloc(service->handlers_bytes));
    memcpy(copy, handlers, service->handlers_bytes);
    for (size_t i = 0; i < service->methods_count; i++) {
        if (service->dispatch(copy, user, i, NULL, NULL))
            add_method(server, service, i, copy, user);
    }
    stub_server_add_file(server, service->file);
    return true;
}

bool stub_server_start(struct stub_server *server)
{
    CHECK(server);
    if (is_parents(server) || atomic_load(&server->draining) ||
        atomic_exchange(&server->started, true))
        return false;
    grpc_server_start(server->core);
    for (struct served_method *served = server->methods; served; served = served->next)
        request_post(served);
    for (int i = 0; i < UNKNOWN_METHODS_POSTED; i++)
        request_post(&server->unknown);
    return true;
}

/* --- run ---------------------------------------------------------------------------------------- */

static gpr_timespec deadline_in(int64_t timeout_us)
{
    if (timeout_us < 0)
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    if (timeout_us == 0)
        return gpr_inf_past(GPR_CLOCK_MONOTONIC);
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                        gpr_time_from_micros(timeout_us, GPR_TIMESPAN));
}

enum stub_next stub_server_next(struct stub_server *server, int64_t timeout_us, void *worker)
{
    grpc_event event;
    struct stub_tag *tag;

    CHECK(server);
    if (core_is_forked() || atomic_load_explicit(&server->queue_done, memory_order_acquire))
        return STUB_NEXT_SHUTDOWN;
    event = grpc_completion_queue_next(server->cq, deadline_in(timeout_us), NULL);
    switch (event.type) {
    case GRPC_OP_COMPLETE:
        tag = event.tag;
        handoff_take(tag);
        tag->run(tag, event.success != 0, worker);
        return STUB_NEXT_EVENT;
    case GRPC_QUEUE_TIMEOUT:
        return STUB_NEXT_TIMEOUT;
    case GRPC_QUEUE_SHUTDOWN:
        atomic_store_explicit(&server->queue_done, true, memory_order_release);
        return STUB_NEXT_SHUTDOWN;
    }
    UNREACHABLE();
}

long stub_server_calls(const struct stub_server *server)
{
    CHECK(server);
    return atomic_load_explicit(&server->calls, memory_order_acquire);
}

/* --- end ---------------------------------------------------------------------------------------- */

void server_unref(struct stub_server *server)
{
    grpc_completion_queue *cq = server->cq;

    if (atomic_fetch_sub_explicit(&server->refs, 1, memory_order_acq_rel) == 1)
        grpc_completion_queue_shutdown(cq);
}

void stub_server_drain(struct stub_server *server)
{
    CHECK(server);
    if (core_is_forked() || atomic_exchange(&server->draining, true))
        return;
    atomic_fetch_add_explicit(&server->refs, 1, memory_order_relaxed);
    handoff_give(&server->shutdown_tag);
    grpc_server_shutdown_and_notify(server->core, server->cq, &server->shutdown_tag);
}

void stub_server_cancel_all(struct stub_server *server)
{
    CHECK(server);
    if (core_is_forked())
        return;
    stub_server_drain(server); /* Core cancels only while it shuts down */
    grpc_server_cancel_all_calls(server->core);
}

void stub_server_stop(struct stub_server *server)
{
    CHECK(server);
    if (core_is_forked() || atomic_exchange(&server->stopped, true))
        return;
    stub_server_cancel_all(server);
    server_unref(server);
}

/* Works off what is left; false: some call is never answered. */
static bool run_down(struct stub_server *server)
{
    gpr_timespec end = deadline_in(DESTROY_WAIT_US);

    stub_server_stop(server);
    while (gpr_time_cmp(gpr_now(GPR_CLOCK_MONOTONIC), end) < 0) {
        if (stub_server_next(server, 100000, NULL) == STUB_NEXT_SHUTDOWN)
            return true;
    }
    return false;
}

void stub_server_destroy(struct stub_server *server)
{
    if (!server || core_is_forked())
        return;
    if (!run_down(server)) {
        log_error("stub", "server.leaked calls=%ld", stub_server_calls(server));
        return;
    }
    guard_destroy(server->guard);
    grpc_server_destroy(server->core);
    grpc_completion_queue_destroy(server->cq);
    health_destroy(server->health);
    tls_store_destroy(server->tls);
    while (server->free_calls) {
        struct stub_call *call = server->free_calls;

        server->free_calls = call->next_free;
        call_destroy(call);
    }
    for (size_t i = 0; i < server->owned_count; i++)
        free(server->owned[i]);
    free(server->owned);
    free(server->interceptors);
    free(server->services);
    free(server->files);
    free(server->ports);
    free(server);
    grpc_shutdown();
}
