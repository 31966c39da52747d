/*
 * Everything that a user of the generated code sees is written here, in the order of the files:
 * header (handlers, replies, client functions), then source (embedded descriptor, method tables,
 * dispatch, asynchronous calls).
 *
 * C has one name space where .proto has many, so each function name is entered in a list first, and
 * two that meet are an error that names both methods, instead of C that does not compile.
 */
#include "plugin/generate.h"

#include "plugin/embed.h"
#include "plugin/name.h"

#include <stdlib.h>
#include <string.h>

typedef Google__Protobuf__FileDescriptorProto file_message;
typedef Google__Protobuf__ServiceDescriptorProto service_message;
typedef Google__Protobuf__MethodDescriptorProto method_message;

struct method {
    const method_message *proto;
    const char *member; /* "get_item": in the struct of handlers, and behind the prefix */
    const struct type *request;
    const struct type *response;
    int index; /* in the service */
};

/* --- names that must differ ------------------------------------------------------------------- */

struct used_name {
    const char *name;
    const char *owner; /* for the message: "pkg.Service.Method" */
};

struct used_names {
    struct used_name *items;
    size_t count;
    size_t capacity;
};

static bool name_take(struct generate *job, struct used_names *used, const char *owner,
                      const char *prefix, const char *member, const char *suffix)
{
    char *name = arena_printf(job->arena, "%s_%s%s", prefix, member, suffix);

    CHECK(name);
    for (size_t i = 0; i < used->count; i++) {
        if (strcmp(used->items[i].name, name) != 0)
            continue;
        job->error = arena_printf(job->arena, "%s: %s and %s would both become %s in C; rename one",
                                  job->file->name, used->items[i].owner, owner, name);
        return false;
    }
    if (used->count == used->capacity) {
        used->capacity = used->capacity ? 2 * used->capacity : 64;
        used->items = realloc(used->items, used->capacity * sizeof(*used->items));
        CHECK(used->items);
    }
    used->items[used->count++] = (struct used_name){name, owner};
    return true;
}

/* --- small parts ------------------------------------------------------------------------------ */

static const char *full_name(const struct generate *job, const char *name)
{
    const char *package = job->file->package ? job->file->package : "";
    char *full = arena_printf(job->arena, "%s%s%s", package, *package ? "." : "", name);

    CHECK(full);
    return full;
}

/* The start of every C name of this service. */
static const char *service_prefix(const struct generate *job, const service_message *service)
{
    return name_prefix(job->arena,
                       types_c_name(job->arena, job->file, full_name(job, service->name)));
}

static const char *find_comment(const struct generate *job, const int32_t *path, size_t path_len)
{
    const Google__Protobuf__SourceCodeInfo *info = job->file->source_code_info;

    for (size_t i = 0; info && i < info->n_location; i++) {
        const Google__Protobuf__SourceCodeInfo__Location *location = info->location[i];

        if (location->n_path == path_len &&
            memcmp(location->path, path, path_len * sizeof(*path)) == 0)
            return location->leading_comments;
    }
    return NULL;
}

/* A .proto comment as a C one; what would end or nest it is taken apart by a blank. */
static void write_comment(struct generate *job, struct text *out, const char *indent,
                          const int32_t *path, size_t path_len)
{
    const char *comment = find_comment(job, path, path_len);
    const char *end;

    if (!comment || !*comment)
        return;
    text_printf(out, "%s/*\n", indent);
    for (; *comment; comment = *end ? end + 1 : end) {
        end = comment + strcspn(comment, "\n");
        text_printf(out, "%s *", indent);
        if (end > comment && *comment != ' ')
            text_printf(out, " ");
        for (const char *c = comment; c < end; c++) {
            bool pair = (c[0] == '*' && c[1] == '/') || (c[0] == '/' && c[1] == '*');

            text_printf(out, pair ? "%c " : "%c", *c);
        }
        text_printf(out, "\n");
    }
    text_printf(out, "%s */\n", indent);
}

static bool client_streams(const struct method *method)
{
    return method->proto->has_client_streaming && method->proto->client_streaming;
}

