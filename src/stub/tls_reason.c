#include "stub/tls_reason.h"

#include "base/thread.h"

#include <grpc/support/time.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
    TICK_US = 20 * 1000,         /* while a call waits for a connection */
    SLOW_US = 500 * 1000,        /* connecting for so long is worth a look */
    AGAIN_US = 2 * 1000 * 1000,  /* between two looks */
    WAIT_US = 2 * 1000 * 1000,   /* of a call for a finding */
    HOLDS_US = 10 * 1000 * 1000, /* a finding */
    WATCH_US = 30 * 1000 * 1000, /* after a call has begun */
};

struct tls_reason {
    struct tls_probe *probe;
    struct address address;
    char *server_name; /* NULL: the address's host */
    grpc_channel *const *connections;
    int connections_count;
    int stop_fd;
    pthread_t thread;
    atomic_int waiting; /* calls in the ring: only the channel's thread adds */

    pthread_mutex_t lock; /* for all below; held while nothing blocks */
    pthread_cond_t changed;
    bool stopping;
    bool asked;             /* a call has ended and nobody has looked lately */
    int64_t watch_until_us; /* calls wait for a connection until then, perhaps */
    int64_t connecting_us;  /* since when; 0: not */
    int64_t looked_us;      /* the last time; 0: never */
    struct tls_wait waits;  /* head of a ring, by their ends, the first to end first */
    unsigned looks;
    char finding[TLS_FINDING_MAX]; /* of the last look */
};

static int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* With the lock held. */
static void wait_until(struct tls_reason *reason, int64_t until_us)
{
    struct timespec until = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};

    (void)pthread_cond_timedwait(&reason->changed, &reason->lock, &until);
}

static bool looked_within(const struct tls_reason *reason, int64_t us)
{
    return reason->looked_us != 0 && now_us() - reason->looked_us < us;
}

/* --- the thread --------------------------------------------------------------------------------- */

/* Looks at the connections: has one failed? With the lock held. */
static bool has_failed(struct tls_reason *reason)
{
    bool failed = false, connecting = false;
    int ready = 0;

    for (int i = 0; i < reason->connections_count; i++) {
        grpc_connectivity_state state =
            grpc_channel_check_connectivity_state(reason->connections[i], 0);

        failed = failed || state == GRPC_CHANNEL_TRANSIENT_FAILURE;
        connecting = connecting || state == GRPC_CHANNEL_CONNECTING;
        ready += state == GRPC_CHANNEL_READY;
    }
    if (ready == reason->connections_count) {
        reason->watch_until_us = 0;
        reason->looked_us = 0;
    }
    if (!connecting)
        reason->connecting_us = 0;
    else if (reason->connecting_us == 0)
        reason->connecting_us = now_us();
    return failed || (connecting && now_us() - reason->connecting_us > SLOW_US);
}

/* --- calls that are put aside ------------------------------------------------------------------- */

/* With the lock held. */
static void wait_remove(struct tls_reason *reason, struct tls_wait *wait)
{
    wait->previous->next = wait->next;
    wait->next->previous = wait->previous;
    atomic_fetch_sub(&reason->waiting, 1);
}

/*
 * With the lock held, which is given up meanwhile: an empty batch of its own call, which Core completes at
 * once, brings each to the channel's thread. That one may end the call as soon as the batch is started.
 */
static void wake_all(struct tls_reason *reason)
{
    while (reason->waits.next != &reason->waits) {
        struct tls_wait *wait = reason->waits.next;
        grpc_call_error error;

        wait_remove(reason, wait);
        pthread_mutex_unlock(&reason->lock);
        handoff_give(&wait->tag);
        error = grpc_call_start_batch(wait->core, NULL, 0, &wait->tag, NULL);
        CHECK(error == GRPC_CALL_OK);
        pthread_mutex_lock(&reason->lock);
    }
}

/* With the lock held, which is given up meanwhile. */
static void look(struct tls_reason *reason)
{
    char finding[TLS_FINDING_MAX];

    pthread_mutex_unlock(&reason->lock);
    tls_probe_run(reason->probe, &reason->address, reason->server_name, reason->stop_fd, finding);
    pthread_mutex_lock(&reason->lock);
    memcpy(reason->finding, finding, sizeof(finding));
    reason->asked = false;
    reason->looked_us = now_us();
    reason->looks++;
    pthread_cond_broadcast(&reason->changed);
    wake_all(reason);
}

