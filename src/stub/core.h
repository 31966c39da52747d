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

/*
 * grpc_init, after what must be settled before it. A current Core reads its environment then: where
 * the variables are not set, GRPC_EXPERIMENTS is set to turn its EventEngine off, which costs a server
 * a third of its rate, and GRPC_VERBOSITY to ERROR. Changing the environment is not for threads, so
 * the first server, channel or credentials of a process should be made before it has many. Each call
 * wants its grpc_shutdown.
 */
void core_init(void);

/* Has Core write to our log, where it lets us: a current one writes to stderr. After core_init. */
void core_log(void);

/* The algorithms of messages that a channel or server takes: a set of bits, identity always. */
static inline int64_t core_algorithms(bool compression)
{
    return compression ? 1 << GRPC_COMPRESS_NONE | 1 << GRPC_COMPRESS_GZIP : 1 << GRPC_COMPRESS_NONE;
}

#endif
