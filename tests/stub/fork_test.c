/*
 * What a child of fork may still call: everything, and nothing of it hangs, works, or touches what is the
 * parent's. The exit status of a child is the number of the first thing that is not as promised.
 */
#include "tests/stub/tls_fixture.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

typedef Test__Echo__V1__EchoRequest echo_request;
typedef Test__Echo__V1__EchoResponse echo_response;
typedef Test__Echo__V1__CountRequest count_request;
typedef Test__Echo__V1__CountResponse count_response;

enum { CHILD_SECONDS = 20, FORKS = 40 };

static int call_once_more(struct stub_channel *channel, struct stub_status *st)
{
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;

    return test_echo_v1_echo_service_echo(channel, NULL, &request, NULL, st);
}

static bool is_refused(struct stub_channel *channel)
{
    struct stub_status st = STUB_STATUS_INIT;
    bool refused = call_once_more(channel, &st) == STUB_UNAVAILABLE && strstr(st.message, "forked");

    stub_status_clear(&st);
    return refused;
}

/* Runs fn(user) in a child. */
static pid_t fork_and(int (*fn)(void *user), void *user)
{
    pid_t child = fork();

    cr_assert_geq(child, 0);
    if (child == 0) {
        alarm(CHILD_SECONDS); /* for one that hangs */
        _exit(fn(user));
    }
    return child;
}

static void expect_well(pid_t child)
{
    int status;

    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%x", (unsigned)status);
}

/* --- a client ------------------------------------------------------------------------------------- */

static void on_echo(void *user, struct stub_stream *stream, const echo_response *message)
{
    (void)user, (void)stream, (void)message;
}

static void on_end(void *user, struct stub_stream *stream, const struct stub_status *status)
{
    (void)stream, (void)status;
    atomic_fetch_add((atomic_int *)user, 1);
}

struct client {
    struct fixture f;
    struct stub_stream *waits, *calls_back;
    atomic_int ends;
};

static int test_streams(struct client *c)
{
    const struct stub_stream_events events = {.on_end = on_end};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct stub_status st = STUB_STATUS_INIT;
    echo_response *message;
    struct stub_stream *own;
    atomic_int ends = 0;

    if (test_echo_v1_echo_service_chat_write(c->waits, &request) ||
        test_echo_v1_echo_service_chat_try_write(c->calls_back, &request) != STUB_SEND_DEAD)
        return 10;
    stub_stream_send_end(c->waits);
    stub_stream_send_end(c->calls_back);
    stub_stream_pause(c->calls_back);
    stub_stream_resume(c->calls_back);
    stub_stream_cancel(c->calls_back);
    if (stub_stream_dropped(c->waits) != 0 || stub_stream_initial(c->waits, "echo-server", -1))
        return 11;
    if (test_echo_v1_echo_service_chat_recv(c->waits, -1, &message) != STUB_RECV_END ||
        stub_stream_close(c->waits, &st) != STUB_UNAVAILABLE || !strstr(st.message, "forked"))
        return 12;
    stub_stream_release(c->calls_back);
    own = test_echo_v1_echo_service_chat_start(c->f.channel, NULL, on_echo, &events, &ends);
    stub_stream_send_end(own);
    stub_stream_pause(own);
    stub_stream_resume(own);
    stub_stream_release(own);
    own = test_echo_v1_echo_service_chat_open(c->f.channel, NULL);
    stub_stream_send_end(own);
    if (ends != 1 || stub_stream_close(own, NULL) != STUB_UNAVAILABLE)
        return 13;
    return 0;
}

static int test_client(void *user)
{
    struct stub_server_options options = {0};
    struct client *c = user;
    struct stub_channel *channel;
    char error[256] = "";
    int found;

    if (!is_refused(c->f.channel))
        return 1;
    found = test_streams(c);
    if (found)
        return found;
    stub_channel_destroy(c->f.channel);
    channel = stub_channel_create("127.0.0.1:1", NULL);
    if (!is_refused(channel))
        return 2;
    stub_channel_destroy(channel);
    if (stub_server_create(&options, error, sizeof(error)) || !strstr(error, "forked"))
        return 3;
    if (stub_server_next(echo_server(c->f.echo), -1, NULL) != STUB_NEXT_SHUTDOWN)
        return 4;
    stub_server_destroy(echo_server(c->f.echo));
    return 0;
}

static bool has_ended(void *user)
{
    return atomic_load((atomic_int *)user) == 1;
}