static void *reason_thread(void *user)
{
    struct tls_reason *reason = user;
    sigset_t all;

    sigfillset(&all); /* SIGPIPE by a server that hangs up; others are the application's */
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    pthread_mutex_lock(&reason->lock);
    while (!reason->stopping) {
        bool watching = now_us() < reason->watch_until_us;

        if (reason->asked || (watching && has_failed(reason) && !looked_within(reason, AGAIN_US)))
            look(reason);
        else if (watching)
            wait_until(reason, now_us() + TICK_US);
        else
            pthread_cond_wait(&reason->changed, &reason->lock);
    }
    pthread_mutex_unlock(&reason->lock);
    return NULL;
}

/* --- life --------------------------------------------------------------------------------------- */

/* "dns:///host:port", "ipv4:a:p" and the like without what stands in front. */
static bool parse_target(const char *target, struct address *ret)
{
    static const char *const schemes[] = {"dns:///", "dns:", "ipv4:", "ipv6:", "passthrough:///"};
    static const struct address_use use = {.usual_port = 443};
    char error[ADDRESS_ERROR_BYTES];

    for (size_t i = 0; i < ARRAY_COUNT(schemes); i++) {
        if (strncmp(target, schemes[i], strlen(schemes[i])) == 0) {
            target += strlen(schemes[i]);
            break;
        }
    }
    return address_parse(slice_from_cstr(target), &use, ret, error);
}

struct tls_reason *tls_reason_create(struct tls_probe *probe, const char *target,
                                     const char *server_name, grpc_channel *const *connections,
                                     int count)
{
    struct tls_reason *reason = calloc(1, sizeof(*reason));
    pthread_condattr_t attributes;

    CHECK(reason);
    if (!probe || !parse_target(target, &reason->address)) {
        free(reason);
        return NULL;
    }
    reason->probe = tls_probe_ref(probe);
    reason->server_name = server_name ? strdup(server_name) : NULL;
    CHECK(!server_name || reason->server_name);
    reason->connections = connections;
    reason->connections_count = count;
    reason->waits.next = reason->waits.previous = &reason->waits;
    reason->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(pthread_mutex_init(&reason->lock, NULL) == 0);
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&reason->changed, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
    thread_start(&reason->thread, "tls_reason", reason_thread, reason);
    return reason;
}

void tls_reason_stop(struct tls_reason *reason)
{
    if (!reason)
        return;
    pthread_mutex_lock(&reason->lock);
    reason->stopping = true;
    (void)eventfd_write(reason->stop_fd, 1);
    pthread_cond_broadcast(&reason->changed);
    wake_all(reason);
    pthread_mutex_unlock(&reason->lock);
}

void tls_reason_destroy(struct tls_reason *reason)
{
    if (!reason)
        return;
    tls_reason_stop(reason);
    pthread_join(reason->thread, NULL);
    if (reason->stop_fd >= 0)
        close(reason->stop_fd);
    pthread_cond_destroy(&reason->changed);
    pthread_mutex_destroy(&reason->lock);
    tls_probe_unref(reason->probe);
    free(reason->server_name);
    free(reason);
}

/* --- calls -------------------------------------------------------------------------------------- */

static bool is_ready(grpc_channel *connection)
{
    return grpc_channel_check_connectivity_state(connection, 0) == GRPC_CHANNEL_READY;
}

void tls_reason_begin(struct tls_reason *reason, grpc_channel *connection)
{
    if (!reason || is_ready(connection))
        return;
    pthread_mutex_lock(&reason->lock);
    reason->watch_until_us = now_us() + WATCH_US;
    pthread_cond_broadcast(&reason->changed);
    pthread_mutex_unlock(&reason->lock);
}

/* Did the call end before it reached the server, in a way that TLS may have to do with? */
static bool is_unreached(const struct client_link *link, const struct status_source *source)
{
    static const char unresolved[] = "DNS resolution failed";
    size_t bytes = GRPC_SLICE_LENGTH(source->text), known = sizeof(unresolved) - 1;

    if (source->code != GRPC_STATUS_UNAVAILABLE && source->code != GRPC_STATUS_DEADLINE_EXCEEDED)
        return false;
    if (source->initial.count > 0 || source->trailing.count > 0)
        return false;
    if (bytes >= known && memcmp(GRPC_SLICE_START_PTR(source->text), unresolved, known) == 0)
        return false;
    return !is_ready(link->connection);
}

