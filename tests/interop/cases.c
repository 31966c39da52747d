#include "interop/cases.h"

#include "base/check.h"
#include "interop/play.h"

#include <grpc/testing/test.stub.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGES = 4, LARGE_REQUEST = 271828, LARGE_RESPONSE = 314159 };

static const int32_t request_sizes[MESSAGES] = {27182, 8, 1828, 45904};
static const int32_t response_sizes[MESSAGES] = {31415, 9, 2653, 58979};

/* --- unary ----------------------------------------------------------------------------------- */

static bool empty_unary(struct stub_channel *channel, char *error)
{
    Grpc__Testing__Empty request = GRPC__TESTING__EMPTY__INIT;
    Grpc__Testing__Empty *response;
    struct stub_status status = STUB_STATUS_INIT;
    bool ok;

    grpc_testing_test_service_empty_call(channel, &play_patient, &request, &response, &status);
    ok = play_check_status(&status, STUB_OK, NULL, error);
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
    uint8_t *zeros = play_payload_begin(&payload, LARGE_REQUEST);
    bool ok;

    request.response_type = GRPC__TESTING__PAYLOAD_TYPE__COMPRESSABLE;
    request.response_size = LARGE_RESPONSE;
    request.payload = &payload;
    grpc_testing_test_service_unary_call(channel, options, &request, &response, status);
    free(zeros);
    ok = play_check_status(status, STUB_OK, NULL, error) &&
         play_check_payload(response->payload, LARGE_RESPONSE, error);
    if (response)
        grpc__testing__simple_response__free_unpacked(response, NULL);
    return ok;
}

static bool large_unary(struct stub_channel *channel, char *error)
{
    struct stub_status status = STUB_STATUS_INIT;
    bool ok = unary(channel, &play_patient, &status, error);

    stub_status_clear(&status);
    return ok;
}

static bool unimplemented_method(struct stub_channel *channel, char *error)
{
    Grpc__Testing__Empty request = GRPC__TESTING__EMPTY__INIT;
    Grpc__Testing__Empty *response;
    struct stub_status status = STUB_STATUS_INIT;
    bool ok;

    grpc_testing_test_service_unimplemented_call(channel, &play_patient, &request, &response,
                                                 &status);
    ok = play_check_status(&status, STUB_UNIMPLEMENTED, NULL, error);
    stub_status_clear(&status);
    return ok;
}

static bool unimplemented_service(struct stub_channel *channel, char *error)
{
    Grpc__Testing__Empty request = GRPC__TESTING__EMPTY__INIT;
    Grpc__Testing__Empty *response;
    struct stub_status status = STUB_STATUS_INIT;
    bool ok;

    grpc_testing_unimplemented_service_unimplemented_call(channel, &play_patient, &request,
                                                          &response,
                                                          &status);
    ok = play_check_status(&status, STUB_UNIMPLEMENTED, NULL, error);
    stub_status_clear(&status);
    return ok;
}

/* --- streams --------------------------------------------------------------------------------- */

static bool client_streaming(struct stub_channel *channel, char *error)
{
    Grpc__Testing__StreamingInputCallResponse *response;
    struct stub_stream *stream =
        grpc_testing_test_service_streaming_input_call_open(channel, &play_patient);
    int32_t sum = 0, wanted = 0;

    for (int i = 0; i < MESSAGES; i++) {
        Grpc__Testing__StreamingInputCallRequest request =
            GRPC__TESTING__STREAMING_INPUT_CALL_REQUEST__INIT;
        Grpc__Testing__Payload payload;
        uint8_t *zeros = play_payload_begin(&payload, request_sizes[i]);

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
        if (!play_check_no_next(stream, error))
            return play_give_up(stream, error);
    }
    return play_check_end(stream, STUB_OK, NULL, error) &&
           (sum == wanted || play_wrong(error, "a sum of %d, not %d", (int)sum, (int)wanted));
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
    stream = grpc_testing_test_service_streaming_output_call_open(channel, &play_patient, &request);
    for (int i = 0; i < MESSAGES; i++)
        if (!play_check_next(stream, response_sizes[i], error))
            return play_give_up(stream, error);
    if (!play_check_no_next(stream, error))
        return play_give_up(stream, error);
    return play_check_end(stream, STUB_OK, NULL, error);
}

