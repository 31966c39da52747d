/* Peers of streams that are gone, the end of a call, metadata that are not legal, and pings. */
#include "tests/stub/fixture.h"

#include <criterion/criterion.h>
#include <google/rpc/error_details.pb-c.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef Test__Echo__V1__EchoRequest echo_request;
typedef Test__Echo__V1__EchoResponse echo_response;
typedef Test__Echo__V1__CountRequest count_request;
typedef Test__Echo__V1__CountResponse count_response;

/* --- peers ---------------------------------------------------------------------------------------- */

struct held {
    struct stub_call *_Atomic call;
    atomic_int closed;
    char peer[128];
};

static void on_closed(void *user)
{
    struct held *held = user;

    snprintf(held->peer, sizeof(held->peer), "%s", stub_call_peer(held->call));
    stub_call_fail(held->call, STUB_ABORTED, "gone", NULL, 0);
    atomic_store(&held->closed, 1);
}

static void hold(void *user, struct stub_call *call)
{
    struct held *held = user;

    stub_call_on_closed(call, on_closed, held);
    atomic_store(&held->call, call);
}

static void hold_count(void *user, struct stub_call *call, const count_request *request)
{
    (void)request;
    hold(user, call);
}

static void hold_echo(void *user, struct stub_call *call, const echo_request *request)
{
    (void)request;
    hold(user, call);
}

static bool is_held(void *user)
{
    return atomic_load(&((struct held *)user)->call) != NULL;
}

static bool is_closed(void *user)
{
    return atomic_load(&((struct held *)user)->closed) != 0;
}

static void ignore(void *user, const struct stub_status *status, const echo_response *reply)
{
    (void)user, (void)status, (void)reply;
}

Test(edges, the_peer_is_known_after_the_client_has_gone)
{
    static const struct test_echo_v1_echo_service_handlers handlers = {
        .echo = hold_echo, .count = hold_count, .collect = hold, .chat = hold};
    count_request count = TEST__ECHO__V1__COUNT_REQUEST__INIT;
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;

    for (int kind = 0; kind < 4; kind++) {
        struct stub_cancel *cancel = stub_cancel_create();
        struct stub_call_options options = {.cancel = cancel};
        struct held held = {.closed = 0};
        struct stub_stream *stream = NULL;
        struct rig rig;

        rig_start(&rig, &handlers, &held, NULL);
        if (kind == 0)
            stream = test_echo_v1_echo_service_count_open(rig.channel, &options, &count);
        else if (kind == 1)
            stream = test_echo_v1_echo_service_collect_open(rig.channel, &options);
        else if (kind == 2)
            stream = test_echo_v1_echo_service_chat_open(rig.channel, &options);
        else
            test_echo_v1_echo_service_echo_async(rig.channel, &options, &request, ignore, NULL);
        cr_assert(eventually(is_held, &held));
        stub_cancel_fire(cancel);
        cr_assert(eventually(is_closed, &held));
        cr_assert(strncmp(held.peer, "ipv4:127.0.0.1:", 15) == 0, "kind %d: \"%s\"", kind, held.peer);
        if (stream)
            stub_stream_close(stream, NULL);
        stub_cancel_destroy(cancel);
        rig_stop(&rig);
    }
}

/* --- the end of a call ------------------------------------------------------------------------------ */

struct told {
    atomic_int before, closed; /* how often on_closed has run: as the handler returned, and at last */
};

static void count_closed(void *user)
{
    atomic_fetch_add(&((struct told *)user)->closed, 1);
}

static void answer_then_ask(void *user, struct stub_call *call, const echo_request *request)
{
    echo_response response = TEST__ECHO__V1__ECHO_RESPONSE__INIT;
    struct told *told = user;

    (void)request;
    stub_call_ref(call);
    cr_assert(test_echo_v1_echo_service_echo_reply(call, &response));
    stub_call_on_closed(call, count_closed, told);
    atomic_store(&told->before, atomic_load(&told->closed));
    stub_call_unref(call);
}

static bool was_told(void *user)
{
    return atomic_load(&((struct told *)user)->closed) > 0;
}

