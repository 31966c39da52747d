#include "stub/metadata.h"

#include "base/check.h"

#include <grpc/slice.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * What gRPC and HTTP/2 say about a call by themselves. Core 1.51 aborts the process for some of them (a
 * server's grpc-timeout), and peers drop the connection or misread the call for others.
 */
static bool is_reserved(grpc_slice key)
{
    static const char *const reserved[] = {
        "connection",
        "content-length",
        "content-type",
        "grpc-accept-encoding",
        "grpc-encoding",
        "grpc-internal-encoding-request",
        "grpc-message",
        "grpc-status",
        "grpc-timeout",
        "grpclb_client_stats",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
    };

    for (size_t i = 0; i < ARRAY_COUNT(reserved); i++) {
        if (grpc_slice_str_cmp(key, reserved[i]) == 0)
            return true;
    }
    return false;
}

const char *metadata_fault(grpc_slice key, grpc_slice value)
{
    if (!grpc_header_key_is_legal(key))
        return "the key is not legal: lower-case letters, digits, _, - and . are";
    if (!grpc_is_binary_header(key) && !grpc_header_nonbin_value_is_legal(value))
        return "the value is not legal: printable ASCII is, and other bytes in keys that end in -bin";
    if (is_reserved(key))
        return "the key is one of gRPC's or HTTP's own";
    return NULL;
}
