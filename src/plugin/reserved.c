#include "plugin/reserved.h"

#include "base/check.h"
#include "plugin/libc_names.inc"

#include <stdlib.h>
#include <string.h>

/* Words of C and C++ behind which protoc-c 1.4 puts a _ itself. Sorted, as the tables below. */
static const char *const protoc_c_words[] = {
    "and",
    "and_eq",
    "asm",
    "auto",
    "bitand",
    "bitor",
    "bool",
    "break",
    "case",
    "catch",
    "char",
    "class",
    "compl",
    "const",
    "const_cast",
    "continue",
    "default",
    "delete",
    "do",
    "double",
    "dynamic_cast",
    "else",
    "enum",
    "explicit",
    "extern",
    "false",
    "float",
    "for",
    "friend",
    "goto",
    "if",
    "inline",
    "int",
    "long",
    "mutable",
    "namespace",
    "new",
    "not",
    "not_eq",
    "operator",
    "or",
    "or_eq",
    "private",
    "protected",
    "public",
    "register",
    "reinterpret_cast",
    "return",
    "short",
    "signed",
    "sizeof",
    "static",
    "static_cast",
    "struct",
    "switch",
    "template",
    "this",
    "throw",
    "true",
    "try",
    "typedef",
    "typeid",
    "typename",
    "union",
    "unsigned",
    "using",
    "virtual",
    "void",
    "volatile",
    "wchar_t",
    "while",
    "xor",
    "xor_eq",
};

/*
 * Words of C23 and C++20 that it does not know, macros of compilers that are in no header, and types that it
 * uses in structs: in C++ a member may not have the name of a type that another member is of.
 */
static const char *const other_words[] = {
    "char16_t", "char32_t",  "char8_t",   "co_await",  "co_return",     "co_yield",
    "concept",  "consteval", "constexpr", "constinit", "decltype",      "export",
    "i386",     "int32_t",   "int64_t",   "noexcept",  "nullptr",       "protobuf_c_boolean",
    "requires", "restrict",  "size_t",    "typeof",    "typeof_unqual", "uint32_t",
    "uint64_t",
};

static int compare(const void *name, const void *item)
{
    const char *const *other = item;

    return strcmp(name, *other);
}

#define IS_IN(name, table)                                                                         \
    (bsearch(name, table, ARRAY_COUNT(table), sizeof(*(table)), compare) != NULL)

bool reserved_by_protoc_c(const char *name)
{
    return IS_IN(name, protoc_c_words);
}

bool reserved_word(const char *name)
{
    return strncmp(name, "__", 2) == 0 || IS_IN(name, protoc_c_words) || IS_IN(name, other_words) ||
           IS_IN(name, libc_members);
}

bool reserved_global(const char *name)
{
    static const char *const starts[] = {"ProtobufC",           "protobuf_c_boolean",
                                         "protobuf_c_buffer_",  "protobuf_c_empty_string",
                                         "protobuf_c_enum_",    "protobuf_c_message_",
                                         "protobuf_c_service_", "protobuf_c_version"};

    for (size_t i = 0; i < ARRAY_COUNT(starts); i++) {
        if (strncmp(name, starts[i], strlen(starts[i])) == 0)
            return true;
    }
    return IS_IN(name, libc_types) || IS_IN(name, libc_functions);
}