/* Several forks, each at another moment of what the channel's thread does under the streams' locks. */
Test(fork, a_child_is_told_and_the_parent_goes_on)
{
    const struct stub_stream_events events = {.on_end = on_end};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct client c = {.f = fixture_start(NULL)};
    echo_response *message;

    cr_assert_eq(call_once_more(c.f.channel, NULL), STUB_OK);
    c.waits = test_echo_v1_echo_service_chat_open(c.f.channel, NULL);
    c.calls_back = test_echo_v1_echo_service_chat_start(c.f.channel, NULL, on_echo, &events, &c.ends);
    for (int i = 0; i < FORKS / 4; i++) {
        cr_assert(test_echo_v1_echo_service_chat_write(c.waits, &request));
        cr_assert_eq(test_echo_v1_echo_service_chat_try_write(c.calls_back, &request), STUB_SEND_OK);
        expect_well(fork_and(test_client, &c));
        cr_assert_eq(call_once_more(c.f.channel, NULL), STUB_OK);
    }
    cr_assert_eq(test_echo_v1_echo_service_chat_recv(c.waits, -1, &message), STUB_RECV_MESSAGE);
    test__echo__v1__echo_response__free_unpacked(message, NULL);
    stub_stream_close(c.waits, NULL);
    stub_stream_send_end(c.calls_back);
    cr_assert(eventually(has_ended, &c.ends));
    stub_stream_release(c.calls_back);
    fixture_stop(&c.f);
}

/* --- a stream's lock that nobody gives back ---------------------------------------------------------- */

struct blocked {
    struct stub_stream *stream;
    atomic_bool stop;
};

/* Takes and gives back the stream's lock all the time. */
static void *ask_all_the_time(void *user)
{
    struct blocked *blocked = user;

    while (!atomic_load(&blocked->stop))
        (void)stub_stream_dropped(blocked->stream);
    return NULL;
}

static int test_blocked(void *user)
{
    struct stub_stream *stream = ((struct blocked *)user)->stream;

    (void)stub_stream_dropped(stream);
    (void)stub_stream_initial(stream, "echo-server", 0);
    stub_stream_pause(stream);
    stub_stream_resume(stream);
    stub_stream_send_end(stream);
    stub_stream_release(stream);
    return 0;
}

Test(fork, a_lock_that_another_thread_had_is_not_waited_for)
{
    const struct stub_stream_events events = {.on_end = on_end};
    struct fixture f = fixture_start(NULL);
    struct blocked blocked = {.stop = false};
    atomic_int ends = 0;
    pthread_t thread;

    blocked.stream = test_echo_v1_echo_service_chat_start(f.channel, NULL, on_echo, &events, &ends);
    cr_assert_eq(pthread_create(&thread, NULL, ask_all_the_time, &blocked), 0);
    for (int i = 0; i < FORKS; i++)
        expect_well(fork_and(test_blocked, &blocked));
    atomic_store(&blocked.stop, true);
    pthread_join(thread, NULL);
    stub_stream_send_end(blocked.stream);
    stub_stream_release(blocked.stream);
    cr_assert(eventually(has_ended, &ends));
    fixture_stop(&f);
}

/* --- a server ------------------------------------------------------------------------------------- */

/* Made here, started in the child, as a daemon might that forks too late. */
static int test_start(void *user)
{
    static const struct test_echo_v1_echo_service_handlers handlers = {0};
    struct stub_server *server = user;

    if (test_echo_v1_echo_service_register(server, &handlers, NULL) || stub_server_start(server))
        return 1;
    if (stub_health_register(server) || stub_server_tls_reload(server))
        return 2;
    if (stub_server_next(server, -1, NULL) != STUB_NEXT_SHUTDOWN)
        return 3;
    stub_server_drain(server);
    stub_server_stop(server);
    stub_server_destroy(server);
    return 0;
}

Test(fork, a_server_is_not_started_in_a_child)
{
    const char *listen = "127.0.0.1:0";
    struct stub_server_options options = {.listen = &listen, .listen_count = 1};
    char error[256] = "";
    struct stub_server *server = stub_server_create(&options, error, sizeof(error));

    cr_assert(server, "%s", error);
    expect_well(fork_and(test_start, server));
    cr_assert(stub_server_start(server));
    stub_server_destroy(server);
}

static void nothing(void *user)
{
    (void)user;
}

static void nothing_posted(void *user, void *worker)
{
    (void)user, (void)worker;
}

static void no_message(void *user, struct stub_call *call, const ProtobufCMessage *message)
{
    (void)user, (void)call, (void)message;
}

struct held {
    struct rig rig;
    struct stub_call *_Atomic call;
};

/* The parent's call: every answer is refused, and all else does nothing. */
static int test_call(void *user)
{
    echo_response response = TEST__ECHO__V1__ECHO_RESPONSE__INIT;
    struct held *held = user;
    struct stub_call *call = atomic_load(&held->call);
    size_t count = 1;

    stub_call_ref(call);
    if (test_echo_v1_echo_service_chat_send(call, &response) != STUB_SEND_DEAD ||
        stub_call_finish(call) || stub_call_fail(call, STUB_ABORTED, "", NULL, 0) ||
        stub_call_abort(call, STUB_ABORTED, "", NULL, 0))
        return 1;
    if (stub_call_queued(call) != 0 || stub_call_dropped(call) != 0)
        return 2;
    stub_call_add_initial(call, "key", "value");
    stub_call_add_trailing(call, "key", "value");
    stub_call_set_queue(call, &(struct stub_queue){.messages_max = 1});
    stub_call_send_initial(call);
    stub_call_on_closed(call, nothing, NULL);
    stub_call_on_drained(call, nothing, NULL);
    stub_call_on_message(call, no_message, NULL);
    stub_call_pause(call);
    stub_call_resume(call);
    stub_call_post(call, nothing_posted, NULL);
    if (stub_call_peer_identities(call, &count) || count != 0 || !*stub_call_method(call))
        return 3;
    (void)stub_call_peer(call);
    (void)stub_call_metadata(call, "key");
    stub_call_unref(call);
    stub_call_unref(call);
    stub_health_set(held->rig.server, "", true);
    stub_health_shutdown(held->rig.server);
    return 0;
}