static bool server_streams(const struct method *method)
{
    return method->proto->has_server_streaming && method->proto->server_streaming;
}

static const char *kind_of(const struct method *method)
{
    if (client_streams(method))
        return server_streams(method) ? "STUB_KIND_BIDI" : "STUB_KIND_CLIENT_STREAM";
    return server_streams(method) ? "STUB_KIND_SERVER_STREAM" : "STUB_KIND_UNARY";
}

static bool method_load(struct generate *job, const service_message *service, size_t index,
                        struct method *ret)
{
    const method_message *proto = service->method[index];

    *ret = (struct method){
        .proto = proto,
        .member = name_member(job->arena, proto->name),
        .request = types_find(job->types, proto->input_type),
        .response = types_find(job->types, proto->output_type),
        .index = (int)index,
    };
    if (ret->request && ret->response)
        return true;
    job->error = arena_printf(job->arena, "%s: a type of method %s is not known", job->file->name,
                              proto->name);
    return false;
}

/* --- the names of one service ------------------------------------------------------------------ */

static bool take_method_names(struct generate *job, struct used_names *used, const char *prefix,
                              const service_message *service, const struct method *method)
{
    const char *owner =
        arena_printf(job->arena, "%s.%s", full_name(job, service->name), method->proto->name);
    const char *const unary[] = {"", "_reply", "_async"};
    const char *const server_stream[] = {"", "_send", "_open", "_recv"};
    const char *const client_stream[] = {"", "_reply", "_open", "_write", "_recv"};
    const char *const bidi[] = {"", "_send", "_open", "_write", "_recv"};
    const char *const *suffixes = unary;
    size_t count = ARRAY_COUNT(unary);

    CHECK(owner);
    if (client_streams(method)) {
        suffixes = server_streams(method) ? bidi : client_stream;
        count = ARRAY_COUNT(bidi);
    } else if (server_streams(method)) {
        suffixes = server_stream;
        count = ARRAY_COUNT(server_stream);
    }
    for (size_t i = 0; i < count; i++) {
        if (!name_take(job, used, owner, prefix, method->member, suffixes[i]))
            return false;
    }
    return true;
}

static bool take_service_names(struct generate *job, struct used_names *used,
                               const service_message *service)
{
    static const char *const own[] = {"register", "handlers", "methods", "service"};
    const char *prefix = service_prefix(job, service);
    struct method method;

    for (size_t i = 0; i < ARRAY_COUNT(own); i++) {
        if (!name_take(job, used, full_name(job, service->name), prefix, own[i], ""))
            return false;
    }
    for (size_t i = 0; i < service->n_method; i++) {
        if (!method_load(job, service, i, &method) ||
            !take_method_names(job, used, prefix, service, &method))
            return false;
    }
    return true;
}

static bool take_names(struct generate *job)
{
    struct used_names used = {0};
    bool ok = true;

    for (size_t i = 0; ok && i < job->file->n_service; i++)
        ok = take_service_names(job, &used, job->file->service[i]);
    free(used.items);
    return ok;
}

/* --- header ----------------------------------------------------------------------------------- */

static int compare_text(const void *a, const void *b)
{
    const char *const *left = a;
    const char *const *right = b;

    return strcmp(*left, *right);
}

/* The headers of all message types that the services name, each once, sorted. */
static void write_message_includes(struct generate *job, struct text *out)
{
    const char **headers = NULL;
    size_t count = 0;

    for (size_t i = 0; i < job->file->n_service; i++) {
        const service_message *service = job->file->service[i];

        headers = realloc(headers, (count + 2 * service->n_method + 1) * sizeof(*headers));
        CHECK(headers);
        for (size_t j = 0; j < service->n_method; j++) {
            headers[count++] = types_find(job->types, service->method[j]->input_type)->file;
            headers[count++] = types_find(job->types, service->method[j]->output_type)->file;
        }
    }
    if (count)
        qsort(headers, count, sizeof(*headers), compare_text);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(headers[i], headers[i - 1]) != 0)
            text_printf(out, "#include \"%s\"\n",
                        name_replace_suffix(job->arena, headers[i], ".pb-c.h"));
    }
    if (count)
        text_printf(out, "#include \"stub/call.h\"\n#include \"stub/client.h\"\n");
    text_printf(out, "#include \"stub/method.h\"\n");
    if (count)
        text_printf(out, "#include \"stub/server.h\"\n");
    text_printf(out, "\n#include <stdbool.h>\n\n");
    free(headers);
}

