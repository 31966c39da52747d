#include "interop/soak_cases.h"

#include "base/check.h"
#include "base/entropy.h"
#include "interop/play.h"

#include <grpc/testing/test.stub.h>
#include <pthread.h>
#include <stdlib.h>

enum {
    TOO_LARGE = (4 << 20) + 1,
    LARGEST_ANSWER = 4 << 20, /* too large with what is around it */
    BURST = 32,
    STREAM_MESSAGES = 500,
    STREAM_BYTES = 100,
    LEFT_MESSAGES = 200,
    LEFT_BYTES = 10000,
    HALF_MESSAGES = 4,
};

/* --- unary ----------------------------------------------------------------------------------- */

static bool one_unary(struct stub_channel *channel, int32_t request_size, int32_t response_size,
                      int code, char *error)
{
    Grpc__Testing__SimpleRequest request = GRPC__TESTING__SIMPLE_REQUEST__INIT;
    Grpc__Testing__SimpleResponse *response;
    Grpc__Testing__Payload payload;
    struct stub_status status = STUB_STATUS_INIT;
    uint8_t *zeros = play_payload_begin(&payload, request_size);
    bool ok;

    request.response_size = response_size;
    request.payload = &payload;
    grpc_testing_test_service_unary_call(channel, &play_patient, &request, &response, &status);
    free(zeros);
    ok = play_check_status(&status, code, NULL, error) &&
         (!response || play_check_payload(response->payload, response_size, error));
    if (response)
        grpc__testing__simple_response__free_unpacked(response, NULL);
    stub_status_clear(&status);
    return ok;
}

/* 1 to max, by halves: small ones are as frequent as large ones. */
static int32_t any_size(int32_t max)
{
    uint64_t bound = (uint64_t)max >> entropy_below(entropy_real(), 16);

    return 1 + (int32_t)entropy_below(entropy_real(), bound);
}

static bool unary_of_any_size(struct stub_channel *channel, char *error)
{
    return one_unary(channel, any_size(1 << 20), any_size(1 << 20), STUB_OK, error);
}

static bool request_too_large(struct stub_channel *channel, char *error)
{
    return one_unary(channel, TOO_LARGE, 1, STUB_RESOURCE_EXHAUSTED, error);
}

static bool reply_too_large(struct stub_channel *channel, char *error)
{
    return one_unary(channel, 1, LARGEST_ANSWER, STUB_RESOURCE_EXHAUSTED, error);
}

static bool size_refused(struct stub_channel *channel, char *error)
{
    return one_unary(channel, 1, -1, STUB_INVALID_ARGUMENT, error);
}

static bool text_refused(struct stub_channel *channel, char *error)
{
    Grpc__Testing__SimpleRequest request = GRPC__TESTING__SIMPLE_REQUEST__INIT;
    Grpc__Testing__EchoStatus wanted = GRPC__TESTING__ECHO_STATUS__INIT;
    Grpc__Testing__SimpleResponse *response;
    struct stub_status status = STUB_STATUS_INIT;
    char text[] = "\xff is not UTF-8";
    bool ok;

    wanted.message = text;
    request.response_status = &wanted;
    grpc_testing_test_service_unary_call(channel, &play_patient, &request, &response, &status);
    ok = play_check_status(&status, STUB_INVALID_ARGUMENT, NULL, error);
    if (response)
        grpc__testing__simple_response__free_unpacked(response, NULL);
    stub_status_clear(&status);
    return ok;
}

struct burst {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int left;
    int failed;
};

static void burst_done(void *user, const struct stub_status *status,
                       const Grpc__Testing__Empty *reply)
{
    struct burst *burst = user;

    pthread_mutex_lock(&burst->lock);
    burst->failed += status->code != STUB_OK || !reply;
    if (--burst->left == 0)
        pthread_cond_signal(&burst->changed);
    pthread_mutex_unlock(&burst->lock);
}

static bool asynchronous_burst(struct stub_channel *channel, char *error)
{
    Grpc__Testing__Empty request = GRPC__TESTING__EMPTY__INIT;
    struct burst burst = {.lock = PTHREAD_MUTEX_INITIALIZER,
                          .changed = PTHREAD_COND_INITIALIZER,
                          .left = BURST};

    for (int i = 0; i < BURST; i++)
        grpc_testing_test_service_empty_call_async(channel, &play_patient, &request, burst_done,
                                                   &burst);
    pthread_mutex_lock(&burst.lock);
    while (burst.left > 0)
        pthread_cond_wait(&burst.changed, &burst.lock);
    pthread_mutex_unlock(&burst.lock);
    return burst.failed == 0 || play_wrong(error, "%d of %d failed", burst.failed, BURST);
}

static void burst_cancelled(void *user, const struct stub_status *status,
                            const Grpc__Testing__SimpleResponse *reply)
{
    struct burst *burst = user;
    bool as_due = status->code == STUB_OK ? reply != NULL : status->code == STUB_CANCELLED;

    pthread_mutex_lock(&burst->lock);
    burst->failed += !as_due;
    if (--burst->left == 0)
        pthread_cond_signal(&burst->changed);
    pthread_mutex_unlock(&burst->lock);
}

