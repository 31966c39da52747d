#include "plugin/options.h"

#include "plugin/valid.h"
#include "plugin/wire.h"

enum {
    PB_C_FILE = 1019, /* extend google.protobuf.FileOptions { optional ProtobufCFileOptions } */
    NO_GENERATE = 1,
    C_PACKAGE = 6,
};

static bool read_fields(struct arena *arena, struct slice bytes, struct options *options)
{
    struct wire_field field;

    while (bytes.len > 0) {
        if (!wire_take(&bytes, &field))
            return false;
        if (field.number == NO_GENERATE)
            options->no_generate = field.value != 0;
        if (field.number != C_PACKAGE)
            continue;
        if (!valid_dotted(field.content))
            return false;
        options->c_package = arena_strndup(arena, field.content.data, field.content.len);
        CHECK(options->c_package);
    }
    return true;
}

bool options_read(struct arena *arena, const Google__Protobuf__FileDescriptorProto *file,
                  struct options *ret)
{
    const ProtobufCMessage *message = file->options ? &file->options->base : NULL;

    *ret = (struct options){0};
    for (unsigned i = 0; message && i < message->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *field = &message->unknown_fields[i];
        struct slice bytes = slice_of(field->data, field->len);
        uint64_t len;

        if (field->tag != PB_C_FILE ||
            field->wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
            continue;
        /* protobuf-c keeps the length in front of the bytes. */
        if (!wire_take_varint(&bytes, &len) || len != bytes.len ||
            !read_fields(arena, bytes, ret))
            return false;
    }
    return true;
}
