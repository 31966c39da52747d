/*
 * What the rest of the plugin may rely on: protoc sends nothing else, but a request is only bytes.
 *
 * After valid_request has passed, every file, message, field, enum, value, service and method has a
 * name that is an identifier (packages: identifiers with dots), every method has both its types,
 * and the names of files can stand in an #include and in a comment. One thread.
 */
#ifndef HOLDFAST_PLUGIN_VALID_H
#define HOLDFAST_PLUGIN_VALID_H

#include "base/arena.h"
#include "base/slice.h"

#include <google/protobuf/compiler/plugin.pb-c.h>
#include <stdbool.h>

/* NULL: all is well. Else what is wrong, in the arena. */
const char *valid_request(struct arena *arena,
                          const Google__Protobuf__Compiler__CodeGeneratorRequest *request);

/* A letter or _, then letters, digits, _. */
bool valid_identifier(struct slice name);

/* Identifiers with dots between them. */
bool valid_dotted(struct slice name);

/*
 * Unpacks into the arena; NULL: no such message, or nested so deeply that reading it would overflow
 * the stack. Nothing is to be freed but the arena.
 */
ProtobufCMessage *valid_unpack(struct arena *arena, const ProtobufCMessageDescriptor *type,
                               struct slice bytes);

#endif
