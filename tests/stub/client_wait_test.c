/* The client's side of slow readers, in the form that waits; and what else a stream tells. */
#include "tests/stub/fixture.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

typedef Test__Echo__V1__CountRequest count_request;
typedef Test__Echo__V1__CountResponse count_response;
typedef Test__Echo__V1__EchoRequest echo_request;
typedef Test__Echo__V1__EchoResponse echo_response;

/* A server that reads nothing until it is told to. */
struct reader {
    struct rig rig;
    _Atomic(struct stub_call *) call;
    int64_t numbers[512];
    int count;
    bool answered;
    atomic_int closed;
};

static void reader_closed(void *user)
{
    struct reader *reader = user;

    if (!reader->answered)
        stub_call_finish(atomic_load(&reader->call));
    reader->answered = true;
    atomic_fetch_add(&reader->closed, 1);
}

static void reader_message(void *user, struct stub_call *call, const ProtobufCMessage *message)
{
    struct reader *reader = user;
    echo_response response = TEST__ECHO__V1__ECHO_RESPONSE__INIT;

    if (message) {
        if (reader->count < 512)
            reader->numbers[reader->count++] = ((const echo_request *)(const void *)message)->count;
        return;
    }
    reader->answered = true;
    test_echo_v1_echo_service_collect_reply(call, &response);
}

static void handle_collect(void *user, struct stub_call *call)
{
    struct reader *reader = user;

    stub_call_on_closed(call, reader_closed, reader);
    atomic_store(&reader->call, call);
}

static bool has_call(void *user)
{
    return atomic_load(&((struct reader *)user)->call) != NULL;
}

static bool was_closed(void *user)
{
    return atomic_load(&((struct reader *)user)->closed) == 1;
}

static void reader_start(struct reader *reader)
{
    static const struct test_echo_v1_echo_service_handlers handlers = {.collect = handle_collect};

    memset(reader, 0, sizeof(*reader));
    rig_start(&reader->rig, &handlers, reader, NULL);
}

static struct stub_stream *open_to(struct reader *reader, const struct stub_queue *queue,
                                   int64_t timeout_us)
{
    struct stub_call_options options = {.queue = *queue, .timeout_us = timeout_us};
    struct stub_stream *stream =
        test_echo_v1_echo_service_collect_open(reader->rig.channel, &options);

    cr_assert(eventually(has_call, reader));
    return stream;
}

static void read_now(struct reader *reader)
{
    stub_call_on_message(atomic_load(&reader->call), reader_message, reader);
}

static echo_request large(int64_t number)
{
    static uint8_t payload[10000];
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;

    request.payload = (ProtobufCBinaryData){sizeof(payload), payload};
    request.count = number;
    return request;
}

/* Half-closes and waits for the answer. */
static int finish(struct stub_stream *stream)
{
    echo_response *message;

    stub_stream_send_end(stream);
    while (test_echo_v1_echo_service_collect_recv(stream, -1, &message) == STUB_RECV_MESSAGE)
        test__echo__v1__echo_response__free_unpacked(message, NULL);
    return stub_stream_close(stream, NULL);
}

static bool rises(const struct reader *reader)
{
    for (int i = 1; i < reader->count; i++) {
        if (reader->numbers[i] <= reader->numbers[i - 1])
            return false;
    }
    return true;
}

struct sender {
    struct stub_stream *stream;
    atomic_int sent;
    pthread_t thread;
};

static void *send_200(void *user)
{
    struct sender *sender = user;

    for (int i = 1; i <= 200; i++) {
        echo_request request = large(i);

        if (!test_echo_v1_echo_service_collect_write(sender->stream, &request))
            break;
        atomic_fetch_add(&sender->sent, 1);
    }
    return NULL;
}

