/* Unary calls from both ends. */
#include "tests/stub/fixture.h"

#include <criterion/criterion.h>
#include <google/rpc/error_details.pb-c.h>
#include <google/rpc/status.pb-c.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

typedef Test__Echo__V1__EchoRequest echo_request;
typedef Test__Echo__V1__EchoResponse echo_response;

#define ACTION(name) TEST__ECHO__V1__ECHO_REQUEST__ACTION__ACTION_##name

static int echo(struct fixture *f, const struct stub_call_options *options, int action,
                const char *text, echo_response **ret_reply, struct stub_status *st)
{
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    char copy[256];

    snprintf(copy, sizeof(copy), "%s", text);
    request.text = copy;
    request.count = 42;
    request.action = (Test__Echo__V1__EchoRequest__Action)action;
    return test_echo_v1_echo_service_echo(f->channel, options, &request, ret_reply, st);
}

Test(call, returns_what_it_was_sent)
{
    struct fixture f = fixture_start(NULL);
    struct stub_status st = STUB_STATUS_INIT;
    echo_response *reply;

    cr_assert_eq(echo(&f, NULL, 0, "h\xc3\xa9llo", &reply, &st), STUB_OK, "%s", st.message);
    cr_assert_str_eq(reply->text, "h\xc3\xa9llo");
    cr_assert_eq(reply->count, 42);
    cr_assert_str_eq(st.message, "");
    test__echo__v1__echo_response__free_unpacked(reply, NULL);
    stub_status_clear(&st);
    fixture_stop(&f);
}

Test(call, is_answered_from_another_thread)
{
    struct fixture f = fixture_start(NULL);
    echo_response *reply;

    for (int i = 0; i < 200; i++) {
        cr_assert_eq(echo(&f, NULL, ACTION(LATER), "later", &reply, NULL), STUB_OK);
        cr_assert_str_eq(reply->text, "later");
        test__echo__v1__echo_response__free_unpacked(reply, NULL);
    }
    fixture_stop(&f);
}

/* --- posting -------------------------------------------------------------------------------- */

struct postman {
    struct rig rig;
    struct stub_call *call;
    pthread_t other;
    atomic_int on_worker, elsewhere;
};

static void note_thread(void *user, void *worker)
{
    struct postman *postman = user;

    if (worker == &postman->rig && pthread_equal(pthread_self(), postman->rig.worker))
        atomic_fetch_add(&postman->on_worker, 1);
    else
        atomic_fetch_add(&postman->elsewhere, 1);
}

static void answer_there(void *user, void *worker)
{
    struct postman *postman = user;
    echo_response reply = TEST__ECHO__V1__ECHO_RESPONSE__INIT;
    struct stub_call *call = postman->call;

    note_thread(user, worker);
    stub_call_ref(call);
    test_echo_v1_echo_service_echo_reply(call, &reply);
    stub_call_post(call, note_thread, user); /* again, and after the answer */
    stub_call_unref(call);
}

static void *post_from_elsewhere(void *user)
{
    struct postman *postman = user;

    stub_call_post(postman->call, answer_there, postman);
    return NULL;
}

static void echo_posted(void *user, struct stub_call *call, const echo_request *request)
{
    struct postman *postman = user;

    (void)request;
    postman->call = call;
    cr_assert_eq(pthread_create(&postman->other, NULL, post_from_elsewhere, postman), 0);
}

static bool has_run_twice(void *user)
{
    struct postman *postman = user;

    return atomic_load(&postman->on_worker) + atomic_load(&postman->elsewhere) == 2;
}

