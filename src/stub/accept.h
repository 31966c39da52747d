/*
 * Accepting connections while descriptors run short. Inside the runtime only.
 *
 * When accept4 fails with anything but EAGAIN, EINTR or ECONNABORTED, Core's listener closes for good: a
 * server that runs out of descriptors once never accepts again (CVE-2023-4785). Core's interface offers no
 * way around that, so accept.c defines accept4 itself; the dynamic linker prefers a program's own to
 * libc's. Its accept4
 *
 *   closes a new connection at once when fewer than `spare` descriptors would be left to the rest of
 *   the process, so that whoever connects cannot take what a database connection needs;
 *   closes it too when none is left at all, with the help of a descriptor kept in reserve;
 *   never returns an error that a later connection would not meet as well.
 *
 * It costs nothing to know how full the table is: the kernel gives the lowest free number, so number n
 * says that 0 to n-1 are taken.
 *
 * It applies to the whole process from the first server on, because a process shares its descriptors.
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
