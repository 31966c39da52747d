/*
 * Descriptors as protoc-c 1.4 takes them.
 *
 *   optional   protoc-c refuses proto3's. protoc represents it as a oneof with one member, which is legal
 *              without the word, so presence stays readable: x_case says whether the field is set
 *   services   protoc-c would write code for them that nobody uses, and that does not compile if the name
 *              of a method is a word of C
 *   defaults   that protoc-c would write inexactly are others: defaults.h
 *   members    whose names would be no C, or that --cstub_opt calls otherwise, have other names: member.h
 *
 * One thread.
 */
#ifndef HOLDFAST_PLUGIN_REWRITE_H
#define HOLDFAST_PLUGIN_REWRITE_H

#include "base/arena.h"
#include "base/slice.h"

#include <google/protobuf/descriptor.pb-c.h>
#include <stdbool.h>
#include <stdint.h>

/* The first proto3 `optional` of a file, "pkg.Message.field", or NULL. */
const char *rewrite_find_optional(struct arena *arena,
                                  const Google__Protobuf__FileDescriptorProto *file);

/*
 * A serialized FileDescriptorSet, rewritten by what --cstub_opt says (parameter.h). *ret is to be freed.
 * False: no such set, or the options cannot be read.
 */
MUST_CHECK bool rewrite_set(struct slice set, const char *options, uint8_t **ret,
                            size_t *ret_bytes);

/*
 * The lines of a sed script for what protoc-c then writes: it leaves out braces that gcc asks for where a
 * oneof begins with bytes, and a cast that C++ needs where it begins with an enum. *ret is to be freed.
 * False: no such set.
 */
MUST_CHECK bool rewrite_braces(struct slice set, uint8_t **ret, size_t *ret_bytes);

/* The lines of another one, from the set before it was rewritten: defaults.h. */
MUST_CHECK bool rewrite_defaults(struct slice set, uint8_t **ret, size_t *ret_bytes);

/* The names of its files, one a line. *ret is to be freed. False: no such set. */
MUST_CHECK bool rewrite_files(struct slice set, uint8_t **ret, size_t *ret_bytes);

#endif
