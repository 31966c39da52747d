/* What runs around every call, whatever becomes of it. */
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

/* An interceptor that writes down what it sees; "+name" before, "-name" after. */
struct diary {
    pthread_mutex_t lock;
    char order[256];
    atomic_int befores, afters;
    bool states_right;

    /* of the last call */
    char method[128], peer[64], key[64], message[256], text[64];
    int64_t deadline_left_us;
    struct stub_ended ended;
};

struct page {
    struct diary *diary;
    char name;
    bool rejects;
};

static void note(struct diary *diary, char sign, char name)
{
    size_t len = strlen(diary->order);

    snprintf(diary->order + len, sizeof(diary->order) - len, "%c%c", sign, name);
}

static bool before(void *user, struct stub_call *call, void **state)
{
    const struct page *page = user;
    struct diary *diary = page->diary;
    const char *key = stub_call_metadata(call, "echo-key");
    const ProtobufCMessage *request = stub_call_request(call);

    pthread_mutex_lock(&diary->lock);
    atomic_fetch_add(&diary->befores, 1);
    note(diary, '+', page->name);
    snprintf(diary->method, sizeof(diary->method), "%s", stub_call_method(call));
    snprintf(diary->peer, sizeof(diary->peer), "%s", stub_call_peer(call));
    snprintf(diary->key, sizeof(diary->key), "%s", key ? key : "");
    snprintf(diary->text, sizeof(diary->text), "none");
    if (request && request->descriptor == &test__echo__v1__echo_request__descriptor)
        snprintf(diary->text, sizeof(diary->text), "%s",
                 ((const echo_request *)(const void *)request)->text);
    diary->deadline_left_us = stub_call_deadline_left_us(call);
    *state = user;
    pthread_mutex_unlock(&diary->lock);
    if (page->rejects)
        stub_call_fail(call, STUB_PERMISSION_DENIED, "not you", NULL, 0);
    return !page->rejects;
}

static void after(void *user, const struct stub_ended *ended, void *state)
{
    const struct page *page = user;
    struct diary *diary = page->diary;

    pthread_mutex_lock(&diary->lock);
    note(diary, '-', page->name);
    diary->states_right = diary->states_right && state == user;
    diary->ended = *ended;
    snprintf(diary->message, sizeof(diary->message), "%s", ended->message);
    diary->ended.message = diary->message;
    diary->ended.call = NULL;
    atomic_fetch_add(&diary->afters, 1);
    pthread_mutex_unlock(&diary->lock);
}

struct scene {
    struct fixture f;
    struct diary diary;
    struct page pages[3];
};

/* rejects: which of the interceptors a, b, c does; 0: none. */
static void scene_start(struct scene *scene, size_t interceptors, char rejects)
{
    struct stub_interceptor list[3];
    struct echo_options options = {.interceptors = list, .interceptors_count = interceptors};

    memset(scene, 0, sizeof(*scene));
    pthread_mutex_init(&scene->diary.lock, NULL);
    scene->diary.states_right = true;
    for (size_t i = 0; i < interceptors; i++) {
        char name = (char)('a' + i);

        scene->pages[i] = (struct page){&scene->diary, name, name == rejects};
        list[i] = (struct stub_interceptor){before, after, &scene->pages[i]};
    }
    scene->f = fixture_start(&options);
}

static void scene_stop(struct scene *scene)
{
    fixture_stop(&scene->f);
    cr_assert(scene->diary.states_right);
    cr_assert_eq(atomic_load(&scene->diary.befores), atomic_load(&scene->diary.afters));
}

static bool no_calls(void *user)
{
    return stub_server_calls(user) == 0;
}

/* After it, every `after` has run. */
static void settle(struct scene *scene)
{
    cr_assert(eventually(no_calls, echo_server(scene->f.echo)));
}

static int echo(struct scene *scene, const struct stub_call_options *options, int action)
{
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    echo_response *reply;
    char text[] = "seen";
    int code;

    request.text = text;
    request.action = (Test__Echo__V1__EchoRequest__Action)action;
    code = test_echo_v1_echo_service_echo(scene->f.channel, options, &request, &reply, NULL);
    if (reply)
        test__echo__v1__echo_response__free_unpacked(reply, NULL);
    return code;
}

