/*
 * C has one name space where .proto has many. Every name that the generated C would define is entered
 * here with its origin. If two are the same, that is an error that names both, instead of C that
 * does not compile. Members of structs are entered as "Type.member". Names of the C library and of
 * protobuf-c (reserved.h) clash in the same way. One thread.
 */
#ifndef HOLDFAST_PLUGIN_CLASH_H
#define HOLDFAST_PLUGIN_CLASH_H

#include "base/arena.h"

#include <stddef.h>

struct clash_name {
    const char *name;
    const char *owner; /* "pkg.Service.Method", "message pkg.M", "a/b.proto" */
    size_t order;
};

struct clash {
    struct arena *arena;
    struct clash_name *items;
    size_t count;
    size_t capacity;
};

void clash_init(struct clash *clash, struct arena *arena);
void clash_done(struct clash *clash);

/* Both pointers are kept; the same owner may take a name twice. */
void clash_take(struct clash *clash, const char *name, const char *owner);

/* NULL: all names differ. Else a sentence about the first two that do not, in the arena. */
const char *clash_find(struct clash *clash);

#endif
