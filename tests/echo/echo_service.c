#include "echo/echo_service.h"

#include "base/check.h"

#include <echo/echo.stub.h>
#include <google/rpc/error_details.pb-c.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct echo {
    struct stub_server *server;
    char target[256];
    pthread_t *threads;
    int threads_count;
    atomic_int closed;
    atomic_int doubled;

    /* calls to be answered by the thread of its own */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t later_thread;
    struct later *later;
    bool ending;
};

struct later {
    struct later *next;
    struct stub_call *call;
    const Test__Echo__V1__EchoRequest *request;
};

/* --- Echo ---------------------------------------------------------------------------------------- */

/* Who the client is, as "uri=spiffe://... dns=..."; no header if it is nobody. */
static void add_identities(struct stub_call *call)
{
    static const char *const kinds[] = {"uri", "dns", "email", "ip"};
    size_t count, used = 0;
    const struct stub_identity *names = stub_call_peer_identities(call, &count);
    char text[1024];

    for (size_t i = 0; i < count && used < sizeof(text); i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s=%s", i > 0 ? " " : "",
                                 kinds[names[i].kind], names[i].name);
    if (count > 0)
        stub_call_add_trailing(call, "echo-identities", text);
}

static bool reply(struct stub_call *call, const Test__Echo__V1__EchoRequest *request)
{
    Test__Echo__V1__EchoResponse response = TEST__ECHO__V1__ECHO_RESPONSE__INIT;
    const char *value = stub_call_metadata(call, "echo-key");
    char text[256] = "";

    if (value)
        snprintf(text, sizeof(text), "%s", value);
    response.text = request->text;
    response.payload = request->payload;
    response.count = request->count;
    response.deadline_left_us = stub_call_deadline_left_us(call);
    response.metadata = text;
    stub_call_add_initial_static(call, "echo-server", "tests");
    add_identities(call);
    stub_call_add_trailing(call, "echo-trailing", "a value that is longer than 23 bytes");
    return test_echo_v1_echo_service_echo_reply(call, &response);
}

static void fail(struct stub_call *call, const Test__Echo__V1__EchoRequest *request)
{
    Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;
    Google__Rpc__BadRequest bad = GOOGLE__RPC__BAD_REQUEST__INIT;
    Google__Rpc__BadRequest__FieldViolation violation =
        GOOGLE__RPC__BAD_REQUEST__FIELD_VIOLATION__INIT;
    Google__Rpc__BadRequest__FieldViolation *violations[] = {&violation};
    const ProtobufCMessage *details[] = {&info.base, &bad.base};
    char reason[] = "ASKED_FOR_IT", domain[] = "test.echo.v1", field[] = "action", text[] = "no";

    info.reason = reason;
    info.domain = domain;
    violation.field = field;
    violation.description = text;
    bad.n_field_violations = 1;
    bad.field_violations = violations;
    stub_call_add_trailing(call, "echo-trailing", "here too");
    stub_call_fail(call, STUB_INVALID_ARGUMENT, request->text, details, 2);
}

static void answer_later(struct echo *echo, struct stub_call *call,
                         const Test__Echo__V1__EchoRequest *request)
{
    struct later *later = stub_call_alloc(call, sizeof(*later));

    later->call = call;
    later->request = request;
    pthread_mutex_lock(&echo->lock);
    later->next = echo->later;
    echo->later = later;
    pthread_cond_signal(&echo->changed);
    pthread_mutex_unlock(&echo->lock);
}

static void *later_thread(void *user)
{
    struct echo *echo = user;

    pthread_mutex_lock(&echo->lock);
    while (!echo->ending || echo->later) {
        struct later *later = echo->later;

        if (!later) {
            pthread_cond_wait(&echo->changed, &echo->lock);
            continue;
        }
        echo->later = later->next;
        pthread_mutex_unlock(&echo->lock);
        reply(later->call, later->request);
        pthread_mutex_lock(&echo->lock);
    }
    pthread_mutex_unlock(&echo->lock);
    return NULL;
}

/* A call that waits for its client to go away. */
struct waiting {
    struct echo *echo;
    struct stub_call *call;
};

static void waiting_closed(void *user)
{
    struct waiting *waiting = user;

    atomic_fetch_add(&waiting->echo->closed, 1);
    stub_call_fail(waiting->call, STUB_CANCELLED, "the client has gone", NULL, 0);
}