Test(call, has_what_another_thread_posts_run_on_a_worker)
{
    static const struct test_echo_v1_echo_service_handlers handlers = {.echo = echo_posted};
    struct postman postman = {0};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    echo_response *reply;

    rig_start(&postman.rig, &handlers, &postman, NULL);
    for (int i = 0; i < 100; i++) {
        atomic_store(&postman.on_worker, 0);
        cr_assert_eq(test_echo_v1_echo_service_echo(postman.rig.channel, NULL, &request, &reply,
                                                    NULL),
                     STUB_OK);
        test__echo__v1__echo_response__free_unpacked(reply, NULL);
        pthread_join(postman.other, NULL);
        cr_assert(eventually(has_run_twice, &postman));
        cr_assert_eq(atomic_load(&postman.elsewhere), 0);
    }
    rig_stop(&postman.rig);
}

Test(call, carries_metadata_both_ways)
{
    struct fixture f = fixture_start(NULL);
    const char *metadata[] = {"echo-key", "value 1", "other", "x"};
    struct stub_call_options options = {.metadata = metadata, .metadata_count = 2};
    struct stub_status st = STUB_STATUS_INIT;
    echo_response *reply;

    cr_assert_eq(echo(&f, &options, 0, "", &reply, &st), STUB_OK, "%s", st.message);
    cr_assert_str_eq(reply->metadata, "value 1");
    cr_assert_str_eq(stub_status_metadata(&st, "echo-server"), "tests");
    cr_assert_str_eq(stub_status_metadata(&st, "echo-trailing"),
                     "a value that is longer than 23 bytes");
    cr_assert_null(stub_status_metadata(&st, "not-there"));
    test__echo__v1__echo_response__free_unpacked(reply, NULL);
    stub_status_clear(&st);
    fixture_stop(&f);
}

Test(call, fails_with_code_text_and_details)
{
    struct fixture f = fixture_start(NULL);
    struct stub_status st = STUB_STATUS_INIT;
    echo_response *reply;
    Google__Rpc__ErrorInfo *info;
    Google__Rpc__BadRequest *bad;

    cr_assert_eq(echo(&f, NULL, ACTION(FAIL), "50 % of it,\nwrong: \xe2\x82\xac", &reply, &st),
                 STUB_INVALID_ARGUMENT);
    cr_assert_null(reply);
    cr_assert_str_eq(st.message, "50 % of it,\nwrong: \xe2\x82\xac");
    cr_assert_eq(st.details->code, STUB_INVALID_ARGUMENT);
    cr_assert_str_eq(st.details->message, st.message);
    cr_assert_eq(st.details->n_details, 2);
    info = (Google__Rpc__ErrorInfo *)(void *)stub_status_detail(
        &st, &google__rpc__error_info__descriptor);
    cr_assert_str_eq(info->reason, "ASKED_FOR_IT");
    bad = (Google__Rpc__BadRequest *)(void *)stub_status_detail(
        &st, &google__rpc__bad_request__descriptor);
    cr_assert_str_eq(bad->field_violations[0]->field, "action");
    cr_assert_null(stub_status_detail(&st, &google__rpc__help__descriptor));
    cr_assert_str_eq(stub_status_metadata(&st, "echo-trailing"), "here too");
    google__rpc__error_info__free_unpacked(info, NULL);
    google__rpc__bad_request__free_unpacked(bad, NULL);
    stub_status_clear(&st);
    fixture_stop(&f);
}

Test(call, knows_its_deadline)
{
    struct fixture f = fixture_start(NULL);
    struct stub_call_options options = {.timeout_us = 3000000};
    echo_response *reply;

    cr_assert_eq(echo(&f, &options, 0, "", &reply, NULL), STUB_OK);
    cr_assert(reply->deadline_left_us > 0 && reply->deadline_left_us <= 3100000, "%ld",
              (long)reply->deadline_left_us);
    test__echo__v1__echo_response__free_unpacked(reply, NULL);
    fixture_stop(&f);
}