Test(edges, a_unary_call_that_is_asked_for_its_end_after_its_answer)
{
    static const struct test_echo_v1_echo_service_handlers handlers = {.echo = answer_then_ask};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct told told = {.closed = 0};
    struct rig rig;

    rig_start(&rig, &handlers, &told, NULL);
    for (int i = 1; i <= 20; i++) {
        cr_assert_eq(test_echo_v1_echo_service_echo(rig.channel, NULL, &request, NULL, NULL), STUB_OK);
        cr_assert(eventually(was_told, &told));
        cr_assert_eq(atomic_load(&told.before), 0, "not while the handler runs");
        atomic_store(&told.closed, 0);
    }
    rig_stop(&rig);
}

/* As often as the request's count, its text. */
static void fail_at_length(void *user, struct stub_call *call, const echo_request *request)
{
    size_t bytes = strlen(request->text);
    char *text = stub_call_alloc(call, bytes * (size_t)request->count + 1);

    (void)user;
    for (int64_t i = 0; i < request->count; i++)
        memcpy(text + (size_t)i * bytes, request->text, bytes);
    stub_call_fail(call, STUB_ABORTED, text, NULL, 0);
}

Test(edges, a_text_that_is_too_long_is_cut_between_characters)
{
    static const struct test_echo_v1_echo_service_handlers handlers = {.echo = fail_at_length};
    static char texts[][8] = {"a", "\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "a\xe2\x82\xac"};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct stub_status st = STUB_STATUS_INIT;
    struct rig rig;

    rig_start(&rig, &handlers, NULL, NULL);
    request.count = 2048;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        size_t bytes = strlen(texts[i]);

        request.text = texts[i];
        cr_assert_eq(test_echo_v1_echo_service_echo(rig.channel, NULL, &request, NULL, &st), STUB_ABORTED);
        cr_assert_leq(strlen(st.message), 2047);
        cr_assert_gt(strlen(st.message), 2047 - bytes);
        for (size_t j = 0; j < strlen(st.message); j++)
            cr_assert_eq(st.message[j], texts[i][j % bytes], "text %zu, byte %zu", i, j);
    }
    stub_status_clear(&st);
    rig_stop(&rig);
}

/* --- metadata -------------------------------------------------------------------------------------- */

static void expect_metadata(struct stub_channel *channel, const char *key, const char *value,
                            const char *text)
{
    const char *metadata[] = {"fine", "value", key, value};
    struct stub_call_options options = {.metadata = metadata, .metadata_count = 2};
    count_request count = TEST__ECHO__V1__COUNT_REQUEST__INIT;
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct stub_status st = STUB_STATUS_INIT;
    struct stub_stream *stream;

    cr_assert_eq(test_echo_v1_echo_service_echo(channel, &options, &request, NULL, &st), STUB_INTERNAL);
    cr_assert(strstr(st.message, text), "%s", st.message);
    stream = test_echo_v1_echo_service_count_open(channel, &options, &count);
    cr_assert_eq(stub_stream_close(stream, &st), STUB_INTERNAL);
    cr_assert(strstr(st.message, text), "%s", st.message);
    stub_status_clear(&st);
}

Test(edges, metadata_that_are_not_legal_are_named)
{
    struct fixture f = fixture_start(NULL);

    expect_metadata(f.channel, "Upper Case", "value", "metadata \"Upper Case\": the key is not legal");
    expect_metadata(f.channel, "key", "a\nb", "metadata \"key\": the value is not legal");
    expect_metadata(f.channel, NULL, "value", "key or value is NULL");
    expect_metadata(f.channel, "key", NULL, "metadata \"key\": key or value is NULL");
    fixture_stop(&f);
}

/* gRPC's and HTTP's own names: Core aborts for some of them, and peers misread the call for others. */
static const char *const own_keys[] = {
    "connection",   "content-length", "content-type", "grpc-accept-encoding",
    "grpc-encoding", "grpc-internal-encoding-request", "grpc-message", "grpc-status",
    "grpc-timeout", "grpclb_client_stats", "keep-alive", "proxy-connection",
    "te",           "transfer-encoding", "upgrade",
};
/* Known to Core as well, and an application's to send. */
static const char *const free_keys[] = {
    "host",           "user-agent",          "grpc-retry-pushback-ms", "grpc-previous-rpc-attempts",
    "lb-token",       "lb-cost-bin",         "grpc-tags-bin",          "grpc-trace-bin",
    "grpc-server-stats-bin", "endpoint-load-metrics-bin", "x-envoy-peer-metadata", "grpc-status-details-bin",
};

