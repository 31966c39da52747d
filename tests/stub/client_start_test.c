/* Streams whose messages come by callback. */
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

/* What the callbacks of one stream have seen; they run one at a time. */
struct seen {
    atomic_int messages, ends, drained;
    int64_t last;
    bool in_order;
    int code;
    char message[128];
    char initial[64];

    /* what they are to do */
    int to;             /* send until so many are sent */
    int sent;
    int cancel_at;      /* message number */
    bool release_at_end;
    struct stub_stream *other;
};

static struct seen fresh(void)
{
    return (struct seen){.in_order = true};
}

static void on_end(void *user, struct stub_stream *stream, const struct stub_status *status)
{
    struct seen *seen = user;
    const char *initial = stub_status_metadata(status, "echo-server");

    seen->code = status->code;
    snprintf(seen->message, sizeof(seen->message), "%s", status->message);
    snprintf(seen->initial, sizeof(seen->initial), "%s", initial ? initial : "");
    if (seen->release_at_end)
        stub_stream_release(stream);
    atomic_fetch_add(&seen->ends, 1);
}

static const struct stub_stream_events events = {.on_end = on_end};

static bool has_ended(void *user)
{
    return atomic_load(&((struct seen *)user)->ends) == 1;
}

static void on_count(void *user, struct stub_stream *stream, const count_response *message)
{
    struct seen *seen = user;

    seen->in_order = seen->in_order && message->number == seen->last + 1;
    seen->last = message->number;
    if (message->number == seen->cancel_at)
        stub_stream_cancel(stream);
    atomic_fetch_add(&seen->messages, 1);
}

static struct stub_stream *start_count(struct fixture *f, int64_t to, struct seen *seen)
{
    count_request request = TEST__ECHO__V1__COUNT_REQUEST__INIT;

    request.to = to;
    request.bytes = 10;
    return test_echo_v1_echo_service_count_start(f->channel, NULL, &request, on_count, &events,
                                                 seen);
}

Test(client_start, gives_every_message_in_order_and_then_the_end)
{
    struct fixture f = fixture_start(NULL);
    struct seen seen = fresh();
    struct stub_stream *stream = start_count(&f, 5000, &seen);

    cr_assert(eventually(has_ended, &seen));
    cr_assert_eq(atomic_load(&seen.messages), 5000);
    cr_assert(seen.in_order);
    cr_assert_eq(seen.code, STUB_OK);
    stub_stream_release(stream);
    fixture_stop(&f);
}

Test(client_start, needs_nobody_to_hold_the_stream)
{
    struct fixture f = fixture_start(NULL);
    struct seen seen = fresh();

    stub_stream_release(start_count(&f, 100, &seen));
    cr_assert(eventually(has_ended, &seen));
    cr_assert_eq(atomic_load(&seen.messages), 100);
    fixture_stop(&f);
}

Test(client_start, may_be_released_by_its_last_callback)
{
    struct fixture f = fixture_start(NULL);
    struct seen seen = fresh();

    seen.release_at_end = true;
    (void)start_count(&f, 10, &seen);
    cr_assert(eventually(has_ended, &seen));
    fixture_stop(&f);
}

Test(client_start, may_be_cancelled_inside_a_callback)
{
    struct fixture f = fixture_start(NULL);
    struct seen seen = fresh();
    struct stub_stream *stream;

    seen.cancel_at = 10;
    stream = start_count(&f, 0, &seen);
    cr_assert(eventually(has_ended, &seen));
    cr_assert_eq(seen.code, STUB_CANCELLED);
    cr_assert_geq(atomic_load(&seen.messages), 10);
    cr_assert(seen.in_order);
    stub_stream_cancel(stream); /* once more, when it is over */
    stub_stream_release(stream);
    fixture_stop(&f);
}

static void on_echo(void *user, struct stub_stream *stream, const echo_response *message)
{
    struct seen *seen = user;
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;

    seen->in_order = seen->in_order && message->count == seen->last + 1;
    seen->last = message->count;
    atomic_fetch_add(&seen->messages, 1);
    request.count = message->count + 1;
    if (request.count > seen->to)
        stub_stream_send_end(stream);
    else
        cr_assert_eq(test_echo_v1_echo_service_chat_try_write(stream, &request), STUB_SEND_OK);
}

Test(client_start, talks_both_ways_inside_its_callbacks)
{
    struct fixture f = fixture_start(NULL);
    struct seen seen = fresh();
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct stub_stream *stream;

    seen.to = 300;
    stream = test_echo_v1_echo_service_chat_start(f.channel, NULL, on_echo, &events, &seen);
    request.count = 1;
    cr_assert_eq(test_echo_v1_echo_service_chat_try_write(stream, &request), STUB_SEND_OK);
    cr_assert(eventually(has_ended, &seen));
    cr_assert_eq(atomic_load(&seen.messages), 300);
    cr_assert(seen.in_order);
    cr_assert_eq(seen.code, STUB_OK);
    cr_assert_eq(test_echo_v1_echo_service_chat_try_write(stream, &request), STUB_SEND_DEAD);
    stub_stream_release(stream);
    fixture_stop(&f);
}

