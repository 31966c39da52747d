#include "plugin/optional.h"

#include "plugin/text.h"
#include "plugin/valid.h"

#include <stdlib.h>

typedef Google__Protobuf__FileDescriptorProto file_message;
typedef Google__Protobuf__DescriptorProto message_message;
typedef Google__Protobuf__FieldDescriptorProto field_message;
typedef Google__Protobuf__FileDescriptorSet set_message;

static bool is_optional(const field_message *field)
{
    return field->has_proto3_optional && field->proto3_optional;
}

static const char *find_in_message(struct arena *arena, const char *scope,
                                   const message_message *message)
{
    const char *name = text_format(arena, "%s%s%s", scope, *scope ? "." : "", message->name);
    const char *found = NULL;

    for (size_t i = 0; i < message->n_field; i++) {
        if (is_optional(message->field[i]))
            return text_format(arena, "%s.%s", name, message->field[i]->name);
    }
    for (size_t i = 0; i < message->n_nested_type && !found; i++)
        found = find_in_message(arena, name, message->nested_type[i]);
    return found;
}

const char *optional_find(struct arena *arena, const file_message *file)
{
    const char *found = NULL;

    for (size_t i = 0; i < file->n_message_type && !found; i++)
        found = find_in_message(arena, file->package ? file->package : "", file->message_type[i]);
    return found;
}

static void rewrite_message(message_message *message)
{
    for (size_t i = 0; i < message->n_field; i++)
        message->field[i]->has_proto3_optional = 0;
    for (size_t i = 0; i < message->n_extension; i++)
        message->extension[i]->has_proto3_optional = 0;
    for (size_t i = 0; i < message->n_nested_type; i++)
        rewrite_message(message->nested_type[i]);
}

static void rewrite_file(file_message *file)
{
    file->n_service = 0;
    for (size_t i = 0; i < file->n_message_type; i++)
        rewrite_message(file->message_type[i]);
    for (size_t i = 0; i < file->n_extension; i++)
        file->extension[i]->has_proto3_optional = 0;
}

/* NULL: no such set; the arena is done with then. */
static set_message *set_unpack(struct arena *arena, struct slice bytes)
{
    set_message *set;

    arena_init(arena, 65536, SIZE_MAX / 2);
    set = (set_message *)(void *)valid_unpack(
        arena, &google__protobuf__file_descriptor_set__descriptor, bytes);
    if (!set)
        arena_done(arena);
    return set;
}

bool optional_rewrite(struct slice bytes, uint8_t **ret, size_t *ret_bytes)
{
    struct arena arena;
    set_message *set = set_unpack(&arena, bytes);

    if (!set)
        return false;
    for (size_t i = 0; i < set->n_file; i++)
        rewrite_file(set->file[i]);
    *ret_bytes = protobuf_c_message_get_packed_size(&set->base);
    *ret = malloc(*ret_bytes + 1);
    CHECK(*ret);
    protobuf_c_message_pack(&set->base, *ret);
    arena_done(&arena);
    return true;
}

bool optional_files(struct slice bytes, uint8_t **ret, size_t *ret_bytes)
{
    struct arena arena;
    set_message *set = set_unpack(&arena, bytes);
    struct text names = {0};

    if (!set)
        return false;
    text_add(&names, "", 0);
    for (size_t i = 0; i < set->n_file; i++)
        text_printf(&names, "%s\n", set->file[i]->name ? set->file[i]->name : "");
    *ret = (uint8_t *)names.data;
    *ret_bytes = names.len;
    arena_done(&arena);
    return true;
}
