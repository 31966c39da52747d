/* The plugin as protoc sees it: request in, response out. */
#include "plugin/plugin.h"

#include "plugin/embed.h"

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

Test(plugin, tells_of_a_type_that_is_not_there)
{
    request_message request = GOOGLE__PROTOBUF__COMPILER__CODE_GENERATOR_REQUEST__INIT;
    Google__Protobuf__FileDescriptorProto file = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_PROTO__INIT;
    Google__Protobuf__ServiceDescriptorProto service =
        GOOGLE__PROTOBUF__SERVICE_DESCRIPTOR_PROTO__INIT;
    Google__Protobuf__MethodDescriptorProto method =
        GOOGLE__PROTOBUF__METHOD_DESCRIPTOR_PROTO__INIT;
    Google__Protobuf__FileDescriptorProto *files[] = {&file};
    Google__Protobuf__ServiceDescriptorProto *services[] = {&service};
    Google__Protobuf__MethodDescriptorProto *methods[] = {&method};
    char name[] = "a.proto", service_name[] = "S", method_name[] = "Get", type[] = ".Nobody";
    char *names[] = {name};
    response_message *response;

    method.name = method_name;
    method.input_type = method.output_type = type;
    service.name = service_name;
    service.n_method = 1;
    service.method = methods;
    file.name = name;
    file.n_service = 1;
    file.service = services;
    request.n_proto_file = 1;
    request.proto_file = files;
    request.n_file_to_generate = 1;
    request.file_to_generate = names;
    response = run(&request);
    cr_assert(strstr(response->error, "Get"), "%s", response->error);
    done(response);
}

Test(plugin, cuts_files_out_of_the_request)
{
    /* file_to_generate "x", proto_file "ab", proto_file "c" */
    struct slice request = SLICE("\x0a\x01x\x7a\x02" "ab\x7a\x01" "c");

    cr_assert(slice_equal_cstr(embed_file_at(request, 0), "ab"));
    cr_assert(slice_equal_cstr(embed_file_at(request, 1), "c"));
    cr_assert_null(embed_file_at(request, 2).data);
}
