/*
 * What differs between the versions of gRPC Core that this is built with: Debian's 1.51.1, and the
 * current one that deploy/grpc-core builds (`cmake -DGRPC_CORE=DIR`). For the files of src/stub/ only.
 * Credentials differ too: security.h.
 */
#ifndef HOLDFAST_STUB_CORE_H
#define HOLDFAST_STUB_CORE_H

#include <grpc/compression.h>
#include <stdbool.h>
#include <stdint.h>

/* Has Core write to our log, where it lets us: a current one writes to stderr. */
void core_log(void);

/*
 * Before a process makes its first connection: has two threads wait for a mutex of Core's, which is
 * dangerous for the first time later; core.c says why. Any thread; once, and takes 3.5 ms then, in
 * which abseil measures the processor's clock.
 */
void core_contend(void);

/* The algorithms of messages that a channel or server takes: a set of bits, identity always. */
static inline int64_t core_algorithms(bool compression)
{
    return compression ? 1 << GRPC_COMPRESS_NONE | 1 << GRPC_COMPRESS_GZIP : 1 << GRPC_COMPRESS_NONE;
}

#endif
