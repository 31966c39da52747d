/*
 * One .proto file as generated C sees it: every name made, every type found, every comment at hand.
 * All of it lies in the arena and is read only. One thread.
 */
#ifndef HOLDFAST_PLUGIN_MODEL_H
#define HOLDFAST_PLUGIN_MODEL_H

#include "base/arena.h"
#include "plugin/clash.h"
#include "plugin/options.h"
#include "plugin/parameter.h"
#include "plugin/types.h"

#include <google/protobuf/descriptor.pb-c.h>
#include <stdbool.h>
#include <stddef.h>

struct method {
    const char *name;      /* "GetItem" */
    const char *full_name; /* "pkg.Service.GetItem" */
    const char *member;    /* "get_item": in the struct of handlers, and behind the prefix */
    const char *comment;   /* NULL: none */
    const char *note;      /* what its options say, for people; NULL: nothing */
    const struct type *request;
    const struct type *response;
    bool client_streams;
    bool server_streams;
    bool deprecated; /* it, its service or its file */
};

struct service {
    const char *full_name; /* "pkg.Service" */
    const char *prefix;    /* "pkg_service": C names begin with it and one _ */
    const char *comment;
    const char *note;
    struct method *methods;
    size_t methods_count;
};

struct model {
    const Google__Protobuf__FileDescriptorProto *file;
    const char *symbol; /* "a_b_proto" */
    const char *guard;  /* "A_B_STUB_H" */
    struct service *services;
    size_t services_count;
};

/*
 * The model of one file, whose names are valid (valid.h); its C names are entered in the clash list.
 * NULL, or what is wrong with the .proto, in the arena.
 */
const char *model_load(struct arena *arena, const struct types *types, struct parameter *parameter,
                       struct clash *clash, const Google__Protobuf__FileDescriptorProto *file,
                       const struct options *options, struct model *ret);

/* "STUB_KIND_BIDI". */
const char *model_kind(const struct method *method);

#endif
