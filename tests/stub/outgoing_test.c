/* Metadata of any bytes, and what runs around every call of a channel. */
#include "tests/stub/fixture.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

typedef Test__Echo__V1__CountRequest count_request;
typedef Test__Echo__V1__CountResponse count_response;
typedef Test__Echo__V1__EchoRequest echo_request;
typedef Test__Echo__V1__EchoResponse echo_response;

/* "+name" before, "-name" after; calls follow each other in these tests. */
struct diary {
    char order[128];
    char path[128];
    char message[128];
    int code;
    int64_t took_us;
    atomic_int afters;
};

struct page {
    struct diary *diary;
    char name;
};

static void note(struct diary *diary, char sign, char name)
{
    size_t len = strlen(diary->order);

    snprintf(diary->order + len, sizeof(diary->order) - len, "%c%c", sign, name);
}

static void before(void *user, const struct stub_method *method, struct stub_outgoing *outgoing)
{
    const struct page *page = user;

    note(page->diary, '+', page->name);
    snprintf(page->diary->path, sizeof(page->diary->path), "%s", method->path);
    if (page->name == 'a')
        stub_outgoing_add(outgoing, "echo-key", "from the interceptor");
    stub_outgoing_add_bin(outgoing, "echo-bin", "\x09\0", 2);
}

static void after(void *user, const struct stub_client_ended *ended)
{
    const struct page *page = user;
    struct diary *diary = page->diary;

    note(diary, '-', page->name);
    diary->code = ended->code;
    diary->took_us = ended->ended_us - ended->began_us;
    snprintf(diary->message, sizeof(diary->message), "%s", ended->message);
    atomic_fetch_add(&diary->afters, 1);
}

struct scene {
    struct fixture f;
    struct diary diary;
    struct page pages[2];
};

static void scene_start(struct scene *scene)
{
    struct stub_client_interceptor list[2];
    struct stub_channel_options options = {.interceptors = list, .interceptors_count = 2};

    memset(scene, 0, sizeof(*scene));
    scene->f = fixture_start(NULL);
    for (size_t i = 0; i < 2; i++) {
        scene->pages[i] = (struct page){&scene->diary, (char)('a' + i)};
        list[i] = (struct stub_client_interceptor){before, after, &scene->pages[i]};
    }
    stub_channel_destroy(scene->f.channel);
    scene->f.channel = stub_channel_create(echo_target(scene->f.echo), &options);
}

static int echo(struct scene *scene, int action, char *ret_text, size_t bytes)
{
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    echo_response *reply;
    char text[] = "text";
    int code;

    request.action = (Test__Echo__V1__EchoRequest__Action)action;
    request.text = text;
    code = test_echo_v1_echo_service_echo(scene->f.channel, NULL, &request, &reply, NULL);
    if (reply) {
        snprintf(ret_text, bytes, "%s|%s", reply->metadata, reply->text);
        test__echo__v1__echo_response__free_unpacked(reply, NULL);
    }
    return code;
}

Test(outgoing, interceptors_add_metadata_and_learn_the_outcome)
{
    struct scene scene;
    char text[512] = "";

    scene_start(&scene);
    cr_assert_eq(echo(&scene, 0, text, sizeof(text)), STUB_OK);
    cr_assert_str_eq(text, "from the interceptor|text");
    cr_assert_str_eq(scene.diary.order, "+a+b-b-a");
    cr_assert_str_eq(scene.diary.path, "/test.echo.v1.EchoService/Echo");
    cr_assert_eq(scene.diary.code, STUB_OK);
    cr_assert_gt(scene.diary.took_us, 0);
    cr_assert_eq(echo(&scene, TEST__ECHO__V1__ECHO_REQUEST__ACTION__ACTION_CONTEXT, text,
                      sizeof(text)),
                 STUB_OK);
    cr_assert(strstr(text, "bin=2:9"), "%s", text);
    fixture_stop(&scene.f);
}