static void answer_context(struct stub_call *call)
{
    Test__Echo__V1__EchoResponse response = TEST__ECHO__V1__ECHO_RESPONSE__INIT;
    size_t bytes = 0;
    const char *binary = stub_call_metadata_bin(call, "echo-bin", &bytes);

    stub_call_set_user(call, call);
    response.text = stub_call_alloc(call, 512);
    snprintf(response.text, 512, "%s %s user=%d worker=%d cancelled=%d bin=%zu:%d",
             stub_call_method(call), stub_call_peer(call), stub_call_user(call) == call,
             stub_call_worker(call) != NULL, stub_call_cancelled(call), bytes,
             binary ? binary[0] : -1);
    stub_call_add_initial(call, "Not Legal", "x");
    stub_call_add_trailing(call, "legal", "not\nlegal");
    for (int i = 0; i < 20; i++)
        stub_call_add_trailing(call, "many", "x");
    test_echo_v1_echo_service_echo_reply(call, &response);
}

static void handle_echo(void *user, struct stub_call *call,
                        const Test__Echo__V1__EchoRequest *request)
{
    struct echo *echo = user;
    struct waiting *waiting;

    switch ((int)request->action) {
    case TEST__ECHO__V1__ECHO_REQUEST__ACTION__ACTION_LATER:
        answer_later(echo, call, request);
        break;
    case TEST__ECHO__V1__ECHO_REQUEST__ACTION__ACTION_FAIL:
        fail(call, request);
        break;
    case TEST__ECHO__V1__ECHO_REQUEST__ACTION__ACTION_NEVER:
        waiting = stub_call_alloc(call, sizeof(*waiting));
        *waiting = (struct waiting){echo, call};
        stub_call_on_closed(call, waiting_closed, waiting);
        break;
    case TEST__ECHO__V1__ECHO_REQUEST__ACTION__ACTION_TWICE:
        stub_call_ref(call);
        reply(call, request);
        if (stub_call_fail(call, STUB_INTERNAL, "a second answer", NULL, 0))
            atomic_fetch_add(&echo->doubled, 1);
        stub_call_unref(call);
        break;
    case TEST__ECHO__V1__ECHO_REQUEST__ACTION__ACTION_CONTEXT:
        answer_context(call);
        break;
    default:
        reply(call, request);
    }
}

/* --- Count --------------------------------------------------------------------------------------- */

/* In the arena of its call; under its lock since a burst may drain while it is being filled. */
struct counting {
    struct echo *echo;
    struct stub_call *call;
    pthread_mutex_t lock;
    const Test__Echo__V1__CountRequest *request;
    int64_t next;
    bool finished;
};

static void count_on(void *user)
{
    struct counting *counting = user;
    const Test__Echo__V1__CountRequest *request = counting->request;
    Test__Echo__V1__CountResponse response = TEST__ECHO__V1__COUNT_RESPONSE__INIT;
    enum stub_send sent = STUB_SEND_OK;

    pthread_mutex_lock(&counting->lock);
    if (request->bytes > 0) {
        response.payload.len = (size_t)request->bytes;
        response.payload.data = calloc(1, (size_t)request->bytes);
    }
    while (!counting->finished && sent == STUB_SEND_OK) {
        if (request->to > 0 && counting->next > request->to) {
            counting->finished = true;
            stub_call_finish(counting->call);
            break;
        }
        response.number = counting->next;
        sent = test_echo_v1_echo_service_count_send(counting->call, &response);
        if (sent == STUB_SEND_OK)
            counting->next++;
    }
    free(response.payload.data);
    if (sent == STUB_SEND_FULL && request->fail_when_full && !counting->finished) {
        counting->finished = true;
        stub_call_abort(counting->call, STUB_RESOURCE_EXHAUSTED, "too slow", NULL, 0);
    }
    pthread_mutex_unlock(&counting->lock);
}

static void count_closed(void *user)
{
    struct counting *counting = user;

    atomic_fetch_add(&counting->echo->closed, 1);
    pthread_mutex_lock(&counting->lock);
    if (!counting->finished)
        stub_call_finish(counting->call);
    counting->finished = true;
    pthread_mutex_unlock(&counting->lock);
}

static void handle_count(void *user, struct stub_call *call,
                         const Test__Echo__V1__CountRequest *request)
{
    struct counting *counting = stub_call_alloc(call, sizeof(*counting));

    *counting = (struct counting){.echo = user, .call = call, .request = request, .next = 1};
    pthread_mutex_init(&counting->lock, NULL);
    stub_call_on_closed(call, count_closed, counting);
    if (request->silent) {
        stub_call_add_initial_static(call, "echo-server", "tests");
        stub_call_send_initial(call);
        return;
    }
    stub_call_on_drained(call, count_on, counting);
    count_on(counting);
}

/* --- Collect and Chat ----------------------------------------------------------------------------- */

struct talking {
    struct stub_call *call;
    int64_t sum;
    bool finished;
};

static void talking_closed(void *user)
{
    struct talking *talking = user;

    if (!talking->finished)
        stub_call_fail(talking->call, STUB_CANCELLED, "the client has gone", NULL, 0);
    talking->finished = true;
}

