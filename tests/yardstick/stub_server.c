/*
 * Echo and Count with the generated stubs, to be held against raw_server.c: stub_server [ADDRESS].
 * One worker, default options.
 */
#include "stub/server.h"

#include "yardstick/yardstick.h"

#include <echo/echo.stub.h>
#include <stdbool.h>

struct counting {
    struct stub_call *call;
    int64_t number;
    int64_t to;
    size_t bytes;
    bool finished;
};

static void handle_echo(void *user, struct stub_call *call,
                        const Test__Echo__V1__EchoRequest *request)
{
    Test__Echo__V1__EchoResponse response;

    (void)user;
    yardstick_echo(request, &response);
    test_echo_v1_echo_service_echo_reply(call, &response);
}

/* Sends until the queue is full; goes on when it has been drained. */
static void count_on(void *user)
{
    struct counting *counting = user;
    Test__Echo__V1__CountResponse response;

    while (counting->number <= counting->to) {
        yardstick_count(counting->number, counting->bytes, &response);
        if (test_echo_v1_echo_service_count_send(counting->call, &response) != STUB_SEND_OK)
            return;
        counting->number++;
    }
    counting->finished = true;
    stub_call_finish(counting->call);
}

static void count_closed(void *user)
{
    struct counting *counting = user;

    if (!counting->finished)
        stub_call_fail(counting->call, STUB_CANCELLED, "the client has gone", NULL, 0);
}

static void handle_count(void *user, struct stub_call *call,
                         const Test__Echo__V1__CountRequest *request)
{
    struct counting *counting;

    (void)user;
    if (request->bytes < 0 || request->bytes > YARDSTICK_BYTES_MAX) {
        stub_call_fail(call, STUB_INVALID_ARGUMENT, "bytes is out of range", NULL, 0);
        return;
    }
    counting = stub_call_alloc(call, sizeof(*counting));
    *counting = (struct counting){call, 1, request->to, (size_t)request->bytes, false};
    stub_call_on_closed(call, count_closed, counting);
    stub_call_on_drained(call, count_on, counting);
    count_on(counting);
}

struct signals {
    sigset_t set;
    struct stub_server *server;
};

static void *signal_thread(void *user)
{
    struct signals *signals = user;
    int received;

    sigwait(&signals->set, &received);
    stub_server_stop(signals->server);
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct test_echo_v1_echo_service_handlers handlers = {
        .echo = handle_echo,
        .count = handle_count,
    };
    const char *listen = argc > 1 ? argv[1] : "127.0.0.1:0";
    struct stub_server_options options = {.listen = &listen, .listen_count = 1};
    struct signals signals;
    pthread_t thread;
    char error[256];

    yardstick_block_signals(&signals.set);
    signals.server = stub_server_create(&options, error, sizeof(error));
    if (!signals.server) {
        fprintf(stderr, "stub_server: %s\n", error);
        return 1;
    }
    CHECK(test_echo_v1_echo_service_register(signals.server, &handlers, NULL));
    CHECK(stub_server_start(signals.server));
    yardstick_print_target(listen, stub_server_port(signals.server, 0));
    CHECK(pthread_create(&thread, NULL, signal_thread, &signals) == 0);
    while (stub_server_next(signals.server, -1, NULL) != STUB_NEXT_SHUTDOWN)
        ;
    pthread_join(thread, NULL);
    stub_server_destroy(signals.server);
    return 0;
}
