#include "interop/cases.h"

#include "base/check.h"

#include <grpc/testing/test.stub.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGES = 4, LARGE_REQUEST = 271828, LARGE_RESPONSE = 314159 };

static const int32_t request_sizes[MESSAGES] = {27182, 8, 1828, 45904};
static const int32_t response_sizes[MESSAGES] = {31415, 9, 2653, 58979};

__attribute__((format(printf, 2, 3))) static bool wrong(char *error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error, CASE_ERROR_MAX, format, arguments);
    va_end(arguments);
    return false;
}

/* --- what comes and goes -------------------------------------------------------------------------- */

static uint8_t *payload_begin(Grpc__Testing__Payload *payload, int32_t size)
{
    *payload = (Grpc__Testing__Payload)GRPC__TESTING__PAYLOAD__INIT;
    payload->type = GRPC__TESTING__PAYLOAD_TYPE__COMPRESSABLE;
    payload->body.len = (size_t)size;
    payload->body.data = calloc(1, (size_t)size);
    CHECK(payload->body.data);
    return payload->body.data;
}

static bool check_payload(const Grpc__Testing__Payload *payload, int32_t size, char *error)
{
    if (!payload)
        return wrong(error, "no payload");
    if (payload->type != GRPC__TESTING__PAYLOAD_TYPE__COMPRESSABLE)
        return wrong(error, "payload of type %d", (int)payload->type);
    if (payload->body.len != (size_t)size)
        return wrong(error, "%zu bytes, not %d", payload->body.len, (int)size);
    for (size_t i = 0; i < payload->body.len; i++)
        if (payload->body.data[i])
            return wrong(error, "byte %zu is not zero", i);
    return true;
}

static bool check_status(const struct stub_status *status, int code, const char *message,
                         char *error)
{
    if (status->code != code)
        return wrong(error, "%s \"%s\", not %s", stub_code_name(status->code), status->message,
                     stub_code_name(code));
    if (message && strcmp(status->message, message) != 0)
        return wrong(error, "message \"%s\", not \"%s\"", status->message, message);
    return true;
}

/* Closes the stream and clears the status. */
static bool check_end(struct stub_stream *stream, int code, const char *message, char *error)
{
    struct stub_status status = STUB_STATUS_INIT;
    bool ok;

    stub_stream_close(stream, &status);
    ok = check_status(&status, code, message, error);
    stub_status_clear(&status);
    return ok;
}

/* Closes the stream, for when it is lost anyway. */
static bool give_up(struct stub_stream *stream)
{
    stub_stream_cancel(stream);
    stub_stream_close(stream, NULL);
    return false;
}

/* The next message has `size` zeros. */
static bool check_next(struct stub_stream *stream, int32_t size, char *error)
{
    Grpc__Testing__StreamingOutputCallResponse *response;
    enum stub_recv received =
        grpc_testing_test_service_full_duplex_call_recv(stream, -1, &response);
    bool ok;

    if (received != STUB_RECV_MESSAGE)
        return wrong(error, "no message where one of %d bytes was due", (int)size);
    ok = check_payload(response->payload, size, error);
    grpc__testing__streaming_output_call_response__free_unpacked(response, NULL);
    return ok;
}

static bool check_no_next(struct stub_stream *stream, char *error)
{
    Grpc__Testing__StreamingOutputCallResponse *response;

    if (grpc_testing_test_service_full_duplex_call_recv(stream, -1, &response) == STUB_RECV_END)
        return true;
    grpc__testing__streaming_output_call_response__free_unpacked(response, NULL);
    return wrong(error, "a message where none was due");
}

/* Asks for one message. */
static bool ask(struct stub_stream *stream, int32_t request_size, int32_t response_size)
{
    Grpc__Testing__StreamingOutputCallRequest request =
        GRPC__TESTING__STREAMING_OUTPUT_CALL_REQUEST__INIT;
    Grpc__Testing__ResponseParameters parameters = GRPC__TESTING__RESPONSE_PARAMETERS__INIT;
    Grpc__Testing__ResponseParameters *list[] = {&parameters};
    Grpc__Testing__Payload payload;
    uint8_t *zeros = payload_begin(&payload, request_size);
    bool sent;

    parameters.size = response_size;
    request.n_response_parameters = 1;
    request.response_parameters = list;
    request.payload = &payload;
    sent = grpc_testing_test_service_full_duplex_call_write(stream, &request);
    free(zeros);
    return sent;
}

