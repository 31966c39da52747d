/*
 * Tells ThreadSanitizer what it cannot see: the thread that starts a batch hands over what the tag points to,
 * and the thread that gets the tag from the completion queue takes it. Core's queue orders the two, but
 * Core is not built for the sanitizer. Other builds do nothing here. Any thread.
 */
#ifndef HOLDFAST_STUB_HANDOFF_H
#define HOLDFAST_STUB_HANDOFF_H

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

/* Before the batch is started. */
static inline void handoff_give(void *tag)
{
#ifdef __SANITIZE_THREAD__
    __tsan_release(tag);
#else
    (void)tag;
#endif
}

/* When its completion has come. */
static inline void handoff_take(void *tag)
{
#ifdef __SANITIZE_THREAD__
    __tsan_acquire(tag);
#else
    (void)tag;
#endif
}

#endif
