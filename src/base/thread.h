/*
 * Threads with names: `top -H`, `ps -L` and a debugger show the words of the thread map in
 * src/README.md.
 */
#ifndef HOLDFAST_BASE_THREAD_H
#define HOLDFAST_BASE_THREAD_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

enum { THREAD_NAME_BYTES_MAX = 15 }; /* pthread_setname_np(3), without the NUL */

/*
 * Starts run(user) in a new thread; the caller joins *ret. A name that is longer than the kernel
 * takes is a bug. A thread that the system refuses (RLIMIT_NPROC, a container's limit of processes)
 * ends the program too: threads are started while the program starts, and it cannot go on without them.
 */
void thread_start(pthread_t *ret, const char *name, void *(*run)(void *user), void *user);

/*
 * The same for a thread that handles all that has arrived in one go. When it wakes, it does not
 * interrupt the running thread, which is often the one that brings it work and is about to bring
 * more (SCHED_BATCH, sched(7); needs no privilege). On a CPU with nothing else to do this changes
 * nothing; on busy ones the batches are larger. Where the kernel refuses this, the thread runs without it.
 */
void thread_start_batch(pthread_t *ret, const char *name, void *(*run)(void *user), void *user);

/* The moment wait_us from now, for pthread_cond_timedwait on CLOCK_MONOTONIC. */
struct timespec thread_deadline(int64_t wait_us);

#endif
