/*
 * Where Redis is, and a non-blocking connection to it.
 */
#ifndef HOLDFAST_COUNTER_ENDPOINT_H
#define HOLDFAST_COUNTER_ENDPOINT_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>

struct endpoint {
    char *path; /* unix socket, else NULL */
    char *host;
    char *port;
};

/* "unix:/path", "host:port" or "[v6]:port"; false: none of them, nothing to free. */
MUST_CHECK bool endpoint_parse(struct endpoint *endpoint, const char *address);
void endpoint_done(struct endpoint *endpoint);

/*
 * A socket that is connected or about to be: writable once it knows, then endpoint_connected. -1
 * with errno (0: the name was not found) if it cannot be begun. Only a host name, not a numeric
 * address, may wait.
 */
int endpoint_connect(const struct endpoint *endpoint);

/* 0, or the errno that the connection ended with. */
int endpoint_connected(int fd);

#endif