/* As much as goes in, and on when it has drained. */
static void send_on(struct seen *seen, struct stub_stream *stream)
{
    static uint8_t payload[5000];
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;

    request.payload = (ProtobufCBinaryData){sizeof(payload), payload};
    while (seen->sent < seen->to) {
        enum stub_send sent;

        request.count = seen->sent + 1;
        sent = test_echo_v1_echo_service_collect_try_write(stream, &request);
        if (sent == STUB_SEND_FULL)
            return;
        cr_assert_eq(sent, STUB_SEND_OK);
        seen->sent++;
    }
    stub_stream_send_end(stream);
}

static void collect_drained(void *user, struct stub_stream *stream)
{
    struct seen *seen = user;

    atomic_fetch_add(&seen->drained, 1);
    send_on(seen, stream);
}

static void on_sum(void *user, struct stub_stream *stream, const echo_response *message)
{
    struct seen *seen = user;

    (void)stream;
    seen->last = message->count;
    atomic_fetch_add(&seen->messages, 1);
}

Test(client_start, sends_on_each_time_the_queue_has_drained)
{
    static const struct stub_stream_events both = {.on_drained = collect_drained, .on_end = on_end};
    struct fixture f = fixture_start(NULL);
    struct stub_call_options options = {.queue = {.messages_max = 5}};
    struct seen seen = fresh();
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct stub_stream *stream;

    seen.to = 500;
    stream = test_echo_v1_echo_service_collect_start(f.channel, &options, on_sum, &both, &seen);
    cr_assert_eq(test_echo_v1_echo_service_collect_try_write(stream, &request), STUB_SEND_OK);
    cr_assert(eventually(has_ended, &seen)); /* the rest was sent by on_drained */
    cr_assert_eq(seen.code, STUB_OK, "%s", seen.message);
    cr_assert_eq(atomic_load(&seen.messages), 1);
    cr_assert_eq(seen.last, 500 * 501 / 2);
    cr_assert_geq(atomic_load(&seen.drained), 500 / 6);
    stub_stream_release(stream);
    fixture_stop(&f);
}

Test(client_start, needs_no_events)
{
    struct fixture f = fixture_start(NULL);
    struct seen seen = fresh();
    count_request request = TEST__ECHO__V1__COUNT_REQUEST__INIT;

    request.to = 20;
    stub_stream_release(test_echo_v1_echo_service_count_start(f.channel, NULL, &request, on_count,
                                                              NULL, &seen));
    stub_channel_destroy(f.channel); /* waits for the last callback */
    cr_assert_leq(atomic_load(&seen.messages), 20);
    f.channel = stub_channel_create(echo_target(f.echo), NULL);
    fixture_stop(&f);
}

Test(client_start, tells_why_it_could_not_begin)
{
    struct fixture f = fixture_start(NULL);
    const char *metadata[] = {"Not Legal", "x"};
    struct stub_call_options options = {.metadata = metadata, .metadata_count = 1};
    struct seen seen = fresh();
    struct stub_stream *stream;

    stream = test_echo_v1_echo_service_chat_start(f.channel, &options, on_echo, &events, &seen);
    cr_assert(eventually(has_ended, &seen));
    cr_assert_eq(seen.code, STUB_INTERNAL, "%s", seen.message);
    stub_stream_release(stream);
    fixture_stop(&f);
}

Test(client_start, says_unavailable_when_nobody_listens)
{
    struct stub_channel *channel = stub_channel_create("127.0.0.1:1", NULL);
    struct seen seen = fresh();
    struct stub_stream *stream =
        test_echo_v1_echo_service_chat_start(channel, NULL, on_echo, &events, &seen);

    cr_assert(eventually(has_ended, &seen));
    cr_assert_eq(seen.code, STUB_UNAVAILABLE, "%s", seen.message);
    stub_stream_release(stream);
    stub_channel_destroy(channel);
}

static void on_any(stub_function *fn, void *user, struct stub_stream *stream,
                   const ProtobufCMessage *message)
{
    (void)fn, (void)stream, (void)message;
    atomic_fetch_add(&((struct seen *)user)->messages, 1);
}

Test(client_start, says_internal_for_a_message_it_cannot_read)
{
    struct fixture f = fixture_start(NULL);
    struct stub_method method = test_echo_v1_echo_service_methods[1];
    count_request request = TEST__ECHO__V1__COUNT_REQUEST__INIT;
    struct seen seen = fresh();

    method.response = &test__echo__v1__echo_response__descriptor; /* field 1 is a text there */
    request.to = 3;
    stub_stream_release(stub_stream_start(f.channel, &method, NULL, &request.base, on_any,
                                          (stub_function *)on_any, &events, &seen));
    cr_assert(eventually(has_ended, &seen));
    cr_assert_eq(seen.code, STUB_INTERNAL);
    cr_assert(strstr(seen.message, "text"), "%s", seen.message);
    cr_assert_eq(atomic_load(&seen.messages), 0);
    fixture_stop(&f);
}

