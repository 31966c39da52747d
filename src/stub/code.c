#include "stub/call.h"

#include "base/check.h"

static const char *const names[] = {
    [STUB_OK] = "OK",
    [STUB_CANCELLED] = "CANCELLED",
    [STUB_UNKNOWN] = "UNKNOWN",
    [STUB_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
    [STUB_DEADLINE_EXCEEDED] = "DEADLINE_EXCEEDED",
    [STUB_NOT_FOUND] = "NOT_FOUND",
    [STUB_ALREADY_EXISTS] = "ALREADY_EXISTS",
    [STUB_PERMISSION_DENIED] = "PERMISSION_DENIED",
    [STUB_RESOURCE_EXHAUSTED] = "RESOURCE_EXHAUSTED",
    [STUB_FAILED_PRECONDITION] = "FAILED_PRECONDITION",
    [STUB_ABORTED] = "ABORTED",
    [STUB_OUT_OF_RANGE] = "OUT_OF_RANGE",
    [STUB_UNIMPLEMENTED] = "UNIMPLEMENTED",
    [STUB_INTERNAL] = "INTERNAL",
    [STUB_UNAVAILABLE] = "UNAVAILABLE",
    [STUB_DATA_LOSS] = "DATA_LOSS",
    [STUB_UNAUTHENTICATED] = "UNAUTHENTICATED",
};

const char *stub_code_name(int code)
{
    if (code < 0 || (size_t)code >= ARRAY_COUNT(names))
        return "no such code";
    return names[code];
}
