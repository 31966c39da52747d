/*
 * What --cstub_opt may say, separated by commas:
 *
 *   pkg.Service=name          C names of this service begin with name
 *   pkg.Service.Method=name   C names of this method: name in place of what it is called
 *   pkg.Message.field=name    the same for this member of the message's struct, and for pkg.Message.oneof
 *   optional                  proto3 `optional` and members with other names are welcome: who calls has
 *                             protoc-c see a rewritten file (rewrite.h)
 *
 * One thread.
 */
#ifndef HOLDFAST_PLUGIN_PARAMETER_H
#define HOLDFAST_PLUGIN_PARAMETER_H

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>

struct parameter_name {
    const char *full_name; /* "pkg.Service.Method" */
    const char *c_name;
    bool used;
};

struct parameter {
    struct parameter_name *names;
    size_t names_count;
    bool optional;
};

/* text may be NULL. NULL, or what is wrong; all in the arena. */
const char *parameter_parse(struct arena *arena, const char *text, struct parameter *ret);

/* The name given for it, which counts as used then, or NULL. */
const char *parameter_name(struct parameter *parameter, const char *full_name);

/* The first name that nobody asked for, or NULL. */
const char *parameter_unused(const struct parameter *parameter);

#endif
