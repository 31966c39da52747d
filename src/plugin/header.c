#include "plugin/header.h"

#include "plugin/comment.h"
#include "plugin/name.h"

#include <stdlib.h>
#include <string.h>

static int compare_text(const void *a, const void *b)
{
    const char *const *left = a;
    const char *const *right = b;

    return strcmp(*left, *right);
}

/* The headers of all message types that the services name, each once, sorted. */
static void write_message_includes(struct text *out, struct arena *arena, const struct model *model)
{
    const char **headers;
    size_t count = 0;

    for (size_t i = 0; i < model->services_count; i++)
        count += 2 * model->services[i].methods_count;
    headers = arena_array(arena, count + 1, sizeof(*headers));
    CHECK(headers);
    count = 0;
    for (size_t i = 0; i < model->services_count; i++) {
        for (size_t j = 0; j < model->services[i].methods_count; j++) {
            headers[count++] = model->services[i].methods[j].request->file;
            headers[count++] = model->services[i].methods[j].response->file;
        }
    }
    qsort(headers, count, sizeof(*headers), compare_text);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(headers[i], headers[i - 1]) != 0)
            text_printf(out, "#include \"%s\"\n",
                        name_replace_suffix(arena, headers[i], ".pb-c.h"));
    }
}

static void write_handlers(struct text *out, const struct service *service)
{
    comment_write(out, "", service->comment, service->note);
    text_printf(out, "struct %s_handlers {\n", service->prefix);
    for (size_t i = 0; i < service->methods_count; i++) {
        const struct method *method = &service->methods[i];

        if (i > 0)
            text_printf(out, "\n");
        comment_write(out, "    ", method->comment, method->note);
        text_printf(out, "    void (*%s)(void *user, struct stub_call *call", method->member);
        if (!method->client_streams)
            text_printf(out, ",\n        const %s *request", method->request->c_type);
        text_printf(out, ");\n");
    }
    if (service->methods_count == 0)
        text_printf(out, "    void (*none)(void);\n");
    text_printf(out, "};\n\n");
}

static void write_server_side(struct text *out, const char *prefix, const struct method *method)
{
    const char *response = method->response->c_type;

    if (method->server_streams)
        text_printf(out,
                    "static inline enum stub_send %s_%s_send(struct stub_call *call,\n"
                    "    const %s *message)\n"
                    "{\n"
                    "    return stub_call_send(call, (const ProtobufCMessage *)message);\n"
                    "}\n\n",
                    prefix, method->member, response);
    else
        text_printf(out,
                    "static inline bool %s_%s_reply(struct stub_call *call,\n"
                    "    const %s *reply)\n"
                    "{\n"
                    "    return stub_call_reply(call, (const ProtobufCMessage *)reply);\n"
                    "}\n\n",
                    prefix, method->member, response);
}

static void write_client_unary(struct text *out, const char *prefix, const struct method *method,
                               size_t index)
{
    const char *request = method->request->c_type;
    const char *response = method->response->c_type;

    text_printf(out, "%s", method->deprecated ? "STUB_DEPRECATED\n" : "");
    text_printf(
        out,
        "static inline int %s_%s(struct stub_channel *channel,\n"
        "    const struct stub_call_options *options, const %s *request,\n"
        "    %s **ret_reply, struct stub_status *ret_status)\n"
        "{\n"
        "    ProtobufCMessage *reply;\n"
        "    int code = stub_unary(channel, &%s_methods[%zu], options,\n"
        "        (const ProtobufCMessage *)request, ret_reply ? &reply : NULL, ret_status);\n"
        "\n"
        "    if (ret_reply)\n"
        "        *ret_reply = (%s *)(void *)reply;\n"
        "    return code;\n"
        "}\n\n",
        prefix, method->member, request, response, prefix, index, response);
    text_printf(out, "%s", method->deprecated ? "STUB_DEPRECATED\n" : "");
    text_printf(out,
                "void %s_%s_async(struct stub_channel *channel,\n"
                "    const struct stub_call_options *options, const %s *request,\n"
                "    void (*done)(void *user, const struct stub_status *status,\n"
                "        const %s *reply),\n"
                "    void *user);\n\n",
                prefix, method->member, request, response);
}

