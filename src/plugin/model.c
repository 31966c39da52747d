#include "plugin/model.h"

#include "plugin/name.h"
#include "plugin/text.h"

#include <string.h>

typedef Google__Protobuf__FileDescriptorProto file_message;
typedef Google__Protobuf__ServiceDescriptorProto service_message;
typedef Google__Protobuf__MethodDescriptorProto method_message;
typedef Google__Protobuf__SourceCodeInfo__Location location_message;

enum {
    FILE_SERVICE = 6, /* field numbers, as the paths of comments have them */
    SERVICE_METHOD = 2,
};

struct load {
    struct arena *arena;
    const struct types *types;
    struct parameter *parameter;
    struct clash *clash;
    const file_message *file;
    const struct options *options;
    const char *error;
};

/* --- names -------------------------------------------------------------------------------------- */

static void take(struct load *load, const char *owner, const char *prefix, const char *member,
                 const char *suffix)
{
    clash_take(load->clash, text_format(load->arena, "%s_%s%s", prefix, member, suffix), owner);
}

/* header.c and source.c define these. */
static void take_method_names(struct load *load, const char *prefix, const struct method *method)
{
    static const char *const unary[] = {"", "_reply", "_async", "_deliver", NULL};
    static const char *const server_stream[] = {"_send",  "_open",    "_recv",
                                                "_start", "_deliver", NULL};
    static const char *const client_stream[] = {"_reply", "_open",  "_write",   "_try_write",
                                                "_recv",  "_start", "_deliver", NULL};
    static const char *const bidi[] = {"_send", "_open",  "_write",   "_try_write",
                                       "_recv", "_start", "_deliver", NULL};
    const char *const *suffix = method->client_streams
                                    ? (method->server_streams ? bidi : client_stream)
                                    : (method->server_streams ? server_stream : unary);

    for (; *suffix; suffix++)
        take(load, method->full_name, prefix, method->member, *suffix);
}

static void take_service_names(struct load *load, const struct service *service)
{
    static const char *const own[] = {"register", "handlers", "methods", "service", "dispatch"};

    for (size_t i = 0; i < ARRAY_COUNT(own); i++)
        take(load, service->full_name, service->prefix, own[i], "");
    for (size_t i = 0; i < service->methods_count; i++) {
        take_method_names(load, service->prefix, &service->methods[i]);
        /* The member itself, even where no function has that name. */
        clash_take(load->clash,
                   text_format(load->arena, "%s_handlers.%s", service->prefix,
                               service->methods[i].member),
                   service->methods[i].full_name);
    }
}

/* --- comments ----------------------------------------------------------------------------------- */

static const char *comment_of(const location_message *location)
{
    return location->leading_comments && *location->leading_comments ? location->leading_comments
                                                                     : location->trailing_comments;
}

/* Paths are {6, service} and {6, service, 2, method}. */
static void load_comments(struct load *load, struct model *model)
{
    const Google__Protobuf__SourceCodeInfo *info = load->file->source_code_info;

    for (size_t i = 0; info && i < info->n_location; i++) {
        const location_message *location = info->location[i];
        const int32_t *path = location->path;
        struct service *service;

        if ((location->n_path != 2 && location->n_path != 4) || path[0] != FILE_SERVICE ||
            path[1] < 0 || (size_t)path[1] >= model->services_count)
            continue;
        service = &model->services[path[1]];
        if (location->n_path == 2)
            service->comment = comment_of(location);
        else if (path[2] == SERVICE_METHOD && path[3] >= 0 &&
                 (size_t)path[3] < service->methods_count)
            service->methods[path[3]].comment = comment_of(location);
    }
}

static const char *method_note(const struct load *load, const struct method *method,
                               const method_message *proto)
{
    const char *promise = "";

    if (proto->options && proto->options->has_idempotency_level) {
        switch ((int)proto->options->idempotency_level) {
        case GOOGLE__PROTOBUF__METHOD_OPTIONS__IDEMPOTENCY_LEVEL__NO_SIDE_EFFECTS:
            promise = "Has no side effects.\n";
            break;
        case GOOGLE__PROTOBUF__METHOD_OPTIONS__IDEMPOTENCY_LEVEL__IDEMPOTENT:
            promise = "May be repeated: idempotent.\n";
            break;
        }
    }
    return text_format(load->arena, "%s%s", promise, method->deprecated ? "Deprecated.\n" : "");
}

