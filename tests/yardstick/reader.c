#include "yardstick/reader.h"

#include "base/check.h"
#include "base/clock.h"

#include <echo/echo.pb-c.h>
#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>

#if __has_include(<grpc/credentials.h>)
#include <grpc/credentials.h>
#endif

enum { TIMEOUT_S = 120 };

/* What the stream leaves behind. */
struct reading {
    grpc_completion_queue *cq;
    grpc_call *call;
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_status_code status;
    grpc_slice text;
};

static void start(struct reading *reading, const grpc_op *ops, size_t count, void *tag)
{
    CHECK(grpc_call_start_batch(reading->call, ops, count, tag, NULL) == GRPC_CALL_OK);
}

static void *next(struct reading *reading)
{
    grpc_event event =
        grpc_completion_queue_next(reading->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);

    CHECK(event.type == GRPC_OP_COMPLETE);
    return event.tag;
}

static void send_request(struct reading *reading, int64_t messages, int32_t bytes)
{
    Test__Echo__V1__CountRequest request = TEST__ECHO__V1__COUNT_REQUEST__INIT;
    grpc_op ops[] = {{.op = GRPC_OP_SEND_INITIAL_METADATA,
                      .flags = GRPC_INITIAL_METADATA_WAIT_FOR_READY},
                     {.op = GRPC_OP_SEND_MESSAGE},
                     {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
                     {.op = GRPC_OP_RECV_INITIAL_METADATA}};
    grpc_op status = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};
    grpc_byte_buffer *buffer;
    grpc_slice slice;

    request.to = messages;
    request.bytes = bytes;
    slice = grpc_slice_malloc(test__echo__v1__count_request__get_packed_size(&request));
    test__echo__v1__count_request__pack(&request, GRPC_SLICE_START_PTR(slice));
    buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    status.data.recv_status_on_client.trailing_metadata = &reading->trailing;
    status.data.recv_status_on_client.status = &reading->status;
    status.data.recv_status_on_client.status_details = &reading->text;
    start(reading, &status, 1, &reading->status);
    ops[1].data.send_message.send_message = buffer;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &reading->initial;
    start(reading, ops, ARRAY_COUNT(ops), &reading->initial);
    grpc_byte_buffer_destroy(buffer);
}

/* How many messages of this size or up to ten bytes more (the number, and lengths) came. */
static int64_t read_all(struct reading *reading, size_t bytes, int64_t *ret_us)
{
    grpc_byte_buffer *message = NULL;
    grpc_op receive = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &message};
    int64_t count = 0, start_us = 0;
    int events = 2; /* the request's and the status */
    bool ended = false;

    start(reading, &receive, 1, &message);
    while (events > 0 || !ended) {
        size_t length;

        if (next(reading) != &message) {
            events--;
            continue;
        }
        ended = !message;
        if (ended)
            continue;
        length = grpc_byte_buffer_length(message);
        count += length >= bytes && length <= bytes + 20;
        grpc_byte_buffer_destroy(message);
        if (count == 1)
            start_us = clock_mono_us(clock_real());
        start(reading, &receive, 1, &message);
    }
    *ret_us = clock_mono_us(clock_real()) - start_us;
    return count;
}

bool reader_count(const char *target, int64_t messages, int32_t bytes, int64_t *ret_us)
{
    struct reading reading = {.status = GRPC_STATUS_UNKNOWN, .text = grpc_empty_slice()};
    grpc_channel_credentials *credentials;
    grpc_channel *channel;
    int64_t seen;

    grpc_init();
    credentials = grpc_insecure_credentials_create();
    channel = grpc_channel_create(target, credentials, NULL);
    grpc_channel_credentials_release(credentials);
    reading.cq = grpc_completion_queue_create_for_next(NULL);
    grpc_metadata_array_init(&reading.initial);
    grpc_metadata_array_init(&reading.trailing);
    reading.call = grpc_channel_create_call(
        channel, NULL, GRPC_PROPAGATE_DEFAULTS, reading.cq,
        grpc_slice_from_static_string("/test.echo.v1.EchoService/Count"), NULL,
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_seconds(TIMEOUT_S, GPR_TIMESPAN)),
        NULL);
    send_request(&reading, messages, bytes);
    seen = read_all(&reading, (size_t)bytes, ret_us);
    grpc_call_unref(reading.call);
    grpc_metadata_array_destroy(&reading.initial);
    grpc_metadata_array_destroy(&reading.trailing);
    grpc_slice_unref(reading.text);
    grpc_completion_queue_shutdown(reading.cq);
    while (grpc_completion_queue_next(reading.cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN)
        ;
    grpc_completion_queue_destroy(reading.cq);
    grpc_channel_destroy(channel);
    grpc_shutdown();
    return seen == messages && reading.status == GRPC_STATUS_OK;
}
