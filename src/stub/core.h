/*
 * What differs between the versions of gRPC Core that this is built with: Debian's 1.51.1, and the
 * current one that deploy/grpc-core builds (`cmake -DGRPC_CORE=DIR`). For the files of src/stub/ only.
 * Credentials differ too: security.h.
 */
#ifndef HOLDFAST_STUB_CORE_H
#define HOLDFAST_STUB_CORE_H

#include <grpc/compression.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Makes Core write to our log if it can; a current Core writes to stderr. */
void core_log(void);

/*
 * Call it before the process makes its first connection. It makes two threads wait for a mutex of Core's: the
 * first time is dangerous if it comes later, and core.c says why. Any thread. Only the first call does
 * it, and takes some milliseconds, in which abseil measures the processor's clock.
 */
void core_contend(void);

/*
 * Call it before the first grpc_init. From then on Core must not be called in a child made by fork(): the
 * threads of Core are gone there, and their locks may be held for ever.
 */
void core_use(void);
extern atomic_bool core_forked;
static inline bool core_is_forked(void)
{
    return atomic_load_explicit(&core_forked, memory_order_relaxed);
}

#define CORE_FORKED_TEXT                                                                           \
    "this process was forked from one that had used gRPC; only its parent may call"

/* The algorithms of messages that a channel or server takes: a set of bits, identity always. */
static inline int64_t core_algorithms(bool compression)
{
    return compression ? 1 << GRPC_COMPRESS_NONE | 1 << GRPC_COMPRESS_GZIP
                       : 1 << GRPC_COMPRESS_NONE;
}

#endif
