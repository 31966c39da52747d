/*
 * Memory that clients make Core take. Inside the runtime only.
 *
 * Core 1.51 keeps whatever a connection makes it keep: header blocks without an end, tens of
 * thousands of streams that are reset at once or that were never agreed on. Nothing in its
 * interface sets a bound, and a resource quota does not count these. So the guard watches the memory of
 * the process from outside. When it grows beyond its bound, the guard cuts the connection that sends
 * most. Core sees a peer that is gone, and frees what it kept for it.
 *
 * The bound is soft: growth goes on until the guard has looked (every 10 ms) and Core has digested
 * what it had read. Memory that the allocator keeps after an attack does not count again. On unix
 * sockets the kernel does not say who sends most, so nobody is cut there.
 */
#ifndef HOLDFAST_STUB_GUARD_H
#define HOLDFAST_STUB_GUARD_H

#include "base/check.h"

#include <stdint.h>

/* [any thread] A connection was accepted: guards know it from now on, until it is closed. */
void guard_meet(int fd);

struct guard;

/* Starts the thread. memory_bytes_max is of the whole process; NULL: /proc is not readable. */
MUST_CHECK struct guard *guard_create(int64_t memory_bytes_max);

/* Accepts NULL. */
void guard_destroy(struct guard *guard);

#endif
