#include "plugin/embed.h"

#include "plugin/comment.h"
#include "plugin/name.h"
#include "plugin/wire.h"

#include <stdlib.h>
#include <string.h>

enum {
    REQUEST_PROTO_FILE = 15,
    FILE_SOURCE_CODE_INFO = 9,
    BYTES_PER_LINE = 24,
};

struct slice embed_file_at(struct slice request, size_t index)
{
    struct wire_field field;

    while (request.len > 0 && wire_take(&request, &field)) {
        if (field.number == REQUEST_PROTO_FILE && index-- == 0)
            return field.content;
    }
    return slice_of(NULL, 0);
}

/* --- symbols ---------------------------------------------------------------------------------- */

struct symbols {
    struct arena *arena;
    const char **items;
    size_t count;
    size_t capacity;
};

static const char *symbols_add(struct symbols *symbols, const char *scope, const char *name)
{
    char *full = arena_printf(symbols->arena, "%s%s%s", scope, *scope ? "." : "", name);

    CHECK(full);
    if (symbols->count == symbols->capacity) {
        symbols->capacity = symbols->capacity ? 2 * symbols->capacity : 128;
        symbols->items = realloc(symbols->items, symbols->capacity * sizeof(*symbols->items));
        CHECK(symbols->items);
    }
    symbols->items[symbols->count++] = full;
    return full;
}

/* The values of an enum are named beside it and not inside, as in C++. */
static void symbols_add_enum(struct symbols *symbols, const char *scope,
                             const Google__Protobuf__EnumDescriptorProto *type)
{
    symbols_add(symbols, scope, type->name);
    for (size_t i = 0; i < type->n_value; i++)
        symbols_add(symbols, scope, type->value[i]->name);
}

static void symbols_add_message(struct symbols *symbols, const char *scope,
                                const Google__Protobuf__DescriptorProto *message)
{
    const char *full = symbols_add(symbols, scope, message->name);

    for (size_t i = 0; i < message->n_field; i++)
        symbols_add(symbols, full, message->field[i]->name);
    for (size_t i = 0; i < message->n_oneof_decl; i++)
        symbols_add(symbols, full, message->oneof_decl[i]->name);
    for (size_t i = 0; i < message->n_extension; i++)
        symbols_add(symbols, full, message->extension[i]->name);
    for (size_t i = 0; i < message->n_enum_type; i++)
        symbols_add_enum(symbols, full, message->enum_type[i]);
    for (size_t i = 0; i < message->n_nested_type; i++)
        symbols_add_message(symbols, full, message->nested_type[i]);
}

static int compare_symbols(const void *a, const void *b)
{
    const char *const *left = a;
    const char *const *right = b;

    return strcmp(*left, *right);
}

static void symbols_collect(struct symbols *symbols,
                            const Google__Protobuf__FileDescriptorProto *file)
{
    const char *package = file->package ? file->package : "";

    for (size_t i = 0; i < file->n_message_type; i++)
        symbols_add_message(symbols, package, file->message_type[i]);
    for (size_t i = 0; i < file->n_enum_type; i++)
        symbols_add_enum(symbols, package, file->enum_type[i]);
    for (size_t i = 0; i < file->n_extension; i++)
        symbols_add(symbols, package, file->extension[i]->name);
    for (size_t i = 0; i < file->n_service; i++) {
        const Google__Protobuf__ServiceDescriptorProto *service = file->service[i];
        const char *full = symbols_add(symbols, package, service->name);

        for (size_t j = 0; j < service->n_method; j++)
            symbols_add(symbols, full, service->method[j]->name);
    }
    if (symbols->count)
        qsort(symbols->items, symbols->count, sizeof(*symbols->items), compare_symbols);
}

/* --- the C text ------------------------------------------------------------------------------- */

/*
 * What is static in the file begins with Stub_, because nothing else that is generated does: the names
 * of the services are lower case, protobuf-c's types have no single underscore.
 */
static size_t write_bytes(struct text *out, struct slice bytes)
{
    struct wire_field field;
    size_t count = 0;

    text_printf(out, "static const uint8_t Stub_bytes[] = {");
    while (bytes.len > 0 && wire_take(&bytes, &field)) {
        if (field.number == FILE_SOURCE_CODE_INFO)
            continue;
        for (size_t i = 0; i < field.whole.len; i++, count++)
            text_printf(out, "%s%u,", count % BYTES_PER_LINE ? " " : "\n    ",
                        (unsigned)(uint8_t)field.whole.data[i]);
    }
    if (count == 0)
        text_printf(out, "0");
    text_printf(out, "\n};\n\n");
    return count;
}

static void write_symbols(struct text *out, const struct symbols *symbols)
{
    if (symbols->count == 0)
        return;
    text_printf(out, "static const char *const Stub_symbols[] = {\n");
    for (size_t i = 0; i < symbols->count; i++) {
        text_printf(out, "    ");
        comment_write_literal(out, symbols->items[i]);
        text_printf(out, ",\n");
    }
    text_printf(out, "};\n\n");
}

static void write_dependencies(struct text *out, struct arena *arena,
                               const Google__Protobuf__FileDescriptorProto *file)
{
    if (file->n_dependency == 0)
        return;
    text_printf(out, "static const struct stub_file *const Stub_dependencies[] = {\n");
    for (size_t i = 0; i < file->n_dependency; i++)
        text_printf(out, "    &%s_file,\n", name_of_file(arena, file->dependency[i]));
    text_printf(out, "};\n\n");
}

void embed_write(struct text *out, struct arena *arena,
                 const Google__Protobuf__FileDescriptorProto *file, struct slice bytes)
{
    struct symbols symbols = {.arena = arena};
    size_t count = write_bytes(out, bytes);

    symbols_collect(&symbols, file);
    write_dependencies(out, arena, file);
    write_symbols(out, &symbols);
    text_printf(out, "const struct stub_file %s_file = {\n    ", name_of_file(arena, file->name));
    comment_write_literal(out, file->name);
    text_printf(out, ",\n    Stub_bytes,\n    %zu,\n", count);
    text_printf(out, "    %s,\n    %zu,\n", file->n_dependency ? "Stub_dependencies" : "NULL",
                file->n_dependency);
    text_printf(out, "    %s,\n    %zu,\n", symbols.count ? "Stub_symbols" : "NULL", symbols.count);
    text_printf(out, "};\n");
    free(symbols.items);
}
