/*
 * Names that C, C++, compilers, the C library and protobuf-c have taken. Constant data; any thread.
 */
#ifndef HOLDFAST_PLUGIN_RESERVED_H
#define HOLDFAST_PLUGIN_RESERVED_H

#include <stdbool.h>

/* A word of C or C++ behind which protoc-c puts a _ when it is a field's name, in lower case. */
bool reserved_by_protoc_c(const char *name);

/* Those, words that protoc-c does not know, and macros in lower case: no member may have such a name. */
bool reserved_word(const char *name);

/* A macro, type or function of the C library or protobuf-c: nothing at file scope may have such a name. */
bool reserved_global(const char *name);

#endif
