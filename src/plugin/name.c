#include "plugin/name.h"

#include "plugin/reserved.h"
#include "plugin/text.h"

#include <stdbool.h>
#include <string.h>

/* What each service has already, so that a method is not to be called so. */
static const char *const own[] = {"dispatch", "handlers", "methods", "service"};

/* Not <ctype.h>: the locale must not change what is generated. */
static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static char to_upper(char c)
{
    return is_lower(c) ? (char)(c - 'a' + 'A') : c;
}

static char to_lower(char c)
{
    return is_upper(c) ? (char)(c - 'A' + 'a') : c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char *name_buffer(struct arena *arena, const char *source, size_t per_char)
{
    char *buffer = arena_alloc(arena, strlen(source) * per_char + 8);

    CHECK(buffer);
    return buffer;
}

const char *name_type(struct arena *arena, const char *full_name)
{
    char *buffer = name_buffer(arena, full_name, 2);
    char *out = buffer;
    bool upper = true;

    for (const char *in = full_name; *in; in++) {
        if (*in == '.') {
            if (out > buffer) { /* a package of which nothing is left */
                *out++ = '_';
                *out++ = '_';
            }
            upper = true;
        } else if (*in == '_') {
            upper = true;
        } else {
            *out++ = upper ? to_upper(*in) : *in;
            upper = false;
        }
    }
    *out = '\0';
    return buffer;
}

const char *name_symbol(struct arena *arena, const char *full_name)
{
    char *buffer = name_buffer(arena, full_name, 2);
    char *out = buffer;
    bool was_upper = true;

    for (const char *in = full_name; *in; in++) {
        if (*in == '.') {
            *out++ = '_';
            *out++ = '_';
            was_upper = true;
            continue;
        }
        if (is_upper(*in) && !was_upper)
            *out++ = '_';
        was_upper = is_upper(*in);
        *out++ = to_lower(*in);
    }
    *out = '\0';
    return buffer;
}

const char *name_prefix(struct arena *arena, const char *full_name)
{
    const char *symbol = name_symbol(arena, full_name);
    char *buffer = name_buffer(arena, symbol, 1);
    char *out = buffer;

    for (const char *in = symbol; *in; in++) {
        if (*in != '_' || in == symbol || in[-1] != '_')
            *out++ = *in;
    }
    *out = '\0';
    return buffer;
}

const char *name_member(struct arena *arena, const char *name)
{
    const char *member = name_prefix(arena, name);
    bool taken = reserved_word(member);

    for (size_t i = 0; i < ARRAY_COUNT(own) && !taken; i++)
        taken = strcmp(member, own[i]) == 0;
    return taken ? text_format(arena, "%s_", member) : member;
}

const char *name_field(struct arena *arena, const char *name)
{
    char *buffer = name_buffer(arena, name, 1);
    size_t i;

    for (i = 0; name[i]; i++)
        buffer[i] = to_lower(name[i]);
    buffer[i] = '\0';
    return reserved_by_protoc_c(buffer) ? text_format(arena, "%s_", buffer) : buffer;
}

const char *name_constant(struct arena *arena, const char *full_name)
{
    const char *symbol = name_symbol(arena, full_name);
    char *buffer = name_buffer(arena, symbol, 1);
    size_t i;

    for (i = 0; symbol[i]; i++)
        buffer[i] = to_upper(symbol[i]);
    buffer[i] = '\0';
    return buffer;
}

const char *name_of_file(struct arena *arena, const char *file)
{
    char *buffer = name_buffer(arena, file, 1);
    char *out = buffer;

    if (is_digit(*file))
        *out++ = '_';
    for (const char *in = file; *in; in++)
        *out++ = is_upper(*in) || is_lower(*in) || is_digit(*in) ? *in : '_';
    *out = '\0';
    return buffer;
}

const char *name_replace_suffix(struct arena *arena, const char *file, const char *suffix)
{
    size_t len = strlen(file);
    char *result;

    if (len >= 6 && strcmp(file + len - 6, ".proto") == 0)
        len -= 6;
    result = arena_printf(arena, "%.*s%s", (int)len, file, suffix);
    CHECK(result);
    return result;
}

const char *name_guard(struct arena *arena, const char *file)
{
    const char *name = name_of_file(arena, name_replace_suffix(arena, file, ".stub.h"));
    char *buffer = name_buffer(arena, name, 1);
    size_t i;

    for (i = 0; name[i]; i++)
        buffer[i] = to_upper(name[i]);
    buffer[i] = '\0';
    return buffer;
}