/* --- loading ------------------------------------------------------------------------------------ */

static bool find_types(struct load *load, const method_message *proto, struct method *method)
{
    const char *const names[] = {proto->input_type, proto->output_type};
    const struct type **const results[] = {&method->request, &method->response};

    for (size_t i = 0; i < 2; i++) {
        *results[i] = types_find(load->types, names[i]);
        if (!*results[i])
            load->error = text_format(load->arena, "%s: a type of method %s is not known",
                                      load->file->name, method->full_name);
        else if (!(*results[i])->has_header)
            load->error = text_format(load->arena,
                                      "%s: method %s uses %s, but %s has pb_c_file.no_generate, so "
                                      "that protoc-c writes no header for it",
                                      load->file->name, method->full_name, (*results[i])->full_name,
                                      (*results[i])->file);
        if (load->error)
            return false;
    }
    return true;
}

static bool load_method(struct load *load, const struct service *service,
                        const method_message *proto, bool deprecated, struct method *ret)
{
    const char *given;

    *ret = (struct method){
        .name = proto->name,
        .full_name = text_format(load->arena, "%s.%s", service->full_name, proto->name),
        .client_streams = proto->has_client_streaming && proto->client_streaming,
        .server_streams = proto->has_server_streaming && proto->server_streaming,
        .deprecated = deprecated || (proto->options && proto->options->has_deprecated &&
                                     proto->options->deprecated),
    };
    given = parameter_name(load->parameter, ret->full_name);
    ret->member = name_member(load->arena, given ? given : proto->name);
    ret->note = method_note(load, ret, proto);
    return find_types(load, proto, ret);
}

static bool load_service(struct load *load, const service_message *proto, struct service *ret)
{
    bool deprecated =
        (load->file->options && load->file->options->has_deprecated &&
         load->file->options->deprecated) ||
        (proto->options && proto->options->has_deprecated && proto->options->deprecated);
    const char *full_name = types_full_name(load->arena, load->file, proto->name);
    const char *given = parameter_name(load->parameter, full_name);
    const char *c_name = types_c_name(load->arena, load->file, load->options, proto->name);

    *ret = (struct service){
        .full_name = full_name,
        .prefix = name_prefix(load->arena, given ? given : c_name),
        .note = deprecated ? "Deprecated.\n" : NULL,
        .methods = arena_array(load->arena, proto->n_method + 1, sizeof(*ret->methods)),
        .methods_count = proto->n_method,
    };
    CHECK(ret->methods);
    if (strcmp(ret->prefix, "stub") == 0 || strncmp(ret->prefix, "stub_", 5) == 0) {
        load->error = text_format(load->arena,
                                  "%s: the C names of service %s would begin with %s_, as those of "
                                  "the runtime do; choose another: --cstub_opt=%s=name",
                                  load->file->name, full_name, ret->prefix, full_name);
        return false;
    }
    for (size_t i = 0; i < proto->n_method; i++) {
        if (!load_method(load, ret, proto->method[i], deprecated, &ret->methods[i]))
            return false;
    }
    take_service_names(load, ret);
    return true;
}

const char *model_load(struct arena *arena, const struct types *types, struct parameter *parameter,
                       struct clash *clash, const file_message *file, const struct options *options,
                       struct model *ret)
{
    struct load load = {arena, types, parameter, clash, file, options, NULL};

    *ret = (struct model){
        .file = file,
        .symbol = name_of_file(arena, file->name),
        .guard = name_guard(arena, file->name),
        .services = arena_array(arena, file->n_service + 1, sizeof(*ret->services)),
        .services_count = file->n_service,
    };
    CHECK(ret->services);
    clash_take(clash, text_format(arena, "%s_file", ret->symbol), file->name);
    clash_take(clash, ret->guard, file->name);
    for (size_t i = 0; i < file->n_service; i++) {
        if (!load_service(&load, file->service[i], &ret->services[i]))
            return load.error;
    }
    load_comments(&load, ret);
    return NULL;
}

const char *model_kind(const struct method *method)
{
    if (method->client_streams)
        return method->server_streams ? "STUB_KIND_BIDI" : "STUB_KIND_CLIENT_STREAM";
    return method->server_streams ? "STUB_KIND_SERVER_STREAM" : "STUB_KIND_UNARY";
}