static void write_handlers(struct generate *job, struct text *out, const char *prefix,
                           int32_t service_index, const service_message *service)
{
    struct method method;

    write_comment(job, out, "", (int32_t[]){6, service_index}, 2);
    text_printf(out, "struct %s_handlers {\n", prefix);
    for (size_t i = 0; i < service->n_method; i++) {
        CHECK(method_load(job, service, i, &method));
        if (i > 0)
            text_printf(out, "\n");
        write_comment(job, out, "    ", (int32_t[]){6, service_index, 2, method.index}, 4);
        text_printf(out, "    void (*%s)(void *user, struct stub_call *call", method.member);
        if (!client_streams(&method))
            text_printf(out, ",\n        const %s *request", method.request->c_type);
        text_printf(out, ");\n");
    }
    if (service->n_method == 0)
        text_printf(out, "    void (*none)(void);\n");
    text_printf(out, "};\n\n");
}

static void write_server_side(struct text *out, const char *prefix, const struct method *method)
{
    const char *response = method->response->c_type;

    if (server_streams(method))
        text_printf(out,
                    "static inline enum stub_send %s_%s_send(struct stub_call *call,\n"
                    "    const %s *message)\n"
                    "{\n"
                    "    return stub_call_send(call, &message->base);\n"
                    "}\n\n",
                    prefix, method->member, response);
    else
        text_printf(out,
                    "static inline bool %s_%s_reply(struct stub_call *call,\n"
                    "    const %s *reply)\n"
                    "{\n"
                    "    return stub_call_reply(call, &reply->base);\n"
                    "}\n\n",
                    prefix, method->member, response);
}

static void write_client_unary(struct text *out, const char *prefix, const struct method *method)
{
    const char *request = method->request->c_type;
    const char *response = method->response->c_type;

    text_printf(out,
                "static inline int %s_%s(struct stub_channel *channel,\n"
                "    const struct stub_call_options *options, const %s *request,\n"
                "    %s **ret_reply, struct stub_status *ret_status)\n"
                "{\n"
                "    ProtobufCMessage *reply;\n"
                "    int code = stub_unary(channel, &%s_methods[%d], options, &request->base,\n"
                "        &reply, ret_status);\n"
                "\n"
                "    *ret_reply = (%s *)(void *)reply;\n"
                "    return code;\n"
                "}\n\n",
                prefix, method->member, request, response, prefix, method->index, response);
    text_printf(out,
                "void %s_%s_async(struct stub_channel *channel,\n"
                "    const struct stub_call_options *options, const %s *request,\n"
                "    void (*done)(void *user, const struct stub_status *status,\n"
                "        const %s *reply),\n"
                "    void *user);\n\n",
                prefix, method->member, request, response);
}

static void write_client_stream(struct text *out, const char *prefix, const struct method *method)
{
    const char *request = method->request->c_type;
    const char *response = method->response->c_type;

    text_printf(out,
                "static inline struct stub_stream *%s_%s_open(struct stub_channel *channel,\n"
                "    const struct stub_call_options *options",
                prefix, method->member);
    if (!client_streams(method))
        text_printf(out, ", const %s *request", request);
    text_printf(out,
                ")\n"
                "{\n"
                "    return stub_stream_open(channel, &%s_methods[%d], options, %s);\n"
                "}\n\n",
                prefix, method->index, client_streams(method) ? "NULL" : "&request->base");
    if (client_streams(method))
        text_printf(out,
                    "static inline bool %s_%s_write(struct stub_stream *stream,\n"
                    "    const %s *message)\n"
                    "{\n"
                    "    return stub_stream_send(stream, &message->base);\n"
                    "}\n\n",
                    prefix, method->member, request);
    text_printf(out,
                "static inline enum stub_recv %s_%s_recv(struct stub_stream *stream,\n"
                "    int64_t timeout_us, %s **ret_message)\n"
                "{\n"
                "    ProtobufCMessage *message;\n"
                "    enum stub_recv result = stub_stream_recv(stream, timeout_us, &message);\n"
                "\n"
                "    *ret_message = (%s *)(void *)message;\n"
                "    return result;\n"
                "}\n\n",
                prefix, method->member, response, response);
}

