/*
 * The cases of gRPC's interop description, as a client plays them.
 */
#ifndef HOLDFAST_TESTS_INTEROP_CASES_H
#define HOLDFAST_TESTS_INTEROP_CASES_H

#include "stub/client.h"

#include <stdbool.h>
#include <stddef.h>

enum { CASE_ERROR_MAX = 512 };

struct interop_case {
    const char *name;
    /* False: error says what the server did, and what was due. */
    bool (*play)(struct stub_channel *channel, char error[CASE_ERROR_MAX]);
};

extern const struct interop_case interop_cases[];
extern const size_t interop_cases_count;

#endif