/* By one handle, at any point of their way: some may be over already. */
static bool cancelled_burst(struct stub_channel *channel, char *error)
{
    Grpc__Testing__SimpleRequest request = GRPC__TESTING__SIMPLE_REQUEST__INIT;
    struct stub_cancel *cancel = stub_cancel_create();
    struct stub_call_options options = {.timeout_us = PLAY_PATIENCE_US, .cancel = cancel};
    struct burst burst = {.lock = PTHREAD_MUTEX_INITIALIZER,
                          .changed = PTHREAD_COND_INITIALIZER,
                          .left = BURST};

    request.response_size = any_size(1 << 20);
    for (int i = 0; i < BURST; i++) {
        if (i == BURST / 2)
            stub_cancel_fire(cancel);
        grpc_testing_test_service_unary_call_async(channel, &options, &request, burst_cancelled,
                                                   &burst);
    }
    stub_cancel_destroy(cancel);
    pthread_mutex_lock(&burst.lock);
    while (burst.left > 0)
        pthread_cond_wait(&burst.changed, &burst.lock);
    pthread_mutex_unlock(&burst.lock);
    return burst.failed == 0 || play_wrong(error, "%d of %d failed", burst.failed, BURST);
}

/* --- streams --------------------------------------------------------------------------------- */

static struct stub_stream *open_output(struct stub_channel *channel,
                                       const struct stub_call_options *options, int messages,
                                       int32_t size, int32_t interval_us)
{
    Grpc__Testing__StreamingOutputCallRequest request =
        GRPC__TESTING__STREAMING_OUTPUT_CALL_REQUEST__INIT;
    Grpc__Testing__ResponseParameters parameters = GRPC__TESTING__RESPONSE_PARAMETERS__INIT;
    Grpc__Testing__ResponseParameters **list = calloc((size_t)messages, sizeof(*list));
    struct stub_stream *stream;

    CHECK(list);
    parameters.size = size;
    parameters.interval_us = interval_us;
    for (int i = 0; i < messages; i++)
        list[i] = &parameters;
    request.n_response_parameters = (size_t)messages;
    request.response_parameters = list;
    stream = grpc_testing_test_service_streaming_output_call_open(channel, options, &request);
    free(list);
    return stream;
}

static bool long_stream(struct stub_channel *channel, char *error)
{
    struct stub_stream *stream =
        open_output(channel, &play_patient, STREAM_MESSAGES, STREAM_BYTES, 0);

    for (int i = 0; i < STREAM_MESSAGES; i++)
        if (!play_check_next(stream, STREAM_BYTES, error))
            return play_give_up(stream, error);
    if (!play_check_no_next(stream, error))
        return play_give_up(stream, error);
    return play_check_end(stream, STUB_OK, NULL, error);
}

static bool stream_left(struct stub_channel *channel, char *error)
{
    struct stub_stream *stream = open_output(channel, &play_patient, LEFT_MESSAGES, LEFT_BYTES, 0);

    for (int i = 0; i < 3; i++)
        if (!play_check_next(stream, LEFT_BYTES, error))
            return play_give_up(stream, error);
    return play_check_end(stream, STUB_CANCELLED, NULL, error);
}

/* The server's timer is set when the call ends. */
static bool stream_asleep(struct stub_channel *channel, char *error)
{
    struct stub_call_options options = {.timeout_us = 20000};
    struct stub_stream *stream = open_output(channel, &options, 2, 1, 60000000);

    if (!play_check_no_next(stream, error))
        return play_give_up(stream, error);
    return play_check_end(stream, STUB_DEADLINE_EXCEEDED, NULL, error);
}

static bool stream_with_pauses(struct stub_channel *channel, char *error)
{
    struct stub_stream *stream = open_output(channel, &play_patient, HALF_MESSAGES, 1, 2000);

    for (int i = 0; i < HALF_MESSAGES; i++)
        if (!play_check_next(stream, 1, error))
            return play_give_up(stream, error);
    if (!play_check_no_next(stream, error))
        return play_give_up(stream, error);
    return play_check_end(stream, STUB_OK, NULL, error);
}

static bool half_duplex(struct stub_channel *channel, char *error)
{
    struct stub_stream *stream =
        grpc_testing_test_service_half_duplex_call_open(channel, &play_patient);

    for (int i = 0; i < HALF_MESSAGES; i++)
        if (!play_ask(stream, 1, i)) {
            play_wrong(error, "request %d was not taken", i);
            return play_give_up(stream, error);
        }
    stub_stream_send_end(stream);
    for (int i = 0; i < HALF_MESSAGES; i++)
        if (!play_check_next(stream, i, error))
            return play_give_up(stream, error);
    if (!play_check_no_next(stream, error))
        return play_give_up(stream, error);
    return play_check_end(stream, STUB_OK, NULL, error);
}

const struct interop_case soak_cases[] = {
    {"unary_of_any_size", unary_of_any_size},
    {"request_too_large", request_too_large},
    {"reply_too_large", reply_too_large},
    {"size_refused", size_refused},
    {"text_refused", text_refused},
    {"asynchronous_burst", asynchronous_burst},
    {"cancelled_burst", cancelled_burst},
    {"long_stream", long_stream},
    {"stream_left", stream_left},
    {"stream_asleep", stream_asleep},
    {"stream_with_pauses", stream_with_pauses},
    {"half_duplex", half_duplex},
};
const size_t soak_cases_count = ARRAY_COUNT(soak_cases);