static void hold(void *user, struct stub_call *call)
{
    atomic_store(&((struct held *)user)->call, call);
}

static bool is_held(void *user)
{
    return atomic_load(&((struct held *)user)->call) != NULL;
}

Test(fork, a_call_is_not_answered_in_a_child)
{
    static const struct test_echo_v1_echo_service_handlers handlers = {.chat = hold};
    echo_response response = TEST__ECHO__V1__ECHO_RESPONSE__INIT, *message;
    struct held held = {.call = NULL};
    struct stub_stream *stream;

    rig_start(&held.rig, &handlers, &held, NULL);
    stream = test_echo_v1_echo_service_chat_open(held.rig.channel, NULL);
    cr_assert(eventually(is_held, &held));
    expect_well(fork_and(test_call, &held));
    cr_assert_eq(test_echo_v1_echo_service_chat_send(held.call, &response), STUB_SEND_OK);
    cr_assert(stub_call_finish(held.call));
    cr_assert_eq(test_echo_v1_echo_service_chat_recv(stream, -1, &message), STUB_RECV_MESSAGE);
    test__echo__v1__echo_response__free_unpacked(message, NULL);
    cr_assert_eq(test_echo_v1_echo_service_chat_recv(stream, -1, &message), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_OK);
    rig_stop(&held.rig);
}

/* --- credentials, and the thread that looks for the reason of a failed handshake -------------------- */

static int test_credentials(void *user)
{
    struct tls_fixture *f = user;
    struct stub_channel *channel;
    char error[256] = "";

    if (stub_credentials_create(&f->client_files, error, sizeof(error)) || !strstr(error, "forked"))
        return 1;
    channel = stub_channel_create("127.0.0.1:1", NULL);
    if (!is_refused(channel))
        return 2;
    stub_channel_destroy(channel);
    return 0;
}

Test(fork, whoever_has_made_credentials_has_used_core)
{
    struct stub_credentials *credentials;
    struct tls_fixture f;
    char error[512] = "";

    tls_make(&f);
    credentials = stub_credentials_create(&f.client_files, error, sizeof(error));
    cr_assert(credentials, "%s", error);
    expect_well(fork_and(test_credentials, &f));
    stub_credentials_destroy(credentials);
    tls_remove(&f);
}

static int test_refused(void *channel)
{
    if (!is_refused(channel))
        return 1;
    stub_channel_destroy(channel);
    return 0;
}

/* A listener that nobody serves; the port. */
static int listen_silently(int *ret_fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t bytes = sizeof(address);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(*ret_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(listen(*ret_fd, 64), 0);
    cr_assert_eq(getsockname(*ret_fd, (struct sockaddr *)&address, &bytes), 0);
    return ntohs(address.sin_port);
}

static void *call_with_time(void *channel)
{
    struct stub_call_options options = {.timeout_us = 3 * 1000 * 1000};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct stub_status st = STUB_STATUS_INIT;
    bool told;

    (void)test_echo_v1_echo_service_echo(channel, &options, &request, NULL, &st);
    told = strstr(st.message, "TLS: the server does not answer the handshake");
    stub_status_clear(&st);
    return told ? channel : NULL;
}

/* Connecting for half a second is what it looks at, for a second and a half: forks before, during, after. */
Test(fork, while_the_reason_of_a_failure_is_looked_for)
{
    struct stub_channel_options options = {0};
    struct stub_credentials *credentials;
    struct stub_channel *channel;
    struct tls_fixture f;
    char error[512] = "", target[64];
    pthread_t thread;
    void *told;
    int fd;

    tls_make(&f);
    credentials = stub_credentials_create(&f.client_files, error, sizeof(error));
    cr_assert(credentials, "%s", error);
    options.credentials = credentials;
    snprintf(target, sizeof(target), "127.0.0.1:%d", listen_silently(&fd));
    channel = stub_channel_create(target, &options);
    cr_assert_eq(pthread_create(&thread, NULL, call_with_time, channel), 0);
    for (int i = 0; i < FORKS; i++) {
        expect_well(fork_and(test_refused, channel));
        usleep(2500 * 1000 / FORKS);
    }
    pthread_join(thread, &told);
    cr_assert(told, "the parent's call has its reason");
    stub_channel_destroy(channel);
    stub_credentials_destroy(credentials);
    close(fd);
    tls_remove(&f);
}
