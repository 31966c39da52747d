/*
 * Streams. Every response that a request asks for waits in a list of its call, `output`, until its
 * interval is over and the stream takes it. pump is the one function that sends; it runs
 *
 *   on_message   a request has brought more
 *   on_drained   the stream had been full
 *   timer        an interval is over
 *
 * and stops when the list is empty, its head is not yet due, or the stream is full. The list's lock
 * makes these one at a time. on_closed ends it: it answers a call that nobody has answered and frees
 * the list. A timer that comes later finds `answered` set; it has a reference to the call.
 */
#include "interop/service.h"

#include "base/check.h"
#include "base/clock.h"
#include "interop/timer.h"

#include <grpc/testing/test.stub.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { PAYLOAD_BYTES_MAX = 4 << 20 };

struct service {
    struct timer *timer;
    uint8_t *zeros; /* PAYLOAD_BYTES_MAX of them, never written */
};

/* --- what all methods do -------------------------------------------------------------------------- */

static void echo_metadata(struct stub_call *call)
{
    const char *initial = stub_call_metadata(call, "x-grpc-test-echo-initial");
    const char *trailing = stub_call_metadata(call, "x-grpc-test-echo-trailing-bin");

    if (initial)
        stub_call_add_initial(call, "x-grpc-test-echo-initial", initial);
    if (trailing)
        stub_call_add_trailing(call, "x-grpc-test-echo-trailing-bin", trailing);
}

/* False: the call has been failed, nobody has that many zeros. */
static bool fill(const struct service *service, Grpc__Testing__Payload *payload, int32_t size)
{
    if (size < 0 || size > PAYLOAD_BYTES_MAX)
        return false;
    payload->type = GRPC__TESTING__PAYLOAD_TYPE__COMPRESSABLE;
    payload->body.data = service->zeros;
    payload->body.len = (size_t)size;
    return true;
}

static bool asks_for_failure(const Grpc__Testing__EchoStatus *status)
{
    return status && status->code != STUB_OK;
}

/* --- unary --------------------------------------------------------------------------------------- */

static void empty_call(void *user, struct stub_call *call, const Grpc__Testing__Empty *request)
{
    Grpc__Testing__Empty response = GRPC__TESTING__EMPTY__INIT;

    (void)user;
    (void)request;
    echo_metadata(call);
    grpc_testing_test_service_empty_call_reply(call, &response);
}

static void unary_call(void *user, struct stub_call *call,
                       const Grpc__Testing__SimpleRequest *request)
{
    Grpc__Testing__SimpleResponse response = GRPC__TESTING__SIMPLE_RESPONSE__INIT;
    Grpc__Testing__Payload payload = GRPC__TESTING__PAYLOAD__INIT;

    echo_metadata(call);
    if (asks_for_failure(request->response_status)) {
        stub_call_fail(call, request->response_status->code, request->response_status->message,
                       NULL, 0);
        return;
    }
    if (!fill(user, &payload, request->response_size)) {
        stub_call_fail(call, STUB_INVALID_ARGUMENT, "response_size: 0 to 4 MiB", NULL, 0);
        return;
    }
    response.payload = &payload;
    grpc_testing_test_service_unary_call_reply(call, &response);
}

static void cacheable_unary_call(void *user, struct stub_call *call,
                                 const Grpc__Testing__SimpleRequest *request)
{
    stub_call_add_initial_static(call, "cache-control", "max-age=60, public");
    unary_call(user, call, request);
}

/* --- output: messages to the client, one by one, each after its interval ---------------------------- */

struct wanted {
    struct wanted *next;
    int32_t size;
    int32_t interval_us;
};

/* In its call's arena. */
struct output {
    struct service *service;
    struct stub_call *call;
    struct timer_entry alarm;
    pthread_mutex_t lock;
    struct wanted *first;
    struct wanted **end;
    int64_t due_us;  /* of the first, 0: not yet reckoned */
    bool last_known; /* the client has said all that it wants */
    bool held;       /* nothing goes out before that */
    bool answered;
};

/* With the lock held. */
static void pop(struct output *output)
{
    struct wanted *first = output->first;

    output->first = first->next;
    if (!output->first)
        output->end = &output->first;
    output->due_us = 0;
    free(first);
}

static void fail(struct output *output, int code, const char *message)
{
    if (!output->answered)
        stub_call_fail(output->call, code, message, NULL, 0);
    output->answered = true;
}

/* True: the first may go now; else the timer comes back. */
static bool is_due(struct output *output)
{
    int64_t now_us = clock_mono_us(clock_real());

    if (!output->due_us)
        output->due_us = now_us + output->first->interval_us;
    if (output->due_us <= now_us)
        return true;
    if (timer_set(output->service->timer, &output->alarm, output->due_us))
        stub_call_ref(output->call);
    return false;
}

/* False: the stream takes no more for now, or the call has failed. */
static bool send_first(struct output *output)
{
    Grpc__Testing__StreamingOutputCallResponse response =
        GRPC__TESTING__STREAMING_OUTPUT_CALL_RESPONSE__INIT;
    Grpc__Testing__Payload payload = GRPC__TESTING__PAYLOAD__INIT;

    if (!fill(output->service, &payload, output->first->size)) {
        fail(output, STUB_INVALID_ARGUMENT, "size: 0 to 4 MiB");
        return false;
    }
    response.payload = &payload;
    if (stub_call_send(output->call, &response.base) != STUB_SEND_OK)
        return false; /* full: drained comes; dead: closed comes */
    pop(output);
    return true;
}

