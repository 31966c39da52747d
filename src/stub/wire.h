/*
 * Checks a serialized message before it is unpacked.
 *
 * protobuf-c cuts a string at its first NUL, does not look at UTF-8, recurses without a limit and
 * says only "no" about a bad message. So this first walks over the bytes, guided by the descriptor.
 * After WIRE_OK unpacking fails only if memory runs out; any other verdict names the field.
 *
 * Pure functions; any thread.
 */
#ifndef HOLDFAST_STUB_WIRE_H
#define HOLDFAST_STUB_WIRE_H

#include "base/check.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wire_verdict {
    WIRE_OK,
    WIRE_MALFORMED, /* cut short, wrong wire type for a field, a group, a bad varint */
    WIRE_UTF8,
    WIRE_NUL,
    WIRE_DEPTH,    /* nested deeper than WIRE_DEPTH_MAX */
    WIRE_ELEMENTS, /* more submessages, repeated elements and unknown fields than allowed */
};

enum { WIRE_DEPTH_MAX = 32, WIRE_FIELD_MAX = 256 };

struct wire_error {
    char field[WIRE_FIELD_MAX]; /* "amounts[1].meter"; "" when no known field is concerned */
};

/* ret_error is written for every verdict but WIRE_OK. */
MUST_CHECK enum wire_verdict wire_check(const ProtobufCMessageDescriptor *type, const uint8_t *data,
                                        size_t bytes, int64_t elements_max,
                                        struct wire_error *ret_error);

/* Whether these bytes are UTF-8; NULs are. */
bool wire_text_valid(const char *text, size_t bytes);

/* A sentence about the verdict: "is not valid UTF-8". Static text. */
const char *wire_verdict_text(enum wire_verdict verdict);

#endif
