#include "stub/cork.h"

#include "base/check.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SCALE = 64 }; /* of the recent numbers, for what is left of them by halving */

/* Of each thread: Core writes on the thread that answers. */
struct cork {
    bool open;
    bool worth;                            /* the last groups were: this one is held */
    int recent_writes, recent_connections; /* of the last groups, a group counts half the next */
    int writes;
    int connections; /* those beyond the array count once for each write */
    int fds[CORK_CONNECTIONS_MAX];
};

static _Thread_local struct cork cork;

void stub_cork(void)
{
    CHECK(!cork.open);
    cork.open = true;
    cork.writes = cork.connections = 0;
}

static void push(int fd)
{
    int on = 1;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void learn(void)
{
    cork.recent_writes = (cork.recent_writes + SCALE * cork.writes) / 2;
    cork.recent_connections = (cork.recent_connections + SCALE * cork.connections) / 2;
    cork.worth = 2 * cork.recent_writes >= 3 * cork.recent_connections;
}

void stub_uncork(void)
{
    CHECK(cork.open);
    cork.open = false;
    if (cork.worth)
        for (int i = 0; i < cork.connections && i < CORK_CONNECTIONS_MAX; i++)
            push(cork.fds[i]);
    if (cork.writes > 0)
        learn();
}

/* True: uncork will push this connection. */
static bool remember(int fd)
{
    int known = cork.connections < CORK_CONNECTIONS_MAX ? cork.connections : CORK_CONNECTIONS_MAX;

    cork.writes++;
    for (int i = 0; i < known; i++)
        if (cork.fds[i] == fd)
            return true;
    if (cork.connections++ >= CORK_CONNECTIONS_MAX)
        return false;
    cork.fds[known] = fd;
    return true;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    if (cork.open && remember(fd) && cork.worth)
        flags |= MSG_MORE;
    return syscall(SYS_sendmsg, fd, message, flags);
}