Test(intercept, sees_a_unary_call_from_beginning_to_end)
{
    struct scene scene;
    struct diary *diary = &scene.diary;
    const char *metadata[] = {"echo-key", "value"};
    struct stub_call_options options = {
        .metadata = metadata, .metadata_count = 1, .timeout_us = 5000000};

    scene_start(&scene, 1, 0);
    cr_assert_eq(echo(&scene, &options, 0), STUB_OK);
    settle(&scene);
    cr_assert_str_eq(diary->order, "+a-a");
    cr_assert_str_eq(diary->method, "/test.echo.v1.EchoService/Echo");
    cr_assert_eq(strncmp(diary->peer, "ipv4:127.0.0.1:", 15), 0, "%s", diary->peer);
    cr_assert_str_eq(diary->key, "value");
    cr_assert_str_eq(diary->text, "seen");
    cr_assert(diary->deadline_left_us > 0 && diary->deadline_left_us <= 5100000);
    cr_assert_eq(diary->ended.code, STUB_OK);
    cr_assert_str_eq(diary->ended.message, "");
    cr_assert_eq(diary->ended.messages_in, 1);
    cr_assert_eq(diary->ended.messages_out, 1);
    cr_assert_eq(diary->ended.bytes_in, 6, "a text of four bytes");
    cr_assert_gt(diary->ended.bytes_out, 6);
    cr_assert_gt(diary->ended.arrived_us, 0);
    cr_assert_geq(diary->ended.answered_us, diary->ended.arrived_us);
    cr_assert_geq(diary->ended.ended_us, diary->ended.answered_us);
    scene_stop(&scene);
}

Test(intercept, is_told_the_code_and_text_of_a_failure)
{
    struct scene scene;

    scene_start(&scene, 1, 0);
    cr_assert_eq(echo(&scene, NULL, TEST__ECHO__V1__ECHO_REQUEST__ACTION__ACTION_FAIL),
                 STUB_INVALID_ARGUMENT);
    settle(&scene);
    cr_assert_eq(scene.diary.ended.code, STUB_INVALID_ARGUMENT);
    cr_assert_eq(scene.diary.ended.answer, STUB_INVALID_ARGUMENT);
    cr_assert_str_eq(scene.diary.ended.message, "seen");
    cr_assert_eq(scene.diary.ended.messages_out, 0);
    scene_stop(&scene);
}

Test(intercept, begins_in_order_and_ends_in_reverse)
{
    struct scene scene;

    scene_start(&scene, 3, 0);
    cr_assert_eq(echo(&scene, NULL, 0), STUB_OK);
    settle(&scene);
    cr_assert_str_eq(scene.diary.order, "+a+b+c-c-b-a");
    scene_stop(&scene);
}

Test(intercept, may_answer_so_that_the_handler_never_runs)
{
    struct scene scene;

    scene_start(&scene, 3, 'b');
    cr_assert_eq(echo(&scene, NULL, TEST__ECHO__V1__ECHO_REQUEST__ACTION__ACTION_NEVER),
                 STUB_PERMISSION_DENIED);
    settle(&scene);
    cr_assert_str_eq(scene.diary.order, "+a+b-b-a");
    cr_assert_eq(scene.diary.ended.code, STUB_PERMISSION_DENIED);
    cr_assert_str_eq(scene.diary.ended.message, "not you");
    cr_assert_eq(echo_closed(scene.f.echo), 0, "the handler has seen it");
    scene_stop(&scene);
}

Test(intercept, may_answer_a_stream)
{
    struct scene scene;
    struct stub_stream *stream;
    echo_response *message;

    scene_start(&scene, 1, 'a');
    stream = test_echo_v1_echo_service_chat_open(scene.f.channel, NULL);
    cr_assert_eq(test_echo_v1_echo_service_chat_recv(stream, -1, &message), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_PERMISSION_DENIED);
    settle(&scene);
    cr_assert_str_eq(scene.diary.order, "+a-a");
    cr_assert_eq(echo_closed(scene.f.echo), 0);
    scene_stop(&scene);
}

Test(intercept, sees_a_server_stream)
{
    struct scene scene;
    count_request request = TEST__ECHO__V1__COUNT_REQUEST__INIT;
    struct stub_stream *stream;
    count_response *message;

    scene_start(&scene, 2, 0);
    request.to = 100;
    request.bytes = 10;
    stream = test_echo_v1_echo_service_count_open(scene.f.channel, NULL, &request);
    while (test_echo_v1_echo_service_count_recv(stream, -1, &message) == STUB_RECV_MESSAGE)
        test__echo__v1__count_response__free_unpacked(message, NULL);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_OK);
    settle(&scene);
    cr_assert_str_eq(scene.diary.order, "+a+b-b-a");
    cr_assert_str_eq(scene.diary.method, "/test.echo.v1.EchoService/Count");
    cr_assert_eq(scene.diary.ended.code, STUB_OK);
    cr_assert_eq(scene.diary.ended.messages_in, 1);
    cr_assert_eq(scene.diary.ended.messages_out, 100);
    cr_assert_eq(scene.diary.ended.bytes_out, 100 * 14, "number and payload, two bytes of key each");
    scene_stop(&scene);
}

