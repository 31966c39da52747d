/* A handler that takes a streaming client's messages one by one, when it likes. */
#include "tests/stub/fixture.h"

#include <criterion/criterion.h>
#include <stdatomic.h>

typedef Test__Echo__V1__EchoRequest echo_request;
typedef Test__Echo__V1__EchoResponse echo_response;

struct taker {
    struct rig rig;
    _Atomic(struct stub_call *) call;
    atomic_int taken, half_closed, closed;
    int expected;
};

static void taker_closed(void *user)
{
    struct taker *taker = user;

    if (atomic_load(&taker->half_closed) == 0)
        stub_call_finish(atomic_load(&taker->call));
    atomic_fetch_add(&taker->closed, 1);
}

static void taker_message(void *user, struct stub_call *call, const ProtobufCMessage *message)
{
    struct taker *taker = user;

    if (!message) {
        echo_response response = TEST__ECHO__V1__ECHO_RESPONSE__INIT;

        atomic_fetch_add(&taker->half_closed, 1);
        test_echo_v1_echo_service_collect_reply(call, &response);
        return;
    }
    stub_call_pause(call);
    atomic_fetch_add(&taker->taken, 1);
}

static void handle_collect(void *user, struct stub_call *call)
{
    struct taker *taker = user;

    atomic_store(&taker->call, call);
    stub_call_on_closed(call, taker_closed, taker);
    stub_call_on_message(call, taker_message, taker);
}

static const struct test_echo_v1_echo_service_handlers handlers = {.collect = handle_collect};

static bool has_taken(void *user)
{
    struct taker *taker = user;

    return atomic_load(&taker->taken) == taker->expected;
}

static bool is_closed(void *user)
{
    return atomic_load(&((struct taker *)user)->closed) == 1;
}

static struct stub_stream *send_ten(struct taker *taker)
{
    struct stub_stream *stream =
        test_echo_v1_echo_service_collect_open(taker->rig.channel, NULL);
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;

    for (int i = 0; i < 10; i++)
        cr_assert(test_echo_v1_echo_service_collect_write(stream, &request));
    return stream;
}

Test(receive, waits_for_a_handler_that_has_paused)
{
    struct taker taker = {0};
    struct stub_stream *stream;
    echo_response *message;

    rig_start(&taker.rig, &handlers, &taker, NULL);
    stream = send_ten(&taker);
    stub_stream_send_end(stream);
    for (taker.expected = 1; taker.expected <= 10; taker.expected++) {
        cr_assert(eventually(has_taken, &taker), "%d are taken", atomic_load(&taker.taken));
        cr_assert_eq(test_echo_v1_echo_service_collect_recv(stream, 1000, &message),
                     STUB_RECV_TIMEOUT, "not before all are taken");
        cr_assert_eq(atomic_load(&taker.taken), taker.expected);
        stub_call_resume(atomic_load(&taker.call));
    }
    cr_assert_eq(test_echo_v1_echo_service_collect_recv(stream, -1, &message), STUB_RECV_MESSAGE);
    test__echo__v1__echo_response__free_unpacked(message, NULL);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_OK);
    rig_stop(&taker.rig);
}

Test(receive, may_be_resumed_when_the_client_has_gone)
{
    struct taker taker = {.expected = 1};
    struct stub_stream *stream;

    rig_start(&taker.rig, &handlers, &taker, NULL);
    stream = send_ten(&taker);
    cr_assert(eventually(has_taken, &taker));
    stub_call_ref(atomic_load(&taker.call));
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_CANCELLED);
    cr_assert(eventually(is_closed, &taker));
    stub_call_resume(atomic_load(&taker.call));
    stub_call_unref(atomic_load(&taker.call));
    rig_stop(&taker.rig);
    cr_assert_eq(atomic_load(&taker.taken), 1);
}