static void write_client_stream(struct text *out, const char *prefix, const struct method *method,
                                size_t index)
{
    const char *request = method->request->c_type;
    const char *response = method->response->c_type;

    text_printf(out, "%s", method->deprecated ? "STUB_DEPRECATED\n" : "");
    text_printf(out,
                "static inline struct stub_stream *%s_%s_open(struct stub_channel *channel,\n"
                "    const struct stub_call_options *options",
                prefix, method->member);
    if (!method->client_streams)
        text_printf(out, ", const %s *request", request);
    text_printf(out,
                ")\n"
                "{\n"
                "    return stub_stream_open(channel, &%s_methods[%zu], options,\n"
                "        %s);\n"
                "}\n\n",
                prefix, index,
                method->client_streams ? "NULL" : "(const ProtobufCMessage *)request");
    if (method->client_streams)
        text_printf(out,
                    "static inline bool %s_%s_write(struct stub_stream *stream,\n"
                    "    const %s *message)\n"
                    "{\n"
                    "    return stub_stream_send(stream, (const ProtobufCMessage *)message);\n"
                    "}\n\n"
                    "static inline enum stub_send %s_%s_try_write(struct stub_stream *stream,\n"
                    "    const %s *message)\n"
                    "{\n"
                    "    return stub_stream_try_send(stream, (const ProtobufCMessage *)message);\n"
                    "}\n\n",
                    prefix, method->member, request, prefix, method->member, request);
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
    text_printf(out, "%s", method->deprecated ? "STUB_DEPRECATED\n" : "");
    text_printf(out,
                "struct stub_stream *%s_%s_start(struct stub_channel *channel,\n"
                "    const struct stub_call_options *options,",
                prefix, method->member);
    if (!method->client_streams)
        text_printf(out, " const %s *request,", request);
    text_printf(out,
                "\n"
                "    void (*on_message)(void *user, struct stub_stream *stream,\n"
                "        const %s *message),\n"
                "    const struct stub_stream_events *events, void *user);\n\n",
                response);
}

static void write_service(struct text *out, const struct service *service)
{
    text_printf(out, "/* --- service %s --- */\n\n", service->full_name);
    write_handlers(out, service);
    text_printf(out, "extern const struct stub_service %s_service;\n", service->prefix);
    if (service->methods_count)
        text_printf(out, "extern const struct stub_method %s_methods[%zu];\n", service->prefix,
                    service->methods_count);
    /* Inline, so that the tables alone do not bring the server into a program that is a client. */
    text_printf(
        out,
        "\n/* Serves it with a copy of *handlers; before stub_server_start. False: there already. */"
        "\n"
        "static inline bool %s_register(struct stub_server *server,\n"
        "    const struct %s_handlers *handlers, void *user)\n"
        "{\n"
        "    return stub_server_register(server, &%s_service, handlers, user);\n"
        "}\n",
        service->prefix, service->prefix, service->prefix);
    text_printf(out, "\n");
    for (size_t i = 0; i < service->methods_count; i++) {
        const struct method *method = &service->methods[i];

        text_printf(out, "/* %s: %s */\n\n", method->name, model_kind(method));
        write_server_side(out, service->prefix, method);
        if (method->client_streams || method->server_streams)
            write_client_stream(out, service->prefix, method, i);
        else
            write_client_unary(out, service->prefix, method, i);
    }
}

void header_write(struct text *out, struct arena *arena, const struct model *model)
{
    bool calls = false;

    for (size_t i = 0; i < model->services_count; i++)
        calls = calls || model->services[i].methods_count > 0;
    text_printf(out, "/* Generated by protoc-gen-cstub from %s. Do not edit. */\n",
                model->file->name);
    text_printf(out, "#ifndef %s\n#define %s\n\n", model->guard, model->guard);
    write_message_includes(out, arena, model);
    if (calls)
        text_printf(out, "#include \"stub/call.h\"\n#include \"stub/client.h\"\n");
    text_printf(out, "#include \"stub/method.h\"\n");
    if (model->services_count)
        text_printf(out, "#include \"stub/server.h\"\n");
    text_printf(out, "\n#include <stdbool.h>\n\n");
    text_printf(out, "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
    text_printf(out, "extern const struct stub_file %s_file;\n\n", model->symbol);
    for (size_t i = 0; i < model->services_count; i++)
        write_service(out, &model->services[i]);
    text_printf(out, "#ifdef __cplusplus\n}\n#endif\n\n#endif\n");
}
