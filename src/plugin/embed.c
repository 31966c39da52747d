#include "plugin/embed.h"

#include "plugin/name.h"

#include <stdlib.h>
#include <string.h>

enum {
    REQUEST_PROTO_FILE = 15,
    FILE_SOURCE_CODE_INFO = 9,
    BYTES_PER_LINE = 24,
};

static bool take_varint(struct slice *rest, uint64_t *ret)
{
    uint64_t value = 0;

    for (size_t i = 0; i < rest->len && i < 10; i++) {
        uint8_t byte = (uint8_t)rest->data[i];

        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (!(byte & 0x80)) {
            *rest = slice_skip(*rest, i + 1);
            *ret = value;
            return true;
        }
    }
    return false;
}

/* Takes one field off the front: its number, all its bytes, and its content if length-delimited. */
static bool take_field(struct slice *rest, uint64_t *ret_number, struct slice *ret_whole,
                       struct slice *ret_content)
{
    const char *start = rest->data;
    uint64_t key, value = 0;

    if (!take_varint(rest, &key))
        return false;
    switch (key & 7) {
    case 0:
        if (!take_varint(rest, &value))
            return false;
        value = 0;
        break;
    case 1:
        value = 8;
        break;
    case 2:
        if (!take_varint(rest, &value))
            return false;
        break;
    case 5:
        value = 4;
        break;
    default:
        return false;
    }
    if (value > rest->len)
        return false;
    *ret_number = key >> 3;
    *ret_content = slice_of(rest->data, value);
    *rest = slice_of(rest->data + value, rest->len - value);
    *ret_whole = slice_of(start, (size_t)(rest->data - start));
    return true;
}

struct slice embed_file_at(struct slice request, size_t index)
{
    struct slice whole, content;
    uint64_t number;

    while (request.len > 0 && take_field(&request, &number, &whole, &content)) {
        if (number == REQUEST_PROTO_FILE && index-- == 0)
            return content;
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

static size_t write_bytes(struct text *out, struct slice bytes)
{
    struct slice whole, content;
    uint64_t number;
    size_t count = 0;

    text_printf(out, "static const uint8_t file_bytes[] = {");
    while (bytes.len > 0 && take_field(&bytes, &number, &whole, &content)) {
        if (number == FILE_SOURCE_CODE_INFO)
            continue;
        for (size_t i = 0; i < whole.len; i++, count++)
            text_printf(out, "%s%u,", count % BYTES_PER_LINE ? " " : "\n    ",
                        (unsigned)(uint8_t)whole.data[i]);
    }
    if (count == 0)
        text_printf(out, "0");
    text_printf(out, "\n};\n\n");
    return count;
}

void embed_write(struct text *out, struct arena *arena,
                 const Google__Protobuf__FileDescriptorProto *file, struct slice bytes)
{
    struct symbols symbols = {.arena = arena};
    size_t count = write_bytes(out, bytes);

    symbols_collect(&symbols, file);
    if (file->n_dependency) {
        text_printf(out, "static const struct stub_file *const file_dependencies[] = {\n");
        for (size_t i = 0; i < file->n_dependency; i++)
            text_printf(out, "    &%s_file,\n", name_of_file(arena, file->dependency[i]));
        text_printf(out, "};\n\n");
    }
    if (symbols.count) {
        text_printf(out, "static const char *const file_symbols[] = {\n");
        for (size_t i = 0; i < symbols.count; i++)
            text_printf(out, "    \"%s\",\n", symbols.items[i]);
        text_printf(out, "};\n\n");
    }
    text_printf(out, "const struct stub_file %s_file = {\n", name_of_file(arena, file->name));
    text_printf(out, "    .name = \"%s\",\n    .bytes = file_bytes,\n    .bytes_count = %zu,\n",
                file->name, count);
    if (file->n_dependency)
        text_printf(out, "    .dependencies = file_dependencies,\n    .dependencies_count = %zu,\n",
                    file->n_dependency);
    if (symbols.count)
        text_printf(out, "    .symbols = file_symbols,\n    .symbols_count = %zu,\n",
                    symbols.count);
    text_printf(out, "};\n");
    free(symbols.items);
}