static void pump(struct output *output)
{
    pthread_mutex_lock(&output->lock);
    while (!output->answered && output->first && (output->last_known || !output->held) &&
           is_due(output) && send_first(output))
        ;
    if (!output->answered && !output->first && output->last_known) {
        output->answered = true;
        stub_call_finish(output->call);
    }
    pthread_mutex_unlock(&output->lock);
}

static void output_drained(void *user)
{
    pump(user);
}

static void output_alarm(struct timer_entry *entry)
{
    struct output *output = container_of(entry, struct output, alarm);

    pump(output);
    stub_call_unref(output->call);
}

static void output_closed(void *user)
{
    struct output *output = user;

    pthread_mutex_lock(&output->lock);
    fail(output, STUB_CANCELLED, "the client has gone");
    while (output->first)
        pop(output);
    pthread_mutex_unlock(&output->lock);
    if (timer_unset(output->service->timer, &output->alarm))
        stub_call_unref(output->call);
}

static void output_add(struct output *output, const Grpc__Testing__StreamingOutputCallRequest *request)
{
    pthread_mutex_lock(&output->lock);
    for (size_t i = 0; i < request->n_response_parameters && !output->answered; i++) {
        struct wanted *wanted = calloc(1, sizeof(*wanted));

        CHECK(wanted);
        wanted->size = request->response_parameters[i]->size;
        wanted->interval_us = request->response_parameters[i]->interval_us;
        *output->end = wanted;
        output->end = &wanted->next;
    }
    if (asks_for_failure(request->response_status))
        fail(output, request->response_status->code, request->response_status->message);
    pthread_mutex_unlock(&output->lock);
}

static struct output *output_begin(struct service *service, struct stub_call *call)
{
    struct output *output = stub_call_alloc(call, sizeof(*output));

    *output = (struct output){.service = service, .call = call, .alarm = {.run = output_alarm}};
    output->end = &output->first;
    CHECK(pthread_mutex_init(&output->lock, NULL) == 0);
    echo_metadata(call);
    stub_call_on_closed(call, output_closed, output);
    stub_call_on_drained(call, output_drained, output);
    return output;
}

/* --- streams -------------------------------------------------------------------------------------- */

static void streaming_output_call(void *user, struct stub_call *call,
                                  const Grpc__Testing__StreamingOutputCallRequest *request)
{
    struct output *output = output_begin(user, call);

    output_add(output, request);
    output->last_known = true;
    pump(output);
}

static void duplex_message(void *user, struct stub_call *call, const ProtobufCMessage *message)
{
    struct output *output = user;

    (void)call;
    if (message) {
        output_add(output, (const Grpc__Testing__StreamingOutputCallRequest *)(const void *)message);
    } else {
        pthread_mutex_lock(&output->lock);
        output->last_known = true;
        pthread_mutex_unlock(&output->lock);
    }
    pump(output);
}

static void full_duplex_call(void *user, struct stub_call *call)
{
    struct output *output = output_begin(user, call);

    stub_call_send_initial(call);
    stub_call_on_message(call, duplex_message, output);
}

static void half_duplex_call(void *user, struct stub_call *call)
{
    struct output *output = output_begin(user, call);

    output->held = true;
    stub_call_on_message(call, duplex_message, output);
}

/* In its call's arena; only poller threads touch it, one at a time. */
struct input {
    struct stub_call *call;
    int32_t bytes;
    bool answered;
};

static void input_closed(void *user)
{
    struct input *input = user;

    if (!input->answered)
        stub_call_fail(input->call, STUB_CANCELLED, "the client has gone", NULL, 0);
    input->answered = true;
}

static void input_message(void *user, struct stub_call *call, const ProtobufCMessage *message)
{
    struct input *input = user;
    const Grpc__Testing__StreamingInputCallRequest *request =
        (const Grpc__Testing__StreamingInputCallRequest *)(const void *)message;
    Grpc__Testing__StreamingInputCallResponse response =
        GRPC__TESTING__STREAMING_INPUT_CALL_RESPONSE__INIT;

    if (request) {
        if (request->payload)
            input->bytes += (int32_t)request->payload->body.len;
        return;
    }
    response.aggregated_payload_size = input->bytes;
    input->answered = true;
    grpc_testing_test_service_streaming_input_call_reply(call, &response);
}

static void streaming_input_call(void *user, struct stub_call *call)
{
    struct input *input = stub_call_alloc(call, sizeof(*input));

    (void)user;
    input->call = call;
    stub_call_on_closed(call, input_closed, input);
    stub_call_on_message(call, input_message, input);
}

/* --- start and end ------------------------------------------------------------------------------- */

/* UnimplementedCall must have no handler, nor UnimplementedService a server. */
static const struct grpc_testing_test_service_handlers handlers = {
    .empty_call = empty_call,
    .unary_call = unary_call,
    .cacheable_unary_call = cacheable_unary_call,
    .streaming_output_call = streaming_output_call,
    .streaming_input_call = streaming_input_call,
    .full_duplex_call = full_duplex_call,
    .half_duplex_call = half_duplex_call,
};

struct service *service_register(struct stub_server *server)
{
    struct service *service = calloc(1, sizeof(*service));

    CHECK(service);
    service->zeros = calloc(1, PAYLOAD_BYTES_MAX);
    CHECK(service->zeros);
    service->timer = timer_create_thread();
    CHECK(grpc_testing_test_service_register(server, &handlers, service));
    return service;
}

void service_destroy(struct service *service)
{
    timer_destroy(service->timer);
    free(service->zeros);
    free(service);
}