static void append(struct status_source *source, const char *finding)
{
    size_t bytes = GRPC_SLICE_LENGTH(source->text), more = strlen(finding);
    grpc_slice text = grpc_slice_malloc(bytes + 2 + more);
    uint8_t *to = GRPC_SLICE_START_PTR(text);

    memcpy(to, GRPC_SLICE_START_PTR(source->text), bytes);
    /* NOLINTBEGIN(bugprone-not-null-terminated-result): a slice has a length and no end mark */
    memcpy(to + bytes, "; ", 2);
    memcpy(to + bytes + 2, finding, more);
    /* NOLINTEND(bugprone-not-null-terminated-result) */
    grpc_slice_unref(source->text);
    source->text = text;
}

/* Until when a call may wait for a finding: not beyond its deadline. */
static int64_t wait_end_us(const struct client_link *link)
{
    gpr_timespec left = gpr_time_sub(link->deadline, gpr_now(GPR_CLOCK_MONOTONIC));
    int64_t left_us = INT64_C(1000) * gpr_time_to_millis(left);

    return now_us() + (left_us < WAIT_US ? left_us : WAIT_US);
}

bool tls_reason_defer(struct tls_reason *reason, const struct client_link *link,
                      const struct status_source *source, struct tls_wait *wait,
                      void (*run)(struct client_tag *tag, bool ok))
{
    struct tls_wait *after;
    bool waits;

    if (!reason || !is_unreached(link, source))
        return false;
    *wait = (struct tls_wait){.tag.run = run, .core = link->core, .until_us = wait_end_us(link)};
    pthread_mutex_lock(&reason->lock);
    waits = !reason->stopping && !looked_within(reason, AGAIN_US) && wait->until_us > now_us();
    if (waits) {
        for (after = reason->waits.previous;
             after != &reason->waits && after->until_us > wait->until_us; after = after->previous)
            ;
        wait->previous = after;
        wait->next = after->next;
        wait->next->previous = after->next = wait;
        atomic_fetch_add(&reason->waiting, 1);
        reason->asked = true;
        pthread_cond_broadcast(&reason->changed);
    }
    pthread_mutex_unlock(&reason->lock);
    return waits;
}

struct client_tag *tls_reason_due(struct tls_reason *reason)
{
    struct tls_wait *first;

    if (!reason || atomic_load_explicit(&reason->waiting, memory_order_relaxed) == 0)
        return NULL;
    pthread_mutex_lock(&reason->lock);
    first = reason->waits.next;
    if (first != &reason->waits && first->until_us <= now_us())
        wait_remove(reason, first);
    else
        first = NULL;
    pthread_mutex_unlock(&reason->lock);
    return first ? &first->tag : NULL;
}

gpr_timespec tls_reason_due_at(struct tls_reason *reason)
{
    gpr_timespec at = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    int64_t left_us;

    if (!reason || atomic_load_explicit(&reason->waiting, memory_order_relaxed) == 0)
        return at;
    pthread_mutex_lock(&reason->lock);
    if (reason->waits.next != &reason->waits) {
        left_us = reason->waits.next->until_us - now_us();
        at = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                          gpr_time_from_micros(left_us > 0 ? left_us : 0, GPR_TIMESPAN));
    }
    pthread_mutex_unlock(&reason->lock);
    return at;
}

void tls_reason_append(struct tls_reason *reason, const struct client_link *link,
                       struct status_source *source, bool may_wait)
{
    char finding[TLS_FINDING_MAX] = "";
    int64_t until_us;
    unsigned looks;

    if (!reason || !is_unreached(link, source))
        return;
    until_us = wait_end_us(link);
    pthread_mutex_lock(&reason->lock);
    if (!looked_within(reason, AGAIN_US)) {
        looks = reason->looks;
        reason->asked = true;
        pthread_cond_broadcast(&reason->changed);
        while (may_wait && reason->looks == looks && now_us() < until_us)
            wait_until(reason, until_us);
    }
    if (looked_within(reason, HOLDS_US))
        memcpy(finding, reason->finding, sizeof(finding));
    pthread_mutex_unlock(&reason->lock);
    if (*finding)
        append(source, finding);
}
