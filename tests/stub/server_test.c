/* The server's own life: ports, unknown methods, drain, stop. */
#include "base/check.h"
#include "tests/stub/fixture.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

Test(server, says_which_address_is_in_use)
{
    struct fixture f = fixture_start(NULL);
    struct echo_options options = {.listen = echo_target(f.echo)};
    char error[256] = "";

    cr_assert_null(echo_start(&options, error, sizeof(error)));
    cr_assert(strstr(error, echo_target(f.echo)), "%s", error);
    cr_assert(strstr(error, "in use"), "%s", error);
    fixture_stop(&f);
}

Test(server, refuses_an_address_that_is_none)
{
    struct echo_options options = {.listen = "nonsense:port"};
    char error[256] = "";

    cr_assert_null(echo_start(&options, error, sizeof(error)));
    cr_assert(strstr(error, "nonsense:port"), "%s", error);
}

/* Core would listen on another port. */
Test(server, refuses_a_port_that_is_none)
{
    static const char *const addresses[] = {"127.0.0.1:99999", "127.0.0.1:65536", "127.0.0.1",
                                            "[::1]",           "127.0.0.1:",      "localhost:4294967297",
                                            "unix:",           ""};

    for (size_t i = 0; i < ARRAY_COUNT(addresses); i++) {
        struct stub_server_options options = {.listen = &addresses[i], .listen_count = 1};
        char error[256] = "", named[64];

        snprintf(named, sizeof(named), "cannot listen on %s: the ", addresses[i]);
        cr_assert_null(stub_server_create(&options, error, sizeof(error)), "%s", addresses[i]);
        cr_assert(strstr(error, *addresses[i] ? named : "it is empty"), "%s", error);
    }
}

/* Core would call the port that is left of it without its higher bits. */
Test(server, a_client_calls_no_other_port)
{
    struct fixture f = fixture_start(NULL);
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct stub_call_options options = {.wait_for_ready = true};
    struct stub_status st = STUB_STATUS_INIT;
    struct stub_channel *channel;
    char target[64];

    snprintf(target, sizeof(target), "127.0.0.1:%d",
             atoi(strrchr(echo_target(f.echo), ':') + 1) + 65536);
    channel = stub_channel_create(target, NULL);
    cr_assert_eq(test_echo_v1_echo_service_echo(channel, &options, &request, NULL, &st),
                 STUB_UNAVAILABLE);
    cr_assert(strstr(st.message, "above 65535"), "%s", st.message);
    stub_status_clear(&st);
    stub_channel_destroy(channel);
    fixture_stop(&f);
}

Test(server, serves_on_a_unix_socket)
{
    char dir[] = "/tmp/stub_server_XXXXXX";
    char path[64], address[80];
    struct echo_options options = {.listen = address};
    struct fixture f;
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    Test__Echo__V1__EchoResponse *reply;

    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/s", dir);
    snprintf(address, sizeof(address), "unix:%s", path);
    f = fixture_start(&options);
    cr_assert_eq(test_echo_v1_echo_service_echo(f.channel, NULL, &request, &reply, NULL), STUB_OK);
    test__echo__v1__echo_response__free_unpacked(reply, NULL);
    fixture_stop(&f);
    unlink(path);
    rmdir(dir);
}

struct place {
    char dir[32];
    char path[64];
    char address[80];
};

static struct place make_place(void)
{
    struct place place = {.dir = "/tmp/stub_server_XXXXXX"};

    cr_assert(mkdtemp(place.dir));
    snprintf(place.path, sizeof(place.path), "%s/s", place.dir);
    snprintf(place.address, sizeof(place.address), "unix:%s", place.path);
    return place;
}

static void remove_place(const struct place *place)
{
    unlink(place->path);
    rmdir(place->dir);
}