static int64_t collect(struct scene *scene, int count)
{
    struct stub_stream *stream = test_echo_v1_echo_service_collect_open(scene->f.channel, NULL);
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    echo_response *message;
    int64_t sum;

    for (int i = 1; i <= count; i++) {
        request.count = i;
        cr_assert(test_echo_v1_echo_service_collect_write(stream, &request));
    }
    stub_stream_send_end(stream);
    cr_assert_eq(test_echo_v1_echo_service_collect_recv(stream, -1, &message), STUB_RECV_MESSAGE);
    sum = message->count;
    test__echo__v1__echo_response__free_unpacked(message, NULL);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_OK);
    return sum;
}

Test(intercept, sees_a_client_stream)
{
    struct scene scene;

    scene_start(&scene, 1, 0);
    cr_assert_eq(collect(&scene, 10), 55);
    settle(&scene);
    cr_assert_str_eq(scene.diary.order, "+a-a");
    cr_assert_str_eq(scene.diary.text, "none", "no message is there before a stream of them");
    cr_assert_eq(scene.diary.ended.messages_in, 10);
    cr_assert_eq(scene.diary.ended.bytes_in, 20);
    cr_assert_eq(scene.diary.ended.messages_out, 1);
    scene_stop(&scene);
}

Test(intercept, sees_a_stream_both_ways)
{
    struct scene scene;
    struct stub_stream *stream;
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    echo_response *message;

    scene_start(&scene, 1, 0);
    stream = test_echo_v1_echo_service_chat_open(scene.f.channel, NULL);
    for (int i = 0; i < 3; i++) {
        cr_assert(test_echo_v1_echo_service_chat_write(stream, &request));
        cr_assert_eq(test_echo_v1_echo_service_chat_recv(stream, -1, &message), STUB_RECV_MESSAGE);
        test__echo__v1__echo_response__free_unpacked(message, NULL);
    }
    stub_stream_send_end(stream);
    cr_assert_eq(test_echo_v1_echo_service_chat_recv(stream, -1, &message), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_OK);
    settle(&scene);
    cr_assert_str_eq(scene.diary.order, "+a-a");
    cr_assert_eq(scene.diary.ended.messages_in, 3);
    cr_assert_eq(scene.diary.ended.messages_out, 3);
    scene_stop(&scene);
}

Test(intercept, sees_methods_that_nobody_serves)
{
    struct scene scene;
    struct stub_method unknown = test_echo_v1_echo_service_methods[0];
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    ProtobufCMessage *reply;

    scene_start(&scene, 2, 0);
    unknown.path = "/test.echo.v1.EchoService/Unheard";
    for (int i = 0; i < 10; i++)
        cr_assert_eq(stub_unary(scene.f.channel, &unknown, NULL, &request.base, &reply, NULL),
                     STUB_UNIMPLEMENTED);
    settle(&scene);
    cr_assert_eq(atomic_load(&scene.diary.afters), 20);
    cr_assert_str_eq(scene.diary.method, unknown.path);
    cr_assert_str_eq(scene.diary.text, "none");
    cr_assert_gt(scene.diary.deadline_left_us, 0);
    cr_assert_lt(scene.diary.deadline_left_us, INT64_C(11000000));
    cr_assert_eq(scene.diary.ended.code, STUB_UNIMPLEMENTED);
    scene_stop(&scene);
}

Test(intercept, may_answer_for_a_method_that_nobody_serves)
{
    struct scene scene;
    struct stub_method unknown = test_echo_v1_echo_service_methods[0];
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    ProtobufCMessage *reply;

    scene_start(&scene, 1, 'a');
    unknown.path = "/nobody.knows/It";
    cr_assert_eq(stub_unary(scene.f.channel, &unknown, NULL, &request.base, &reply, NULL),
                 STUB_PERMISSION_DENIED);
    scene_stop(&scene);
    cr_assert_str_eq(scene.diary.order, "+a-a");
}

Test(intercept, sees_a_message_that_is_refused)
{
    struct scene scene;

    scene_start(&scene, 1, 0);
    cr_assert_eq(raw_echo(scene.f.channel, "\x0a\x02" "a\xff", 4, NULL), STUB_INVALID_ARGUMENT);
    settle(&scene);
    cr_assert_str_eq(scene.diary.order, "+a-a");
    cr_assert_str_eq(scene.diary.text, "none");
    cr_assert_eq(scene.diary.ended.code, STUB_INVALID_ARGUMENT);
    cr_assert_str_eq(scene.diary.ended.message, "text is not valid UTF-8");
    cr_assert_eq(scene.diary.ended.bytes_in, 4);
    scene_stop(&scene);
}