Test(call, tells_the_handler_its_context)
{
    struct fixture f = fixture_start(NULL);
    const char *metadata[] = {"echo-bin", "\x07z"};
    struct stub_call_options options = {.metadata = metadata, .metadata_count = 1};
    struct stub_status st = STUB_STATUS_INIT;
    echo_response *reply;
    size_t many = 0;

    cr_assert_eq(echo(&f, &options, ACTION(CONTEXT), "", &reply, &st), STUB_OK, "%s", st.message);
    cr_assert(strstr(reply->text, "/test.echo.v1.EchoService/Echo ipv4:127.0.0.1:"), "%s",
              reply->text);
    cr_assert(strstr(reply->text, "user=1 worker=1 cancelled=0 bin=2:7"), "%s", reply->text);
    cr_assert_null(stub_status_metadata(&st, "legal"), "illegal values are dropped");
    for (size_t i = 0; i < st.trailing_count; i++)
        many += strcmp(st.trailing[i].key, "many") == 0;
    cr_assert_eq(many, 16);
    test__echo__v1__echo_response__free_unpacked(reply, NULL);
    stub_status_clear(&st);
    fixture_stop(&f);
}

static bool one_closed(void *user)
{
    return echo_closed(user) == 1;
}

Test(call, ends_at_its_deadline_on_both_sides)
{
    struct fixture f = fixture_start(NULL);
    struct stub_call_options options = {.timeout_us = 300000};
    struct stub_status st = STUB_STATUS_INIT;
    echo_response *reply;

    /* Connected before, or a busy machine's deadline passes before the server has seen the call. */
    cr_assert_eq(echo(&f, NULL, ACTION(LATER), "", &reply, NULL), STUB_OK);
    test__echo__v1__echo_response__free_unpacked(reply, NULL);
    cr_assert_eq(echo(&f, &options, ACTION(NEVER), "", &reply, &st), STUB_DEADLINE_EXCEEDED, "%s",
                 st.message);
    cr_assert(eventually(one_closed, f.echo));
    stub_status_clear(&st);
    fixture_stop(&f);
}

Test(call, takes_the_first_of_two_answers)
{
    struct fixture f = fixture_start(NULL);
    echo_response *reply;

    cr_assert_eq(echo(&f, NULL, ACTION(TWICE), "once", &reply, NULL), STUB_OK);
    cr_assert_str_eq(reply->text, "once");
    cr_assert_eq(echo_doubled(f.echo), 0);
    test__echo__v1__echo_response__free_unpacked(reply, NULL);
    fixture_stop(&f);
}

struct many {
    atomic_int left;
    atomic_int wrong;
};

static void count_down(void *user, const struct stub_status *st, const echo_response *reply)
{
    struct many *many = user;

    if (st->code != STUB_OK || reply->count != 7)
        atomic_fetch_add(&many->wrong, 1);
    atomic_fetch_sub(&many->left, 1);
}

static bool none_left(void *user)
{
    return atomic_load(&((struct many *)user)->left) == 0;
}

static bool no_calls(void *user)
{
    return stub_server_calls(user) == 0;
}

Test(call, runs_a_thousand_at_once_on_four_threads)
{
    struct echo_options options = {.workers = 4};
    struct fixture f = fixture_start(&options);
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct many many = {.left = 1000};

    request.count = 7;
    for (int i = 0; i < 1000; i++) {
        request.action = i % 2 ? ACTION(LATER) : ACTION(UNSPECIFIED);
        test_echo_v1_echo_service_echo_async(f.channel, NULL, &request, count_down, &many);
    }
    cr_assert(eventually(none_left, &many), "%d are missing", atomic_load(&many.left));
    cr_assert_eq(atomic_load(&many.wrong), 0);
    cr_assert(eventually(no_calls, echo_server(f.echo)));
    fixture_stop(&f);
}

Test(call, codes_have_names)
{
    cr_assert_str_eq(stub_code_name(STUB_RESOURCE_EXHAUSTED), "RESOURCE_EXHAUSTED");
    cr_assert_str_eq(stub_code_name(99), "no such code");
    cr_assert_str_eq(stub_code_name(-1), "no such code");
}
