/*
 * Unix sockets that are there before a server opens its own. Inside the runtime only.
 *
 * Core takes over whatever socket file it finds, and the server that listened on it goes on without
 * a single caller. So it is asked first whether anybody is at home.
 */
#ifndef HOLDFAST_STUB_SOCKET_FILE_H
#define HOLDFAST_STUB_SOCKET_FILE_H

#include "base/check.h"

/*
 * 0: `address` ("unix:path", "unix:///path" or another kind, of which nothing is said) may be
 * listened on; a socket file that nobody serves has been removed. Else the errno that says why not:
 * EADDRINUSE, ENOTSOCK for a file of another kind, EACCES, ENAMETOOLONG.
 */
MUST_CHECK int socket_file_claim(const char *address);

#endif
