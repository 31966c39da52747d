/*
 * Accepting connections while descriptors run short. Inside the runtime only.
 *
 * Core's listener answers every error of accept4 but EAGAIN, EINTR and ECONNABORTED by closing itself
 * for ever: a server that runs out of descriptors once never accepts again (CVE-2023-4785). Nothing
 * in Core's interface stands between the kernel and that loop, so accept.c defines accept4 itself;
 * the dynamic linker prefers a program's own to libc's. Its accept4
 *
 *   closes a new connection at once when fewer than `spare` descriptors would be left to the rest of
 *   the process, so that whoever connects cannot take what a database connection needs;
 *   closes it too, by way of a descriptor kept in reserve, when there is none left at all;
 *   never returns an error that a later connection would not meet as well.
 *
 * How full the table is costs nothing to know: the kernel gives the lowest free number, so number n
 * says that 0 to n-1 are taken.
 *
 * It holds for all of the process from the first server on: that is what descriptors are shared by.
 */
#ifndef HOLDFAST_STUB_ACCEPT_H
#define HOLDFAST_STUB_ACCEPT_H

#include "base/check.h"

#include <stdbool.h>

/*
 * From now on accept4 leaves at least `spare` descriptors (0: an eighth of RLIMIT_NOFILE, 16 to 256);
 * the largest of several servers' wishes counts. False: the limit is so low that no connection
 * would ever be accepted.
 */
MUST_CHECK bool accept_guard(int spare);

#endif