/* --- unary ----------------------------------------------------------------------------------------- */

static bool empty_unary(struct stub_channel *channel, char *error)
{
    Grpc__Testing__Empty request = GRPC__TESTING__EMPTY__INIT;
    Grpc__Testing__Empty *response;
    struct stub_status status = STUB_STATUS_INIT;
    bool ok;

    grpc_testing_test_service_empty_call(channel, NULL, &request, &response, &status);
    ok = check_status(&status, STUB_OK, NULL, error);
    if (response)
        grpc__testing__empty__free_unpacked(response, NULL);
    stub_status_clear(&status);
    return ok;
}

/* The status is the caller's to clear. */
static bool unary(struct stub_channel *channel, const struct stub_call_options *options,
                  struct stub_status *status, char *error)
{
    Grpc__Testing__SimpleRequest request = GRPC__TESTING__SIMPLE_REQUEST__INIT;
    Grpc__Testing__SimpleResponse *response;
    Grpc__Testing__Payload payload;
    uint8_t *zeros = payload_begin(&payload, LARGE_REQUEST);
    bool ok;

    request.response_type = GRPC__TESTING__PAYLOAD_TYPE__COMPRESSABLE;
    request.response_size = LARGE_RESPONSE;
    request.payload = &payload;
    grpc_testing_test_service_unary_call(channel, options, &request, &response, status);
    free(zeros);
    ok = check_status(status, STUB_OK, NULL, error) &&
         check_payload(response->payload, LARGE_RESPONSE, error);
    if (response)
        grpc__testing__simple_response__free_unpacked(response, NULL);
    return ok;
}

static bool large_unary(struct stub_channel *channel, char *error)
{
    struct stub_status status = STUB_STATUS_INIT;
    bool ok = unary(channel, NULL, &status, error);

    stub_status_clear(&status);
    return ok;
}

static bool unimplemented_method(struct stub_channel *channel, char *error)
{
    Grpc__Testing__Empty request = GRPC__TESTING__EMPTY__INIT;
    Grpc__Testing__Empty *response;
    struct stub_status status = STUB_STATUS_INIT;
    bool ok;

    grpc_testing_test_service_unimplemented_call(channel, NULL, &request, &response, &status);
    ok = check_status(&status, STUB_UNIMPLEMENTED, NULL, error);
    stub_status_clear(&status);
    return ok;
}

static bool unimplemented_service(struct stub_channel *channel, char *error)
{
    Grpc__Testing__Empty request = GRPC__TESTING__EMPTY__INIT;
    Grpc__Testing__Empty *response;
    struct stub_status status = STUB_STATUS_INIT;
    bool ok;

    grpc_testing_unimplemented_service_unimplemented_call(channel, NULL, &request, &response,
                                                          &status);
    ok = check_status(&status, STUB_UNIMPLEMENTED, NULL, error);
    stub_status_clear(&status);
    return ok;
}

/* --- streams --------------------------------------------------------------------------------------- */

static bool client_streaming(struct stub_channel *channel, char *error)
{
    Grpc__Testing__StreamingInputCallResponse *response;
    struct stub_stream *stream = grpc_testing_test_service_streaming_input_call_open(channel, NULL);
    int32_t sum = 0, wanted = 0;

    for (int i = 0; i < MESSAGES; i++) {
        Grpc__Testing__StreamingInputCallRequest request =
            GRPC__TESTING__STREAMING_INPUT_CALL_REQUEST__INIT;
        Grpc__Testing__Payload payload;
        uint8_t *zeros = payload_begin(&payload, request_sizes[i]);

        request.payload = &payload;
        (void)grpc_testing_test_service_streaming_input_call_write(stream, &request);
        free(zeros);
        wanted += request_sizes[i];
    }
    stub_stream_send_end(stream);
    if (grpc_testing_test_service_streaming_input_call_recv(stream, -1, &response) ==
        STUB_RECV_MESSAGE) {
        sum = response->aggregated_payload_size;
        grpc__testing__streaming_input_call_response__free_unpacked(response, NULL);
        if (!check_no_next(stream, error))
            return give_up(stream);
    }
    return check_end(stream, STUB_OK, NULL, error) &&
           (sum == wanted || wrong(error, "a sum of %d, not %d", (int)sum, (int)wanted));
}

