#include "stub/channel.h"

#include "base/thread.h"
#include "stub/core.h"
#include "stub/credentials.h"
#include "stub/tls_reason.h"

#include <grpc/support/time.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const int64_t YEAR_US = INT64_C(365) * 24 * 3600 * 1000 * 1000;

enum {
    TIMEOUT_DEFAULT_US = 10 * 1000 * 1000,
    METADATA_BYTES_MAX = 15 << 10, /* a server takes 16 KiB, with what Core adds */
    CONNECTING_US_MAX = 1000 * 1000,
    TLS_CONNECT_MS = 10000, /* for one attempt: a handshake far away, or on a busy machine */
};

/* Core only reads it; its members lack the const. */
static char *borrowed(const char *text)
{
    union {
        const char *in;
        char *out;
    } both = {text};

    return both.out;
}

static grpc_arg int_arg(const char *key, int64_t value)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER,
                      .key = borrowed(key),
                      .value.integer = value > INT32_MAX ? INT32_MAX : (int)value};
}

static grpc_arg text_arg(const char *key, const char *value)
{
    return (
        grpc_arg){.type = GRPC_ARG_STRING, .key = borrowed(key), .value.string = borrowed(value)};
}

/* Core takes the port of "host:99999" for another one, 99999 - 65536, and connects there. */
static bool port_is_too_large(const char *target)
{
    const char *colon = strrchr(target, ':');
    size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;

    if (strncmp(target, "unix", 4) == 0 || digits == 0 || colon[1 + digits])
        return false;
    return digits > 5 || strtol(colon + 1, NULL, 10) > UINT16_MAX;
}

static grpc_channel *connection_create(const char *target,
                                       const struct stub_channel_options *options)
{
    grpc_channel_credentials *plain = grpc_insecure_credentials_create();
    int64_t bytes_max = options->message_bytes_max > 0 ? options->message_bytes_max : 4 << 20;
    int64_t reconnect_ms = options->reconnect_ms_max > 0 ? options->reconnect_ms_max : 2000;
    grpc_arg list[] = {
        int_arg(GRPC_ARG_ENABLE_CHANNELZ, 0),
        int_arg(GRPC_ARG_ENABLE_RETRIES, 0),
        int_arg(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
        int_arg(GRPC_ARG_HTTP2_BDP_PROBE, 0),
        int_arg(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1), /* a connection of its own */
        int_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, bytes_max),
        int_arg(GRPC_ARG_MAX_METADATA_SIZE, 64 << 10),
        int_arg(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, reconnect_ms < 100 ? reconnect_ms : 100),
        int_arg(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, options->credentials ? TLS_CONNECT_MS : 1000),
        int_arg(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, reconnect_ms),
        int_arg(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0),
        int_arg(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET,
                core_algorithms(options->compression)),
        int_arg(GRPC_COMPRESSION_CHANNEL_DEFAULT_ALGORITHM,
                options->compression ? GRPC_COMPRESS_GZIP : GRPC_COMPRESS_NONE),
        {0}, /* two places for what not every channel has */
        {0},
    };
    grpc_channel_args args = {.num_args = ARRAY_COUNT(list) - 2, .args = list};
    grpc_channel *connection;

    if (port_is_too_large(target)) {
        grpc_channel_credentials_release(plain);
        return grpc_lame_client_channel_create(target, GRPC_STATUS_UNAVAILABLE,
                                               "the port of the target is above 65535");
    }
    if (options->keepalive_ms > 0)
        list[args.num_args++] = int_arg(GRPC_ARG_KEEPALIVE_TIME_MS, options->keepalive_ms);
    if (options->credentials && options->server_name)
        list[args.num_args++] = text_arg(GRPC_SSL_TARGET_NAME_OVERRIDE_ARG, options->server_name);
    connection =
        grpc_channel_create(target, options->credentials ? options->credentials->core : plain,
                            &args);
    grpc_channel_credentials_release(plain);
    return connection;
}

/* False: nothing will ever come again. */
static bool channel_next(struct stub_channel *channel)
{
    struct client_tag *tag = tls_reason_due(channel->reason);
    grpc_event event;

    if (tag) {
        tag->run(tag, true);
        return true;
    }
    event = grpc_completion_queue_next(channel->cq, tls_reason_due_at(channel->reason), NULL);
    tag = event.tag;
    if (event.type == GRPC_OP_COMPLETE) {
        handoff_take(tag);
        tag->run(tag, event.success != 0);
    }
    return event.type != GRPC_QUEUE_SHUTDOWN;
}

static void *channel_thread(void *user)
{
    while (channel_next(user))
        ;
    return NULL;
}