Test(server, does_not_take_over_a_unix_socket_that_is_served)
{
    struct place place = make_place();
    struct echo_options options = {.listen = place.address};
    struct fixture f = fixture_start(&options);
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    Test__Echo__V1__EchoResponse *reply;
    char error[256] = "";

    cr_assert_null(echo_start(&options, error, sizeof(error)));
    cr_assert(strstr(error, place.path), "%s", error);
    cr_assert(strstr(error, "in use"), "%s", error);
    cr_assert_eq(test_echo_v1_echo_service_echo(f.channel, NULL, &request, &reply, NULL), STUB_OK);
    test__echo__v1__echo_response__free_unpacked(reply, NULL);
    fixture_stop(&f);
    remove_place(&place);
}

Test(server, takes_over_a_unix_socket_that_nobody_serves)
{
    struct place place = make_place();
    struct echo_options options = {.listen = place.address};
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct fixture f;
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    Test__Echo__V1__EchoResponse *reply;
    int left = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(at.sun_path, sizeof(at.sun_path), "%s", place.path);
    cr_assert_eq(bind(left, (struct sockaddr *)&at, sizeof(at)), 0);
    close(left); /* as a crash leaves it */
    f = fixture_start(&options);
    cr_assert_eq(test_echo_v1_echo_service_echo(f.channel, NULL, &request, &reply, NULL), STUB_OK);
    test__echo__v1__echo_response__free_unpacked(reply, NULL);
    fixture_stop(&f);
    remove_place(&place);
}

Test(server, does_not_remove_a_file_that_is_no_socket)
{
    struct place place = make_place();
    struct echo_options options = {.listen = place.address};
    char error[256] = "";
    FILE *file = fopen(place.path, "w");

    cr_assert(file);
    fclose(file);
    cr_assert_null(echo_start(&options, error, sizeof(error)));
    cr_assert(strstr(error, "socket"), "%s", error);
    cr_assert_eq(access(place.path, F_OK), 0);
    remove_place(&place);
}

Test(server, answers_unknown_methods_at_once)
{
    struct fixture f = fixture_start(NULL);
    struct stub_method unknown = test_echo_v1_echo_service_methods[0];
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct stub_status st = STUB_STATUS_INIT;
    ProtobufCMessage *reply;

    unknown.path = "/test.echo.v1.EchoService/Unheard";
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(stub_unary(f.channel, &unknown, NULL, &request.base, &reply, &st),
                     STUB_UNIMPLEMENTED, "%s", st.message);
        cr_assert(strstr(st.message, unknown.path), "%s", st.message);
        stub_status_clear(&st);
    }
    fixture_stop(&f);
}

Test(server, leaves_a_null_handler_unimplemented)
{
    struct fixture f = fixture_start(NULL);
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    Test__Echo__V1__EchoResponse *reply;

    cr_assert_eq(test_echo_v1_echo_service_nothing(f.channel, NULL, &request, &reply, NULL),
                 STUB_UNIMPLEMENTED);
    fixture_stop(&f);
}

Test(server, refuses_the_same_service_twice)
{
    char error[256];
    struct stub_server_options options = {0};
    struct stub_server *server = stub_server_create(&options, error, sizeof(error));
    struct test_echo_v1_echo_service_handlers none = {0};

    cr_assert(test_echo_v1_echo_service_register(server, &none, NULL));
    cr_assert_not(test_echo_v1_echo_service_register(server, &none, NULL));
    stub_server_destroy(server);
}

Test(server, can_be_destroyed_in_every_state)
{
    char error[256];
    struct stub_server_options options = {0};
    struct stub_server *server;

    stub_server_destroy(NULL);
    server = stub_server_create(&options, error, sizeof(error));
    stub_server_destroy(server);
    server = stub_server_create(&options, error, sizeof(error));
    cr_assert(stub_server_start(server));
    cr_assert_not(stub_server_start(server));
    stub_server_destroy(server);
    server = stub_server_create(&options, error, sizeof(error));
    cr_assert(stub_server_start(server));
    cr_assert_eq(stub_server_next(server, 0, NULL), STUB_NEXT_TIMEOUT);
    cr_assert_eq(stub_server_next(server, 1000, NULL), STUB_NEXT_TIMEOUT);
    stub_server_drain(server);
    stub_server_stop(server);
    while (stub_server_next(server, -1, NULL) != STUB_NEXT_SHUTDOWN)
        ;
    cr_assert_eq(stub_server_next(server, -1, NULL), STUB_NEXT_SHUTDOWN);
    stub_server_destroy(server);
}