static bool server_streaming(struct stub_channel *channel, char *error)
{
    Grpc__Testing__StreamingOutputCallRequest request =
        GRPC__TESTING__STREAMING_OUTPUT_CALL_REQUEST__INIT;
    Grpc__Testing__ResponseParameters parameters[MESSAGES];
    Grpc__Testing__ResponseParameters *list[MESSAGES];
    struct stub_stream *stream;

    for (int i = 0; i < MESSAGES; i++) {
        parameters[i] =
            (Grpc__Testing__ResponseParameters)GRPC__TESTING__RESPONSE_PARAMETERS__INIT;
        parameters[i].size = response_sizes[i];
        list[i] = &parameters[i];
    }
    request.n_response_parameters = MESSAGES;
    request.response_parameters = list;
    stream = grpc_testing_test_service_streaming_output_call_open(channel, NULL, &request);
    for (int i = 0; i < MESSAGES; i++)
        if (!check_next(stream, response_sizes[i], error))
            return give_up(stream);
    if (!check_no_next(stream, error))
        return give_up(stream);
    return check_end(stream, STUB_OK, NULL, error);
}

static bool ping_pong(struct stub_channel *channel, char *error)
{
    struct stub_stream *stream = grpc_testing_test_service_full_duplex_call_open(channel, NULL);

    for (int i = 0; i < MESSAGES; i++) {
        if (!ask(stream, request_sizes[i], response_sizes[i])) {
            wrong(error, "request %d was not taken", i);
            return give_up(stream);
        }
        if (!check_next(stream, response_sizes[i], error))
            return give_up(stream);
    }
    stub_stream_send_end(stream);
    if (!check_no_next(stream, error))
        return give_up(stream);
    return check_end(stream, STUB_OK, NULL, error);
}

static bool empty_stream(struct stub_channel *channel, char *error)
{
    struct stub_stream *stream = grpc_testing_test_service_full_duplex_call_open(channel, NULL);

    stub_stream_send_end(stream);
    if (!check_no_next(stream, error))
        return give_up(stream);
    return check_end(stream, STUB_OK, NULL, error);
}

static bool cancel_after_begin(struct stub_channel *channel, char *error)
{
    struct stub_stream *stream = grpc_testing_test_service_streaming_input_call_open(channel, NULL);

    stub_stream_cancel(stream);
    return check_end(stream, STUB_CANCELLED, NULL, error);
}

static bool cancel_after_first_response(struct stub_channel *channel, char *error)
{
    struct stub_stream *stream = grpc_testing_test_service_full_duplex_call_open(channel, NULL);

    if (!ask(stream, request_sizes[0], response_sizes[0])) {
        wrong(error, "the request was not taken");
        return give_up(stream);
    }
    if (!check_next(stream, response_sizes[0], error))
        return give_up(stream);
    stub_stream_cancel(stream);
    return check_end(stream, STUB_CANCELLED, NULL, error);
}

static bool timeout_on_sleeping_server(struct stub_channel *channel, char *error)
{
    struct stub_call_options options = {.timeout_us = 1000};
    struct stub_stream *stream =
        grpc_testing_test_service_full_duplex_call_open(channel, &options);

    /* The deadline may be over before this is sent. */
    (void)ask(stream, request_sizes[0], response_sizes[0]);
    for (;;) {
        Grpc__Testing__StreamingOutputCallResponse *response;

        if (grpc_testing_test_service_full_duplex_call_recv(stream, -1, &response) !=
            STUB_RECV_MESSAGE)
            break;
        grpc__testing__streaming_output_call_response__free_unpacked(response, NULL);
    }
    return check_end(stream, STUB_DEADLINE_EXCEEDED, NULL, error);
}

/* --- both ------------------------------------------------------------------------------------------- */

static const char *const metadata[] = {"x-grpc-test-echo-initial", "test_initial_metadata_value",
                                       "x-grpc-test-echo-trailing-bin", "\xab\xab\xab"};
static const struct stub_call_options with_metadata = {.metadata = metadata, .metadata_count = 2};