static void write_service_header(struct generate *job, struct text *out, size_t index)
{
    const service_message *service = job->file->service[index];
    const char *prefix = service_prefix(job, service);
    struct method method;

    text_printf(out, "/* --- service %s --- */\n\n", full_name(job, service->name));
    write_handlers(job, out, prefix, (int32_t)index, service);
    text_printf(out,
                "/* Serves it with a copy of *handlers; before stub_server_start. False: there already. */\n"
                "bool %s_register(struct stub_server *server,\n"
                "    const struct %s_handlers *handlers, void *user);\n\n"
                "extern const struct stub_service %s_service;\n",
                prefix, prefix, prefix);
    if (service->n_method)
        text_printf(out, "extern const struct stub_method %s_methods[%zu];\n", prefix,
                    service->n_method);
    text_printf(out, "\n");
    for (size_t i = 0; i < service->n_method; i++) {
        CHECK(method_load(job, service, i, &method));
        text_printf(out, "/* %s: %s */\n\n", method.proto->name, kind_of(&method));
        write_server_side(out, prefix, &method);
        if (client_streams(&method) || server_streams(&method))
            write_client_stream(out, prefix, &method);
        else
            write_client_unary(out, prefix, &method);
    }
}

static void write_origin(struct generate *job, struct text *out)
{
    text_printf(out, "/* Generated by protoc-gen-cstub from %s. Do not edit. */\n",
                job->file->name);
}

