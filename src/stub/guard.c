/*
 * Which memory counts. `floor` is where growth is counted from: the bound, or after a cut what the
 * process had then; it comes down again with the memory. A connection is cut when memory is a step
 * above the floor, and the floor moves up to it: so each cut has to be deserved by new growth, and an
 * allocator that gives nothing back does not cost honest callers their connections one by one.
 *
 * Which connection. A descriptor alone may mean another connection by now; the kernel's cookie of a
 * socket is never used again. Whoever has received most since the last look is cut, if it is enough
 * to have made a difference.
 */
#include "stub/guard.h"

#include "base/log.h"
#include "base/thread.h"
#include "stub/server.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/tcp.h>
#include <malloc.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    TICK_MS = 10,
    STEPS = 32,           /* of growth in the bound */
    SENT_MIN = 64 * 1024, /* in a tick; who sent less has not made the memory grow */
    DISCARD_BYTES = 1 << 20,
    DISCARDS_MAX = 64,
};

struct peer {
    uint64_t cookie;
    uint64_t bytes; /* received at the last look */
};

struct guard {
    int64_t bound;
    int64_t floor;
    int statm; /* /proc/self/statm */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool ending;
};

/* By descriptor, of the process, as the descriptors are. */
static pthread_mutex_t peers_lock = PTHREAD_MUTEX_INITIALIZER;
static struct peer *peers;
static int peers_count;
static atomic_long cut_count;
static atomic_int guards;

long stub_connections_cut(void)
{
    return atomic_load_explicit(&cut_count, memory_order_relaxed);
}

/* --- peers --------------------------------------------------------------------------------------- */

static uint64_t cookie_of(int fd)
{
    uint64_t cookie = 0;
    socklen_t bytes = sizeof(cookie);

    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &bytes) == 0 ? cookie : 0;
}

/* 0 for what is not TCP. */
static uint64_t received_by(int fd)
{
    struct tcp_info info = {0};
    socklen_t bytes = sizeof(info);

    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0 ? info.tcpi_bytes_received : 0;
}

void guard_meet(int fd)
{
    if (atomic_load_explicit(&guards, memory_order_relaxed) == 0)
        return;
    pthread_mutex_lock(&peers_lock);
    if (fd >= peers_count) {
        int count = peers_count ? peers_count : 64;

        while (count <= fd)
            count *= 2;
        peers = realloc(peers, (size_t)count * sizeof(*peers));
        CHECK(peers);
        for (int i = peers_count; i < count; i++)
            peers[i] = (struct peer){0};
        peers_count = count;
    }
    peers[fd] = (struct peer){.cookie = cookie_of(fd)};
    pthread_mutex_unlock(&peers_lock);
}

/* Looks at all; returns the descriptor that has received most since the last look, or -1. */
static int find_busiest(uint64_t *ret_bytes)
{
    int busiest = -1;

    *ret_bytes = 0;
    for (int fd = 0; fd < peers_count; fd++) {
        struct peer *peer = &peers[fd];
        uint64_t bytes;

        if (peer->cookie == 0)
            continue;
        if (cookie_of(fd) != peer->cookie) { /* closed since */
            peer->cookie = 0;
            continue;
        }
        bytes = received_by(fd);
        if (bytes - peer->bytes > *ret_bytes) {
            *ret_bytes = bytes - peer->bytes;
            busiest = fd;
        }
        peer->bytes = bytes;
    }
    return busiest;
}

/* What the kernel holds for Core is thrown away: it would be read to its end otherwise. */
static void cut(int fd)
{
    struct linger reset = {.l_onoff = 1}; /* Core's close ends it for the peer, too */

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    shutdown(fd, SHUT_RDWR);
    for (int i = 0; i < DISCARDS_MAX; i++) {
        if (recv(fd, NULL, DISCARD_BYTES, MSG_TRUNC | MSG_DONTWAIT) <= 0)
            break;
    }
    peers[fd].cookie = 0;
    atomic_fetch_add_explicit(&cut_count, 1, memory_order_relaxed);
}

/* --- memory -------------------------------------------------------------------------------------- */

static int64_t resident_bytes(const struct guard *guard)
{
    char text[128] = "";
    char *resident;

    if (pread(guard->statm, text, sizeof(text) - 1, 0) <= 0 || !(resident = strchr(text, ' ')))
        return 0;
    return strtoll(resident, NULL, 10) * sysconf(_SC_PAGESIZE);
}

static void cut_busiest(struct guard *guard, int64_t resident, bool over)
{
    uint64_t bytes;
    int fd;

    pthread_mutex_lock(&peers_lock);
    fd = find_busiest(&bytes);
    if (over && fd >= 0 && bytes >= SENT_MIN)
        cut(fd);
    else
        over = false;
    pthread_mutex_unlock(&peers_lock);
    if (!over)
        return;
    guard->floor = resident;
    log_warn("stub", "connection.cut memory_mb=%" PRId64 " bound_mb=%" PRId64 " sent_kb=%" PRIu64,
             resident >> 20, guard->bound >> 20, bytes >> 10);
}

static void look(struct guard *guard)
{
    int64_t resident = resident_bytes(guard);

    if (resident < guard->floor)
        guard->floor = resident > guard->bound ? resident : guard->bound;
    if (resident <= guard->bound / 2)
        return;
    cut_busiest(guard, resident, resident > guard->floor + guard->bound / STEPS);
    if (resident > guard->bound)
        malloc_trim(0);
}

static void *guard_run(void *user)
{
    struct guard *guard = user;
    struct timespec until;

    pthread_mutex_lock(&guard->lock);
    while (!guard->ending) {
        until = thread_deadline(TICK_MS * INT64_C(1000));
        pthread_cond_timedwait(&guard->wake, &guard->lock, &until);
        if (!guard->ending)
            look(guard);
    }
    pthread_mutex_unlock(&guard->lock);
    return NULL;
}

/* --- life ---------------------------------------------------------------------------------------- */

struct guard *guard_create(int64_t memory_bytes_max)
{
    struct guard *guard;
    pthread_condattr_t attributes;
    int statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

    if (statm < 0)
        return NULL;
    guard = calloc(1, sizeof(*guard));
    CHECK(guard);
    *guard = (struct guard){.bound = memory_bytes_max, .floor = memory_bytes_max, .statm = statm};
    CHECK(pthread_mutex_init(&guard->lock, NULL) == 0);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    CHECK(pthread_cond_init(&guard->wake, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
    atomic_fetch_add(&guards, 1);
    thread_start(&guard->thread, "memory guard", guard_run, guard);
    return guard;
}

void guard_destroy(struct guard *guard)
{
    if (!guard)
        return;
    pthread_mutex_lock(&guard->lock);
    guard->ending = true;
    pthread_cond_signal(&guard->wake);
    pthread_mutex_unlock(&guard->lock);
    pthread_join(guard->thread, NULL);
    close(guard->statm);
    pthread_cond_destroy(&guard->wake);
    pthread_mutex_destroy(&guard->lock);
    free(guard);
    pthread_mutex_lock(&peers_lock);
    if (atomic_fetch_sub(&guards, 1) == 1) {
        free(peers);
        peers = NULL;
        peers_count = 0;
    }
    pthread_mutex_unlock(&peers_lock);
}