static void add_all(struct stub_call *call, const char *const *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        stub_call_add_initial(call, keys[i], "1S");
        stub_call_add_trailing(call, keys[i], "1S");
    }
}

static void answer_with_keys(void *user, struct stub_call *call, const echo_request *request)
{
    echo_response response = TEST__ECHO__V1__ECHO_RESPONSE__INIT;

    (void)user;
    if (request->count == 0)
        add_all(call, own_keys, sizeof(own_keys) / sizeof(*own_keys));
    else
        add_all(call, free_keys, sizeof(free_keys) / sizeof(*free_keys));
    stub_call_add_trailing(call, "own", "value");
    if (*request->text)
        stub_call_fail(call, STUB_ABORTED, request->text, NULL, 0);
    else
        test_echo_v1_echo_service_echo_reply(call, &response);
}

Test(edges, metadata_of_a_reply_that_are_not_an_applications)
{
    static const struct test_echo_v1_echo_service_handlers handlers = {.echo = answer_with_keys};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct stub_status st = STUB_STATUS_INIT;
    static char text[] = "own text", none[] = "";
    struct rig rig;

    rig_start(&rig, &handlers, NULL, NULL);
    for (int i = 0; i < 4; i++) {
        request.count = i / 2;
        request.text = i % 2 ? text : none;
        cr_assert_eq(test_echo_v1_echo_service_echo(rig.channel, NULL, &request, NULL, &st),
                     i % 2 ? STUB_ABORTED : STUB_OK, "%d: %s", i, st.message);
        cr_assert_str_eq(st.message, request.text);
        cr_assert_str_eq(stub_status_metadata(&st, "own"), "value");
        if (i < 2)
            cr_assert_eq(st.initial_count + st.trailing_count, 1);
        else
            cr_assert_str_eq(stub_status_metadata(&st, "lb-token"), "1S");
    }
    stub_status_clear(&st);
    rig_stop(&rig);
}

Test(edges, metadata_of_a_call_that_are_not_an_applications)
{
    struct fixture f = fixture_start(NULL);

    for (size_t i = 0; i < sizeof(own_keys) / sizeof(*own_keys); i++)
        expect_metadata(f.channel, own_keys[i], "1S", "the key is one of gRPC's or HTTP's own");
    for (size_t i = 0; i < sizeof(free_keys) / sizeof(*free_keys); i++) {
        const char *metadata[] = {free_keys[i], "1S"};
        struct stub_call_options options = {.metadata = metadata, .metadata_count = 1};
        echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;

        cr_assert_eq(test_echo_v1_echo_service_echo(f.channel, &options, &request, NULL, NULL), STUB_OK,
                     "%s", free_keys[i]);
    }
    fixture_stop(&f);
}

enum { LARGE_BYTES = 300 * 1000, LARGE_TURNS = 30 };

/* As much as the request's count in a detail, a trailing and an initial pair. */
static void answer_at_length(void *user, struct stub_call *call, const echo_request *request)
{
    Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;
    const ProtobufCMessage *details[] = {&info.base};
    char *text = stub_call_alloc(call, (size_t)request->count + 1);

    (void)user;
    memset(text, 'x', (size_t)request->count);
    info.reason = text;
    stub_call_add_initial(call, "long", text);
    stub_call_add_trailing(call, "long", text);
    stub_call_add_trailing(call, "short", "value");
    stub_call_fail(call, STUB_ABORTED, "as it was said", details, 1);
}