bool generate_header(struct generate *job, struct text *out)
{
    const char *guard = name_guard(job->arena, job->file->name);

    if (!take_names(job))
        return false;
    write_origin(job, out);
    text_printf(out, "#ifndef %s\n#define %s\n\n", guard, guard);
    write_message_includes(job, out);
    text_printf(out, "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
    text_printf(out, "extern const struct stub_file %s_file;\n\n",
                name_of_file(job->arena, job->file->name));
    for (size_t i = 0; i < job->file->n_service; i++)
        write_service_header(job, out, i);
    text_printf(out, "#ifdef __cplusplus\n}\n#endif\n\n#endif\n");
    return true;
}

/* --- source ----------------------------------------------------------------------------------- */

static void write_methods(struct generate *job, struct text *out, const char *prefix,
                          const service_message *service)
{
    struct method method;

    if (service->n_method == 0)
        return;
    text_printf(out, "\nconst struct stub_method %s_methods[%zu] = {\n", prefix, service->n_method);
    for (size_t i = 0; i < service->n_method; i++) {
        CHECK(method_load(job, service, i, &method));
        text_printf(out,
                    "    {\n"
                    "        .path = \"/%s/%s\",\n"
                    "        .kind = %s,\n"
                    "        .request = &%s__descriptor,\n"
                    "        .response = &%s__descriptor,\n"
                    "    },\n",
                    full_name(job, service->name), method.proto->name, kind_of(&method),
                    method.request->c_symbol, method.response->c_symbol);
    }
    text_printf(out, "};\n");
}

static void write_dispatch(struct generate *job, struct text *out, const char *prefix,
                           const service_message *service)
{
    struct method method;

    text_printf(out,
                "\nstatic bool %s_dispatch(const void *table, void *user, size_t index,\n"
                "    struct stub_call *call, const ProtobufCMessage *request)\n"
                "{\n"
                "    const struct %s_handlers *handlers =\n"
                "        (const struct %s_handlers *)table;\n"
                "\n"
                "    (void)handlers, (void)user, (void)call, (void)request;\n"
                "    switch (index) {\n",
                prefix, prefix, prefix);
    for (size_t i = 0; i < service->n_method; i++) {
        CHECK(method_load(job, service, i, &method));
        text_printf(out,
                    "    case %zu:\n"
                    "        if (!handlers->%s)\n"
                    "            return false;\n"
                    "        if (call)\n"
                    "            handlers->%s(user, call",
                    i, method.member, method.member);
        if (!client_streams(&method))
            text_printf(out, ",\n                (const %s *)(const void *)request",
                        method.request->c_type);
        text_printf(out, ");\n        return true;\n");
    }
    text_printf(out, "    default:\n        return false;\n    }\n}\n");
}

static void write_async(struct text *out, const char *prefix, const struct method *method)
{
    const char *request = method->request->c_type;
    const char *response = method->response->c_type;

    text_printf(out,
                "\nstatic void %s_%s_deliver(stub_function *done, void *user,\n"
                "    const struct stub_status *status, const ProtobufCMessage *reply)\n"
                "{\n"
                "    void (*typed)(void *, const struct stub_status *, const %s *) =\n"
                "        (void (*)(void *, const struct stub_status *, const %s *))done;\n"
                "\n"
                "    typed(user, status, (const %s *)(const void *)reply);\n"
                "}\n",
                prefix, method->member, response, response, response);
    text_printf(out,
                "\nvoid %s_%s_async(struct stub_channel *channel,\n"
                "    const struct stub_call_options *options, const %s *request,\n"
                "    void (*done)(void *user, const struct stub_status *status,\n"
                "        const %s *reply),\n"
                "    void *user)\n"
                "{\n"
                "    stub_unary_async(channel, &%s_methods[%d], options, &request->base,\n"
                "        %s_%s_deliver, (stub_function *)done, user);\n"
                "}\n",
                prefix, method->member, request, response, prefix, method->index, prefix,
                method->member);
}

static void write_service_source(struct generate *job, struct text *out,
                                 const service_message *service)
{
    const char *prefix = service_prefix(job, service);
    struct method method;

    write_methods(job, out, prefix, service);
    write_dispatch(job, out, prefix, service);
    text_printf(out,
                "\nconst struct stub_service %s_service = {\n"
                "    .name = \"%s\",\n"
                "    .file = &%s_file,\n",
                prefix, full_name(job, service->name), name_of_file(job->arena, job->file->name));
    if (service->n_method)
        text_printf(out, "    .methods = %s_methods,\n    .methods_count = %zu,\n", prefix,
                    service->n_method);
    text_printf(out,
                "    .handlers_bytes = sizeof(struct %s_handlers),\n"
                "    .dispatch = %s_dispatch,\n"
                "};\n"
                "\nbool %s_register(struct stub_server *server,\n"
                "    const struct %s_handlers *handlers, void *user)\n"
                "{\n"
                "    return stub_server_register(server, &%s_service, handlers, user);\n"
                "}\n",
                prefix, prefix, prefix, prefix, prefix);
    for (size_t i = 0; i < service->n_method; i++) {
        CHECK(method_load(job, service, i, &method));
        if (!client_streams(&method) && !server_streams(&method))
            write_async(out, prefix, &method);
    }
}

void generate_source(struct generate *job, struct text *out)
{
    write_origin(job, out);
    text_printf(out, "#include \"%s\"\n\n",
                name_replace_suffix(job->arena, job->file->name, ".stub.h"));
    for (size_t i = 0; i < job->file->n_dependency; i++)
        text_printf(out, "#include \"%s\"\n",
                    name_replace_suffix(job->arena, job->file->dependency[i], ".stub.h"));
    text_printf(out, "%s#include <stddef.h>\n#include <stdint.h>\n\n",
                job->file->n_dependency ? "\n" : "");
    embed_write(out, job->arena, job->file, job->bytes);
    for (size_t i = 0; i < job->file->n_service; i++)
        write_service_source(job, out, job->file->service[i]);
}
