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

/* The algorithms of messages that a channel or server takes: a set of bits, identity always. */
static inline int64_t core_algorithms(bool compression)
{
    return compression ? 1 << GRPC_COMPRESS_NONE | 1 << GRPC_COMPRESS_GZIP : 1 << GRPC_COMPRESS_NONE;
}

#endif
