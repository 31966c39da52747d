/* A bound on the calls that run at once. */
#include "tests/stub/admission.h"
#include "tests/stub/fixture.h"

#include <google/rpc/error_details.pb-c.h>

#include <criterion/criterion.h>

typedef Test__Echo__V1__CountRequest count_request;
typedef Test__Echo__V1__EchoRequest echo_request;
typedef Test__Echo__V1__EchoResponse echo_response;

static struct admission admission = {.running_max = 3, .retry_after_ms = 1500};

static struct fixture start(void)
{
    const struct stub_interceptor interceptor = {admission_before, admission_after, &admission};
    struct echo_options options = {.interceptors = &interceptor, .interceptors_count = 1};

    return fixture_start(&options);
}

static int echo(struct fixture *f, struct stub_status *st)
{
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    echo_response *reply;
    int code = test_echo_v1_echo_service_echo(f->channel, NULL, &request, &reply, st);

    if (reply)
        test__echo__v1__echo_response__free_unpacked(reply, NULL);
    return code;
}

static struct stub_stream *hold_one(struct fixture *f)
{
    count_request request = TEST__ECHO__V1__COUNT_REQUEST__INIT;
    struct stub_stream *stream;

    request.silent = true;
    stream = test_echo_v1_echo_service_count_open(f->channel, NULL, &request);
    cr_assert(stub_stream_initial(stream, "echo-server", -1), "it runs");
    return stream;
}

static bool none_runs(void *user)
{
    (void)user;
    return atomic_load(&admission.running) == 0;
}

Test(admission, turns_one_too_many_away_and_says_when_to_come_again)
{
    struct fixture f = start();
    struct stub_stream *streams[3];
    struct stub_status st = STUB_STATUS_INIT;
    Google__Rpc__RetryInfo *retry;

    for (int i = 0; i < 3; i++)
        streams[i] = hold_one(&f);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(echo(&f, &st), STUB_RESOURCE_EXHAUSTED);
        retry = (Google__Rpc__RetryInfo *)(void *)stub_status_detail(
            &st, &google__rpc__retry_info__descriptor);
        cr_assert(retry);
        cr_assert_eq(retry->retry_delay->seconds, 1);
        cr_assert_eq(retry->retry_delay->nanos, 500000000);
        google__rpc__retry_info__free_unpacked(retry, NULL);
    }
    stub_status_clear(&st);
    cr_assert_eq(atomic_load(&admission.running), 3);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(stub_stream_close(streams[i], NULL), STUB_CANCELLED);
    cr_assert(eventually(none_runs, NULL), "%ld are still counted", atomic_load(&admission.running));
    cr_assert_eq(echo(&f, NULL), STUB_OK);
    fixture_stop(&f);
}

Test(admission, counts_every_call_down_again)
{
    struct fixture f = start();

    for (int i = 0; i < 100; i++) {
        int code = echo(&f, NULL); /* the one before may still be on its way out */

        cr_assert(code == STUB_OK || code == STUB_RESOURCE_EXHAUSTED);
    }
    (void)raw_echo(f.channel, "\x0a\x02" "a\xff", 4, NULL);
    cr_assert(eventually(none_runs, NULL), "%ld are still counted", atomic_load(&admission.running));
    fixture_stop(&f);
}
