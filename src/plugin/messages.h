/*
 * Every name that protoc-c 1.4 writes for the messages and enums of a file, entered in the clash list: at
 * file scope types, functions, tables, macros and constants; in each struct its members, with what
 * comes beside a field (n_x, has_x) and a oneof (x_case). One thread.
 */
#ifndef HOLDFAST_PLUGIN_MESSAGES_H
#define HOLDFAST_PLUGIN_MESSAGES_H

#include "base/arena.h"
#include "plugin/clash.h"
#include "plugin/options.h"
#include "plugin/parameter.h"

#include <google/protobuf/descriptor.pb-c.h>
#include <stdbool.h>

struct messages {
    struct arena *arena;
    struct clash *clash;
    struct parameter *parameter;
    const char *error; /* the first one, in the arena; NULL: none */
};

/*
 * One file. `written`: this run generates it. Then other faults are errors too: a name that cannot become a
 * name in C, or a member that only cstub-protoc can rename.
 */
void messages_take(struct messages *messages, const Google__Protobuf__FileDescriptorProto *file,
                   const struct options *options, bool written);

#endif
