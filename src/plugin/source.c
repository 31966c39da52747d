#include "plugin/source.h"

#include "plugin/embed.h"
#include "plugin/name.h"

/* Initialisers are positional, in the order of stub/method.h: C++17 has no others. */
static void write_methods(struct text *out, const struct service *service)
{
    if (service->methods_count == 0)
        return;
    text_printf(out, "\nconst struct stub_method %s_methods[%zu] = {\n", service->prefix,
                service->methods_count);
    for (size_t i = 0; i < service->methods_count; i++) {
        const struct method *method = &service->methods[i];

        text_printf(out,
                    "    {\n"
                    "        \"/%s/%s\",\n"
                    "        %s,\n"
                    "        &%s__descriptor,\n"
                    "        &%s__descriptor,\n"
                    "    },\n",
                    service->full_name, method->name, model_kind(method), method->request->c_symbol,
                    method->response->c_symbol);
    }
    text_printf(out, "};\n");
}

static void write_dispatch(struct text *out, const struct service *service)
{
    const char *prefix = service->prefix;

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
    for (size_t i = 0; i < service->methods_count; i++) {
        const struct method *method = &service->methods[i];

        text_printf(out,
                    "    case %zu:\n"
                    "        if (!handlers->%s)\n"
                    "            return false;\n"
                    "        if (call)\n"
                    "            (handlers->%s)(user, call",
                    i, method->member, method->member);
        if (!method->client_streams)
            text_printf(out, ",\n                (const %s *)(const void *)request",
                        method->request->c_type);
        text_printf(out, ");\n        return true;\n");
    }
    text_printf(out, "    default:\n        return false;\n    }\n}\n");
}

static void write_async(struct text *out, const struct service *service, size_t index)
{
    const struct method *method = &service->methods[index];
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
                service->prefix, method->member, response, response, response);
    text_printf(out,
                "\nvoid %s_%s_async(struct stub_channel *channel,\n"
                "    const struct stub_call_options *options, const %s *request,\n"
                "    void (*done)(void *user, const struct stub_status *status,\n"
                "        const %s *reply),\n"
                "    void *user)\n"
                "{\n"
                "    stub_unary_async(channel, &%s_methods[%zu], options,\n"
                "        (const ProtobufCMessage *)request, %s_%s_deliver, (stub_function *)done,\n"
                "        user);\n"
                "}\n",
                service->prefix, method->member, request, response, service->prefix, index,
                service->prefix, method->member);
}

static void write_start(struct text *out, const struct service *service, size_t index)
{
    const struct method *method = &service->methods[index];
    const char *response = method->response->c_type;

    text_printf(out,
                "\nstatic void %s_%s_deliver(stub_function *on_message, void *user,\n"
                "    struct stub_stream *stream, const ProtobufCMessage *message)\n"
                "{\n"
                "    void (*typed)(void *, struct stub_stream *, const %s *) =\n"
                "        (void (*)(void *, struct stub_stream *, const %s *))on_message;\n"
                "\n"
                "    typed(user, stream, (const %s *)(const void *)message);\n"
                "}\n",
                service->prefix, method->member, response, response, response);
    text_printf(out,
                "\nstruct stub_stream *%s_%s_start(struct stub_channel *channel,\n"
                "    const struct stub_call_options *options,",
                service->prefix, method->member);
    if (!method->client_streams)
        text_printf(out, " const %s *request,", method->request->c_type);
    text_printf(out,
                "\n"
                "    void (*on_message)(void *user, struct stub_stream *stream,\n"
                "        const %s *message),\n"
                "    const struct stub_stream_events *events, void *user)\n"
                "{\n"
                "    return stub_stream_start(channel, &%s_methods[%zu], options,\n"
                "        %s, %s_%s_deliver,\n"
                "        (stub_function *)on_message, events, user);\n"
                "}\n",
                response, service->prefix, index,
                method->client_streams ? "NULL" : "(const ProtobufCMessage *)request",
                service->prefix, method->member);
}

static void write_service(struct text *out, const struct model *model,
                          const struct service *service)
{
    const char *prefix = service->prefix;

    write_methods(out, service);
    write_dispatch(out, service);
    text_printf(out,
                "\nconst struct stub_service %s_service = {\n"
                "    \"%s\",\n"
                "    &%s_file,\n",
                prefix, service->full_name, model->symbol);
    if (service->methods_count)
        text_printf(out, "    %s_methods,\n    %zu,\n", prefix, service->methods_count);
    else
        text_printf(out, "    NULL,\n    0,\n");
    text_printf(out,
                "    sizeof(struct %s_handlers),\n"
                "    %s_dispatch,\n"
                "};\n",
                prefix, prefix);
    for (size_t i = 0; i < service->methods_count; i++) {
        if (service->methods[i].client_streams || service->methods[i].server_streams)
            write_start(out, service, i);
        else
            write_async(out, service, i);
    }
}

void source_write(struct text *out, struct arena *arena, const struct model *model,
                  struct slice bytes)
{
    const Google__Protobuf__FileDescriptorProto *file = model->file;

    text_printf(out, "/* Generated by protoc-gen-cstub from %s. Do not edit. */\n", file->name);
    text_printf(out, "#include \"%s\"\n\n", name_replace_suffix(arena, file->name, ".stub.h"));
    for (size_t i = 0; i < file->n_dependency; i++)
        text_printf(out, "#include \"%s\"\n",
                    name_replace_suffix(arena, file->dependency[i], ".stub.h"));
    text_printf(out, "%s#include <stddef.h>\n#include <stdint.h>\n\n",
                file->n_dependency ? "\n" : "");
    embed_write(out, arena, file, bytes);
    for (size_t i = 0; i < model->services_count; i++)
        write_service(out, model, &model->services[i]);
}