static void collect_message(void *user, struct stub_call *call, const ProtobufCMessage *message)
{
    struct talking *talking = user;
    Test__Echo__V1__EchoResponse response = TEST__ECHO__V1__ECHO_RESPONSE__INIT;

    if (message) {
        talking->sum += ((const Test__Echo__V1__EchoRequest *)(const void *)message)->count;
        return;
    }
    response.count = talking->sum;
    talking->finished = true;
    test_echo_v1_echo_service_collect_reply(call, &response);
}

static void chat_message(void *user, struct stub_call *call, const ProtobufCMessage *message)
{
    struct talking *talking = user;
    const Test__Echo__V1__EchoRequest *request =
        (const Test__Echo__V1__EchoRequest *)(const void *)message;
    Test__Echo__V1__EchoResponse response = TEST__ECHO__V1__ECHO_RESPONSE__INIT;

    if (!message) {
        talking->finished = true;
        stub_call_finish(call);
        return;
    }
    response.text = request->text;
    response.count = request->count;
    (void)test_echo_v1_echo_service_chat_send(call, &response);
}

static struct talking *talk(struct stub_call *call)
{
    struct talking *talking = stub_call_alloc(call, sizeof(*talking));

    talking->call = call;
    stub_call_on_closed(call, talking_closed, talking);
    return talking;
}

static void handle_collect(void *user, struct stub_call *call)
{
    (void)user;
    stub_call_on_message(call, collect_message, talk(call));
}

static void handle_chat(void *user, struct stub_call *call)
{
    (void)user;
    stub_call_on_message(call, chat_message, talk(call));
}

/* --- start and stop -------------------------------------------------------------------------------- */

static const struct test_echo_v1_echo_service_handlers handlers = {
    .echo = handle_echo,
    .count = handle_count,
    .collect = handle_collect,
    .chat = handle_chat,
};

static void *worker_thread(void *user)
{
    struct echo *echo = user;

    while (stub_server_next(echo->server, -1, echo) != STUB_NEXT_SHUTDOWN)
        ;
    return NULL;
}

static void start_threads(struct echo *echo, int workers)
{
    echo->threads_count = workers > 0 ? workers : 1;
    echo->threads = calloc((size_t)echo->threads_count, sizeof(*echo->threads));
    for (int i = 0; i < echo->threads_count; i++)
        CHECK(pthread_create(&echo->threads[i], NULL, worker_thread, echo) == 0);
    CHECK(pthread_create(&echo->later_thread, NULL, later_thread, echo) == 0);
}

struct echo *echo_start(const struct echo_options *options, char *ret_error, size_t error_bytes)
{
    struct echo *echo = calloc(1, sizeof(*echo));
    struct stub_server_options server = options->server;
    const char *listen = options->listen ? options->listen : "127.0.0.1:0";

    server.listen = &listen;
    server.listen_count = 1;
    pthread_mutex_init(&echo->lock, NULL);
    pthread_cond_init(&echo->changed, NULL);
    echo->server = stub_server_create(&server, ret_error, error_bytes);
    if (!echo->server) {
        free(echo);
        return NULL;
    }
    for (size_t i = 0; i < options->interceptors_count; i++)
        stub_server_intercept(echo->server, &options->interceptors[i]);
    CHECK(test_echo_v1_echo_service_register(echo->server, &handlers, echo));
    CHECK(stub_health_register(echo->server));
    CHECK(stub_reflection_register(echo->server));
    stub_health_set(echo->server, "", true);
    CHECK(stub_server_start(echo->server));
    if (strncmp(listen, "unix:", 5) == 0)
        snprintf(echo->target, sizeof(echo->target), "%s", listen);
    else
        snprintf(echo->target, sizeof(echo->target), "%.*s:%d",
                 (int)(strrchr(listen, ':') - listen), listen, stub_server_port(echo->server, 0));
    start_threads(echo, options->workers);
    return echo;
}

bool echo_stop(struct echo *echo, int grace_ms)
{
    bool ended;

    stub_health_shutdown(echo->server);
    stub_server_drain(echo->server);
    for (int i = 0; i < grace_ms && stub_server_calls(echo->server) > 0; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    ended = stub_server_calls(echo->server) == 0;
    stub_server_stop(echo->server);
    pthread_mutex_lock(&echo->lock);
    echo->ending = true;
    pthread_cond_signal(&echo->changed);
    pthread_mutex_unlock(&echo->lock);
    pthread_join(echo->later_thread, NULL);
    for (int i = 0; i < echo->threads_count; i++)
        pthread_join(echo->threads[i], NULL);
    stub_server_destroy(echo->server);
    free(echo->threads);
    free(echo);
    return ended;
}

struct stub_server *echo_server(struct echo *echo)
{
    return echo->server;
}

const char *echo_target(const struct echo *echo)
{
    return echo->target;
}

int echo_closed(const struct echo *echo)
{
    return atomic_load(&echo->closed);
}

int echo_doubled(const struct echo *echo)
{
    return atomic_load(&echo->doubled);
}