static bool has_calls(void *user)
{
    return stub_server_calls(user) > 0;
}

static void remember_code(void *user, const struct stub_status *st,
                          const Test__Echo__V1__EchoResponse *reply)
{
    (void)reply;
    atomic_store((atomic_int *)user, st->code);
}

static bool is_set(void *user)
{
    return atomic_load((atomic_int *)user) != -1;
}

Test(server, drains_without_cutting_running_calls)
{
    struct fixture f = fixture_start(NULL);
    Test__Echo__V1__CountRequest count = TEST__ECHO__V1__COUNT_REQUEST__INIT;
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct stub_call_options options = {.timeout_us = 500000}, patient = {.timeout_us = 50000000};
    struct stub_stream *stream;
    Test__Echo__V1__CountResponse *message;
    Test__Echo__V1__EchoResponse *reply;
    int64_t expected = 1;

    count.to = 100000;
    count.bytes = 100;
    stream = test_echo_v1_echo_service_count_open(f.channel, &patient, &count);
    cr_assert_eq(test_echo_v1_echo_service_count_recv(stream, -1, &message), STUB_RECV_MESSAGE);
    stub_server_drain(echo_server(f.echo));
    do {
        cr_assert_eq(message->number, expected++);
        test__echo__v1__count_response__free_unpacked(message, NULL);
    } while (test_echo_v1_echo_service_count_recv(stream, -1, &message) == STUB_RECV_MESSAGE);
    cr_assert_eq(expected, 100001);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_OK);
    cr_assert_neq(test_echo_v1_echo_service_echo(f.channel, &options, &request, &reply, NULL),
                  STUB_OK, "no new calls");
    fixture_stop(&f);
}

Test(server, cancels_what_does_not_end_by_itself)
{
    struct fixture f = fixture_start(NULL);
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    atomic_int code = -1;

    request.action = TEST__ECHO__V1__ECHO_REQUEST__ACTION__ACTION_NEVER;
    test_echo_v1_echo_service_echo_async(f.channel, NULL, &request, remember_code, &code);
    cr_assert(eventually(has_calls, echo_server(f.echo)));
    cr_assert_not(echo_stop(f.echo, 50), "the call runs beyond the grace time");
    cr_assert(eventually(is_set, &code));
    cr_assert_neq(atomic_load(&code), STUB_OK);
    stub_channel_destroy(f.channel);
}

struct storm {
    struct fixture *f;
    atomic_int answered;
    atomic_bool ending;
};

static void *storm_thread(void *user)
{
    struct storm *storm = user;
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    Test__Echo__V1__EchoResponse *reply;
    struct stub_call_options options = {.timeout_us = 1000000};

    for (int i = 0; !atomic_load(&storm->ending); i++) {
        request.action = i % 2 ? TEST__ECHO__V1__ECHO_REQUEST__ACTION__ACTION_LATER
                               : TEST__ECHO__V1__ECHO_REQUEST__ACTION__ACTION_UNSPECIFIED;
        if (test_echo_v1_echo_service_echo(storm->f->channel, &options, &request, &reply, NULL) ==
            STUB_OK) {
            atomic_fetch_add(&storm->answered, 1);
            test__echo__v1__echo_response__free_unpacked(reply, NULL);
        }
    }
    return NULL;
}

static bool storm_runs(void *user)
{
    return atomic_load(&((struct storm *)user)->answered) > 200;
}

Test(server, stops_under_load)
{
    struct echo_options options = {.workers = 3};
    struct fixture f = fixture_start(&options);
    struct storm storm = {.f = &f};
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, storm_thread, &storm), 0);
    cr_assert(eventually(storm_runs, &storm));
    cr_assert(echo_stop(f.echo, 2000));
    atomic_store(&storm.ending, true);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    stub_channel_destroy(f.channel);
}
