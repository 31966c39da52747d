/*
 * protobuf-c's own options of a file, option (pb_c_file).x = y, as far as they change what its types
 * are called and where they are. Options of other programs arrive as unknown fields. One thread.
 */
#ifndef HOLDFAST_PLUGIN_OPTIONS_H
#define HOLDFAST_PLUGIN_OPTIONS_H

#include "base/arena.h"

#include <google/protobuf/descriptor.pb-c.h>
#include <stdbool.h>

struct options {
    const char *c_package;     /* in place of the package in C names; NULL: none given */
    bool no_generate;          /* protoc-c writes nothing for this file */
    bool use_oneof_field_name; /* protoc-c calls fields in descriptors by their oneof */
};

/* False: they are there but cannot be read, or c_package is no dotted name. */
MUST_CHECK bool options_read(struct arena *arena, const Google__Protobuf__FileDescriptorProto *file,
                             struct options *ret);

/* What the struct of a message begins with: "base", or what option (pb_c_msg).base_field_name says. */
const char *options_base(struct arena *arena, const Google__Protobuf__DescriptorProto *message);

#endif
