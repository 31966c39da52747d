#include "stub/accept.h"

#include "base/log.h"
#include "stub/guard.h"
#include "stub/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPARE_MIN = 16, SPARE_MAX = 256, SPARE_SHARE = 8 };

/* Of the process, as the descriptors are. */
static atomic_int spare_wanted; /* 0: no server yet, accept4 is the kernel's */
static atomic_int reserve = -1;
static atomic_long refused;
static struct log_limit refused_log;

static int64_t descriptors_max(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > INT32_MAX)
        return INT32_MAX;
    return (int64_t)limit.rlim_cur;
}

static int open_reserve(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void keep_reserve(int fd)
{
    int none = -1;

    if (fd >= 0 && !atomic_compare_exchange_strong(&reserve, &none, fd))
        close(fd); /* there is one already */
}

bool accept_guard(int spare)
{
    int64_t max = descriptors_max();
    int64_t share = max / SPARE_SHARE;
    int before = atomic_load(&spare_wanted);
    int fd = open_reserve();

    if (spare <= 0)
        spare = (int)(share < SPARE_MIN ? SPARE_MIN : share > SPARE_MAX ? SPARE_MAX : share);
    while (before < spare && !atomic_compare_exchange_weak(&spare_wanted, &before, spare))
        ;
    if (fd < 0 || fd >= max - spare) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    keep_reserve(fd);
    return true;
}

long stub_connections_refused(void)
{
    return atomic_load_explicit(&refused, memory_order_relaxed);
}

static void refuse(int fd)
{
    close(fd);
    atomic_fetch_add_explicit(&refused, 1, memory_order_relaxed);
    log_every(&refused_log, LOG_WARN, "stub", "connection.refused descriptors=%lld spare=%d",
              (long long)descriptors_max(), atomic_load(&spare_wanted));
}

/* Out of descriptors: takes one connection off the queue with the reserve. False: no way to. */
static bool refuse_by_reserve(int listener, int flags)
{
    int fd = atomic_exchange(&reserve, -1);

    if (fd < 0)
        return false; /* another thread is at it */
    close(fd);
    fd = (int)syscall(SYS_accept4, listener, NULL, NULL, flags);
    if (fd >= 0)
        refuse(fd);
    keep_reserve(open_reserve());
    return fd >= 0;
}

static bool is_transient(int error)
{
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO: /* and what else the network may report of a connection that is gone */
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case ENONET:
    case EHOSTDOWN:
    case EHOSTUNREACH:
        return true;
    default:
        return false;
    }
}

/* What another connection may not meet again. */
static bool is_shortage(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
           error == EPERM; /* a firewall's word */
}

/* What Core is to hear of an error; 0: nothing, it is tried again. */
static int translate(int error, int listener, int flags)
{
    if (is_transient(error) || (error == EMFILE && refuse_by_reserve(listener, flags)))
        return 0;
    return is_shortage(error) ? EAGAIN : error; /* the next connection makes Core ask again */
}

int accept4(int listener, __SOCKADDR_ARG address, socklen_t *restrict bytes, int flags)
{
    int spare = atomic_load_explicit(&spare_wanted, memory_order_relaxed);
    socklen_t room = bytes ? *bytes : 0;

    for (;;) {
        int fd, error;

        if (bytes)
            *bytes = room;
        fd = (int)syscall(SYS_accept4, listener, address.__sockaddr__, bytes, flags);
        if (spare == 0)
            return fd;
        if (fd < 0) {
            error = translate(errno, listener, flags);
            if (error == 0)
                continue;
            errno = error;
            return -1;
        }
        if (fd < descriptors_max() - spare) {
            if (atomic_load_explicit(&reserve, memory_order_relaxed) < 0)
                keep_reserve(open_reserve());
            guard_meet(fd);
            return fd;
        }
        refuse(fd);
    }
}
