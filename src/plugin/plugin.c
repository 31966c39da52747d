/*
 * Loads everything before it writes anything: names must differ across all files of the request,
 * imported ones too, since what is generated includes the headers of what is imported.
 */
#include "plugin/plugin.h"

#include "plugin/embed.h"
#include "plugin/header.h"
#include "plugin/messages.h"
#include "plugin/model.h"
#include "plugin/name.h"
#include "plugin/rewrite.h"
#include "plugin/source.h"
#include "plugin/text.h"
#include "plugin/unable.h"
#include "plugin/valid.h"

#include <google/protobuf/compiler/plugin.pb-c.h>
#include <stdlib.h>
#include <string.h>

typedef Google__Protobuf__Compiler__CodeGeneratorRequest request_message;
typedef Google__Protobuf__Compiler__CodeGeneratorResponse response_message;
typedef Google__Protobuf__Compiler__CodeGeneratorResponse__File response_file;

struct run {
    struct arena arena;
    struct parameter parameter;
    struct types types;
    struct clash clash;
    struct slice bytes;
    const request_message *request;
    struct options *options; /* these two as the proto_file of the request */
    struct model *models;
    response_message response;
    struct text *texts; /* two per file to generate */
};

static bool is_written(const request_message *request, const char *name)
{
    for (size_t i = 0; i < request->n_file_to_generate; i++) {
        if (strcmp(request->file_to_generate[i], name) == 0)
            return true;
    }
    return false;
}

/* The names of what protoc-c writes, and what it cannot. */
static const char *take_messages(struct run *run)
{
    const request_message *request = run->request;
    struct messages messages = {&run->arena, &run->clash, &run->parameter, NULL};

    for (size_t i = 0; i < request->n_proto_file && !messages.error; i++) {
        bool written = is_written(request, request->proto_file[i]->name);

        if (written)
            messages.error = unable_find(&run->arena, request->proto_file[i], &run->options[i]);
        if (!messages.error)
            messages_take(&messages, request->proto_file[i], &run->options[i], written);
    }
    return messages.error;
}

static const char *load_all(struct run *run)
{
    const request_message *request = run->request;
    const char *error = valid_request(&run->arena, request);

    if (!error)
        error = parameter_parse(&run->arena, request->parameter, &run->parameter);
    for (size_t i = 0; i < request->n_proto_file && !error; i++) {
        if (options_read(&run->arena, request->proto_file[i], &run->options[i]))
            types_add_file(&run->types, request->proto_file[i], &run->options[i]);
        else
            error = text_format(&run->arena,
                                "%s: option pb_c_file cannot be read, or its c_package "
                                "is no dotted name",
                                request->proto_file[i]->name);
    }
    if (error)
        return error;
    types_sort(&run->types);
    if (!error)
        error = take_messages(run);
    for (size_t i = 0; i < request->n_proto_file && !error; i++)
        error = model_load(&run->arena, &run->types, &run->parameter, &run->clash,
                           request->proto_file[i], &run->options[i], &run->models[i]);
    if (!error)
        error = clash_find(&run->clash);
    if (!error && parameter_unused(&run->parameter))
        error = text_format(&run->arena, "--cstub_opt names %s: there is no such service or method",
                            parameter_unused(&run->parameter));
    return error;
}

static void add_output(struct run *run, const char *source, const char *suffix,
                       const struct text *text)
{
    response_file *file = arena_zalloc(&run->arena, sizeof(*file));
    const char *name = name_replace_suffix(&run->arena, source, suffix);

    CHECK(file);
    google__protobuf__compiler__code_generator_response__file__init(file);
    file->name = arena_strndup(&run->arena, name, strlen(name));
    file->content = text->data;
    run->response.file[run->response.n_file++] = file;
}

/* Index among the files of the request; their number if it is not there. */
static size_t find_file(const struct run *run, const char *name)
{
    size_t i;

    for (i = 0; i < run->request->n_proto_file; i++) {
        if (strcmp(run->request->proto_file[i]->name, name) == 0)
            break;
    }
    return i;
}

static const char *generate_file(struct run *run, size_t index)
{
    const char *name = run->request->file_to_generate[index];
    size_t at = find_file(run, name);
    struct text *header = &run->texts[2 * index], *source = &run->texts[2 * index + 1];
    const char *field;

    if (at == run->request->n_proto_file)
        return text_format(&run->arena, "%s: protoc did not send this file", name);
    for (size_t i = 0; i < index; i++) {
        if (strcmp(run->request->file_to_generate[i], name) == 0)
            return text_format(&run->arena, "%s: to be generated twice", name);
    }
    field = rewrite_find_optional(&run->arena, run->request->proto_file[at]);
    if (field && !run->parameter.optional)
        return text_format(&run->arena,
                           "%s: field %s is `optional` in proto3, which protoc-c refuses; run "
                           "cstub-protoc in place of protoc-c and protoc, it finds a way (or say "
                           "--cstub_opt=optional, if your protoc-c takes it)",
                           name, field);
    header_write(header, &run->arena, &run->models[at]);
    source_write(source, &run->arena, &run->models[at], embed_file_at(run->bytes, at));
    add_output(run, name, ".stub.h", header);
    add_output(run, name, ".stub.c", source);
    return NULL;
}

static const char *generate_all(struct run *run)
{
    size_t files = run->request->n_file_to_generate;
    const char *error;

    run->options = arena_array(&run->arena, run->request->n_proto_file + 1, sizeof(*run->options));
    run->models = arena_array(&run->arena, run->request->n_proto_file + 1, sizeof(*run->models));
    run->texts = arena_array(&run->arena, 2 * files + 1, sizeof(*run->texts));
    run->response.file = arena_array(&run->arena, 2 * files + 1, sizeof(*run->response.file));
    CHECK(run->options && run->models && run->texts && run->response.file);
    error = load_all(run);
    for (size_t i = 0; i < files && !error; i++)
        error = generate_file(run, i);
    return error;
}

static void pack_response(struct run *run, uint8_t **ret_response, size_t *ret_bytes)
{
    *ret_bytes = protobuf_c_message_get_packed_size(&run->response.base);
    *ret_response = malloc(*ret_bytes + 1);
    CHECK(*ret_response);
    protobuf_c_message_pack(&run->response.base, *ret_response);
}

bool plugin_run(struct slice bytes, uint8_t **ret_response, size_t *ret_bytes)
{
    struct run run = {.bytes = bytes};
    const char *error;

    arena_init(&run.arena, 65536, SIZE_MAX / 2);
    run.request = (const request_message *)(void *)valid_unpack(
        &run.arena, &google__protobuf__compiler__code_generator_request__descriptor, bytes);
    if (!run.request) {
        arena_done(&run.arena);
        return false;
    }
    clash_init(&run.clash, &run.arena);
    types_init(&run.types, &run.arena);
    google__protobuf__compiler__code_generator_response__init(&run.response);
    run.response.has_supported_features = 1;
    run.response.supported_features =
        GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_RESPONSE__FEATURE__FEATURE_PROTO3_OPTIONAL;

    error = generate_all(&run);
    if (error) {
        run.response.n_file = 0;
        run.response.error = arena_strndup(&run.arena, error, strlen(error));
    }
    pack_response(&run, ret_response, ret_bytes);

    for (size_t i = 0; i < 2 * run.request->n_file_to_generate; i++)
        text_done(&run.texts[i]);
    clash_done(&run.clash);
    types_done(&run.types);
    arena_done(&run.arena);
    return true;
}
