#include "plugin/valid.h"

#include "plugin/text.h"

#include <string.h>

typedef Google__Protobuf__FileDescriptorProto file_message;

enum {
    STACK_BYTES_MAX = 256 * 1024,
    NAME_BYTES_MAX = 1000, /* three of them and a package fit in a literal of standard C, 4,095 */
};

/* --- unpacking ---------------------------------------------------------------------------------- */

struct unpacking {
    struct arena *arena;
    const char *stack;
};

/* protobuf-c knows no bound on nesting, but it asks for memory at every level and gives up on NULL. */
static void *unpacking_alloc(void *user, size_t size)
{
    struct unpacking *unpacking = user;
    ptrdiff_t used = unpacking->stack - (const char *)__builtin_frame_address(0);

    if (used > STACK_BYTES_MAX || used < -STACK_BYTES_MAX)
        return NULL;
    return arena_alloc(unpacking->arena, size);
}

static void unpacking_free(void *user, void *pointer)
{
    (void)user, (void)pointer;
}

ProtobufCMessage *valid_unpack(struct arena *arena, const ProtobufCMessageDescriptor *type,
                               struct slice bytes)
{
    struct unpacking unpacking = {.arena = arena, .stack = __builtin_frame_address(0)};
    ProtobufCAllocator allocator = {unpacking_alloc, unpacking_free, &unpacking};

    return protobuf_c_message_unpack(type, &allocator, bytes.len, (const uint8_t *)bytes.data);
}

/* --- names -------------------------------------------------------------------------------------- */

bool valid_identifier(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';

        if (!letter && (i == 0 || c < '0' || c > '9'))
            return false;
    }
    return name.len > 0;
}

bool valid_dotted(struct slice name)
{
    struct slice piece;

    if (name.len == 0)
        return false;
    while (slice_cut(&name, '.', &piece)) {
        if (!valid_identifier(piece))
            return false;
    }
    return true;
}

/* No way out of the output folder, and nothing that an #include or a comment could stumble over. */
static bool valid_file_name(const char *name)
{
    struct slice rest = slice_from_cstr(name), piece;

    for (const char *c = name; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f || strchr("\"\\*?<>", *c))
            return false;
    }
    while (slice_cut(&rest, '/', &piece)) {
        if (piece.len == 0 || slice_equal_cstr(piece, ".") || slice_equal_cstr(piece, ".."))
            return false;
    }
    return *name;
}

struct walk {
    struct arena *arena;
    const file_message *file;
    const char *error; /* the first one */
};

static void walk_name(struct walk *walk, const char *what, const char *name)
{
    const char *fault = NULL;

    if (!name)
        fault = "no name";
    else if (!valid_identifier(slice_from_cstr(name)))
        fault = "a name that is no identifier";
    else if (strlen(name) > NAME_BYTES_MAX)
        fault = "a name that is too long for C";
    if (fault && !walk->error)
        walk->error = text_format(walk->arena, "%s: a %s has %s", walk->file->name, what, fault);
}

static void walk_enum(struct walk *walk, const Google__Protobuf__EnumDescriptorProto *type)
{
    walk_name(walk, "enum", type->name);
    for (size_t i = 0; i < type->n_value; i++)
        walk_name(walk, "value of an enum", type->value[i]->name);
}

static void walk_fields(struct walk *walk, Google__Protobuf__FieldDescriptorProto *const *fields,
                        size_t count)
{
    for (size_t i = 0; i < count; i++)
        walk_name(walk, "field", fields[i]->name);
}

static void walk_message(struct walk *walk, const Google__Protobuf__DescriptorProto *message)
{
    walk_name(walk, "message", message->name);
    walk_fields(walk, message->field, message->n_field);
    walk_fields(walk, message->extension, message->n_extension);
    for (size_t i = 0; i < message->n_oneof_decl; i++)
        walk_name(walk, "oneof", message->oneof_decl[i]->name);
    for (size_t i = 0; i < message->n_enum_type; i++)
        walk_enum(walk, message->enum_type[i]);
    for (size_t i = 0; i < message->n_nested_type && !walk->error; i++)
        walk_message(walk, message->nested_type[i]);
}

static void walk_service(struct walk *walk, const Google__Protobuf__ServiceDescriptorProto *service)
{
    walk_name(walk, "service", service->name);
    for (size_t i = 0; i < service->n_method && !walk->error; i++) {
        walk_name(walk, "method", service->method[i]->name);
        if (!walk->error && (!service->method[i]->input_type || !service->method[i]->output_type))
            walk->error = text_format(walk->arena, "%s: method %s has no types", walk->file->name,
                                      service->method[i]->name);
    }
}

static const char *walk_file(struct arena *arena, const file_message *file)
{
    struct walk walk = {.arena = arena, .file = file};

    if (!file->name || !valid_file_name(file->name))
        return "a file has no name, or one that cannot stand in an #include";
    if (file->syntax && strcmp(file->syntax, "proto2") != 0 && strcmp(file->syntax, "proto3") != 0)
        return text_format(arena, "%s: syntax \"%s\" is not supported: proto2 and proto3 are",
                           file->name, file->syntax);
    if (file->package && *file->package && !valid_dotted(slice_from_cstr(file->package)))
        return text_format(arena, "%s: the package is no dotted name", file->name);
    for (size_t i = 0; i < file->n_dependency; i++) {
        if (!valid_file_name(file->dependency[i]))
            return text_format(arena, "%s: imports a file whose name cannot stand in an #include",
                               file->name);
    }
    for (size_t i = 0; i < file->n_message_type; i++)
        walk_message(&walk, file->message_type[i]);
    for (size_t i = 0; i < file->n_enum_type; i++)
        walk_enum(&walk, file->enum_type[i]);
    walk_fields(&walk, file->extension, file->n_extension);
    for (size_t i = 0; i < file->n_service; i++)
        walk_service(&walk, file->service[i]);
    return walk.error;
}

const char *valid_request(struct arena *arena,
                          const Google__Protobuf__Compiler__CodeGeneratorRequest *request)
{
    for (size_t i = 0; i < request->n_proto_file; i++) {
        const char *error = walk_file(arena, request->proto_file[i]);

        if (error)
            return error;
    }
    return NULL;
}
