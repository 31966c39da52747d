/*
 * Threads with names: `top -H`, `ps -L` and a debugger show the words of the thread map in
 * src/README.md.
 */
#ifndef HOLDFAST_BASE_THREAD_H
#define HOLDFAST_BASE_THREAD_H

#include <pthread.h>

enum { THREAD_NAME_BYTES_MAX = 15 }; /* pthread_setname_np(3), without the NUL */

/*
 * Starts run(user) in a new thread; the caller joins *ret. A name that is longer than the kernel
 * takes is a bug. So is, here, a thread that the system refuses (RLIMIT_NPROC, a container's limit of
 * processes): threads are started while the program starts, which cannot go on without them.
 */
void thread_start(pthread_t *ret, const char *name, void *(*run)(void *user), void *user);

/*
 * The same for a thread that does in one go all that has arrived. When it wakes it does not
 * interrupt the thread that runs, which is often the one that brings it work and is about to bring
 * more (SCHED_BATCH, sched(7); needs no privilege). On a CPU with nothing else to do this changes
 * nothing; on busy ones the batches are larger. Where the kernel refuses, the thread runs without.
 */
void thread_start_batch(pthread_t *ret, const char *name, void *(*run)(void *user), void *user);

#endif
