/* The plugin as protoc sees it: request in, response out. */
#include "plugin/plugin.h"

#include "plugin/embed.h"
#include "request.h"

#include <criterion/criterion.h>
#include <google/protobuf/compiler/plugin.pb-c.h>
#include <stdlib.h>
#include <string.h>

typedef Google__Protobuf__Compiler__CodeGeneratorRequest request_message;
typedef Google__Protobuf__Compiler__CodeGeneratorResponse response_message;

static response_message *run(const request_message *request)
{
    size_t bytes = protobuf_c_message_get_packed_size(&request->base);
    uint8_t *packed = malloc(bytes + 1), *answer;
    response_message *response;
    size_t answer_bytes;

    protobuf_c_message_pack(&request->base, packed);
    cr_assert(plugin_run(slice_of(packed, bytes), &answer, &answer_bytes));
    response = google__protobuf__compiler__code_generator_response__unpack(NULL, answer_bytes,
                                                                           answer);
    cr_assert(response);
    free(packed);
    free(answer);
    return response;
}

static void done(response_message *response)
{
    google__protobuf__compiler__code_generator_response__free_unpacked(response, NULL);
}

Test(plugin, refuses_bytes_that_are_no_request)
{
    uint8_t *answer;
    size_t bytes;

    cr_assert_not(plugin_run(slice_of("\xff\xff", 2), &answer, &bytes));
}

Test(plugin, answers_nothing_for_nothing)
{
    request_message request = GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_REQUEST__INIT;
    response_message *response = run(&request);

    cr_assert_eq(response->n_file, 0);
    cr_assert_null(response->error);
    cr_assert_eq(response->supported_features, 1);
    done(response);
}

Test(plugin, refuses_parameters)
{
    request_message request = GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_REQUEST__INIT;
    char parameter[] = "x=1";
    response_message *response;

    request.parameter = parameter;
    response = run(&request);
    cr_assert(strstr(response->error, "x=1"), "%s", response->error);
    done(response);
}

Test(plugin, tells_of_a_file_that_is_not_there)
{
    request_message request = GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_REQUEST__INIT;
    char name[] = "gone.proto";
    char *names[] = {name};
    response_message *response;

    request.n_file_to_generate = 1;
    request.file_to_generate = names;
    response = run(&request);
    cr_assert(strstr(response->error, "gone.proto"), "%s", response->error);
    done(response);
}

static struct request good;

static void refused(const char *part)
{
    response_message *response = run(&good.base);

    cr_assert(response->error);
    cr_assert(strstr(response->error, part), "%s", response->error);
    cr_assert_eq(response->n_file, 0);
    done(response);
}

Test(plugin, writes_a_header_and_a_source)
{
    response_message *response;

    request_init(&good);
    response = run(&good.base);
    cr_assert_null(response->error);
    cr_assert_eq(response->n_file, 2);
    cr_assert_str_eq(response->file[0]->name, "a.stub.h");
    cr_assert(strstr(response->file[0]->content, "s_get_reply("));
    cr_assert_str_eq(response->file[1]->name, "a.stub.c");
    cr_assert(strstr(response->file[1]->content, "\"/S/Get\""));
    done(response);
}

Test(plugin, tells_of_a_type_that_is_not_there)
{
    request_init(&good);
    strcpy(good.type, ".Nobody");
    refused("S.Get");
}

Test(plugin, tells_of_names_that_would_leave_the_c)
{
    request_init(&good);
    strcpy(good.service_name, "S;}int main");
    refused("no identifier");
}

Test(plugin, writes_no_file_twice)
{
    char *names[] = {good.name, good.name};

    request_init(&good);
    good.base.n_file_to_generate = 2;
    good.base.file_to_generate = names;
    refused("twice");
}

/* The option arrives as an unknown field: 1019 {6: c_package}. */
Test(plugin, takes_c_package_only_if_it_is_one)
{
    Google__Protobuf__FileOptions options = GOOGLE__PROTOBUF__FILE_OPTIONS__INIT;
    char bytes[] = "\x05\x32\x03" "a.b";
    ProtobufCMessageUnknownField field = {1019, PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED, 6,
                                          (uint8_t *)bytes};
    response_message *response;

    request_init(&good);
    good.file.options = &options;
    options.base.n_unknown_fields = 1;
    options.base.unknown_fields = &field;
    response = run(&good.base);
    cr_assert_null(response->error, "%s", response->error);
    cr_assert(strstr(response->file[0]->content, "a_b_s_get_reply("));
    done(response);

    memcpy(bytes + 3, "a b", 3);
    refused("c_package");
    memcpy(bytes, "\x05\x32\x7f", 3); /* longer than there is */
    refused("pb_c_file");
}

Test(plugin, cuts_files_out_of_the_request)
{
    /* file_to_generate "x", proto_file "ab", proto_file "c" */
    struct slice request = SLICE("\x0a\x01x\x7a\x02" "ab\x7a\x01" "c");

    cr_assert(slice_equal_cstr(embed_file_at(request, 0), "ab"));
    cr_assert(slice_equal_cstr(embed_file_at(request, 1), "c"));
    cr_assert_null(embed_file_at(request, 2).data);
}