Test(client_wait, waits_for_room_and_loses_nothing)
{
    struct reader reader;
    struct sender sender = {0};
    echo_request request = large(0);
    enum stub_send sent;

    reader_start(&reader);
    sender.stream = open_to(&reader, &(struct stub_queue){.messages_max = 4}, 0);
    while ((sent = test_echo_v1_echo_service_collect_try_write(sender.stream, &request)) ==
           STUB_SEND_OK)
        continue;
    cr_assert_eq(sent, STUB_SEND_FULL);
    cr_assert(pthread_create(&sender.thread, NULL, send_200, &sender) == 0);
    read_now(&reader);
    pthread_join(sender.thread, NULL);
    cr_assert_eq(atomic_load(&sender.sent), 200);
    cr_assert_eq(finish(sender.stream), STUB_OK);
    rig_stop(&reader.rig);
    cr_assert_gt(reader.count, 204);
    for (int i = 0; i < 200; i++)
        cr_assert_eq(reader.numbers[reader.count - 200 + i], i + 1);
}

Test(client_wait, stops_waiting_for_room_at_the_deadline)
{
    struct reader reader;
    struct sender sender = {0};

    reader_start(&reader);
    sender.stream = open_to(&reader, &(struct stub_queue){.bytes_max = 25000}, 300000);
    send_200(&sender);
    cr_assert_lt(atomic_load(&sender.sent), 200);
    cr_assert_eq(stub_stream_close(sender.stream, NULL), STUB_DEADLINE_EXCEEDED);
    cr_assert(eventually(was_closed, &reader));
    rig_stop(&reader.rig);
}

Test(client_wait, stops_waiting_for_room_when_another_thread_half_closes)
{
    struct reader reader;
    struct sender sender = {0};
    echo_request request = large(0);

    reader_start(&reader);
    sender.stream = open_to(&reader, &(struct stub_queue){.messages_max = 1}, 0);
    while (test_echo_v1_echo_service_collect_try_write(sender.stream, &request) == STUB_SEND_OK)
        continue;
    cr_assert(pthread_create(&sender.thread, NULL, send_200, &sender) == 0);
    stub_stream_send_end(sender.stream);
    pthread_join(sender.thread, NULL);
    cr_assert_lt(atomic_load(&sender.sent), 200);
    read_now(&reader);
    cr_assert_eq(finish(sender.stream), STUB_OK);
    rig_stop(&reader.rig);
}

static void send_all_taken(struct stub_stream *stream, int count)
{
    for (int i = 1; i <= count; i++) {
        echo_request request = large(i);

        cr_assert(test_echo_v1_echo_service_collect_write(stream, &request), "it waited or ended");
    }
}

Test(client_wait, drops_the_oldest)
{
    struct reader reader;
    struct stub_stream *stream;
    uint64_t dropped;

    reader_start(&reader);
    stream = open_to(&reader,
                     &(struct stub_queue){.messages_max = 4, .when_full = STUB_FULL_DROP_OLDEST}, 0);
    send_all_taken(stream, 200);
    dropped = stub_stream_dropped(stream);
    read_now(&reader);
    cr_assert_eq(finish(stream), STUB_OK);
    rig_stop(&reader.rig);
    cr_assert_gt(dropped, 0);
    cr_assert_eq((uint64_t)reader.count + dropped, 200);
    cr_assert(rises(&reader));
    cr_assert_eq(reader.numbers[0], 1);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(reader.numbers[reader.count - 4 + i], 197 + i);
}

Test(client_wait, keeps_the_latest)
{
    struct reader reader;
    struct stub_stream *stream;
    uint64_t dropped;

    reader_start(&reader);
    stream = open_to(&reader, &(struct stub_queue){.when_full = STUB_FULL_KEEP_LATEST}, 0);
    send_all_taken(stream, 200);
    dropped = stub_stream_dropped(stream);
    read_now(&reader);
    cr_assert_eq(finish(stream), STUB_OK);
    rig_stop(&reader.rig);
    cr_assert_eq((uint64_t)reader.count + dropped, 200);
    cr_assert(rises(&reader));
    cr_assert_eq(reader.numbers[reader.count - 1], 200);
}

