/* Server, client and bidirectional streams; readers that are slow or go away. */
#include "tests/stub/fixture.h"

#include <criterion/criterion.h>

typedef Test__Echo__V1__CountRequest count_request;
typedef Test__Echo__V1__CountResponse count_response;
typedef Test__Echo__V1__EchoRequest echo_request;
typedef Test__Echo__V1__EchoResponse echo_response;

static struct stub_stream *count_to(struct fixture *f, int64_t to, int32_t bytes, bool fail)
{
    count_request request = TEST__ECHO__V1__COUNT_REQUEST__INIT;

    request.to = to;
    request.bytes = bytes;
    request.fail_when_full = fail;
    return test_echo_v1_echo_service_count_open(f->channel, NULL, &request);
}

Test(stream, delivers_every_message_in_order)
{
    struct fixture f = fixture_start(NULL);
    struct stub_stream *stream = count_to(&f, 20000, 10, false);
    struct stub_status st = STUB_STATUS_INIT;
    count_response *message;
    int64_t expected = 0;

    while (test_echo_v1_echo_service_count_recv(stream, -1, &message) == STUB_RECV_MESSAGE) {
        cr_assert_eq(message->number, ++expected);
        test__echo__v1__count_response__free_unpacked(message, NULL);
    }
    cr_assert_eq(expected, 20000);
    cr_assert_eq(stub_stream_close(stream, &st), STUB_OK, "%s", st.message);
    stub_status_clear(&st);
    fixture_stop(&f);
}

Test(stream, may_be_empty)
{
    struct fixture f = fixture_start(NULL);
    struct stub_stream *stream = test_echo_v1_echo_service_chat_open(f.channel, NULL);
    echo_response *message;

    stub_stream_send_end(stream);
    cr_assert_eq(test_echo_v1_echo_service_chat_recv(stream, -1, &message), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_OK);
    fixture_stop(&f);
}

Test(stream, ends_a_slow_reader_when_the_server_says_so)
{
    struct fixture f = fixture_start(NULL);
    struct stub_stream *stream = count_to(&f, 0, 10000, true);
    struct stub_status st = STUB_STATUS_INIT;
    count_response *message;

    while (test_echo_v1_echo_service_count_recv(stream, -1, &message) == STUB_RECV_MESSAGE)
        test__echo__v1__count_response__free_unpacked(message, NULL);
    cr_assert_eq(stub_stream_close(stream, &st), STUB_RESOURCE_EXHAUSTED, "%s", st.message);
    cr_assert_str_eq(st.message, "too slow");
    stub_status_clear(&st);
    fixture_stop(&f);
}

static bool one_closed(void *user)
{
    return echo_closed(user) == 1;
}

Test(stream, tells_the_server_when_the_client_goes)
{
    struct fixture f = fixture_start(NULL);
    struct stub_stream *stream = count_to(&f, 0, 10, false);
    count_response *message;

    cr_assert_eq(test_echo_v1_echo_service_count_recv(stream, -1, &message), STUB_RECV_MESSAGE);
    test__echo__v1__count_response__free_unpacked(message, NULL);
    stub_stream_cancel(stream);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_CANCELLED);
    cr_assert(eventually(one_closed, f.echo));
    fixture_stop(&f);
}

Test(stream, is_not_held_up_by_one_that_never_reads)
{
    struct fixture f = fixture_start(NULL);
    struct stub_stream *stuck = count_to(&f, 0, 1000, false);
    struct stub_stream *stream = count_to(&f, 1000, 10, false);
    count_response *message;
    int count = 0;

    while (test_echo_v1_echo_service_count_recv(stream, -1, &message) == STUB_RECV_MESSAGE) {
        count++;
        test__echo__v1__count_response__free_unpacked(message, NULL);
    }
    cr_assert_eq(count, 1000);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_OK);
    cr_assert_eq(stub_stream_close(stuck, NULL), STUB_CANCELLED);
    fixture_stop(&f);
}

Test(stream, ends_at_the_deadline)
{
    struct fixture f = fixture_start(NULL);
    struct stub_call_options options = {.timeout_us = 200000};
    struct stub_stream *stream = test_echo_v1_echo_service_chat_open(f.channel, &options);
    echo_response *message;

    cr_assert_eq(test_echo_v1_echo_service_chat_recv(stream, 1000, &message), STUB_RECV_TIMEOUT);
    cr_assert_eq(test_echo_v1_echo_service_chat_recv(stream, -1, &message), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_DEADLINE_EXCEEDED);
    fixture_stop(&f);
}

