#include "plugin/rewrite.h"

#include "plugin/defaults.h"
#include "plugin/member.h"
#include "plugin/name.h"
#include "plugin/options.h"
#include "plugin/text.h"
#include "plugin/types.h"
#include "plugin/valid.h"

#include <stdlib.h>
#include <string.h>

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

const char *rewrite_find_optional(struct arena *arena, const file_message *file)
{
    const char *found = NULL;

    for (size_t i = 0; i < file->n_message_type && !found; i++)
        found = find_in_message(arena, file->package ? file->package : "", file->message_type[i]);
    return found;
}

struct rewriting {
    struct arena arena;
    struct parameter parameter;
};

static void rename_member(struct rewriting *rewriting, const char *scope, const char *base,
                          char **name)
{
    const char *renamed =
        *name ? member_rename(&rewriting->arena, &rewriting->parameter, scope, *name, base) : NULL;

    if (!renamed)
        return;
    *name = arena_strndup(&rewriting->arena, renamed, strlen(renamed));
    CHECK(*name);
}

static void rewrite_message(struct rewriting *rewriting, const char *scope,
                            message_message *message)
{
    const char *full_name =
        types_join(&rewriting->arena, scope, message->name ? message->name : "");
    const char *base = options_base(&rewriting->arena, message);

    for (size_t i = 0; i < message->n_field; i++) {
        message->field[i]->has_proto3_optional = 0;
        rename_member(rewriting, full_name, base, &message->field[i]->name);
    }
    for (size_t i = 0; i < message->n_oneof_decl; i++)
        rename_member(rewriting, full_name, NULL, &message->oneof_decl[i]->name);
    for (size_t i = 0; i < message->n_extension; i++)
        message->extension[i]->has_proto3_optional = 0;
    for (size_t i = 0; i < message->n_nested_type; i++)
        rewrite_message(rewriting, full_name, message->nested_type[i]);
}

static void rewrite_file(struct rewriting *rewriting, file_message *file)
{
    file->n_service = 0;
    for (size_t i = 0; i < file->n_message_type; i++)
        rewrite_message(rewriting, file->package ? file->package : "", file->message_type[i]);
    for (size_t i = 0; i < file->n_extension; i++)
        file->extension[i]->has_proto3_optional = 0;
}

/* NULL: no such set; the arena is done with then. */
static set_message *set_unpack(struct arena *arena, struct slice bytes)
{
    set_message *set;

    arena_init(arena, 65536, SIZE_MAX / 2);
    set = (set_message *)(void *)valid_unpack(arena,
                                              &google__protobuf__file_descriptor_set__descriptor,
                                              bytes);
    if (!set)
        arena_done(arena);
    return set;
}

bool rewrite_set(struct slice bytes, const char *options, uint8_t **ret, size_t *ret_bytes)
{
    struct rewriting rewriting = {.parameter = {0}};
    set_message *set = set_unpack(&rewriting.arena, bytes);

    if (!set)
        return false;
    if (parameter_parse(&rewriting.arena, options, &rewriting.parameter)) {
        arena_done(&rewriting.arena);
        return false;
    }
    defaults_hide(&rewriting.arena, set, NULL);
    for (size_t i = 0; i < set->n_file; i++)
        rewrite_file(&rewriting, set->file[i]);
    *ret_bytes = protobuf_c_message_get_packed_size(&set->base);
    *ret = malloc(*ret_bytes + 1);
    CHECK(*ret);
    protobuf_c_message_pack(&set->base, *ret);
    arena_done(&rewriting.arena);
    return true;
}

/* The first member of the union: NULL: it has none. */
static const field_message *first_of(const message_message *message, size_t oneof)
{
    for (size_t i = 0; i < message->n_field; i++) {
        const field_message *field = message->field[i];

        if (field->has_oneof_index && field->oneof_index >= 0 &&
            (size_t)field->oneof_index == oneof)
            return field;
    }
    return NULL;
}

/* What protoc-c should have written in place of {0}; NULL: that will do. */
static const char *braces_of_field(struct arena *arena, const struct types *enums,
                                   const field_message *field)
{
    const struct type *type;

    if (!field->has_type)
        return NULL;
    if (field->type == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_BYTES)
        return "{{0, NULL}}";
    if (field->type != GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_ENUM)
        return NULL;
    type = field->type_name ? types_find(enums, field->type_name) : NULL;
    return type ? text_format(arena, "{(%s)0}", type->c_type) : NULL;
}

static void braces_of_message(struct text *out, struct arena *arena, const struct types *enums,
                              const char *scope, const message_message *message)
{
    const char *c_name = types_join(arena, scope, message->name ? message->name : "");

    for (size_t i = 0; i < message->n_oneof_decl; i++) {
        const field_message *first = first_of(message, i);
        const char *name = message->oneof_decl[i]->name;
        const char *braces = name && first ? braces_of_field(arena, enums, first) : NULL;

        if (braces)
            text_printf(out, "s/\\b\\(%s__NOT_SET, \\){0}/\\1%s/\n",
                        name_constant(arena, types_join(arena, c_name, name)), braces);
    }
    for (size_t i = 0; i < message->n_nested_type; i++)
        braces_of_message(out, arena, enums, c_name, message->nested_type[i]);
}

/* False: options that cannot be read, for which the plugin has refused the file. */
static bool read_own(struct arena *arena, const file_message *file, struct options *ret)
{
    return file->name && options_read(arena, file, ret);
}

bool rewrite_braces(struct slice bytes, uint8_t **ret, size_t *ret_bytes)
{
    struct arena arena;
    set_message *set = set_unpack(&arena, bytes);
    struct text out = {0};
    struct types enums;
    struct options options;

    if (!set)
        return false;
    types_init(&enums, &arena);
    for (size_t i = 0; i < set->n_file; i++)
        if (read_own(&arena, set->file[i], &options))
            types_add_enums(&enums, set->file[i], &options);
    types_sort(&enums);
    text_add(&out, "", 0);
    for (size_t i = 0; i < set->n_file; i++) {
        const file_message *file = set->file[i];
        const char *package = file->package ? file->package : "";

        if (!read_own(&arena, file, &options))
            continue;
        for (size_t j = 0; j < file->n_message_type; j++)
            braces_of_message(&out, &arena, &enums, options.c_package ? options.c_package : package,
                              file->message_type[j]);
    }
    *ret = (uint8_t *)out.data;
    *ret_bytes = out.len;
    types_done(&enums);
    arena_done(&arena);
    return true;
}

bool rewrite_defaults(struct slice bytes, uint8_t **ret, size_t *ret_bytes)
{
    struct arena arena;
    set_message *set = set_unpack(&arena, bytes);
    struct text rules = {0};

    if (!set)
        return false;
    text_add(&rules, "", 0);
    defaults_hide(&arena, set, &rules);
    *ret = (uint8_t *)rules.data;
    *ret_bytes = rules.len;
    arena_done(&arena);
    return true;
}

bool rewrite_files(struct slice bytes, uint8_t **ret, size_t *ret_bytes)
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
