#include "counter/endpoint.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

bool endpoint_parse(struct endpoint *endpoint, const char *address)
{
    const char *colon = strrchr(address, ':');
    const char *host = address;
    size_t len;

    *endpoint = (struct endpoint){0};
    if (strncmp(address, "unix:", 5) == 0) {
        if (address[5] == '\0' || strlen(address + 5) >= sizeof(((struct sockaddr_un *)0)->sun_path))
            return false;
        endpoint->path = strdup(address + 5);
        CHECK(endpoint->path);
        return true;
    }
    if (!colon || colon == address || colon[1] == '\0')
        return false;
    len = (size_t)(colon - address);
    if (host[0] == '[' && len > 2 && host[len - 1] == ']') {
        host++;
        len -= 2;
    }
    endpoint->host = strndup(host, len);
    endpoint->port = strdup(colon + 1);
    CHECK(endpoint->host && endpoint->port);
    return true;
}

void endpoint_done(struct endpoint *endpoint)
{
    free(endpoint->path);
    free(endpoint->host);
    free(endpoint->port);
    *endpoint = (struct endpoint){0};
}

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

int endpoint_connect(const struct endpoint *endpoint)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int fd = -1;

    if (endpoint->path)
        return begin_unix(endpoint->path);
    if (getaddrinfo(endpoint->host, endpoint->port, &hints, &found) != 0) {
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
