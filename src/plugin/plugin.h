/*
 * protoc's plugin protocol: the bytes of a CodeGeneratorRequest in, of a CodeGeneratorResponse out.
 * One thread.
 */
#ifndef HOLDFAST_PLUGIN_PLUGIN_H
#define HOLDFAST_PLUGIN_PLUGIN_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The caller frees *ret_response. Faults of the user's .proto are told inside the response. False: the
 * request itself cannot be read, and nothing is returned.
 */
MUST_CHECK bool plugin_run(struct slice request, uint8_t **ret_response, size_t *ret_bytes);

#endif
