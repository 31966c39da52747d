/*
 * What the generator writes and the runtime reads: methods, services, files. Nobody writes these
 * tables by hand; users of the generated code include x.stub.h and need not read this file. The
 * generator fills the structs by position: a new member goes to the end, and into the generator.
 *
 * All of it is constant data, usable from every thread.
 */
#ifndef HOLDFAST_STUB_METHOD_H
#define HOLDFAST_STUB_METHOD_H

#include "stub/attribute.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stub_call;

/* Which side may send more than one message. */
enum stub_kind {
    STUB_KIND_UNARY,
    STUB_KIND_SERVER_STREAM,
    STUB_KIND_CLIENT_STREAM,
    STUB_KIND_BIDI,
};

struct stub_method {
    const char *path; /* "/package.Service/Method" */
    enum stub_kind kind;
    const ProtobufCMessageDescriptor *request;
    const ProtobufCMessageDescriptor *response;
};

/* One .proto file as reflection serves it. */
struct stub_file {
    const char *name;     /* "holdfast/v1/quota.proto" */
    const uint8_t *bytes; /* a serialized FileDescriptorProto without source_code_info */
    size_t bytes_count;
    const struct stub_file *const *dependencies;
    size_t dependencies_count;
    const char *const *symbols; /* every full name that the file defines, sorted by strcmp */
    size_t symbols_count;
};

struct stub_service {
    const char *name; /* "package.Service" */
    const struct stub_file *file;
    const struct stub_method *methods;
    size_t methods_count;
    size_t handlers_bytes; /* sizeof the generated struct of handlers */

    /*
     * Calls the handler of methods[index]; false: that handler is NULL. With call == NULL it only
     * tells whether there is one. request is NULL for methods whose client streams.
     */
    bool (*dispatch)(const void *handlers, void *user, size_t index, struct stub_call *call,
                     const ProtobufCMessage *request);
};

#ifdef __cplusplus
}
#endif

#endif
