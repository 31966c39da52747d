#include "tests/stub/fixture.h"

#include <criterion/criterion.h>
#include <grpc/health/v1/health.stub.h>
#include <stdio.h>

#define STATE(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name

static int check(struct fixture *f, const char *service, int *ret_state)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    Grpc__Health__V1__HealthCheckResponse *reply;
    char name[64];
    int code;

    snprintf(name, sizeof(name), "%s", service);
    request.service = name;
    code = grpc_health_v1_health_check(f->channel, NULL, &request, &reply, NULL);
    if (reply) {
        *ret_state = (int)reply->status;
        grpc__health__v1__health_check_response__free_unpacked(reply, NULL);
    }
    return code;
}

static struct stub_stream *watch(struct fixture *f, const char *service)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    char name[64];

    snprintf(name, sizeof(name), "%s", service);
    request.service = name;
    return grpc_health_v1_health_watch_open(f->channel, NULL, &request);
}

/* The next state, -1 at the end, -2 when none comes within the time. */
static int next(struct stub_stream *stream, int64_t timeout_us)
{
    Grpc__Health__V1__HealthCheckResponse *message;
    enum stub_recv got = grpc_health_v1_health_watch_recv(stream, timeout_us, &message);
    int state;

    if (got != STUB_RECV_MESSAGE)
        return got == STUB_RECV_END ? -1 : -2;
    state = (int)message->status;
    grpc__health__v1__health_check_response__free_unpacked(message, NULL);
    return state;
}

Test(health, checks_known_and_unknown_services)
{
    struct fixture f = fixture_start(NULL);
    int state = 0;

    cr_assert_eq(check(&f, "", &state), STUB_OK);
    cr_assert_eq(state, STATE(SERVING));
    cr_assert_eq(check(&f, "a", &state), STUB_NOT_FOUND);
    stub_health_set(echo_server(f.echo), "a", false);
    cr_assert_eq(check(&f, "a", &state), STUB_OK);
    cr_assert_eq(state, STATE(NOT_SERVING));
    fixture_stop(&f);
}

Test(health, tells_watchers_of_changes_and_only_of_changes)
{
    struct fixture f = fixture_start(NULL);
    struct stub_stream *stream = watch(&f, "a");

    cr_assert_eq(next(stream, -1), STATE(SERVICE_UNKNOWN));
    stub_health_set(echo_server(f.echo), "a", true);
    cr_assert_eq(next(stream, -1), STATE(SERVING));
    stub_health_set(echo_server(f.echo), "a", true);
    stub_health_set(echo_server(f.echo), "b", true);
    stub_health_set(echo_server(f.echo), "a", false);
    cr_assert_eq(next(stream, -1), STATE(NOT_SERVING));
    cr_assert_eq(next(stream, 20000), -2);
    stub_stream_close(stream, NULL);
    fixture_stop(&f);
}

Test(health, ends_watchers_when_it_shuts_down)
{
    struct fixture f = fixture_start(NULL);
    struct stub_stream *stream = watch(&f, "");
    int state = 0;

    cr_assert_eq(next(stream, -1), STATE(SERVING));
    stub_health_shutdown(echo_server(f.echo));
    cr_assert_eq(next(stream, -1), STATE(NOT_SERVING));
    cr_assert_eq(next(stream, -1), -1);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_UNAVAILABLE);
    stub_health_set(echo_server(f.echo), "", true);
    cr_assert_eq(check(&f, "", &state), STUB_OK);
    cr_assert_eq(state, STATE(NOT_SERVING), "later sets are ignored");
    stream = watch(&f, "");
    cr_assert_eq(next(stream, -1), STATE(NOT_SERVING));
    cr_assert_eq(next(stream, -1), -1);
    stub_stream_close(stream, NULL);
    fixture_stop(&f);
}

Test(health, forgets_watchers_that_go)
{
    struct fixture f = fixture_start(NULL);

    for (int i = 0; i < 50; i++) {
        struct stub_stream *stream = watch(&f, "a");

        cr_assert_neq(next(stream, -1), -1);
        stub_stream_close(stream, NULL);
        stub_health_set(echo_server(f.echo), "a", i % 2);
    }
    fixture_stop(&f);
}