Test(intercept, may_answer_before_a_message_is_refused)
{
    struct scene scene;

    scene_start(&scene, 1, 'a');
    cr_assert_eq(raw_echo(scene.f.channel, "\x0a\x02" "a\xff", 4, NULL), STUB_PERMISSION_DENIED);
    scene_stop(&scene);
}

/* A call that is answered when its deadline has passed, not before. */
struct late {
    struct stub_call *call;
    atomic_bool closed;
};

static void late_closed(void *user)
{
    atomic_store(&((struct late *)user)->closed, true);
}

static void handle_late(void *user, struct stub_call *call, const echo_request *request)
{
    struct late *late = user;

    (void)request;
    late->call = call;
    stub_call_on_closed(call, late_closed, late);
}

static bool is_closed_and_late(void *user)
{
    struct late *late = user;

    return atomic_load(&late->closed) && stub_call_deadline_left_us(late->call) <= 0;
}

Test(intercept, is_told_of_a_deadline_that_was_missed)
{
    static const struct test_echo_v1_echo_service_handlers handlers = {.echo = handle_late};
    struct stub_call_options options = {.timeout_us = 100000};
    struct diary diary = {.states_right = true};
    struct page page = {&diary, 'a', false};
    struct stub_interceptor interceptor = {before, after, &page};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct late late = {0};
    echo_response *reply;
    struct rig rig;

    pthread_mutex_init(&diary.lock, NULL);
    rig_start(&rig, &handlers, &late, &interceptor);
    cr_assert_eq(test_echo_v1_echo_service_echo(rig.channel, &options, &request, &reply, NULL),
                 STUB_DEADLINE_EXCEEDED);
    cr_assert(eventually(is_closed_and_late, &late));
    stub_call_fail(late.call, STUB_ABORTED, "too late", NULL, 0);
    rig_stop(&rig);
    cr_assert_str_eq(diary.order, "+a-a");
    cr_assert_eq(diary.ended.code, STUB_DEADLINE_EXCEEDED);
    cr_assert_str_eq(diary.message, "the deadline was over");
    cr_assert_eq(diary.ended.answer, STUB_ABORTED, "what the handler said of it");
}

Test(intercept, is_told_of_a_client_that_goes)
{
    struct scene scene;
    count_request request = TEST__ECHO__V1__COUNT_REQUEST__INIT;
    struct stub_stream *stream;
    count_response *message;

    scene_start(&scene, 1, 0);
    stream = test_echo_v1_echo_service_count_open(scene.f.channel, NULL, &request);
    cr_assert_eq(test_echo_v1_echo_service_count_recv(stream, -1, &message), STUB_RECV_MESSAGE);
    test__echo__v1__count_response__free_unpacked(message, NULL);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_CANCELLED);
    settle(&scene);
    cr_assert_str_eq(scene.diary.order, "+a-a");
    cr_assert_eq(scene.diary.ended.code, STUB_CANCELLED);
    cr_assert_eq(scene.diary.ended.answer, STUB_OK);
    scene_stop(&scene);
}

static bool mirror(void *user, struct stub_call *call, void **state)
{
    size_t at = 0, bytes;
    const void *value;

    (void)user, (void)state;
    while ((value = stub_call_metadata_next(call, "pair-bin", &at, &bytes)))
        stub_call_add_initial_bin(call, "pair-bin", value, bytes);
    stub_call_add_trailing_bin(call, "nul-bin", "a\0b", 3);
    stub_call_add_initial_bin(call, "not-binary", "a\0b", 3); /* dropped */
    return true;
}

