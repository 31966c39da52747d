/*
 * A non-blocking connection to where Redis is. Any thread.
 */
#ifndef HOLDFAST_COUNTER_ENDPOINT_H
#define HOLDFAST_COUNTER_ENDPOINT_H

#include "base/address.h"

/*
 * A socket that is connected or connecting: when it is writable, ask endpoint_connected. -1 with errno
 * (0: the name was not found) if it cannot be begun. Only the look-up of a name may block.
 */
int endpoint_connect(const struct address *address);

/* 0, or the errno that the connection ended with. */
int endpoint_connected(int fd);

#endif
