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
 * *ret_response is to be freed by the caller. What is wrong with the user's .proto is told inside the
 * response. False: the request itself is not readable, nothing is returned.
 */
MUST_CHECK bool plugin_run(struct slice request, uint8_t **ret_response, size_t *ret_bytes);

#endif