static bool has(const struct stub_metadata *list, size_t count, const char *key, const char *value)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].key, key) == 0)
            return list[i].value_bytes == strlen(value) && strcmp(list[i].value, value) == 0;
    return false;
}

static bool check_metadata(const struct stub_status *status, char *error)
{
    if (!has(status->initial, status->initial_count, metadata[0], metadata[1]))
        return wrong(error, "the initial metadata lack %s", metadata[0]);
    if (!has(status->trailing, status->trailing_count, metadata[2], metadata[3]))
        return wrong(error, "the trailing metadata lack %s", metadata[2]);
    return true;
}

static bool custom_metadata(struct stub_channel *channel, char *error)
{
    struct stub_status status = STUB_STATUS_INIT;
    struct stub_stream *stream;
    bool ok = unary(channel, &with_metadata, &status, error) && check_metadata(&status, error);

    stub_status_clear(&status);
    if (!ok)
        return false;
    stream = grpc_testing_test_service_full_duplex_call_open(channel, &with_metadata);
    ok = ask(stream, request_sizes[0], response_sizes[0]);
    stub_stream_send_end(stream);
    if (!ok || !check_next(stream, response_sizes[0], error) || !check_no_next(stream, error))
        return give_up(stream);
    stub_stream_close(stream, &status);
    ok = check_status(&status, STUB_OK, NULL, error) && check_metadata(&status, error);
    stub_status_clear(&status);
    return ok;
}

static bool unary_fails(struct stub_channel *channel, char *message, char *error)
{
    Grpc__Testing__SimpleRequest request = GRPC__TESTING__SIMPLE_REQUEST__INIT;
    Grpc__Testing__EchoStatus wanted = GRPC__TESTING__ECHO_STATUS__INIT;
    Grpc__Testing__SimpleResponse *response;
    struct stub_status status = STUB_STATUS_INIT;
    bool ok;

    wanted.code = STUB_UNKNOWN;
    wanted.message = message;
    request.response_status = &wanted;
    grpc_testing_test_service_unary_call(channel, NULL, &request, &response, &status);
    ok = check_status(&status, STUB_UNKNOWN, message, error);
    if (response)
        grpc__testing__simple_response__free_unpacked(response, NULL);
    stub_status_clear(&status);
    return ok;
}

static bool stream_fails(struct stub_channel *channel, char *message, char *error)
{
    Grpc__Testing__StreamingOutputCallRequest request =
        GRPC__TESTING__STREAMING_OUTPUT_CALL_REQUEST__INIT;
    Grpc__Testing__EchoStatus wanted = GRPC__TESTING__ECHO_STATUS__INIT;
    struct stub_stream *stream = grpc_testing_test_service_full_duplex_call_open(channel, NULL);

    wanted.code = STUB_UNKNOWN;
    wanted.message = message;
    request.response_status = &wanted;
    (void)grpc_testing_test_service_full_duplex_call_write(stream, &request);
    stub_stream_send_end(stream);
    if (!check_no_next(stream, error))
        return give_up(stream);
    return check_end(stream, STUB_UNKNOWN, message, error);
}

static bool status_code_and_message(struct stub_channel *channel, char *error)
{
    char message[] = "test status message";

    return unary_fails(channel, message, error) && stream_fails(channel, message, error);
}

static bool special_status_message(struct stub_channel *channel, char *error)
{
    char message[] = "\t\ntest with whitespace\r\nand Unicode BMP \xe2\x98\xba and non-BMP "
                     "\xf0\x9f\x98\x88\t\n";

    return unary_fails(channel, message, error);
}

const struct interop_case interop_cases[] = {
    {"empty_unary", empty_unary},
    {"large_unary", large_unary},
    {"client_streaming", client_streaming},
    {"server_streaming", server_streaming},
    {"ping_pong", ping_pong},
    {"empty_stream", empty_stream},
    {"custom_metadata", custom_metadata},
    {"status_code_and_message", status_code_and_message},
    {"special_status_message", special_status_message},
    {"unimplemented_method", unimplemented_method},
    {"unimplemented_service", unimplemented_service},
    {"cancel_after_begin", cancel_after_begin},
    {"cancel_after_first_response", cancel_after_first_response},
    {"timeout_on_sleeping_server", timeout_on_sleeping_server},
};
const size_t interop_cases_count = ARRAY_COUNT(interop_cases);
