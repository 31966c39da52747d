/*
 * How names of .proto files become names in C.
 *
 * The first four follow protobuf-c's generator letter by letter, since they name what it has written;
 * the others are ours. Results are in the arena. One thread.
 */
#ifndef HOLDFAST_PLUGIN_NAME_H
#define HOLDFAST_PLUGIN_NAME_H

#include "base/arena.h"

/* "my_pkg.V1beta.Foo_Bar" -> "MyPkg__V1beta__FooBar": protobuf-c's type. */
const char *name_type(struct arena *arena, const char *full_name);

/* "my_pkg.FooBar" -> "my_pkg__foo_bar": the start of protobuf-c's symbols, as x__descriptor. */
const char *name_symbol(struct arena *arena, const char *full_name);

/* "my_pkg.FooBar" -> "MY_PKG__FOO_BAR": the start of its macros and constants. */
const char *name_constant(struct arena *arena, const char *full_name);

/* "Class" -> "class_", "fooBar" -> "foobar": its member of a struct. */
const char *name_field(struct arena *arena, const char *name);

/* "my_pkg.FooBar" -> "my_pkg_foo_bar": the start of our own symbols; never two underscores. */
const char *name_prefix(struct arena *arena, const char *full_name);

/* "Delete" -> "delete_", "GetItem" -> "get_item": a struct member, no word of C or C++. */
const char *name_member(struct arena *arena, const char *name);

/* "a/b-c.proto" -> "a_b_c_proto". */
const char *name_of_file(struct arena *arena, const char *file);

/* "a/b.proto" with ".stub.h" -> "a/b.stub.h". */
const char *name_replace_suffix(struct arena *arena, const char *file, const char *suffix);

/* "a/b.proto" -> "A_B_STUB_H". */
const char *name_guard(struct arena *arena, const char *file);

#endif