Test(client_start, hears_of_the_deadline)
{
    struct fixture f = fixture_start(NULL);
    struct stub_call_options options = {.timeout_us = 100000};
    count_request request = TEST__ECHO__V1__COUNT_REQUEST__INIT;
    struct seen seen = fresh();

    request.silent = true;
    stub_stream_release(test_echo_v1_echo_service_count_start(f.channel, &options, &request,
                                                              on_count, &events, &seen));
    cr_assert(eventually(has_ended, &seen));
    cr_assert_eq(seen.code, STUB_DEADLINE_EXCEEDED);
    cr_assert_str_eq(seen.initial, "tests", "the initial metadata had come");
    fixture_stop(&f);
}

Test(client_start, ends_with_its_channel_and_may_be_released_afterwards)
{
    struct fixture f = fixture_start(NULL);
    struct stub_channel *channel = stub_channel_create(echo_target(f.echo), NULL);
    struct seen seen[10];
    struct stub_stream *streams[10];

    for (int i = 0; i < 10; i++) {
        seen[i] = fresh();
        streams[i] = test_echo_v1_echo_service_chat_start(channel, NULL, on_echo, &events, &seen[i]);
    }
    stub_channel_destroy(channel);
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(atomic_load(&seen[i].ends), 1);
        cr_assert_eq(seen[i].code, STUB_CANCELLED);
        stub_stream_cancel(streams[i]);
        cr_assert_null(stub_stream_initial(streams[i], "echo-server", 0));
        stub_stream_release(streams[i]);
    }
    fixture_stop(&f);
}

static void on_count_and_pause(void *user, struct stub_stream *stream, const count_response *message)
{
    on_count(user, stream, message);
    stub_stream_pause(stream);
}

struct waiting {
    struct seen *seen;
    int messages;
};

static bool has_seen(void *user)
{
    const struct waiting *waiting = user;

    return atomic_load(&waiting->seen->messages) == waiting->messages;
}

Test(client_start, holds_the_server_up_while_it_is_paused)
{
    struct fixture f = fixture_start(NULL);
    count_request request = TEST__ECHO__V1__COUNT_REQUEST__INIT;
    struct seen seen = fresh();
    struct stub_stream *stream;

    request.to = 20;
    stream = test_echo_v1_echo_service_count_start(f.channel, NULL, &request, on_count_and_pause,
                                                   &events, &seen);
    for (int i = 1; i <= 20; i++) {
        struct waiting waiting = {&seen, i};

        cr_assert(eventually(has_seen, &waiting), "%d messages", atomic_load(&seen.messages));
        if (i < 20) /* behind the last message the end needs no reading */
            cr_assert_eq(atomic_load(&seen.ends), 0);
        stub_stream_resume(stream);
    }
    cr_assert(eventually(has_ended, &seen));
    cr_assert_eq(seen.code, STUB_OK);
    cr_assert(seen.in_order);
    stub_stream_resume(stream);
    stub_stream_release(stream);
    fixture_stop(&f);
}

Test(client_start, ends_while_it_is_paused)
{
    struct fixture f = fixture_start(NULL);
    struct stub_call_options options = {.timeout_us = 200000};
    count_request request = TEST__ECHO__V1__COUNT_REQUEST__INIT;
    struct seen seen = fresh();
    struct stub_stream *stream = test_echo_v1_echo_service_count_start(
        f.channel, &options, &request, on_count_and_pause, &events, &seen);

    cr_assert(eventually(has_ended, &seen));
    cr_assert_eq(seen.code, STUB_DEADLINE_EXCEEDED);
    cr_assert_eq(atomic_load(&seen.messages), 1);
    stub_stream_resume(stream);
    stub_stream_release(stream);
    fixture_stop(&f);
}

static void *cancel_thread(void *user)
{
    stub_stream_cancel(user);
    stub_stream_release(user);
    return NULL;
}

Test(client_start, may_be_cancelled_by_another_thread_at_any_moment)
{
    struct fixture f = fixture_start(NULL);

    for (int round = 0; round < 200; round++) {
        struct seen seen = fresh();
        pthread_t thread;

        cr_assert(pthread_create(&thread, NULL, cancel_thread, start_count(&f, 50, &seen)) == 0);
        cr_assert(eventually(has_ended, &seen));
        pthread_join(thread, NULL);
        cr_assert(seen.code == STUB_OK || seen.code == STUB_CANCELLED, "%d", seen.code);
        cr_assert(seen.in_order);
    }
    fixture_stop(&f);
}
