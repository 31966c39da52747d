/*
 * Answers that are given together are sent together. Inside the runtime; stub_cork and stub_uncork are in
 * call.h.
 *
 * Core writes each answer with a sendmsg of its own: a trip through TCP and a wake-up of the peer for
 * each. Nothing in Core's interface holds an answer back (GRPC_WRITE_BUFFER_HINT ends with the call),
 * so cork.c defines sendmsg itself, as accept.c does accept4. Between cork and uncork a thread's
 * sendmsg passes MSG_MORE; uncork has the kernel send what it holds by setting TCP_NODELAY once more:
 * "setting this option forces an explicit flush of pending output" (tcp(7)). On a unix socket neither
 * does anything.
 *
 *   late          by at most what the group takes; if uncork does not come, the kernel sends after 200 ms
 *   full          a segment that is full leaves at once: what is held is less than one
 *   other threads a sendmsg of theirs on the same connection sends what is held, in order
 *   closed        close() sends what is held; a descriptor that was used again meanwhile gets an option
 *                 that Core sets anyway
 *
 * A connection with one answer in a group gains nothing and pays for one more system call. So a group is
 * held only if the thread's last groups had three answers for two connections or more. Groups without an
 * answer do not count.
 */
#ifndef HOLDFAST_STUB_CORK_H
#define HOLDFAST_STUB_CORK_H

#include "stub/call.h"

enum { CORK_CONNECTIONS_MAX = 32 }; /* more in one group: what goes to the others is not held */

#endif
