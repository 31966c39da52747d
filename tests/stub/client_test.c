/* The client when things go wrong. */
#include "tests/stub/fixture.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int echo(struct stub_channel *channel, const struct stub_call_options *options,
                struct stub_status *st)
{
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    Test__Echo__V1__EchoResponse *reply;
    int code = test_echo_v1_echo_service_echo(channel, options, &request, &reply, st);

    if (reply)
        test__echo__v1__echo_response__free_unpacked(reply, NULL);
    return code;
}

Test(client, says_unavailable_when_nobody_listens)
{
    struct stub_channel *channel = stub_channel_create("127.0.0.1:1", NULL);
    struct stub_status st = STUB_STATUS_INIT;

    cr_assert_eq(echo(channel, NULL, &st), STUB_UNAVAILABLE, "%s", st.message);
    cr_assert_neq(st.message[0], '\0');
    stub_status_clear(&st);
    stub_channel_destroy(channel);
}

Test(client, waits_for_a_connection_if_asked_to_until_the_deadline)
{
    struct stub_channel *channel = stub_channel_create("127.0.0.1:1", NULL);
    struct stub_call_options options = {.timeout_us = 200000, .wait_for_ready = true};

    cr_assert_eq(echo(channel, &options, NULL), STUB_DEADLINE_EXCEEDED);
    stub_channel_destroy(channel);
}

Test(client, refuses_metadata_that_grpc_forbids)
{
    struct fixture f = fixture_start(NULL);
    const char *metadata[] = {"Not Legal", "x"};
    struct stub_call_options options = {.metadata = metadata, .metadata_count = 1};
    struct stub_status st = STUB_STATUS_INIT;
    struct stub_stream *stream;
    ProtobufCMessage *message;

    cr_assert_eq(echo(f.channel, &options, &st), STUB_INTERNAL, "%s", st.message);
    stub_status_clear(&st);
    stream = test_echo_v1_echo_service_chat_open(f.channel, &options);
    cr_assert_eq(stub_stream_recv(stream, -1, &message), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_INTERNAL);
    cr_assert_eq(echo(f.channel, NULL, NULL), STUB_OK, "the channel works on");
    fixture_stop(&f);
}

Test(client, refuses_a_reply_that_is_too_large)
{
    struct fixture f = fixture_start(NULL);
    struct stub_channel_options options = {.message_bytes_max = 1000};
    struct stub_channel *channel = stub_channel_create(echo_target(f.echo), &options);
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    Test__Echo__V1__EchoResponse *reply;
    uint8_t *data = calloc(1, 5000);

    request.payload = (ProtobufCBinaryData){5000, data};
    cr_assert_eq(test_echo_v1_echo_service_echo(channel, NULL, &request, &reply, NULL),
                 STUB_RESOURCE_EXHAUSTED);
    free(data);
    stub_channel_destroy(channel);
    fixture_stop(&f);
}

Test(client, says_internal_for_a_reply_it_cannot_read)
{
    struct fixture f = fixture_start(NULL);
    struct stub_method method = test_echo_v1_echo_service_methods[0];
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct stub_status st = STUB_STATUS_INIT;
    ProtobufCMessage *reply;
    char text[] = "text";

    request.text = text;
    method.response = &test__echo__v1__count_response__descriptor; /* field 1 is a number there */
    cr_assert_eq(stub_unary(f.channel, &method, NULL, &request.base, &reply, &st), STUB_INTERNAL);
    cr_assert_null(reply);
    cr_assert(strstr(st.message, "number"), "%s", st.message);
    stub_status_clear(&st);
    fixture_stop(&f);
}

static void count_cancelled(void *user, const struct stub_status *st,
                            const Test__Echo__V1__EchoResponse *reply)
{
    (void)reply;
    if (st->code == STUB_CANCELLED)
        atomic_fetch_add((atomic_int *)user, 1);
}

Test(client, cancels_running_calls_when_the_channel_is_destroyed)
{
    struct fixture f = fixture_start(NULL);
    struct stub_channel *channel = stub_channel_create(echo_target(f.echo), NULL);
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    atomic_int cancelled = 0;

    request.action = TEST__ECHO__V1__ECHO_REQUEST__ACTION__ACTION_NEVER;
    for (int i = 0; i < 10; i++)
        test_echo_v1_echo_service_echo_async(channel, NULL, &request, count_cancelled, &cancelled);
    stub_channel_destroy(channel);
    cr_assert_eq(atomic_load(&cancelled), 10);
    fixture_stop(&f);
}

static int open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    cr_assert(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static bool has_few_descriptors(void *user)
{
    return open_descriptors() <= *(int *)user;
}

Test(client, leaves_no_connection_behind_when_destroyed_while_it_connects)
{
    struct fixture f = fixture_start(NULL);
    int most;

    cr_assert_eq(echo(f.channel, NULL, NULL), STUB_OK);
    most = open_descriptors() + 4;
    for (int i = 0; i < 100; i++) {
        struct stub_channel *channel = stub_channel_create(echo_target(f.echo), NULL);
        struct stub_stream *stream = test_echo_v1_echo_service_collect_open(channel, NULL);

        stub_stream_cancel(stream);
        cr_assert_eq(stub_stream_close(stream, NULL), STUB_CANCELLED);
        stub_channel_destroy(channel);
    }
    cr_assert(eventually(has_few_descriptors, &most), "%d descriptors, not %d",
              open_descriptors(), most);
    fixture_stop(&f);
}

Test(client, deals_calls_out_to_several_connections)
{
    struct fixture f = fixture_start(NULL);
    struct stub_channel_options options = {.connections = 4};
    struct stub_channel *channel = stub_channel_create(echo_target(f.echo), &options);

    for (int i = 0; i < 40; i++)
        cr_assert_eq(echo(channel, NULL, NULL), STUB_OK);
    stub_channel_destroy(channel);
    fixture_stop(&f);
}

Test(client, comes_back_when_the_server_does)
{
    char address[64];
    struct fixture f = fixture_start(NULL);
    struct echo_options options = {.listen = address};
    struct stub_call_options wait = {.timeout_us = 5000000, .wait_for_ready = true};
    char error[256];

    snprintf(address, sizeof(address), "%s", echo_target(f.echo));
    cr_assert_eq(echo(f.channel, NULL, NULL), STUB_OK);
    cr_assert(echo_stop(f.echo, 1000));
    cr_assert_eq(echo(f.channel, NULL, NULL), STUB_UNAVAILABLE);
    f.echo = echo_start(&options, error, sizeof(error));
    cr_assert(f.echo, "%s", error);
    cr_assert_eq(echo(f.channel, &wait, NULL), STUB_OK);
    fixture_stop(&f);
}

static void call_and_wait(void *user, const struct stub_status *st,
                          const Test__Echo__V1__EchoResponse *reply)
{
    (void)st, (void)reply;
    (void)echo(user, NULL, NULL);
}

Test(client, aborts_where_it_would_wait_for_itself, .signal = SIGABRT)
{
    struct fixture f = fixture_start(NULL);
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;

    test_echo_v1_echo_service_echo_async(f.channel, NULL, &request, call_and_wait, f.channel);
    stub_channel_destroy(f.channel);
}
