/*
 * The part of a generated file that reflection serves: descriptor bytes, imports and symbols.
 *
 * The bytes are cut out of protoc's request as they came, never parsed and serialized again, so that
 * options and fields of a newer protoc survive; only source_code_info (comments and positions, two
 * thirds of the size) is left out. One thread.
 */
#ifndef HOLDFAST_PLUGIN_EMBED_H
#define HOLDFAST_PLUGIN_EMBED_H

#include "base/arena.h"
#include "base/slice.h"
#include "plugin/text.h"

#include <google/protobuf/descriptor.pb-c.h>
#include <stddef.h>

/* The index-th FileDescriptorProto of a CodeGeneratorRequest's bytes; data NULL: no such. */
struct slice embed_file_at(struct slice request, size_t index);

/* Adds the C definition of the file's struct stub_file and what it points to. */
void embed_write(struct text *out, struct arena *arena,
                 const Google__Protobuf__FileDescriptorProto *file, struct slice bytes);

#endif
