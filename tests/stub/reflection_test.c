#include "tests/stub/fixture.h"

#include <criterion/criterion.h>
#include <google/rpc/error_details.stub.h>
#include <grpc/reflection/v1/reflection.stub.h>
#include <grpc/reflection/v1alpha/reflection.stub.h>
#include <stdio.h>
#include <string.h>

typedef Grpc__Reflection__V1__ServerReflectionRequest request_message;
typedef Grpc__Reflection__V1__ServerReflectionResponse response_message;

#define ASK(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##name
#define GOT(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##name

static enum stub_recv receive(struct stub_stream *stream, response_message **ret)
{
    return grpc_reflection_v1_server_reflection_server_reflection_info_recv(stream, 5000000, ret);
}

static response_message *ask(struct stub_stream *stream, int what, const char *text)
{
    request_message request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    response_message *response;
    char copy[128], host[] = "host";

    snprintf(copy, sizeof(copy), "%s", text);
    request.host = host;
    request.message_request_case =
        (Grpc__Reflection__V1__ServerReflectionRequest__MessageRequestCase)what;
    request.file_by_filename = copy; /* all that are asked for here are strings */
    cr_assert(stub_stream_send(stream, &request.base));
    cr_assert_eq(receive(stream, &response), STUB_RECV_MESSAGE);
    cr_assert_str_eq(response->valid_host, "host");
    cr_assert_str_eq(response->original_request->file_by_filename, text);
    return response;
}

static void done(response_message *response)
{
    grpc__reflection__v1__server_reflection_response__free_unpacked(response, NULL);
}

static void expect_error(struct stub_stream *stream, int what, const char *text, int code)
{
    response_message *response = ask(stream, what, text);

    cr_assert_eq(response->message_response_case, GOT(ERROR_RESPONSE));
    cr_assert_eq(response->error_response->error_code, code);
    done(response);
}

static void expect_files(struct stub_stream *stream, int what, const char *text,
                         const struct stub_file *first, size_t count)
{
    response_message *response = ask(stream, what, text);
    const Grpc__Reflection__V1__FileDescriptorResponse *files = response->file_descriptor_response;

    cr_assert_eq(response->message_response_case, GOT(FILE_DESCRIPTOR_RESPONSE));
    cr_assert_eq(files->n_file_descriptor_proto, count);
    cr_assert_eq(files->file_descriptor_proto[0].len, first->bytes_count);
    cr_assert(memcmp(files->file_descriptor_proto[0].data, first->bytes, first->bytes_count) == 0);
    done(response);
}

static void expect_services(struct stub_stream *stream)
{
    response_message *response = ask(stream, ASK(LIST_SERVICES), "*");
    const char *expected[] = {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
                              "grpc.reflection.v1alpha.ServerReflection",
                              "test.echo.v1.EchoService"};

    cr_assert_eq(response->message_response_case, GOT(LIST_SERVICES_RESPONSE));
    cr_assert_eq(response->list_services_response->n_service, 4);
    for (int i = 0; i < 4; i++)
        cr_assert_str_eq(response->list_services_response->service[i]->name, expected[i]);
    done(response);
}

static void converse(struct stub_stream *stream)
{
    response_message *response;

    expect_services(stream);
    expect_files(stream, ASK(FILE_BY_FILENAME), "echo/echo.proto", &echo_echo_proto_file, 1);
    expect_files(stream, ASK(FILE_CONTAINING_SYMBOL), "test.echo.v1.EchoService.Chat",
                 &echo_echo_proto_file, 1);
    expect_files(stream, ASK(FILE_CONTAINING_SYMBOL), "test.echo.v1.EchoRequest.Action",
                 &echo_echo_proto_file, 1);
    expect_files(stream, ASK(FILE_CONTAINING_SYMBOL), "google.rpc.BadRequest",
                 &google_rpc_error_details_proto_file, 2);
    expect_error(stream, ASK(FILE_CONTAINING_SYMBOL), "test.echo.v1.Nobody", STUB_NOT_FOUND);
    expect_error(stream, ASK(FILE_BY_FILENAME), "no.proto", STUB_NOT_FOUND);
    expect_error(stream, ASK(ALL_EXTENSION_NUMBERS_OF_TYPE), "x", STUB_NOT_FOUND);
    stub_stream_send_end(stream);
    cr_assert_eq(receive(stream, &response), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_OK);
}

Test(reflection, answers_version_1)
{
    struct fixture f = fixture_start(NULL);

    converse(grpc_reflection_v1_server_reflection_server_reflection_info_open(f.channel, NULL));
    fixture_stop(&f);
}

Test(reflection, answers_version_1_alpha)
{
    struct fixture f = fixture_start(NULL);
    struct stub_method method = grpc_reflection_v1_server_reflection_methods[0];

    /* The messages are the same; only the path differs. */
    method.path = grpc_reflection_v1alpha_server_reflection_methods[0].path;
    converse(stub_stream_open(f.channel, &method, NULL, NULL));
    fixture_stop(&f);
}

Test(reflection, outlives_a_client_that_goes)
{
    struct fixture f = fixture_start(NULL);
    struct stub_stream *stream =
        grpc_reflection_v1_server_reflection_server_reflection_info_open(f.channel, NULL);

    done(ask(stream, ASK(LIST_SERVICES), "*"));
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_CANCELLED);
    fixture_stop(&f);
}
