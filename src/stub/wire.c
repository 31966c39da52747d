/*
 * The walk goes over each level once. The path of a bad field is put together only when there is
 * one, on the way back up: each level writes its own part in front, and finds the index of a repeated
 * field by counting that field's occurrences before the bad one.
 */
#include "stub/wire.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct walk {
    int64_t elements_left;
    struct wire_error *error;
};

struct cursor {
    const uint8_t *at;
    const uint8_t *end;
};

static enum wire_verdict walk_message(struct walk *walk, const ProtobufCMessageDescriptor *type,
                                      struct cursor in, int depth);

static bool read_varint(struct cursor *in, uint64_t *ret)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 70 && in->at < in->end; shift += 7) {
        uint8_t byte = *in->at++;

        if (shift == 63 && byte > 1)
            return false;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret = value;
            return true;
        }
    }
    return false;
}

/* Takes one field: what stands behind the key is left in ret_value, without a length. */
static bool read_field(struct cursor *in, uint32_t *ret_number, enum wire_type *ret_type,
                       struct cursor *ret_value)
{
    uint64_t key, bytes = 0;
    const uint8_t *start;

    if (!read_varint(in, &key) || key >> 3 == 0 || key >> 3 > 0x1fffffff)
        return false;
    if ((key & 7) > WIRE_32 || (key & 7) == 3 || (key & 7) == 4) /* groups, and what there is not */
        return false;
    *ret_number = (uint32_t)(key >> 3);
    *ret_type = (enum wire_type)(key & 7);
    start = in->at;
    switch (*ret_type) {
    case WIRE_VARINT:
        if (!read_varint(in, &bytes))
            return false;
        *ret_value = (struct cursor){start, in->at};
        return true;
    case WIRE_64:
        bytes = 8;
        break;
    case WIRE_32:
        bytes = 4;
        break;
    case WIRE_BYTES:
        if (!read_varint(in, &bytes))
            return false;
        break;
    }
    if (bytes > (uint64_t)(in->end - in->at))
        return false;
    *ret_value = (struct cursor){in->at, in->at + bytes};
    in->at += bytes;
    return true;
}

/* --- strings ---------------------------------------------------------------------------------- */

/* Length of the valid UTF-8 sequence at `at`; 0: there is none. */
static size_t utf8_sequence(const uint8_t *at, size_t left)
{
    uint8_t first = at[0];
    uint8_t low = 0x80, high = 0xbf;
    size_t len;

    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first <= 0xdf)
        len = 2;
    else if (first >= 0xe0 && first <= 0xef)
        len = 3;
    else if (first >= 0xf0 && first <= 0xf4)
        len = 4;
    else
        return 0;
    if (first == 0xe0)
        low = 0xa0; /* overlong */
    else if (first == 0xed)
        high = 0x9f; /* surrogates */
    else if (first == 0xf0)
        low = 0x90; /* overlong */
    else if (first == 0xf4)
        high = 0x8f; /* beyond U+10FFFF */
    if (left < len || at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++) {
        if (at[i] < 0x80 || at[i] > 0xbf)
            return 0;
    }
    return len;
}

bool wire_text_valid(const char *text, size_t bytes)
{
    const uint8_t *at = (const uint8_t *)text;

    while (bytes > 0) {
        uint64_t eight;
        size_t len;

        if (bytes >= sizeof(eight)) {
            memcpy(&eight, at, sizeof(eight));
            if (!(eight & UINT64_C(0x8080808080808080))) {
                at += sizeof(eight);
                bytes -= sizeof(eight);
                continue;
            }
        }
        len = utf8_sequence(at, bytes);
        if (len == 0)
            return false;
        at += len;
        bytes -= len;
    }
    return true;
}

static enum wire_verdict check_string(struct cursor in)
{
    size_t left = (size_t)(in.end - in.at);

    if (left && memchr(in.at, 0, left))
        return WIRE_NUL;
    return wire_text_valid((const char *)in.at, left) ? WIRE_OK : WIRE_UTF8;
}

/* --- fields ----------------------------------------------------------------------------------- */

static enum wire_type wire_type_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_32;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_BYTES;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
        break;
    }
    return WIRE_VARINT;
}

static enum wire_verdict check_packed(enum wire_type type, struct cursor in)
{
    size_t bytes = (size_t)(in.end - in.at);
    uint64_t ignored;

    if (type == WIRE_32)
        return bytes % 4 ? WIRE_MALFORMED : WIRE_OK;
    if (type == WIRE_64)
        return bytes % 8 ? WIRE_MALFORMED : WIRE_OK;
    while (in.at < in.end) {
        if (!read_varint(&in, &ignored))
            return WIRE_MALFORMED;
    }
    return WIRE_OK;
}