struct stub_channel *stub_channel_create(const char *target,
                                         const struct stub_channel_options *options)
{
    static const struct stub_channel_options defaults;
    struct stub_channel *channel = calloc(1, sizeof(*channel));

    CHECK(channel && target);
    if (core_is_forked()) /* whose calls all say so */
        return channel;
    core_use();
    grpc_init();
    core_contend();
    if (!options)
        options = &defaults;
    channel->live.next = channel->live.previous = &channel->live;
    CHECK(pthread_mutex_init(&channel->lock, NULL) == 0);
    atomic_store(&channel->refs, 1);
    channel->cq = grpc_completion_queue_create_for_next(NULL);
    channel->metadata_bytes_max =
        options->metadata_bytes_max > 0 ? (size_t)options->metadata_bytes_max : METADATA_BYTES_MAX;
    channel->interceptors_count = options->interceptors_count;
    channel->interceptors = calloc(options->interceptors_count + 1, sizeof(*channel->interceptors));
    CHECK(channel->interceptors);
    for (size_t i = 0; i < options->interceptors_count; i++)
        channel->interceptors[i] = options->interceptors[i];
    channel->connections_count = options->connections > 0 ? options->connections : 1;
    channel->connections =
        calloc((size_t)channel->connections_count, sizeof(*channel->connections));
    CHECK(channel->connections);
    for (int i = 0; i < channel->connections_count; i++)
        channel->connections[i] = connection_create(target, options);
    if (options->credentials)
        channel->reason =
            tls_reason_create(options->credentials->probe, target, options->server_name,
                              channel->connections, channel->connections_count);
    thread_start(&channel->thread, "channel", channel_thread, channel);
    return channel;
}

void channel_unref(struct stub_channel *channel)
{
    grpc_completion_queue *cq = channel->cq;

    if (atomic_fetch_sub(&channel->refs, 1) == 1)
        grpc_completion_queue_shutdown(cq);
}

/*
 * Waits while a connection is being made: Core 1.51 forgets one that becomes ready after its channel is
 * gone, and its socket stays open, at both ends, until the process ends.
 */
static void connection_settle(grpc_channel *connection, gpr_timespec deadline)
{
    grpc_completion_queue *cq = grpc_completion_queue_create_for_pluck(NULL);
    gpr_timespec never = gpr_inf_future(GPR_CLOCK_MONOTONIC);

    while (grpc_channel_check_connectivity_state(connection, 0) == GRPC_CHANNEL_CONNECTING &&
           gpr_time_cmp(gpr_now(GPR_CLOCK_MONOTONIC), deadline) < 0) {
        grpc_channel_watch_connectivity_state(connection, GRPC_CHANNEL_CONNECTING, deadline, cq,
                                              cq);
        (void)grpc_completion_queue_pluck(cq, cq, never, NULL);
    }
    grpc_completion_queue_shutdown(cq);
    grpc_completion_queue_destroy(cq);
}

void stub_channel_destroy(struct stub_channel *channel)
{
    gpr_timespec deadline;

    if (!channel)
        return;
    if (core_is_forked()) { /* its thread is the parent's; one that was made here has nothing */
        if (!channel->connections)
            free(channel);
        return;
    }
    pthread_mutex_lock(&channel->lock);
    channel->closing = true;
    for (struct client_link *link = channel->live.next; link != &channel->live; link = link->next)
        grpc_call_cancel(link->core, NULL);
    pthread_mutex_unlock(&channel->lock);
    tls_reason_stop(channel->reason);
    channel_unref(channel);
    pthread_join(channel->thread, NULL);
    tls_reason_destroy(channel->reason);
    deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                            gpr_time_from_micros(CONNECTING_US_MAX, GPR_TIMESPAN));
    for (int i = 0; i < channel->connections_count; i++) {
        connection_settle(channel->connections[i], deadline);
        grpc_channel_destroy(channel->connections[i]);
    }
    grpc_completion_queue_destroy(channel->cq);
    unary_free_all(channel);
    pthread_mutex_destroy(&channel->lock);
    free(channel->interceptors);
    free(channel->connections);
    free(channel);
    grpc_shutdown();
}

/* --- calls ------------------------------------------------------------------------------------- */

static gpr_timespec deadline_of(const struct stub_call_options *options)
{
    int64_t timeout_us = options && options->timeout_us ? options->timeout_us : TIMEOUT_DEFAULT_US;

    if (timeout_us > YEAR_US)
        timeout_us = YEAR_US;
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                        gpr_time_from_micros(timeout_us, GPR_TIMESPAN));
}

bool channel_begin(struct stub_channel *channel, const struct stub_method *method,
                   const struct stub_call_options *options, struct client_link *link)
{
    unsigned index =
        channel->connections_count == 1
            ? 0
            : atomic_fetch_add(&channel->next_connection, 1) % (unsigned)channel->connections_count;

    pthread_mutex_lock(&channel->lock);
    link->core = NULL;
    link->connection = channel->connections[index];
    link->deadline = deadline_of(options);
    if (!channel->closing)
        link->core =
            grpc_channel_create_call(link->connection, NULL, GRPC_PROPAGATE_DEFAULTS, channel->cq,
                                     grpc_slice_from_static_string(method->path), NULL,
                                     link->deadline, NULL);
    if (link->core) {
        atomic_fetch_add(&channel->refs, 1);
        link->next = &channel->live;
        link->previous = channel->live.previous;
        link->previous->next = link;
        channel->live.previous = link;
    }
    pthread_mutex_unlock(&channel->lock);
    if (link->core && options && options->cancel)
        cancel_join(options->cancel, link);
    if (link->core)
        tls_reason_begin(channel->reason, link->connection);
    return link->core != NULL;
}

void channel_end(struct stub_channel *channel, struct client_link *link)
{
    if (link->cancel)
        cancel_leave(link);
    pthread_mutex_lock(&channel->lock);
    link->previous->next = link->next;
    link->next->previous = link->previous;
    pthread_mutex_unlock(&channel->lock);
    grpc_call_unref(link->core);
    link->core = NULL;
}
