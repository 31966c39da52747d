#include "plugin/types.h"

#include "plugin/name.h"

#include <stdlib.h>
#include <string.h>

enum {
    PB_C_FILE_TAG = 1019, /* extend google.protobuf.FileOptions { optional ProtobufCFileOptions } */
    C_PACKAGE_TAG = 6,
    WIRE_BYTES = 2,
};

void types_init(struct types *types, struct arena *arena)
{
    *types = (struct types){.arena = arena};
}

void types_done(struct types *types)
{
    free(types->items);
}

static size_t read_varint(const uint8_t *data, size_t len, uint64_t *ret)
{
    uint64_t value = 0;

    for (size_t i = 0; i < len && i < 10; i++) {
        value |= (uint64_t)(data[i] & 0x7f) << (7 * i);
        if (!(data[i] & 0x80)) {
            *ret = value;
            return i + 1;
        }
    }
    return 0;
}

/* The c_package inside the bytes of a pb_c_file option; NULL if it has none. */
static const char *parse_c_package(struct arena *arena, const uint8_t *data, size_t len)
{
    while (len > 0) {
        uint64_t key, value;
        size_t n = read_varint(data, len, &key);

        if (n == 0)
            return NULL;
        data += n;
        len -= n;
        n = read_varint(data, len, &value);
        if (n == 0)
            return NULL;
        data += n;
        len -= n;
        if ((key & 7) != WIRE_BYTES)
            continue; /* the other options are booleans: the varint was the value */
        if (value > len)
            return NULL;
        if (key >> 3 == C_PACKAGE_TAG)
            return arena_strndup(arena, (const char *)data, value);
        data += value;
        len -= value;
    }
    return NULL;
}

static const char *file_c_package(struct arena *arena,
                                  const Google__Protobuf__FileDescriptorProto *file)
{
    const ProtobufCMessage *options = file->options ? &file->options->base : NULL;

    for (unsigned i = 0; options && i < options->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *field = &options->unknown_fields[i];
        uint64_t len;
        size_t n;

        if (field->tag != PB_C_FILE_TAG ||
            field->wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
            continue;
        n = read_varint(field->data, field->len, &len); /* protobuf-c keeps the length prefix */
        if (n > 0 && len == field->len - n)
            return parse_c_package(arena, field->data + n, len);
    }
    return NULL;
}

const char *types_c_name(struct arena *arena, const Google__Protobuf__FileDescriptorProto *file,
                         const char *full_name)
{
    const char *c_package = file_c_package(arena, file);
    size_t package_len = file->package ? strlen(file->package) : 0;
    const char *rest = package_len ? full_name + package_len + 1 : full_name;
    char *result;

    if (!c_package)
        return full_name;
    result = arena_printf(arena, "%s.%s", c_package, rest);
    CHECK(result);
    return result;
}

static void add_message(struct types *types, const Google__Protobuf__FileDescriptorProto *file,
                        const char *scope, const Google__Protobuf__DescriptorProto *message)
{
    char *full_name = arena_printf(types->arena, "%s%s%s", scope, *scope ? "." : "", message->name);
    const char *c_name;

    CHECK(full_name);
    if (types->count == types->capacity) {
        types->capacity = types->capacity ? 2 * types->capacity : 64;
        types->items = realloc(types->items, types->capacity * sizeof(*types->items));
        CHECK(types->items);
    }
    c_name = types_c_name(types->arena, file, full_name);
    types->items[types->count++] = (struct type){
        .full_name = full_name,
        .c_type = name_type(types->arena, c_name),
        .c_symbol = name_symbol(types->arena, c_name),
        .file = file->name,
    };
    for (size_t i = 0; i < message->n_nested_type; i++)
        add_message(types, file, full_name, message->nested_type[i]);
}

void types_add_file(struct types *types, const Google__Protobuf__FileDescriptorProto *file)
{
    for (size_t i = 0; i < file->n_message_type; i++)
        add_message(types, file, file->package ? file->package : "", file->message_type[i]);
}

const struct type *types_find(const struct types *types, const char *name)
{
    if (*name == '.')
        name++;
    for (size_t i = 0; i < types->count; i++) {
        if (strcmp(types->items[i].full_name, name) == 0)
            return &types->items[i];
    }
    return NULL;
}
