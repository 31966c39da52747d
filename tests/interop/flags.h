/*
 * Flags as every interop program takes them: --name value, --name=value, or for a switch --name alone,
 * --name=true and --name true. An unknown name or a missing value is printed, with all names.
 */
#ifndef HOLDFAST_TESTS_INTEROP_FLAGS_H
#define HOLDFAST_TESTS_INTEROP_FLAGS_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>

/* One of the three is set. */
struct flag {
    const char *name;
    const char **text;
    int *number;
    bool *on;
};

/* False: it is said on stderr; the program should end with 2. */
MUST_CHECK bool flags_read(const struct flag *flags, size_t count, int argc, char **argv);

#endif
