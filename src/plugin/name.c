#include "plugin/name.h"

#include <stdbool.h>
#include <string.h>

/*
 * What a method's lower-case name must not be: words of C23 and C++20, macros of the compiler and of
 * common headers, and what each service has already. A _ is added.
 */
static const char *const reserved[] = {
    "alignas", "alignof", "and", "and_eq", "asm", "auto", "bitand", "bitor", "bool", "break",
    "case", "catch", "char", "char8_t", "char16_t", "char32_t", "class", "co_await", "co_return",
    "co_yield", "compl", "concept", "const", "const_cast", "consteval", "constexpr", "constinit",
    "continue", "decltype", "default", "delete", "do", "double", "dynamic_cast", "else", "enum",
    "explicit", "export", "extern", "false", "float", "for", "friend", "goto", "if", "inline",
    "int", "long", "mutable", "namespace", "new", "noexcept", "not", "not_eq", "nullptr",
    "operator", "or", "or_eq", "private", "protected", "public", "register", "reinterpret_cast",
    "requires", "restrict", "return", "short", "signed", "sizeof", "static", "static_assert",
    "static_cast", "struct", "switch", "template", "this", "thread_local", "throw", "true", "try",
    "typedef", "typeid", "typename", "typeof", "typeof_unqual", "union", "unsigned", "using",
    "virtual", "void", "volatile", "wchar_t", "while", "xor", "xor_eq", "complex", "errno",
    "i386", "linux", "noreturn", "stdin", "stdout", "stderr", "unix", "dispatch", "handlers",
    "methods", "service",
};

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
            *out++ = '_';
            *out++ = '_';
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
    char *suffixed;

    for (size_t i = 0; i < ARRAY_COUNT(reserved); i++) {
        if (strcmp(member, reserved[i]) == 0) {
            suffixed = arena_printf(arena, "%s_", member);
            CHECK(suffixed);
            return suffixed;
        }
    }
    return member;
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
