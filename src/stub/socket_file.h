/*
 * Unix sockets that exist before a server opens its own. Inside the runtime only.
 *
 * Core takes over any socket file that it finds, and the server that listened on it gets no callers any
 * more. So the runtime first checks whether somebody still serves it.
 */
#ifndef HOLDFAST_STUB_SOCKET_FILE_H
#define HOLDFAST_STUB_SOCKET_FILE_H

#include "base/check.h"

/*
 * 0: a server may listen on `address` ("unix:path" or "unix:///path"; addresses of other kinds are not
 * checked). A socket file that nobody serves has been removed. Else the errno that says why not:
 * EADDRINUSE, ENOTSOCK for a file of another kind, EACCES, ENAMETOOLONG.
 */
MUST_CHECK int socket_file_claim(const char *address);

#endif
