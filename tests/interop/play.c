#include "interop/play.h"

#include "base/check.h"
#include "interop/cases.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct stub_call_options play_patient = {.timeout_us = PLAY_PATIENCE_US};

bool play_wrong(char *error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error, CASE_ERROR_MAX, format, arguments);
    va_end(arguments);
    return false;
}

uint8_t *play_payload_begin(Grpc__Testing__Payload *payload, int32_t size)
{
    *payload = (Grpc__Testing__Payload)GRPC__TESTING__PAYLOAD__INIT;
    payload->type = GRPC__TESTING__PAYLOAD_TYPE__COMPRESSABLE;
    payload->body.len = (size_t)size;
    payload->body.data = calloc(1, (size_t)size);
    CHECK(payload->body.data);
    return payload->body.data;
}

bool play_check_payload(const Grpc__Testing__Payload *payload, int32_t size, char *error)
{
    if (!payload)
        return play_wrong(error, "no payload");
    if (payload->type != GRPC__TESTING__PAYLOAD_TYPE__COMPRESSABLE)
        return play_wrong(error, "payload of type %d", (int)payload->type);
    if (payload->body.len != (size_t)size)
        return play_wrong(error, "%zu bytes, not %d", payload->body.len, (int)size);
    for (size_t i = 0; i < payload->body.len; i++)
        if (payload->body.data[i])
            return play_wrong(error, "byte %zu is not zero", i);
    return true;
}

bool play_check_status(const struct stub_status *status, int code, const char *message,
                         char *error)
{
    if (status->code != code)
        return play_wrong(error, "%s \"%s\", not %s", stub_code_name(status->code), status->message,
                     stub_code_name(code));
    if (message && strcmp(status->message, message) != 0)
        return play_wrong(error, "message \"%s\", not \"%s\"", status->message, message);
    return true;
}

bool play_check_end(struct stub_stream *stream, int code, const char *message, char *error)
{
    struct stub_status status = STUB_STATUS_INIT;
    bool ok;

    stub_stream_close(stream, &status);
    ok = play_check_status(&status, code, message, error);
    stub_status_clear(&status);
    return ok;
}

bool play_give_up(struct stub_stream *stream, char *error)
{
    struct stub_status status = STUB_STATUS_INIT;
    size_t bytes = strlen(error);

    stub_stream_cancel(stream);
    stub_stream_close(stream, &status);
    snprintf(error + bytes, CASE_ERROR_MAX - bytes, "; in the end %s \"%s\"",
             stub_code_name(status.code), status.message);
    stub_status_clear(&status);
    return false;
}

bool play_check_next(struct stub_stream *stream, int32_t size, char *error)
{
    Grpc__Testing__StreamingOutputCallResponse *response;
    enum stub_recv received =
        grpc_testing_test_service_full_duplex_call_recv(stream, -1, &response);
    bool ok;

    if (received != STUB_RECV_MESSAGE)
        return play_wrong(error, "no message where one of %d bytes was due", (int)size);
    ok = play_check_payload(response->payload, size, error);
    grpc__testing__streaming_output_call_response__free_unpacked(response, NULL);
    return ok;
}

bool play_check_no_next(struct stub_stream *stream, char *error)
{
    Grpc__Testing__StreamingOutputCallResponse *response;

    if (grpc_testing_test_service_full_duplex_call_recv(stream, -1, &response) == STUB_RECV_END)
        return true;
    grpc__testing__streaming_output_call_response__free_unpacked(response, NULL);
    return play_wrong(error, "a message where none was due");
}

bool play_ask(struct stub_stream *stream, int32_t request_size, int32_t response_size)
{
    Grpc__Testing__StreamingOutputCallRequest request =
        GRPC__TESTING__STREAMING_OUTPUT_CALL_REQUEST__INIT;
    Grpc__Testing__ResponseParameters parameters = GRPC__TESTING__RESPONSE_PARAMETERS__INIT;
    Grpc__Testing__ResponseParameters *list[] = {&parameters};
    Grpc__Testing__Payload payload;
    uint8_t *zeros = play_payload_begin(&payload, request_size);
    bool sent;

    parameters.size = response_size;
    request.n_response_parameters = 1;
    request.response_parameters = list;
    request.payload = &payload;
    sent = grpc_testing_test_service_full_duplex_call_write(stream, &request);
    free(zeros);
    return sent;
}
