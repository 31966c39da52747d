#include "plugin/plugin.h"

#include "plugin/embed.h"
#include "plugin/generate.h"
#include "plugin/name.h"
#include "plugin/text.h"
#include "plugin/types.h"

#include <google/protobuf/compiler/plugin.pb-c.h>
#include <stdlib.h>
#include <string.h>

typedef Google__Protobuf__Compiler__CodeGeneratorRequest request_message;
typedef Google__Protobuf__Compiler__CodeGeneratorResponse response_message;
typedef Google__Protobuf__Compiler__CodeGeneratorResponse__File response_file;

struct run {
    struct arena arena;
    struct types types;
    struct slice bytes;
    request_message *request;
    response_message response;
    struct text *texts; /* two per file to generate */
};

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

static bool find_file(const struct run *run, const char *name, size_t *ret_index)
{
    for (size_t i = 0; i < run->request->n_proto_file; i++) {
        if (strcmp(run->request->proto_file[i]->name, name) == 0) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

/* Returns what is wrong, or NULL. */
static const char *generate_file(struct run *run, const char *name, struct text *header,
                                 struct text *source)
{
    struct generate job = {.arena = &run->arena, .types = &run->types};
    size_t index;

    if (!find_file(run, name, &index))
        return arena_printf(&run->arena, "%s: protoc did not send this file", name);
    job.file = run->request->proto_file[index];
    job.bytes = embed_file_at(run->bytes, index);
    if (!generate_header(&job, header))
        return job.error;
    generate_source(&job, source);
    add_output(run, name, ".stub.h", header);
    add_output(run, name, ".stub.c", source);
    return NULL;
}

static const char *generate_all(struct run *run)
{
    const char *error;

    if (run->request->parameter && *run->request->parameter)
        return arena_printf(&run->arena, "cstub takes no parameters, not \"%s\"",
                            run->request->parameter);
    for (size_t i = 0; i < run->request->n_file_to_generate; i++) {
        error = generate_file(run, run->request->file_to_generate[i], &run->texts[2 * i],
                              &run->texts[2 * i + 1]);
        if (error)
            return error;
    }
    return NULL;
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
    size_t texts;

    run.request = google__protobuf__compiler__code_generator_request__unpack(
        NULL, bytes.len, (const uint8_t *)bytes.data);
    if (!run.request)
        return false;
    texts = 2 * run.request->n_file_to_generate;
    arena_init(&run.arena, 65536, SIZE_MAX / 2);
    types_init(&run.types, &run.arena);
    for (size_t i = 0; i < run.request->n_proto_file; i++)
        types_add_file(&run.types, run.request->proto_file[i]);
    run.texts = calloc(texts + 1, sizeof(*run.texts));
    CHECK(run.texts);
    google__protobuf__compiler__code_generator_response__init(&run.response);
    run.response.has_supported_features = 1;
    run.response.supported_features =
        GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_RESPONSE__FEATURE__FEATURE_PROTO3_OPTIONAL;
    run.response.file = arena_array(&run.arena, texts + 1, sizeof(*run.response.file));
    CHECK(run.response.file);

    error = generate_all(&run);
    if (error) {
        run.response.n_file = 0;
        run.response.error = arena_strndup(&run.arena, error, strlen(error));
    }
    pack_response(&run, ret_response, ret_bytes);

    for (size_t i = 0; i < texts; i++)
        text_done(&run.texts[i]);
    free(run.texts);
    types_done(&run.types);
    arena_done(&run.arena);
    google__protobuf__compiler__code_generator_request__free_unpacked(run.request, NULL);
    return true;
}