static bool ping_pong(struct stub_channel *channel, char *error)
{
    struct stub_stream *stream =
        grpc_testing_test_service_full_duplex_call_open(channel, &play_patient);

    for (int i = 0; i < MESSAGES; i++) {
        if (!play_ask(stream, request_sizes[i], response_sizes[i])) {
            play_wrong(error, "request %d was not taken", i);
            return play_give_up(stream, error);
        }
        if (!play_check_next(stream, response_sizes[i], error))
            return play_give_up(stream, error);
    }
    stub_stream_send_end(stream);
    if (!play_check_no_next(stream, error))
        return play_give_up(stream, error);
    return play_check_end(stream, STUB_OK, NULL, error);
}

static bool empty_stream(struct stub_channel *channel, char *error)
{
    struct stub_stream *stream =
        grpc_testing_test_service_full_duplex_call_open(channel, &play_patient);

    stub_stream_send_end(stream);
    if (!play_check_no_next(stream, error))
        return play_give_up(stream, error);
    return play_check_end(stream, STUB_OK, NULL, error);
}

static bool cancel_after_begin(struct stub_channel *channel, char *error)
{
    struct stub_stream *stream =
        grpc_testing_test_service_streaming_input_call_open(channel, &play_patient);

    stub_stream_cancel(stream);
    return play_check_end(stream, STUB_CANCELLED, NULL, error);
}

static bool cancel_after_first_response(struct stub_channel *channel, char *error)
{
    struct stub_stream *stream =
        grpc_testing_test_service_full_duplex_call_open(channel, &play_patient);

    if (!play_ask(stream, request_sizes[0], response_sizes[0])) {
        play_wrong(error, "the request was not taken");
        return play_give_up(stream, error);
    }
    if (!play_check_next(stream, response_sizes[0], error))
        return play_give_up(stream, error);
    stub_stream_cancel(stream);
    return play_check_end(stream, STUB_CANCELLED, NULL, error);
}

static bool timeout_on_sleeping_server(struct stub_channel *channel, char *error)
{
    struct stub_call_options options = {.timeout_us = 1000};
    struct stub_stream *stream =
        grpc_testing_test_service_full_duplex_call_open(channel, &options);

    /* The deadline may be over before this is sent. */
    (void)play_ask(stream, request_sizes[0], response_sizes[0]);
    for (;;) {
        Grpc__Testing__StreamingOutputCallResponse *response;

        if (grpc_testing_test_service_full_duplex_call_recv(stream, -1, &response) !=
            STUB_RECV_MESSAGE)
            break;
        grpc__testing__streaming_output_call_response__free_unpacked(response, NULL);
    }
    return play_check_end(stream, STUB_DEADLINE_EXCEEDED, NULL, error);
}

/* --- both ------------------------------------------------------------------------------------ */

static const char *const metadata[] = {"x-grpc-test-echo-initial", "test_initial_metadata_value",
                                       "x-grpc-test-echo-trailing-bin", "\xab\xab\xab"};
static const struct stub_call_options with_metadata = {
    .timeout_us = PLAY_PATIENCE_US, .metadata = metadata, .metadata_count = 2};

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
        return play_wrong(error, "the initial metadata lack %s", metadata[0]);
    if (!has(status->trailing, status->trailing_count, metadata[2], metadata[3]))
        return play_wrong(error, "the trailing metadata lack %s", metadata[2]);
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
    ok = play_ask(stream, request_sizes[0], response_sizes[0]);
    stub_stream_send_end(stream);
    if (!ok || !play_check_next(stream, response_sizes[0], error) ||
        !play_check_no_next(stream, error))
        return play_give_up(stream, error);
    stub_stream_close(stream, &status);
    ok = play_check_status(&status, STUB_OK, NULL, error) && check_metadata(&status, error);
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
    grpc_testing_test_service_unary_call(channel, &play_patient, &request, &response, &status);
    ok = play_check_status(&status, STUB_UNKNOWN, message, error);
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
    struct stub_stream *stream =
        grpc_testing_test_service_full_duplex_call_open(channel, &play_patient);

    wanted.code = STUB_UNKNOWN;
    wanted.message = message;
    request.response_status = &wanted;
    (void)grpc_testing_test_service_full_duplex_call_write(stream, &request);
    stub_stream_send_end(stream);
    if (!play_check_no_next(stream, error))
        return play_give_up(stream, error);
    return play_check_end(stream, STUB_UNKNOWN, message, error);
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