/* What the peer does not take would fail other calls of the connection, one in five. */
Test(edges, a_reply_with_more_metadata_than_a_client_takes_keeps_its_code)
{
    static const struct test_echo_v1_echo_service_handlers handlers = {.echo = answer_at_length};
    const int64_t sizes[] = {1000, 20 * 1000, LARGE_BYTES, 0};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct stub_status st = STUB_STATUS_INIT;
    struct rig rig;

    rig_start(&rig, &handlers, NULL, NULL);
    for (int i = 0; i < 4 * LARGE_TURNS; i++) {
        request.count = sizes[i % 4];
        cr_assert_eq(test_echo_v1_echo_service_echo(rig.channel, NULL, &request, NULL, &st), STUB_ABORTED,
                     "%d: %s", i, st.message);
        cr_assert_str_eq(st.message, "as it was said");
        cr_assert_str_eq(stub_status_metadata(&st, "short"), "value");
        cr_assert_eq(st.details != NULL, request.count < LARGE_BYTES);
        cr_assert_eq(stub_status_metadata(&st, "long") != NULL, request.count < LARGE_BYTES);
    }
    stub_status_clear(&st);
    rig_stop(&rig);
}

Test(edges, a_call_with_more_metadata_than_a_server_takes_is_refused_alone)
{
    struct stub_channel_options generous = {.metadata_bytes_max = 2 * LARGE_BYTES};
    const struct echo_options takes = {.server.metadata_bytes_max = 2 * LARGE_BYTES};
    static char text[LARGE_BYTES + 1];
    const char *metadata[] = {"first", "value", "long", text};
    struct stub_call_options options = {.metadata = metadata, .metadata_count = 2};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct fixture f = fixture_start(&takes);
    struct stub_channel *channel = stub_channel_create(echo_target(f.echo), &generous);

    memset(text, 'x', LARGE_BYTES);
    for (int i = 0; i < LARGE_TURNS; i++) {
        expect_metadata(f.channel, "long", text, "metadata \"long\": with it they are more than");
        cr_assert_eq(test_echo_v1_echo_service_echo(f.channel, NULL, &request, NULL, NULL), STUB_OK);
    }
    cr_assert_eq(test_echo_v1_echo_service_echo(channel, &options, &request, NULL, NULL), STUB_OK);
    stub_channel_destroy(channel);
    fixture_stop(&f);
}

/* --- names and pings -------------------------------------------------------------------------------- */

static int call_once_more(struct stub_channel *channel, struct stub_status *st)
{
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;

    return test_echo_v1_echo_service_echo(channel, NULL, &request, NULL, st);
}

/* Under AddressSanitizer it is the leak that this would find: Core's own resolver loses some bytes. */
Test(edges, a_name_is_resolved_by_the_c_library)
{
    struct fixture f = fixture_start(NULL);
    char target[128];
    struct stub_channel *channel;

    cr_assert_str_eq(getenv("GRPC_DNS_RESOLVER"), "native");
    snprintf(target, sizeof(target), "dns:///localhost%s", strrchr(echo_target(f.echo), ':'));
    channel = stub_channel_create(target, NULL);
    cr_assert_eq(call_once_more(channel, NULL), STUB_OK);
    stub_channel_destroy(channel);
    fixture_stop(&f);
}

/* Pings every 100 ms on a silent stream for some seconds; how the stream ended. */
static int ping_fast(int64_t server_ping_ms_min, struct stub_status *st)
{
    const struct echo_options options = {.server.ping_ms_min = server_ping_ms_min};
    const struct stub_channel_options pinging = {.keepalive_ms = 100};
    const struct stub_call_options call = {.timeout_us = 4000 * 1000};
    count_request count = TEST__ECHO__V1__COUNT_REQUEST__INIT;
    struct fixture f = fixture_start(&options);
    struct stub_channel *channel = stub_channel_create(echo_target(f.echo), &pinging);
    struct stub_stream *stream;
    count_response *number;
    int code;

    count.silent = true;
    stream = test_echo_v1_echo_service_count_open(channel, &call, &count);
    cr_assert_eq(test_echo_v1_echo_service_count_recv(stream, -1, &number), STUB_RECV_END);
    code = stub_stream_close(stream, st);
    stub_channel_destroy(channel);
    fixture_stop(&f);
    return code;
}

Test(edges, the_bound_on_pings_is_the_servers_option)
{
    struct stub_status st = STUB_STATUS_INIT;

    cr_assert_eq(ping_fast(0, &st), STUB_UNAVAILABLE, "%d %s", st.code, st.message);
    cr_assert_eq(ping_fast(50, &st), STUB_DEADLINE_EXCEEDED, "%d %s", st.code, st.message);
    stub_status_clear(&st);
}
