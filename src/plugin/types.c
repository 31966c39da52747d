#include "plugin/types.h"

#include "plugin/name.h"
#include "plugin/text.h"

#include <stdlib.h>
#include <string.h>

typedef Google__Protobuf__FileDescriptorProto file_message;
typedef Google__Protobuf__DescriptorProto message_message;

void types_init(struct types *types, struct arena *arena)
{
    *types = (struct types){.arena = arena};
}

void types_done(struct types *types)
{
    free(types->items);
}

const char *types_join(struct arena *arena, const char *scope, const char *name)
{
    return text_format(arena, "%s%s%s", scope, *scope ? "." : "", name);
}

const char *types_full_name(struct arena *arena, const file_message *file, const char *name)
{
    return types_join(arena, file->package ? file->package : "", name);
}

const char *types_c_name(struct arena *arena, const file_message *file,
                         const struct options *options, const char *name)
{
    if (options->c_package)
        return types_join(arena, options->c_package, name);
    return types_full_name(arena, file, name);
}

static struct type *add(struct types *types, const struct type *file, const char *full_name,
                        const char *c_name)
{
    struct type *type;

    if (types->count == types->capacity) {
        types->capacity = types->capacity ? 2 * types->capacity : 64;
        types->items = realloc(types->items, types->capacity * sizeof(*types->items));
        CHECK(types->items);
    }
    type = &types->items[types->count++];
    *type = *file;
    type->full_name = full_name;
    type->c_type = name_type(types->arena, c_name);
    return type;
}

static void add_message(struct types *types, const struct type *file, const char *scope,
                        const char *c_scope, const message_message *message)
{
    const char *full_name = types_join(types->arena, scope, message->name);
    const char *c_name = types_join(types->arena, c_scope, message->name);

    add(types, file, full_name, c_name)->c_symbol = name_symbol(types->arena, c_name);
    for (size_t i = 0; i < message->n_nested_type; i++)
        add_message(types, file, full_name, c_name, message->nested_type[i]);
}

void types_add_file(struct types *types, const file_message *file, const struct options *options)
{
    const char *package = file->package ? file->package : "";
    const char *c_package = options->c_package ? options->c_package : package;
    struct type type = {.file = file->name, .has_header = !options->no_generate};

    for (size_t i = 0; i < file->n_message_type; i++)
        add_message(types, &type, package, c_package, file->message_type[i]);
}

static void add_enum(struct types *types, const struct type *file, const char *scope,
                     const char *c_scope, const Google__Protobuf__EnumDescriptorProto *type)
{
    const char *name = type->name ? type->name : "";

    (void)add(types, file, types_join(types->arena, scope, name),
              types_join(types->arena, c_scope, name));
}

static void add_enums_of(struct types *types, const struct type *file, const char *scope,
                         const char *c_scope, const message_message *message)
{
    const char *name = message->name ? message->name : "";
    const char *full_name = types_join(types->arena, scope, name);
    const char *c_name = types_join(types->arena, c_scope, name);

    for (size_t i = 0; i < message->n_enum_type; i++)
        add_enum(types, file, full_name, c_name, message->enum_type[i]);
    for (size_t i = 0; i < message->n_nested_type; i++)
        add_enums_of(types, file, full_name, c_name, message->nested_type[i]);
}

void types_add_enums(struct types *types, const file_message *file, const struct options *options)
{
    const char *package = file->package ? file->package : "";
    const char *c_package = options->c_package ? options->c_package : package;
    struct type type = {.file = file->name, .has_header = !options->no_generate};

    for (size_t i = 0; i < file->n_enum_type; i++)
        add_enum(types, &type, package, c_package, file->enum_type[i]);
    for (size_t i = 0; i < file->n_message_type; i++)
        add_enums_of(types, &type, package, c_package, file->message_type[i]);
}

static int compare(const void *a, const void *b)
{
    const struct type *left = a, *right = b;

    return strcmp(left->full_name, right->full_name);
}

void types_sort(struct types *types)
{
    if (types->count)
        qsort(types->items, types->count, sizeof(*types->items), compare);
}

const struct type *types_find(const struct types *types, const char *name)
{
    struct type wanted = {.full_name = *name == '.' ? name + 1 : name};

    return types->count
               ? bsearch(&wanted, types->items, types->count, sizeof(*types->items), compare)
               : NULL;
}