static void ends_with(enum stub_full policy)
{
    struct reader reader;
    struct stub_stream *stream;
    struct stub_status st = STUB_STATUS_INIT;
    struct sender sender = {0};
    echo_response *message;

    reader_start(&reader);
    stream = sender.stream =
        open_to(&reader, &(struct stub_queue){.messages_max = 4, .when_full = policy}, 0);
    send_200(&sender);
    cr_assert_lt(atomic_load(&sender.sent), 200);
    cr_assert_eq(test_echo_v1_echo_service_collect_recv(stream, -1, &message), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, &st), STUB_RESOURCE_EXHAUSTED);
    cr_assert_str_eq(st.message, "the reader is too slow");
    stub_status_clear(&st);
    cr_assert(eventually(was_closed, &reader), "the server hears of it");
    rig_stop(&reader.rig);
}

Test(client_wait, fails_the_call_if_told_to)
{
    ends_with(STUB_FULL_FAIL);
    ends_with(STUB_FULL_ABORT);
}

Test(client_wait, sends_nothing_after_the_half_close)
{
    struct reader reader;
    echo_request request = large(1);
    struct stub_stream *stream;

    reader_start(&reader);
    stream = open_to(&reader, &(struct stub_queue){0}, 0);
    cr_assert(test_echo_v1_echo_service_collect_write(stream, &request));
    stub_stream_send_end(stream);
    stub_stream_send_end(stream);
    cr_assert_not(test_echo_v1_echo_service_collect_write(stream, &request));
    cr_assert_eq(test_echo_v1_echo_service_collect_try_write(stream, &request), STUB_SEND_DEAD);
    read_now(&reader);
    cr_assert_eq(finish(stream), STUB_OK);
    rig_stop(&reader.rig);
    cr_assert_eq(reader.count, 1);
}

Test(client_wait, tells_the_initial_metadata_before_any_message)
{
    struct fixture f = fixture_start(NULL);
    count_request request = TEST__ECHO__V1__COUNT_REQUEST__INIT;
    struct stub_stream *stream;
    const char *value;

    request.silent = true;
    stream = test_echo_v1_echo_service_count_open(f.channel, NULL, &request);
    value = stub_stream_initial(stream, "echo-server", -1);
    cr_assert(value);
    cr_assert_str_eq(value, "tests");
    cr_assert_null(stub_stream_initial(stream, "not-there", -1));
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_CANCELLED);
    fixture_stop(&f);
}

Test(client_wait, has_no_initial_metadata_of_a_call_that_fails)
{
    struct stub_channel *channel = stub_channel_create("127.0.0.1:1", NULL);
    struct stub_stream *stream = test_echo_v1_echo_service_chat_open(channel, NULL);

    cr_assert_null(stub_stream_initial(stream, "echo-server", -1));
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_UNAVAILABLE);
    stub_channel_destroy(channel);
}

Test(client_wait, sends_and_receives_on_two_threads)
{
    struct fixture f = fixture_start(NULL);
    struct stub_stream *stream = test_echo_v1_echo_service_chat_open(f.channel, NULL);
    struct sender sender = {.stream = stream};
    echo_response *message;
    int64_t expected = 0;

    cr_assert(pthread_create(&sender.thread, NULL, send_200, &sender) == 0);
    while (expected < 200 &&
           test_echo_v1_echo_service_chat_recv(stream, -1, &message) == STUB_RECV_MESSAGE) {
        cr_assert_eq(message->count, ++expected);
        test__echo__v1__echo_response__free_unpacked(message, NULL);
    }
    pthread_join(sender.thread, NULL);
    cr_assert_eq(expected, 200);
    stub_stream_send_end(stream);
    cr_assert_eq(test_echo_v1_echo_service_chat_recv(stream, -1, &message), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_OK);
    fixture_stop(&f);
}
