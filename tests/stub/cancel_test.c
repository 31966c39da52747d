/* Handles that cancel calls, fired from another thread at every stage of a call. */
#include "tests/stub/fixture.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

typedef Test__Echo__V1__CountRequest count_request;
typedef Test__Echo__V1__CountResponse count_response;
typedef Test__Echo__V1__EchoRequest echo_request;
typedef Test__Echo__V1__EchoResponse echo_response;

#define NEVER TEST__ECHO__V1__ECHO_REQUEST__ACTION__ACTION_NEVER

static int echo(struct stub_channel *channel, const struct stub_call_options *options, int action)
{
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    echo_response *reply;
    int code;

    request.action = (Test__Echo__V1__EchoRequest__Action)action;
    code = test_echo_v1_echo_service_echo(channel, options, &request, &reply, NULL);
    cr_assert_eq(reply != NULL, code == STUB_OK);
    if (reply)
        test__echo__v1__echo_response__free_unpacked(reply, NULL);
    return code;
}

/* Fires when the condition holds. */
struct firing {
    struct stub_cancel *cancel;
    bool (*when)(void *user);
    void *user;
    pthread_t thread;
};

static void *firing_thread(void *user)
{
    struct firing *firing = user;

    (void)eventually(firing->when, firing->user);
    stub_cancel_fire(firing->cancel);
    return NULL;
}

static void fire_when(struct firing *firing, struct stub_cancel *cancel, bool (*when)(void *user),
                      void *user)
{
    *firing = (struct firing){.cancel = cancel, .when = when, .user = user};
    cr_assert(pthread_create(&firing->thread, NULL, firing_thread, firing) == 0);
}

static bool one_call(void *user)
{
    return stub_server_calls(user) == 1;
}

static bool no_calls(void *user)
{
    return stub_server_calls(user) == 0;
}

static bool one_closed(void *user)
{
    return echo_closed(user) == 1;
}

Test(cancel, ends_a_call_before_it_begins)
{
    struct fixture f = fixture_start(NULL);
    struct stub_cancel *cancel = stub_cancel_create();
    struct stub_call_options options = {.cancel = cancel};
    struct stub_stream *stream;
    echo_response *message;

    stub_cancel_fire(cancel);
    cr_assert_eq(echo(f.channel, &options, 0), STUB_CANCELLED);
    stream = test_echo_v1_echo_service_chat_open(f.channel, &options);
    cr_assert_eq(test_echo_v1_echo_service_chat_recv(stream, -1, &message), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_CANCELLED);
    stub_cancel_destroy(cancel);
    cr_assert_eq(echo(f.channel, NULL, 0), STUB_OK);
    fixture_stop(&f);
}

static bool passed_50_ms(void *user)
{
    struct timespec now;
    const struct timespec *start = user;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000 >= 50;
}

Test(cancel, ends_a_call_that_waits_for_a_connection)
{
    struct stub_channel *channel = stub_channel_create("127.0.0.1:1", NULL);
    struct stub_cancel *cancel = stub_cancel_create();
    struct stub_call_options options = {.cancel = cancel, .wait_for_ready = true};
    struct timespec start;
    struct firing firing;

    clock_gettime(CLOCK_MONOTONIC, &start);
    fire_when(&firing, cancel, passed_50_ms, &start);
    cr_assert_eq(echo(channel, &options, 0), STUB_CANCELLED);
    pthread_join(firing.thread, NULL);
    stub_cancel_destroy(cancel);
    stub_channel_destroy(channel);
}

Test(cancel, ends_a_call_that_the_server_works_on_and_the_server_hears_of_it)
{
    struct fixture f = fixture_start(NULL);
    struct stub_cancel *cancel = stub_cancel_create();
    struct stub_call_options options = {.cancel = cancel};
    struct firing firing;

    fire_when(&firing, cancel, one_call, echo_server(f.echo));
    cr_assert_eq(echo(f.channel, &options, NEVER), STUB_CANCELLED);
    pthread_join(firing.thread, NULL);
    cr_assert(eventually(one_closed, f.echo));
    stub_cancel_destroy(cancel);
    fixture_stop(&f);
}

struct ended {
    atomic_int count, cancelled;
};

static void done(void *user, const struct stub_status *st, const echo_response *reply)
{
    struct ended *ended = user;

    (void)reply;
    if (st->code == STUB_CANCELLED)
        atomic_fetch_add(&ended->cancelled, 1);
    atomic_fetch_add(&ended->count, 1);
}

static bool twenty_ended(void *user)
{
    return atomic_load(&((struct ended *)user)->count) == 20;
}

static bool twenty_calls(void *user)
{
    return stub_server_calls(user) == 20;
}

