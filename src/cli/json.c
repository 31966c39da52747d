#include "cli/json.h"

#include "base/check.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void append(char *text, size_t size, const char *suffix)
{
    size_t used = strlen(text);

    snprintf(text + used, size - used, "%s", suffix);
}

/* ".25" with 3, 6 or 9 digits, or nothing for a whole second. */
static void append_fraction(char *text, size_t size, int32_t nanos)
{
    size_t used = strlen(text);

    if (nanos == 0)
        return;
    if (nanos % 1000000 == 0)
        snprintf(text + used, size - used, ".%03d", nanos / 1000000);
    else if (nanos % 1000 == 0)
        snprintf(text + used, size - used, ".%06d", nanos / 1000);
    else
        snprintf(text + used, size - used, ".%09d", nanos);
}

const char *json_time_format(int64_t seconds, int32_t nanos, char text[JSON_TIME_BYTES])
{
    struct tm parts;
    time_t time = (time_t)seconds;

    if (!gmtime_r(&time, &parts) || !strftime(text, JSON_TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &parts)) {
        snprintf(text, JSON_TIME_BYTES, "%" PRId64 "s", seconds);
        return text;
    }
    append_fraction(text, JSON_TIME_BYTES - 1, nanos);
    append(text, JSON_TIME_BYTES, "Z");
    return text;
}

/* Timestamp and Duration have the same two fields: int64 seconds and int32 nanos. */
static void read_seconds_nanos(const ProtobufCMessage *message, int64_t *ret_seconds,
                               int32_t *ret_nanos)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;

    memcpy(ret_seconds, (const char *)message + type->fields[0].offset, sizeof(*ret_seconds));
    memcpy(ret_nanos, (const char *)message + type->fields[1].offset, sizeof(*ret_nanos));
}

static json_t *time_value(const ProtobufCMessage *message)
{
    char text[JSON_TIME_BYTES];
    int64_t seconds;
    int32_t nanos;

    read_seconds_nanos(message, &seconds, &nanos);
    return json_string(json_time_format(seconds, nanos, text));
}

static json_t *span_value(const ProtobufCMessage *message)
{
    char text[JSON_TIME_BYTES];
    int64_t seconds;
    int32_t nanos;

    read_seconds_nanos(message, &seconds, &nanos);
    snprintf(text, sizeof(text), "%s%" PRId64, seconds < 0 || nanos < 0 ? "-" : "",
             seconds < 0 ? -seconds : seconds);
    append_fraction(text, sizeof(text) - 1, nanos < 0 ? -nanos : nanos);
    append(text, sizeof(text), "s");
    return json_string(text);
}

static json_t *enum_value(const ProtobufCFieldDescriptor *field, int number)
{
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value(field->descriptor, number);

    return value ? json_string(value->name) : json_integer(number);
}

/* One value at `at`, which is a field's member or an element of its array. */
static json_t *value_at(const ProtobufCFieldDescriptor *field, const void *at)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return json_integer(*(const int32_t *)at);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return json_integer(*(const uint32_t *)at);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return json_integer(*(const int64_t *)at);
    case PROTOBUF_C_TYPE_FLOAT:
        return json_real((double)*(const float *)at);
    case PROTOBUF_C_TYPE_DOUBLE:
        return json_real(*(const double *)at);
    case PROTOBUF_C_TYPE_BOOL:
        return json_boolean(*(const protobuf_c_boolean *)at);
    case PROTOBUF_C_TYPE_ENUM:
        return enum_value(field, *(const int *)at);
    case PROTOBUF_C_TYPE_STRING:
        return json_string(*(char *const *)at ? *(char *const *)at : "");
    case PROTOBUF_C_TYPE_MESSAGE:
        return json_from_message(*(ProtobufCMessage *const *)at);
    case PROTOBUF_C_TYPE_BYTES:
        break; /* no message of ours has bytes; their number says enough */
    }
    return json_integer((json_int_t)((const ProtobufCBinaryData *)at)->len);
}

static size_t element_bytes(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_ENUM:
        break;
    }
    return 4;
}

static json_t *array_value(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const char *base = (const char *)message;
    size_t count = *(const size_t *)(const void *)(base + field->quantifier_offset);
    const char *elements = *(char *const *)(const void *)(base + field->offset);
    json_t *array = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, value_at(field, elements + i * element_bytes(field->type)));
    return array;
}

/* False: an unset message, or a member of a oneof that is not the one. */
static bool is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const char *base = (const char *)message;

    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
        *(const uint32_t *)(const void *)(base + field->quantifier_offset) != field->id)
        return false;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return *(void *const *)(const void *)(base + field->offset) != NULL;
    return true;
}

json_t *json_from_message(const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    json_t *object;

    if (strcmp(type->name, "google.protobuf.Timestamp") == 0)
        return time_value(message);
    if (strcmp(type->name, "google.protobuf.Duration") == 0)
        return span_value(message);
    object = json_object();
    CHECK(object);
    for (unsigned int i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];

        if (field->label == PROTOBUF_C_LABEL_REPEATED)
            json_object_set_new(object, field->name, array_value(message, field));
        else if (is_set(message, field))
            json_object_set_new(object, field->name,
                                value_at(field, (const char *)message + field->offset));
    }
    return object;
}
