/*
 * Every message type of the request by full name: what protobuf-c calls it and which header has it.
 *
 * Files may carry protobuf-c's option c_package, which replaces the package in C names. Options of
 * other programs arrive as unknown fields, so it is read from there. One thread.
 */
#ifndef HOLDFAST_PLUGIN_TYPES_H
#define HOLDFAST_PLUGIN_TYPES_H

#include "base/arena.h"

#include <google/protobuf/descriptor.pb-c.h>
#include <stddef.h>

struct type {
    const char *full_name; /* "pkg.Outer.Inner", no leading dot */
    const char *c_type;    /* "Pkg__Outer__Inner" */
    const char *c_symbol;  /* "pkg__outer__inner" */
    const char *file;      /* "pkg/file.proto" */
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
void types_add_file(struct types *types, const Google__Protobuf__FileDescriptorProto *file);

/* name as descriptors write it, ".pkg.Message". NULL: there is none. */
const struct type *types_find(const struct types *types, const char *name);

/* "pkg.Name" as C names see it: with the file's c_package in place of its package. */
const char *types_c_name(struct arena *arena, const Google__Protobuf__FileDescriptorProto *file,
                         const char *full_name);

#endif