Test(cancel, ends_all_asynchronous_calls_of_one_handle_and_no_other)
{
    struct fixture f = fixture_start(NULL);
    struct stub_cancel *cancel = stub_cancel_create(), *other = stub_cancel_create();
    struct stub_call_options options = {.cancel = cancel}, spared = {.cancel = other};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct ended ended = {0}, rest = {0};

    request.action = NEVER;
    for (int i = 0; i < 20; i++)
        test_echo_v1_echo_service_echo_async(f.channel, &options, &request, done, &ended);
    cr_assert(eventually(twenty_calls, echo_server(f.echo)));
    for (int i = 0; i < 20; i++)
        test_echo_v1_echo_service_echo_async(f.channel, &spared, &request, done, &rest);
    stub_cancel_fire(cancel);
    stub_cancel_fire(cancel);
    cr_assert(eventually(twenty_ended, &ended));
    cr_assert_eq(atomic_load(&ended.cancelled), 20);
    cr_assert_eq(atomic_load(&rest.count), 0);
    cr_assert(eventually(twenty_calls, echo_server(f.echo)));
    stub_cancel_fire(other);
    cr_assert(eventually(twenty_ended, &rest));
    stub_cancel_destroy(cancel);
    stub_cancel_destroy(other);
    fixture_stop(&f);
}

Test(cancel, ends_a_stream_that_waits_for_a_message)
{
    struct fixture f = fixture_start(NULL);
    struct stub_cancel *cancel = stub_cancel_create();
    struct stub_call_options options = {.cancel = cancel};
    count_request request = TEST__ECHO__V1__COUNT_REQUEST__INIT;
    struct stub_stream *stream;
    struct firing firing;
    count_response *message;

    request.silent = true;
    fire_when(&firing, cancel, one_call, echo_server(f.echo));
    stream = test_echo_v1_echo_service_count_open(f.channel, &options, &request);
    cr_assert_eq(test_echo_v1_echo_service_count_recv(stream, -1, &message), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_CANCELLED);
    pthread_join(firing.thread, NULL);
    cr_assert(eventually(one_closed, f.echo));
    stub_cancel_destroy(cancel);
    fixture_stop(&f);
}

static void finish(void *call)
{
    stub_call_finish(call);
}

static void handle_deaf(void *user, struct stub_call *call)
{
    (void)user;
    stub_call_on_closed(call, finish, call);
}

Test(cancel, ends_a_stream_that_waits_for_room)
{
    const struct test_echo_v1_echo_service_handlers handlers = {.collect = handle_deaf};
    struct stub_cancel *cancel = stub_cancel_create();
    struct stub_call_options options = {.cancel = cancel, .queue = {.messages_max = 2}};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    static uint8_t payload[10000];
    struct stub_stream *stream;
    struct firing firing;
    struct rig rig;
    int sent = 0;

    rig_start(&rig, &handlers, NULL, NULL);
    request.payload = (ProtobufCBinaryData){sizeof(payload), payload};
    fire_when(&firing, cancel, one_call, rig.server);
    stream = test_echo_v1_echo_service_collect_open(rig.channel, &options);
    while (test_echo_v1_echo_service_collect_write(stream, &request))
        sent++;
    cr_assert_lt(sent, 1000, "%d messages went to one that reads none", sent);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_CANCELLED);
    pthread_join(firing.thread, NULL);
    stub_cancel_destroy(cancel);
    rig_stop(&rig);
}

Test(cancel, does_nothing_to_a_call_that_is_over)
{
    struct fixture f = fixture_start(NULL);
    struct stub_cancel *cancel = stub_cancel_create();
    struct stub_call_options options = {.cancel = cancel};

    cr_assert_eq(echo(f.channel, &options, 0), STUB_OK);
    stub_cancel_fire(cancel);
    stub_cancel_destroy(cancel);
    fixture_stop(&f);
}

Test(cancel, may_be_destroyed_while_its_calls_run)
{
    struct fixture f = fixture_start(NULL);
    struct stub_cancel *cancel = stub_cancel_create();
    struct stub_call_options options = {.cancel = cancel};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct ended ended = {0};

    request.action = NEVER;
    for (int i = 0; i < 20; i++)
        test_echo_v1_echo_service_echo_async(f.channel, &options, &request, done, &ended);
    stub_cancel_destroy(cancel);
    cr_assert(eventually(twenty_calls, echo_server(f.echo)));
    cr_assert_eq(atomic_load(&ended.count), 0);
    stub_channel_destroy(f.channel);
    cr_assert_eq(atomic_load(&ended.cancelled), 20);
    f.channel = stub_channel_create(echo_target(f.echo), NULL);
    fixture_stop(&f);
}

/* One thread calls, the other fires at ever other moments; whatever happens is one of two things. */
static bool shortly(void *user)
{
    struct timespec pause = {.tv_nsec = *(long *)user};

    nanosleep(&pause, NULL);
    return true;
}

Test(cancel, may_come_at_any_moment)
{
    struct fixture f = fixture_start(NULL);
    int cancelled = 0, ok = 0;

    for (int round = 0; round < 300; round++) {
        struct stub_cancel *cancel = stub_cancel_create();
        struct stub_call_options options = {.cancel = cancel};
        long pause_ns = round * 2000L;
        struct firing firing;
        int code;

        fire_when(&firing, cancel, shortly, &pause_ns);
        code = echo(f.channel, &options, round % 2);
        cr_assert(code == STUB_OK || code == STUB_CANCELLED, "%d", code);
        cancelled += code == STUB_CANCELLED;
        ok += code == STUB_OK;
        pthread_join(firing.thread, NULL);
        stub_cancel_destroy(cancel);
    }
    cr_assert_eq(cancelled + ok, 300);
    cr_assert(eventually(no_calls, echo_server(f.echo)));
    cr_assert_eq(echo(f.channel, NULL, 0), STUB_OK);
    fixture_stop(&f);
}
