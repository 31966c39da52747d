#include "counter/endpoint.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Closes fd and keeps errno. */
static int give_up(int fd)
{
    int error = errno;

    close(fd);
    errno = error;
    return -1;
}

static int begin(int family, const struct sockaddr *address, socklen_t len)
{
    const int on = 1;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (family != AF_UNIX && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
        return give_up(fd);
    /* A unix socket whose backlog is full says EAGAIN and will not become connected. */
    if (connect(fd, address, len) < 0 && errno != EINPROGRESS)
        return give_up(fd);
    return fd;
}

static int begin_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    memcpy(address.sun_path, path, strlen(path) + 1);
    return begin(AF_UNIX, (const struct sockaddr *)&address, sizeof(address));
}

int endpoint_connect(const struct address *address)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[8];
    int fd = -1;

    if (address->kind == ADDRESS_UNIX)
        return begin_unix(address->path);
    snprintf(port, sizeof(port), "%u", address->port);
    if (getaddrinfo(address->host, port, &hints, &found) != 0) {
        errno = 0;
        return -1;
    }
    for (const struct addrinfo *at = found; at && fd < 0; at = at->ai_next)
        fd = begin(at->ai_family, at->ai_addr, at->ai_addrlen);
    freeaddrinfo(found);
    return fd;
}

int endpoint_connected(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);

    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ? errno : error;
}
