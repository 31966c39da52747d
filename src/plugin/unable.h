/*
 * What protoc-c 1.4 cannot write: it crashes, half-way through its output, or writes what is no C. One
 * thread.
 */
#ifndef HOLDFAST_PLUGIN_UNABLE_H
#define HOLDFAST_PLUGIN_UNABLE_H

#include "base/arena.h"
#include "plugin/options.h"

#include <google/protobuf/descriptor.pb-c.h>

/* NULL: it can. Else a sentence that names the file and the first such field, in the arena. */
const char *unable_find(struct arena *arena, const Google__Protobuf__FileDescriptorProto *file,
                        const struct options *options);

#endif
