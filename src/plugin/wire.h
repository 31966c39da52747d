/*
 * Fields of a protobuf message, one after the other, without unpacking it. One thread.
 */
#ifndef HOLDFAST_PLUGIN_WIRE_H
#define HOLDFAST_PLUGIN_WIRE_H

#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct wire_field {
    uint64_t number;
    uint64_t value;       /* of a varint, else 0 */
    struct slice content; /* of a length-delimited one, else empty */
    struct slice whole;   /* all of its bytes, key and length included */
};

/* Takes one off the front of *rest. False: there is none, or it is cut off, or a group. */
MUST_CHECK bool wire_take(struct slice *rest, struct wire_field *ret);

MUST_CHECK bool wire_take_varint(struct slice *rest, uint64_t *ret);

#endif