static bool spend_element(struct walk *walk)
{
    return --walk->elements_left >= 0;
}

static enum wire_verdict check_field(struct walk *walk, const ProtobufCFieldDescriptor *field,
                                     enum wire_type type, struct cursor value, int depth)
{
    enum wire_type wanted = wire_type_of(field->type);
    bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;

    if (type != wanted) {
        if (repeated && type == WIRE_BYTES)
            return check_packed(wanted, value);
        return WIRE_MALFORMED;
    }
    if ((repeated || field->type == PROTOBUF_C_TYPE_MESSAGE) && !spend_element(walk))
        return WIRE_ELEMENTS;
    if (field->type == PROTOBUF_C_TYPE_STRING)
        return check_string(value);
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return walk_message(walk, field->descriptor, value, depth + 1);
    return WIRE_OK;
}

/* --- the path of what is wrong ---------------------------------------------------------------- */

/* How often field `number` stands in the message before `stop`. */
static size_t count_before(struct cursor in, uint32_t number, const uint8_t *stop)
{
    uint32_t seen;
    enum wire_type type;
    struct cursor value;
    size_t count = 0;

    while (in.at < stop && read_field(&in, &seen, &type, &value)) {
        if (seen == number && in.at <= stop)
            count++;
    }
    return count;
}

/* Puts this level's part before what the deeper levels have written. */
static void prepend_path(struct walk *walk, const ProtobufCFieldDescriptor *field, size_t index)
{
    char deeper[WIRE_FIELD_MAX];
    char number[32] = "";

    memcpy(deeper, walk->error->field, sizeof(deeper));
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        snprintf(number, sizeof(number), "[%zu]", index);
    /* Cut when it does not fit: the beginning is what leads to the place. */
    if (snprintf(walk->error->field, sizeof(walk->error->field), "%s%s%s%s", field->name, number,
                 *deeper ? "." : "", deeper) < 0)
        walk->error->field[0] = '\0';
}

/*
 * The field of this number, or NULL. Fields mostly come in the order of their numbers, repeated ones
 * several times: *likely is the one after the last that was found.
 */
static inline const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *type,
                                                         uint32_t number, size_t *likely)
{
    const ProtobufCFieldDescriptor *field;

    if (*likely < type->n_fields && type->fields[*likely].id == number)
        return &type->fields[(*likely)++];
    if (*likely > 0 && type->fields[*likely - 1].id == number)
        return &type->fields[*likely - 1];
    field = protobuf_c_message_descriptor_get_field(type, number);
    if (field)
        *likely = (size_t)(field - type->fields) + 1;
    return field;
}

static enum wire_verdict walk_message(struct walk *walk, const ProtobufCMessageDescriptor *type,
                                      struct cursor in, int depth)
{
    struct cursor whole = in;
    size_t likely = 0;
    uint32_t number;
    enum wire_type wire;
    struct cursor value;

    if (depth > WIRE_DEPTH_MAX)
        return WIRE_DEPTH;
    while (in.at < in.end) {
        const uint8_t *start = in.at;
        const ProtobufCFieldDescriptor *field;
        enum wire_verdict verdict;

        if (!read_field(&in, &number, &wire, &value))
            return WIRE_MALFORMED;
        field = find_field(type, number, &likely);
        if (!field) {
            if (!spend_element(walk))
                return WIRE_ELEMENTS;
            continue;
        }
        verdict = check_field(walk, field, wire, value, depth);
        if (verdict != WIRE_OK) {
            prepend_path(walk, field, count_before(whole, number, start));
            return verdict;
        }
    }
    return WIRE_OK;
}

enum wire_verdict wire_check(const ProtobufCMessageDescriptor *type, const uint8_t *data,
                             size_t bytes, int64_t elements_max, struct wire_error *ret_error)
{
    struct walk walk = {.elements_left = elements_max, .error = ret_error};

    ret_error->field[0] = '\0';
    if (bytes == 0)
        return WIRE_OK;
    return walk_message(&walk, type, (struct cursor){data, data + bytes}, 1);
}

const char *wire_verdict_text(enum wire_verdict verdict)
{
    switch (verdict) {
    case WIRE_OK:
        return "is well formed";
    case WIRE_MALFORMED:
        return "is not a well-formed protobuf field of its type";
    case WIRE_UTF8:
        return "is not valid UTF-8";
    case WIRE_NUL:
        return "contains a NUL character";
    case WIRE_DEPTH:
        return "is nested too deep";
    case WIRE_ELEMENTS:
        return "brings too many elements";
    }
    UNREACHABLE();
}
