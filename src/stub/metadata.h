/*
 * What gRPC allows as metadata, for both sides. Inside the runtime only; any thread.
 */
#ifndef HOLDFAST_STUB_METADATA_H
#define HOLDFAST_STUB_METADATA_H

#include <grpc/grpc.h>
#include <grpc/slice.h>
#include <stddef.h>

/* NULL: the pair is legal. Else what is wrong with it, static text: "the key is not legal: ...". */
const char *metadata_fault(grpc_slice key, grpc_slice value);

/* The size of a pair as it counts against a peer's bound (RFC 9113, 6.5.2). */
static inline size_t metadata_bytes(grpc_slice key, grpc_slice value)
{
    return GRPC_SLICE_LENGTH(key) + GRPC_SLICE_LENGTH(value) + 32;
}

#endif