Test(stream, may_begin_with_metadata_alone)
{
    struct fixture f = fixture_start(NULL);
    count_request request = TEST__ECHO__V1__COUNT_REQUEST__INIT;
    struct stub_call_options options = {.timeout_us = 300000};
    struct stub_status st = STUB_STATUS_INIT;
    struct stub_stream *stream;
    count_response *message;

    request.silent = true;
    stream = test_echo_v1_echo_service_count_open(f.channel, &options, &request);
    cr_assert_eq(test_echo_v1_echo_service_count_recv(stream, -1, &message), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, &st), STUB_DEADLINE_EXCEEDED);
    cr_assert_eq(st.initial_count, 1);
    cr_assert_str_eq(st.initial[0].key, "echo-server");
    stub_status_clear(&st);
    cr_assert(eventually(one_closed, f.echo));
    fixture_stop(&f);
}

Test(stream, talks_both_ways)
{
    struct fixture f = fixture_start(NULL);
    struct stub_stream *stream = test_echo_v1_echo_service_chat_open(f.channel, NULL);
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    echo_response *message;

    for (int i = 1; i <= 500; i++) {
        request.count = i;
        cr_assert(test_echo_v1_echo_service_chat_write(stream, &request));
        cr_assert_eq(test_echo_v1_echo_service_chat_recv(stream, -1, &message), STUB_RECV_MESSAGE);
        cr_assert_eq(message->count, i);
        test__echo__v1__echo_response__free_unpacked(message, NULL);
    }
    stub_stream_send_end(stream);
    cr_assert_eq(test_echo_v1_echo_service_chat_recv(stream, -1, &message), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_OK);
    fixture_stop(&f);
}

Test(stream, collects_from_the_client)
{
    struct fixture f = fixture_start(NULL);
    struct stub_stream *stream = test_echo_v1_echo_service_collect_open(f.channel, NULL);
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    echo_response *message;

    for (int i = 1; i <= 100; i++) {
        request.count = i;
        cr_assert(test_echo_v1_echo_service_collect_write(stream, &request));
    }
    stub_stream_send_end(stream);
    cr_assert_eq(test_echo_v1_echo_service_collect_recv(stream, -1, &message), STUB_RECV_MESSAGE);
    cr_assert_eq(message->count, 5050);
    test__echo__v1__echo_response__free_unpacked(message, NULL);
    cr_assert_eq(test_echo_v1_echo_service_collect_recv(stream, -1, &message), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_OK);
    fixture_stop(&f);
}

Test(stream, refuses_a_bad_message_in_the_middle)
{
    struct fixture f = fixture_start(NULL);
    struct stub_stream *stream = test_echo_v1_echo_service_chat_open(f.channel, NULL);
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    char bad[] = "\xff";
    struct stub_status st = STUB_STATUS_INIT;
    echo_response *message;

    cr_assert(test_echo_v1_echo_service_chat_write(stream, &request));
    cr_assert_eq(test_echo_v1_echo_service_chat_recv(stream, -1, &message), STUB_RECV_MESSAGE);
    test__echo__v1__echo_response__free_unpacked(message, NULL);
    request.text = bad;
    cr_assert(test_echo_v1_echo_service_chat_write(stream, &request));
    cr_assert_eq(test_echo_v1_echo_service_chat_recv(stream, -1, &message), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, &st), STUB_INVALID_ARGUMENT);
    cr_assert_str_eq(st.message, "text is not valid UTF-8");
    stub_status_clear(&st);
    fixture_stop(&f);
}

Test(stream, survives_a_hundred_that_come_and_go)
{
    struct echo_options options = {.workers = 3};
    struct fixture f = fixture_start(&options);
    struct stub_stream *streams[100];
    count_response *message;

    for (int i = 0; i < 100; i++)
        streams[i] = count_to(&f, 0, 100, false);
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(test_echo_v1_echo_service_count_recv(streams[i], -1, &message),
                     STUB_RECV_MESSAGE);
        test__echo__v1__count_response__free_unpacked(message, NULL);
    }
    for (int i = 0; i < 100; i++)
        cr_assert_eq(stub_stream_close(streams[i], NULL), STUB_CANCELLED);
    fixture_stop(&f);
}
