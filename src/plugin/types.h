/*
 * Every message type of the request by full name: what protobuf-c calls it and which header has it.
 *
 * protobuf-c's option c_package replaces the package in C names (options.h). One thread.
 */
#ifndef HOLDFAST_PLUGIN_TYPES_H
#define HOLDFAST_PLUGIN_TYPES_H

#include "base/arena.h"
#include "plugin/options.h"

#include <google/protobuf/descriptor.pb-c.h>
#include <stdbool.h>
#include <stddef.h>

struct type {
    const char *full_name; /* "pkg.Outer.Inner", no leading dot */
    const char *c_type;    /* "Pkg__Outer__Inner" */
    const char *c_symbol;  /* "pkg__outer__inner" */
    const char *file;      /* "pkg/file.proto" */
    bool has_header;       /* protoc-c writes x.pb-c.h for that file */
};

struct types {
    struct arena *arena;
    struct type *items;
    size_t count;
    size_t capacity;
};

void types_init(struct types *types, struct arena *arena);
void types_done(struct types *types);

/* Adds every message of the file, nested ones too. */
void types_add_file(struct types *types, const Google__Protobuf__FileDescriptorProto *file,
                    const struct options *options);

/* Adds its enums instead, for a table of their own. They have no c_symbol. */
void types_add_enums(struct types *types, const Google__Protobuf__FileDescriptorProto *file,
                     const struct options *options);

/* Call it once, after the last types_add_file and before the first types_find. */
void types_sort(struct types *types);

/* name as descriptors write it, ".pkg.Message". NULL: there is none. */
const struct type *types_find(const struct types *types, const char *name);

/* "scope.name", or "name" where the scope is "". */
const char *types_join(struct arena *arena, const char *scope, const char *name);

/* "pkg.name", or "name" where there is no package. */
const char *types_full_name(struct arena *arena, const Google__Protobuf__FileDescriptorProto *file,
                            const char *name);

/* The same as C names see it: with the file's c_package in place of its package. */
const char *types_c_name(struct arena *arena, const Google__Protobuf__FileDescriptorProto *file,
                         const struct options *options, const char *name);

#endif
