/*
 * Writes x.stub.h and x.stub.c for one .proto file. One thread.
 */
#ifndef HOLDFAST_PLUGIN_GENERATE_H
#define HOLDFAST_PLUGIN_GENERATE_H

#include "base/arena.h"
#include "base/slice.h"
#include "plugin/text.h"
#include "plugin/types.h"

#include <google/protobuf/descriptor.pb-c.h>
#include <stdbool.h>

struct generate {
    struct arena *arena;
    const struct types *types;
    const Google__Protobuf__FileDescriptorProto *file;
    struct slice bytes; /* the file as protoc serialized it */
    const char *error;  /* set when something failed, for the user who wrote the .proto */
};

/* The header; false: job->error tells what is wrong with the .proto. */
bool generate_header(struct generate *job, struct text *out);

/* The source; to be called after the header has succeeded. */
void generate_source(struct generate *job, struct text *out);

#endif
