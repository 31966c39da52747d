/*
 * proto3 `optional`, which protoc-c 1.4 refuses. What protoc makes of it is a oneof with one member,
 * which is legal without the word too, so that presence stays readable: x_case says whether the field
 * is set. One thread.
 */
#ifndef HOLDFAST_PLUGIN_OPTIONAL_H
#define HOLDFAST_PLUGIN_OPTIONAL_H

#include "base/arena.h"
#include "base/slice.h"

#include <google/protobuf/descriptor.pb-c.h>
#include <stdbool.h>
#include <stdint.h>

/* The first such field of a file, "pkg.Message.field", or NULL. */
const char *optional_find(struct arena *arena, const Google__Protobuf__FileDescriptorProto *file);

/*
 * A serialized FileDescriptorSet as protoc-c takes it: `optional` taken out, and services as well, for
 * which it would only write code that nobody uses and that is no C where a method has the name of a
 * word of C. *ret is to be freed. False: no such set.
 */
MUST_CHECK bool optional_rewrite(struct slice set, uint8_t **ret, size_t *ret_bytes);

/* The names of its files, one a line. *ret is to be freed. False: no such set. */
MUST_CHECK bool optional_files(struct slice set, uint8_t **ret, size_t *ret_bytes);

#endif
