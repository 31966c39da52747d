#include "plugin/unable.h"

#include "plugin/text.h"
#include "plugin/types.h"

#include <string.h>

typedef Google__Protobuf__FileDescriptorProto file_message;
typedef Google__Protobuf__DescriptorProto message_message;
typedef Google__Protobuf__FieldDescriptorProto field_message;

static bool is_group(const field_message *field)
{
    return field->has_type &&
           field->type == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_GROUP;
}

static const char *find_in_field(struct arena *arena, const char *file, const char *scope,
                                 const field_message *field, const struct options *options)
{
    if (is_group(field))
        return text_format(arena,
                           "%s: field %s.%s is a group, at which protoc-c crashes; make it a "
                           "message",
                           file, scope, field->name);
    if (options->use_oneof_field_name && !field->has_oneof_index)
        return text_format(arena,
                           "%s: option (pb_c_file).use_oneof_field_name, and field %s.%s is in no "
                           "oneof, at which protoc-c crashes; leave the option out",
                           file, scope, field->name);
    return NULL;
}

static const char *find_in_message(struct arena *arena, const char *file, const char *scope,
                                   const message_message *message, const struct options *options)
{
    const char *full_name = types_join(arena, scope, message->name), *error = NULL;
    struct options own = *options;

    for (size_t i = 0; i < message->n_field && !error; i++)
        error = find_in_field(arena, file, full_name, message->field[i], &own);
    own.use_oneof_field_name = false; /* protoc-c writes no extensions */
    for (size_t i = 0; i < message->n_extension && !error; i++)
        error = find_in_field(arena, file, full_name, message->extension[i], &own);
    for (size_t i = 0; i < message->n_nested_type && !error; i++)
        error = find_in_message(arena, file, full_name, message->nested_type[i], options);
    return error;
}

const char *unable_find(struct arena *arena, const file_message *file,
                        const struct options *options)
{
    const char *package = file->package ? file->package : "", *error = NULL;
    struct options own = *options;

    if (options->no_generate)
        return NULL;
    for (size_t i = 0; i < file->n_message_type && !error; i++)
        error = find_in_message(arena, file->name, package, file->message_type[i], options);
    own.use_oneof_field_name = false;
    for (size_t i = 0; i < file->n_extension && !error; i++)
        error = find_in_field(arena, file->name, package, file->extension[i], &own);
    return error;
}
