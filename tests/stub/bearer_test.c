/* Authentication by token, of all kinds of call. */
#include "tests/stub/bearer.h"
#include "tests/stub/fixture.h"

#include <grpc/health/v1/health.stub.h>

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

typedef Test__Echo__V1__EchoRequest echo_request;
typedef Test__Echo__V1__EchoResponse echo_response;

static const struct bearer_user users[] = {{"s3cret", "alice"}, {"other", "bob"}};
static struct bearer bearer = {users, 2};
static atomic_int handled;

static void handle_echo(void *user, struct stub_call *call, const echo_request *request)
{
    echo_response response = TEST__ECHO__V1__ECHO_RESPONSE__INIT;
    char name[16];

    (void)user, (void)request;
    atomic_fetch_add(&handled, 1);
    snprintf(name, sizeof(name), "%s", bearer_name(call));
    response.text = name;
    test_echo_v1_echo_service_echo_reply(call, &response);
}

static void handle_chat(void *user, struct stub_call *call)
{
    (void)user;
    atomic_fetch_add(&handled, 1);
    stub_call_finish(call);
}

static void start(struct rig *rig)
{
    static const struct test_echo_v1_echo_service_handlers handlers = {.echo = handle_echo,
                                                                       .chat = handle_chat};
    const struct stub_interceptor interceptor = {.before = bearer_before, .user = &bearer};

    rig_start(rig, &handlers, NULL, &interceptor);
}

/* The code; the name that the handler knew is copied. */
static int who(struct rig *rig, const char *authorization, char *ret_name, size_t bytes,
               struct stub_status *st)
{
    const char *metadata[] = {"authorization", authorization};
    struct stub_call_options options = {.metadata = metadata,
                                        .metadata_count = authorization ? 1 : 0};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    echo_response *reply;
    int code = test_echo_v1_echo_service_echo(rig->channel, &options, &request, &reply, st);

    if (reply) {
        snprintf(ret_name, bytes, "%s", reply->text);
        test__echo__v1__echo_response__free_unpacked(reply, NULL);
    }
    return code;
}

Test(bearer, tells_the_handler_who_calls)
{
    struct rig rig;
    char name[16];

    start(&rig);
    cr_assert_eq(who(&rig, "Bearer s3cret", name, sizeof(name), NULL), STUB_OK);
    cr_assert_str_eq(name, "alice");
    cr_assert_eq(who(&rig, "bearer other", name, sizeof(name), NULL), STUB_OK);
    cr_assert_str_eq(name, "bob");
    rig_stop(&rig);
}

Test(bearer, turns_strangers_away_before_the_handler)
{
    static const char *const wrong[] = {NULL,           "",              "Bearer",
                                        "Bearer ",      "Bearer s3cre",  "Bearer s3crets3cret",
                                        "Basic s3cret", "Bearer s3cret ", "s3cret"};
    struct rig rig;
    char name[16];

    start(&rig);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct stub_status st = STUB_STATUS_INIT;

        cr_assert_eq(who(&rig, wrong[i], name, sizeof(name), &st), STUB_UNAUTHENTICATED, "%s",
                     wrong[i] ? wrong[i] : "none");
        cr_assert_str_eq(st.message, wrong[i] ? "the token is not known" : "no token was given");
        cr_assert_str_eq(stub_status_metadata(&st, "www-authenticate"), "Bearer");
        stub_status_clear(&st);
    }
    cr_assert_eq(atomic_load(&handled), 0);
    rig_stop(&rig);
}

Test(bearer, guards_streams_and_unknown_methods_too)
{
    struct stub_method unknown = test_echo_v1_echo_service_methods[0];
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct stub_stream *stream;
    ProtobufCMessage *reply;
    echo_response *message;
    struct rig rig;

    start(&rig);
    stream = test_echo_v1_echo_service_chat_open(rig.channel, NULL);
    cr_assert_eq(test_echo_v1_echo_service_chat_recv(stream, -1, &message), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_UNAUTHENTICATED);
    unknown.path = "/a.b/C";
    cr_assert_eq(stub_unary(rig.channel, &unknown, NULL, &request.base, &reply, NULL),
                 STUB_UNAUTHENTICATED, "a stranger does not learn what there is");
    cr_assert_eq(atomic_load(&handled), 0);
    rig_stop(&rig);
}

Test(bearer, lets_everybody_ask_for_the_health)
{
    const struct stub_interceptor interceptor = {.before = bearer_before, .user = &bearer};
    struct echo_options options = {.interceptors = &interceptor, .interceptors_count = 1};
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    Grpc__Health__V1__HealthCheckResponse *reply;
    struct fixture f = fixture_start(&options);

    cr_assert_eq(grpc_health_v1_health_check(f.channel, NULL, &request, &reply, NULL), STUB_OK);
    grpc__health__v1__health_check_response__free_unpacked(reply, NULL);
    fixture_stop(&f);
}