Test(intercept, carries_metadata_of_any_bytes_and_every_value_of_a_key)
{
    const struct stub_interceptor interceptor = {.before = mirror};
    struct echo_options options = {.interceptors = &interceptor, .interceptors_count = 1};
    struct fixture f = fixture_start(&options);
    const char *metadata[] = {"pair-bin", "one", "other", "x", "pair-bin", "\xff\x01"};
    struct stub_call_options call = {.metadata = metadata, .metadata_count = 3};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct stub_status st = STUB_STATUS_INIT;
    const struct stub_metadata *pairs[2] = {0};
    echo_response *reply;
    size_t count = 0;

    cr_assert_eq(test_echo_v1_echo_service_echo(f.channel, &call, &request, &reply, &st), STUB_OK);
    for (size_t i = 0; i < st.initial_count; i++) {
        cr_assert_str_neq(st.initial[i].key, "not-binary");
        if (strcmp(st.initial[i].key, "pair-bin") == 0 && count < 2)
            pairs[count++] = &st.initial[i];
    }
    cr_assert_eq(count, 2);
    cr_assert_str_eq(pairs[0]->value, "one");
    cr_assert_str_eq(pairs[1]->value, "\xff\x01");
    for (size_t i = 0; i < st.trailing_count; i++) {
        if (strcmp(st.trailing[i].key, "nul-bin") == 0) {
            cr_assert_eq(st.trailing[i].value_bytes, 3);
            cr_assert_arr_eq(st.trailing[i].value, "a\0b", 3);
            count++;
        }
    }
    cr_assert_eq(count, 3);
    test__echo__v1__echo_response__free_unpacked(reply, NULL);
    stub_status_clear(&st);
    fixture_stop(&f);
}

struct many {
    atomic_int left;
};

static void count_down(void *user, const struct stub_status *st, const echo_response *reply)
{
    (void)st, (void)reply;
    atomic_fetch_sub(&((struct many *)user)->left, 1);
}

static bool none_left(void *user)
{
    return atomic_load(&((struct many *)user)->left) == 0;
}

Test(intercept, runs_once_per_call_under_load)
{
    struct scene scene;
    struct many many = {.left = 500};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;

    scene_start(&scene, 2, 0);
    for (int i = 0; i < 500; i++) {
        request.action = (Test__Echo__V1__EchoRequest__Action)(i % 3);
        test_echo_v1_echo_service_echo_async(scene.f.channel, NULL, &request, count_down, &many);
    }
    cr_assert(eventually(none_left, &many));
    settle(&scene);
    cr_assert_eq(atomic_load(&scene.diary.befores), 1000);
    cr_assert_eq(atomic_load(&scene.diary.afters), 1000);
    scene_stop(&scene);
}

/* --- everything at once ---------------------------------------------------------------------------- */

struct storm {
    struct scene *scene;
    pthread_t thread;
    unsigned seed;
};

static unsigned draw(struct storm *storm, unsigned below)
{
    storm->seed = storm->seed * 1103515245u + 12345u;
    return (storm->seed >> 16) % below;
}

static void storm_unary(struct storm *storm)
{
    struct stub_cancel *cancel = stub_cancel_create();
    struct stub_call_options options = {.timeout_us = 500 + draw(storm, 20000), .cancel = cancel};
    struct many many = {.left = 5};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;

    for (int i = 0; i < 5; i++) {
        request.action = (Test__Echo__V1__EchoRequest__Action)draw(storm, 4);
        test_echo_v1_echo_service_echo_async(storm->scene->f.channel, &options, &request,
                                             count_down, &many);
    }
    if (draw(storm, 2))
        stub_cancel_fire(cancel);
    stub_cancel_destroy(cancel);
    cr_assert(eventually(none_left, &many));
}

static void storm_stream(struct storm *storm)
{
    struct stub_call_options options = {.timeout_us = 500 + draw(storm, 20000)};
    count_request request = TEST__ECHO__V1__COUNT_REQUEST__INIT;
    count_response *message;
    struct stub_stream *stream;
    unsigned reads = draw(storm, 50);

    request.bytes = (int32_t)draw(storm, 2000);
    request.fail_when_full = draw(storm, 2) == 1;
    stream = test_echo_v1_echo_service_count_open(storm->scene->f.channel, &options, &request);
    while (reads-- > 0 &&
           test_echo_v1_echo_service_count_recv(stream, -1, &message) == STUB_RECV_MESSAGE)
        test__echo__v1__count_response__free_unpacked(message, NULL);
    (void)stub_stream_close(stream, NULL);
}

static void *storm_thread(void *user)
{
    struct storm *storm = user;

    for (int i = 0; i < 60; i++) {
        if (draw(storm, 2))
            storm_unary(storm);
        else
            storm_stream(storm);
    }
    return NULL;
}

/* scene_stop finds out whether every call that has begun has ended, once. */
Test(intercept, runs_once_per_call_whatever_happens_to_it)
{
    struct scene scene;
    struct storm storms[4];

    scene_start(&scene, 2, 0);
    for (unsigned i = 0; i < 4; i++) {
        storms[i] = (struct storm){.scene = &scene, .seed = i + 1};
        cr_assert(pthread_create(&storms[i].thread, NULL, storm_thread, &storms[i]) == 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(storms[i].thread, NULL);
    settle(&scene);
    cr_assert_gt(atomic_load(&scene.diary.befores), 240);
    scene_stop(&scene);
}
