#include "plugin/options.h"

#include "plugin/valid.h"
#include "plugin/wire.h"

enum {
    PB_C = 1019, /* extend google.protobuf.FileOptions, MessageOptions { optional ... } */
    FILE_NO_GENERATE = 1,
    FILE_USE_ONEOF_FIELD_NAME = 5,
    FILE_C_PACKAGE = 6,
    MESSAGE_BASE_FIELD_NAME = 3,
};

static const char *read_text(struct arena *arena, struct slice content)
{
    const char *text = arena_strndup(arena, content.data, content.len);

    CHECK(text);
    return text;
}

static bool read_file(struct arena *arena, struct slice bytes, struct options *options)
{
    struct wire_field field;

    while (bytes.len > 0) {
        if (!wire_take(&bytes, &field))
            return false;
        if (field.number == FILE_NO_GENERATE)
            options->no_generate = field.value != 0;
        if (field.number == FILE_USE_ONEOF_FIELD_NAME)
            options->use_oneof_field_name = field.value != 0;
        if (field.number != FILE_C_PACKAGE)
            continue;
        if (!valid_dotted(field.content))
            return false;
        options->c_package = read_text(arena, field.content);
    }
    return true;
}

/* The bytes of protobuf-c's own options among the unknown fields, from *at on. False: no more. */
static bool next_own(const ProtobufCMessage *message, unsigned *at, struct slice *ret, bool *ret_ok)
{
    while (message && *at < message->n_unknown_fields) {
        const ProtobufCMessageUnknownField *field = &message->unknown_fields[(*at)++];
        uint64_t len;

        if (field->tag != PB_C || field->wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
            continue;
        *ret = slice_of(field->data, field->len);
        /* protobuf-c keeps the length in front of the bytes. */
        *ret_ok = wire_take_varint(ret, &len) && len == ret->len;
        return true;
    }
    return false;
}

bool options_read(struct arena *arena, const Google__Protobuf__FileDescriptorProto *file,
                  struct options *ret)
{
    const ProtobufCMessage *message = file->options ? &file->options->base : NULL;
    struct slice bytes;
    unsigned at = 0;
    bool ok;

    *ret = (struct options){0};
    while (next_own(message, &at, &bytes, &ok)) {
        if (!ok || !read_file(arena, bytes, ret))
            return false;
    }
    return true;
}

const char *options_base(struct arena *arena, const Google__Protobuf__DescriptorProto *proto)
{
    const ProtobufCMessage *message = proto->options ? &proto->options->base : NULL;
    const char *base = "base";
    struct wire_field field;
    struct slice bytes;
    unsigned at = 0;
    bool ok;

    while (next_own(message, &at, &bytes, &ok)) {
        while (ok && bytes.len > 0 && wire_take(&bytes, &field)) {
            if (field.number == MESSAGE_BASE_FIELD_NAME)
                base = read_text(arena, field.content);
        }
    }
    return base;
}