Test(outgoing, interceptors_learn_of_a_failure)
{
    struct scene scene;
    char text[8];

    scene_start(&scene);
    cr_assert_eq(echo(&scene, TEST__ECHO__V1__ECHO_REQUEST__ACTION__ACTION_FAIL, text, 8),
                 STUB_INVALID_ARGUMENT);
    cr_assert_eq(scene.diary.code, STUB_INVALID_ARGUMENT);
    cr_assert_str_eq(scene.diary.message, "text");
    cr_assert_str_eq(scene.diary.order, "+a+b-b-a");
    fixture_stop(&scene.f);
}

struct reply {
    struct diary *diary;
    atomic_int done;
    int afters_before;
};

static void done(void *user, const struct stub_status *st, const echo_response *message)
{
    struct reply *reply = user;

    (void)st, (void)message;
    reply->afters_before = atomic_load(&reply->diary->afters);
    atomic_store(&reply->done, 1);
}

static bool is_done(void *user)
{
    return atomic_load(&((struct reply *)user)->done) == 1;
}

Test(outgoing, interceptors_run_before_the_callback_of_an_asynchronous_call)
{
    struct scene scene;
    struct reply reply = {.diary = &scene.diary};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;

    scene_start(&scene);
    test_echo_v1_echo_service_echo_async(scene.f.channel, NULL, &request, done, &reply);
    cr_assert(eventually(is_done, &reply));
    cr_assert_eq(reply.afters_before, 2);
    cr_assert_str_eq(scene.diary.order, "+a+b-b-a");
    fixture_stop(&scene.f);
}

Test(outgoing, interceptors_run_once_per_stream)
{
    struct scene scene;
    count_request request = TEST__ECHO__V1__COUNT_REQUEST__INIT;
    struct stub_stream *stream;
    count_response *message;

    scene_start(&scene);
    request.to = 5;
    stream = test_echo_v1_echo_service_count_open(scene.f.channel, NULL, &request);
    while (test_echo_v1_echo_service_count_recv(stream, -1, &message) == STUB_RECV_MESSAGE)
        test__echo__v1__count_response__free_unpacked(message, NULL);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_OK);
    cr_assert_str_eq(scene.diary.order, "+a+b-b-a");
    stream = test_echo_v1_echo_service_chat_open(scene.f.channel, NULL);
    cr_assert_eq(stub_stream_close(stream, NULL), STUB_CANCELLED);
    cr_assert_eq(scene.diary.code, STUB_CANCELLED);
    cr_assert_str_eq(scene.diary.order, "+a+b-b-a+a+b-b-a");
    fixture_stop(&scene.f);
}

static void on_count(void *user, struct stub_stream *stream, const count_response *message)
{
    (void)user, (void)stream, (void)message;
}

static void on_end(void *user, struct stub_stream *stream, const struct stub_status *status)
{
    (void)stream;
    done(user, status, NULL);
}

Test(outgoing, interceptors_run_once_per_stream_that_calls_back)
{
    static const struct stub_stream_events events = {.on_end = on_end};
    struct scene scene;
    struct reply reply = {.diary = &scene.diary};
    count_request request = TEST__ECHO__V1__COUNT_REQUEST__INIT;

    scene_start(&scene);
    request.to = 5;
    stub_stream_release(test_echo_v1_echo_service_count_start(scene.f.channel, NULL, &request,
                                                              on_count, &events, &reply));
    cr_assert(eventually(is_done, &reply));
    cr_assert_eq(reply.afters_before, 2);
    cr_assert_str_eq(scene.diary.order, "+a+b-b-a");
    cr_assert_eq(scene.diary.code, STUB_OK);
    fixture_stop(&scene.f);
}

Test(outgoing, metadata_of_the_caller_may_hold_any_bytes)
{
    struct fixture f = fixture_start(NULL);
    struct stub_metadata binary = {"echo-bin", "\x05\0\xff", 3};
    struct stub_call_options options = {.binary = &binary, .binary_count = 1};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    echo_response *reply;

    request.action = TEST__ECHO__V1__ECHO_REQUEST__ACTION__ACTION_CONTEXT;
    cr_assert_eq(test_echo_v1_echo_service_echo(f.channel, &options, &request, &reply, NULL),
                 STUB_OK);
    cr_assert(strstr(reply->text, "bin=3:5"), "%s", reply->text);
    test__echo__v1__echo_response__free_unpacked(reply, NULL);
    fixture_stop(&f);
}
