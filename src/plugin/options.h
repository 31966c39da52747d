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
    const char *c_package; /* in place of the package in C names; NULL: none given */
    bool no_generate;      /* protoc-c writes nothing for this file */
};

/* False: they are there but cannot be read, or c_package is no dotted name. */
MUST_CHECK bool options_read(struct arena *arena,
                             const Google__Protobuf__FileDescriptorProto *file,
                             struct options *ret);

#endif
