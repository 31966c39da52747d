/* What an application must not do: it is refused with a reason, or it is a CHECK; nothing is swallowed. */
#include "tests/stub/fixture.h"

#include <criterion/criterion.h>
#include <google/rpc/error_details.pb-c.h>
#include <google/rpc/status.pb-c.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

typedef Test__Echo__V1__EchoRequest echo_request;
typedef Test__Echo__V1__EchoResponse echo_response;
typedef Test__Echo__V1__CountRequest count_request;
typedef Test__Echo__V1__CountResponse count_response;

static char broken[] = "broken \xff";
static char fine[] = "fine";

enum misdeed {
    REPLY_NULL,
    REPLY_OTHER_TYPE,
    REPLY_NOT_INITIALISED,
    REPLY_WITHOUT_BYTES,
    REPLY_NOT_UTF8,
    FAIL_NULL,
    FAIL_ODD_DETAILS,
    FAIL_NOT_UTF8,
    SEND_ON_UNARY,
    FINISH_ON_UNARY,
    REPLY_TWICE,
    FAIL_AFTER_REPLY,
    ODD_METADATA,
    STREAM_REPLY,
    STREAM_OTHER_TYPE,
    STREAM_NOT_UTF8,
    STREAM_SEND_AFTER_FINISH,
};

struct deed {
    enum misdeed misdeed;
    atomic_int first;  /* what the misdeed returned */
    atomic_int second; /* what came after it */
};

static echo_response response_of(char *text)
{
    echo_response response = TEST__ECHO__V1__ECHO_RESPONSE__INIT;

    response.text = text;
    return response;
}

static void fail_oddly(struct stub_call *call)
{
    Google__Rpc__ErrorInfo good = GOOGLE__RPC__ERROR_INFO__INIT, bad = GOOGLE__RPC__ERROR_INFO__INIT;
    const ProtobufCMessage *details[] = {NULL, &bad.base, &good.base};

    bad.reason = broken;
    good.reason = fine;
    stub_call_fail(call, STUB_ABORTED, "odd", details, 3);
}

static void odd_metadata(struct stub_call *call)
{
    char *volatile none = NULL;

    stub_call_add_initial(call, none, "value");
    stub_call_add_initial(call, "key", none);
    stub_call_add_initial_static(call, "Upper", "value");
    stub_call_add_trailing_bin(call, "empty-bin", NULL, 0);
    stub_call_add_trailing(call, "good", "value");
    stub_call_send_initial(call);
    stub_call_add_initial(call, "late", "value");
}

static void echo(void *user, struct stub_call *call, const echo_request *request)
{
    struct deed *deed = user;
    echo_response response = response_of(fine), bad = response_of(broken);
    echo_response empty = {.text = fine};

    (void)request;
    stub_call_ref(call);
    switch (deed->misdeed) {
    case REPLY_NULL:
        deed->first = stub_call_reply(call, NULL);
        deed->second = stub_call_reply(call, &response.base);
        break;
    case REPLY_OTHER_TYPE:
        deed->first = stub_call_reply(call, &request->base);
        break;
    case REPLY_NOT_INITIALISED:
        deed->first = stub_call_reply(call, &empty.base);
        break;
    case REPLY_WITHOUT_BYTES:
        response.payload.len = 1;
        deed->first = stub_call_reply(call, &response.base);
        break;
    case REPLY_NOT_UTF8:
        deed->first = stub_call_reply(call, &bad.base);
        break;
    case FAIL_NULL:
        deed->first = stub_call_fail(call, STUB_ABORTED, NULL, NULL, 0);
        break;
    case FAIL_ODD_DETAILS:
        fail_oddly(call);
        break;
    case FAIL_NOT_UTF8:
        stub_call_fail(call, STUB_ABORTED, broken, NULL, 0);
        break;
    case SEND_ON_UNARY:
        deed->first = stub_call_send(call, &response.base);
        deed->second = stub_call_reply(call, &response.base);
        break;
    case FINISH_ON_UNARY:
        deed->first = stub_call_finish(call);
        break;
    case REPLY_TWICE:
        deed->first = stub_call_reply(call, &response.base);
        deed->second = stub_call_reply(call, &response.base);
        break;
    case FAIL_AFTER_REPLY:
        deed->first = stub_call_reply(call, &response.base);
        deed->second = stub_call_fail(call, STUB_ABORTED, "late", NULL, 0) ||
                       stub_call_abort(call, STUB_ABORTED, "late", NULL, 0);
        break;
    case ODD_METADATA:
        odd_metadata(call);
        stub_call_reply(call, &response.base);
        break;
    case STREAM_REPLY:
    case STREAM_OTHER_TYPE:
    case STREAM_NOT_UTF8:
    case STREAM_SEND_AFTER_FINISH:
        stub_call_fail(call, STUB_UNIMPLEMENTED, "not here", NULL, 0);
        break;
    }
    stub_call_unref(call);
}

static void count(void *user, struct stub_call *call, const count_request *request)
{
    struct deed *deed = user;
    count_response number = TEST__ECHO__V1__COUNT_RESPONSE__INIT;

    number.number = 1;
    stub_call_ref(call);
    cr_assert_eq(stub_call_send(call, &number.base), STUB_SEND_OK);
    if (deed->misdeed == STREAM_REPLY) {
        deed->first = stub_call_reply(call, &number.base);
    } else if (deed->misdeed == STREAM_OTHER_TYPE) {
        deed->first = stub_call_send(call, &request->base);
        deed->second = stub_call_send(call, &number.base);
        stub_call_finish(call);
    } else {
        stub_call_finish(call);
        deed->first = stub_call_send(call, &number.base);
        deed->second = stub_call_finish(call);
    }
    stub_call_unref(call);
}

static void chat_one(void *user, struct stub_call *call, const ProtobufCMessage *message)
{
    struct deed *deed = user;
    echo_response bad = response_of(broken);

    if (message)
        deed->first = stub_call_send(call, &bad.base);
    else
        stub_call_finish(call);
}

static void chat(void *user, struct stub_call *call)
{
    stub_call_on_message(call, chat_one, user);
}

/* One call of Echo with this misdeed; the code. */
static int do_echo(struct deed *deed, struct stub_status *st)
{
    static const struct test_echo_v1_echo_service_handlers handlers = {.echo = echo};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    echo_response *reply;
    struct rig rig;
    int code;

    rig_start(&rig, &handlers, deed, NULL);
    code = test_echo_v1_echo_service_echo(rig.channel, NULL, &request, &reply, st);
    if (reply) {
        cr_assert_str_eq(reply->text, fine);
        test__echo__v1__echo_response__free_unpacked(reply, NULL);
    }
    rig_stop(&rig);
    return code;
}

static void expect(enum misdeed misdeed, int code, const char *text)
{
    struct deed deed = {.misdeed = misdeed, .first = -1, .second = -1};
    struct stub_status st = STUB_STATUS_INIT;

    cr_assert_eq(do_echo(&deed, &st), code, "%d: %s", misdeed, st.message);
    cr_assert(strstr(st.message, text), "%d: %s", misdeed, st.message);
    if (code == STUB_INTERNAL)
        cr_assert_eq(deed.first, 0, "it was taken");
    stub_status_clear(&st);
}

Test(misuse, a_reply_that_is_none_is_internal_with_the_reason)
{
    expect(REPLY_NULL, STUB_INTERNAL, "the reply: the message is missing");
    expect(REPLY_OTHER_TYPE, STUB_INTERNAL, "another type");
    expect(REPLY_NOT_INITIALISED, STUB_INTERNAL, "not initialised");
    expect(REPLY_WITHOUT_BYTES, STUB_INTERNAL, "payload has a length, and no bytes");
    expect(REPLY_NOT_UTF8, STUB_INTERNAL, "text is not valid UTF-8");
    expect(FINISH_ON_UNARY, STUB_INTERNAL, "answered by _reply");
}

Test(misuse, the_answer_after_a_refused_one_is_a_second_one)
{
    struct deed deed = {.misdeed = REPLY_NULL, .second = -1};

    cr_assert_eq(do_echo(&deed, NULL), STUB_INTERNAL);
    cr_assert_eq(deed.second, false);
}

Test(misuse, an_error_without_a_text_keeps_its_code)
{
    expect(FAIL_NULL, STUB_ABORTED, "");
    expect(FAIL_NOT_UTF8, STUB_ABORTED, "broken ?");
}

Test(misuse, details_that_cannot_be_sent_are_left_out)
{
    struct deed deed = {.misdeed = FAIL_ODD_DETAILS};
    struct stub_status st = STUB_STATUS_INIT;
    Google__Rpc__ErrorInfo *info;

    cr_assert_eq(do_echo(&deed, &st), STUB_ABORTED);
    cr_assert(st.details && st.details->n_details == 1);
    info = (Google__Rpc__ErrorInfo *)(void *)stub_status_detail(&st, &google__rpc__error_info__descriptor);
    cr_assert_str_eq(info->reason, fine);
    google__rpc__error_info__free_unpacked(info, NULL);
    stub_status_clear(&st);
}

Test(misuse, what_is_sent_to_a_method_with_one_reply_does_not_swallow_the_reply)
{
    struct deed deed = {.misdeed = SEND_ON_UNARY, .first = -1};

    cr_assert_eq(do_echo(&deed, NULL), STUB_OK);
    cr_assert_eq(deed.first, STUB_SEND_DEAD);
    cr_assert_eq(deed.second, true);
}

Test(misuse, the_first_answer_counts)
{
    struct deed twice = {.misdeed = REPLY_TWICE}, late = {.misdeed = FAIL_AFTER_REPLY};

    cr_assert_eq(do_echo(&twice, NULL), STUB_OK);
    cr_assert(twice.first && !twice.second);
    cr_assert_eq(do_echo(&late, NULL), STUB_OK);
    cr_assert(late.first && !late.second);
}

Test(misuse, metadata_that_cannot_be_sent_are_left_out)
{
    struct deed deed = {.misdeed = ODD_METADATA};
    struct stub_status st = STUB_STATUS_INIT;

    cr_assert_eq(do_echo(&deed, &st), STUB_OK);
    cr_assert_str_eq(stub_status_metadata(&st, "good"), "value");
    cr_assert_str_eq(stub_status_metadata(&st, "empty-bin"), "");
    cr_assert_null(stub_status_metadata(&st, "late"));
    cr_assert_null(stub_status_metadata(&st, "key"));
    stub_status_clear(&st);
}

/* Reads Count to its end: how many messages came. */
static int do_count(struct deed *deed, struct stub_status *st, int *ret_code)
{
    static const struct test_echo_v1_echo_service_handlers handlers = {.count = count};
    count_request request = TEST__ECHO__V1__COUNT_REQUEST__INIT;
    count_response *number;
    struct stub_stream *stream;
    struct rig rig;
    int seen = 0;

    rig_start(&rig, &handlers, deed, NULL);
    stream = test_echo_v1_echo_service_count_open(rig.channel, NULL, &request);
    while (test_echo_v1_echo_service_count_recv(stream, -1, &number) == STUB_RECV_MESSAGE) {
        test__echo__v1__count_response__free_unpacked(number, NULL);
        seen++;
    }
    *ret_code = stub_stream_close(stream, st);
    rig_stop(&rig);
    return seen;
}

Test(misuse, a_stream_ends_with_the_reason)
{
    struct deed reply = {.misdeed = STREAM_REPLY, .first = -1};
    struct deed other = {.misdeed = STREAM_OTHER_TYPE, .first = -1, .second = -1};
    struct stub_status st = STUB_STATUS_INIT;
    int code;

    do_count(&reply, &st, &code);
    cr_assert_eq(code, STUB_INTERNAL);
    cr_assert(strstr(st.message, "stub_call_finish"), "%s", st.message);
    cr_assert_eq(reply.first, false);
    cr_assert_eq(do_count(&other, &st, &code), 1, "what was queued arrives");
    cr_assert_eq(code, STUB_INTERNAL);
    cr_assert(strstr(st.message, "another type"), "%s", st.message);
    cr_assert_eq(other.first, STUB_SEND_DEAD);
    cr_assert_eq(other.second, STUB_SEND_DEAD);
    stub_status_clear(&st);
}

Test(misuse, nothing_is_sent_after_the_end)
{
    struct deed deed = {.misdeed = STREAM_SEND_AFTER_FINISH, .first = -1, .second = -1};
    int code;

    cr_assert_eq(do_count(&deed, NULL, &code), 1);
    cr_assert_eq(code, STUB_OK);
    cr_assert_eq(deed.first, STUB_SEND_DEAD);
    cr_assert_eq(deed.second, false);
}

Test(misuse, a_text_of_a_stream_that_is_not_utf8_ends_it)
{
    static const struct test_echo_v1_echo_service_handlers handlers = {.chat = chat};
    struct deed deed = {.misdeed = STREAM_NOT_UTF8, .first = -1};
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct stub_status st = STUB_STATUS_INIT;
    struct stub_stream *stream;
    echo_response *reply;
    struct rig rig;

    rig_start(&rig, &handlers, &deed, NULL);
    stream = test_echo_v1_echo_service_chat_open(rig.channel, NULL);
    cr_assert(test_echo_v1_echo_service_chat_write(stream, &request));
    stub_stream_send_end(stream);
    cr_assert_eq(test_echo_v1_echo_service_chat_recv(stream, -1, &reply), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, &st), STUB_INTERNAL);
    cr_assert(strstr(st.message, "text is not valid UTF-8"), "%s", st.message);
    stub_status_clear(&st);
    rig_stop(&rig); /* then the handler has had its answer, too */
    cr_assert_eq(deed.first, STUB_SEND_DEAD);
}

/* --- the client ---------------------------------------------------------------------------------- */

static void expect_request(struct stub_channel *channel, const echo_request *request, const char *text)
{
    struct stub_status st = STUB_STATUS_INIT;
    echo_response *reply;

    cr_assert_eq(test_echo_v1_echo_service_echo(channel, NULL, request, &reply, &st), STUB_INTERNAL);
    cr_assert_null(reply);
    cr_assert(strstr(st.message, text), "%s", st.message);
    cr_assert_eq(test_echo_v1_echo_service_echo(channel, NULL, request, NULL, NULL), STUB_INTERNAL);
    stub_status_clear(&st);
}

static void async_done(void *user, const struct stub_status *status, const echo_response *reply)
{
    atomic_int *code = user;

    (void)reply;
    *code = status->code;
}

Test(misuse, a_request_that_is_none_is_internal_with_the_reason)
{
    struct fixture f = fixture_start(NULL);
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT, *requests[] = {&request};
    echo_response other = TEST__ECHO__V1__ECHO_RESPONSE__INIT;
    Test__Echo__V1__Node node = TEST__ECHO__V1__NODE__INIT, *children[] = {&node, NULL};
    struct stub_status st = STUB_STATUS_INIT;
    atomic_int code = -1;
    struct stub_stream *stream;

    expect_request(f.channel, NULL, "the request: the message is missing");
    expect_request(f.channel, (const echo_request *)(void *)&other, "another type");
    request.node = &node;
    node.child = (Test__Echo__V1__Node *)(void *)&other;
    expect_request(f.channel, &request, "node.child is a message of another type");
    node.child = NULL;
    node.n_children = 2;
    expect_request(f.channel, &request, "node.children has a number of elements");
    node.children = children;
    expect_request(f.channel, &request, "nested too deep"); /* it is its own child */
    test_echo_v1_echo_service_echo_async(f.channel, NULL, requests[0], async_done, &code);
    cr_assert_eq(code, STUB_INTERNAL);

    stream = test_echo_v1_echo_service_count_open(f.channel, NULL, NULL);
    cr_assert_eq(stub_stream_close(stream, &st), STUB_INTERNAL);
    cr_assert(strstr(st.message, "missing"), "%s", st.message);
    stub_status_clear(&st);
    fixture_stop(&f);
}

Test(misuse, a_number_of_things_that_are_not_there_is_internal_with_the_reason)
{
    struct fixture f = fixture_start(NULL);
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    char *words[] = {fine, NULL};

    request.payload.len = 5;
    expect_request(f.channel, &request, "payload has a length, and no bytes");
    request.payload.len = 0;
    request.n_numbers = 2;
    expect_request(f.channel, &request, "numbers has a number of elements, and no elements");
    request.n_numbers = 0;
    request.n_words = 2;
    expect_request(f.channel, &request, "words has a number of elements, and no elements");
    request.words = words;
    expect_request(f.channel, &request, "words has an element that is NULL");
    fixture_stop(&f);
}

Test(misuse, a_message_to_the_server_that_is_none_ends_the_call_with_the_reason)
{
    struct fixture f = fixture_start(NULL);
    echo_request request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct stub_status st = STUB_STATUS_INIT;
    struct stub_stream *stream = test_echo_v1_echo_service_collect_open(f.channel, NULL);

    cr_assert(test_echo_v1_echo_service_collect_write(stream, &request));
    request.node = (Test__Echo__V1__Node *)(void *)&request;
    cr_assert_not(test_echo_v1_echo_service_collect_write(stream, &request));
    cr_assert_eq(test_echo_v1_echo_service_collect_try_write(stream, NULL), STUB_SEND_DEAD);
    cr_assert_eq(stub_stream_close(stream, &st), STUB_INTERNAL);
    cr_assert(strstr(st.message, "node is a message of another type"), "%s", st.message);
    stub_status_clear(&st);
    fixture_stop(&f);
}

/* --- what is a CHECK ---------------------------------------------------------------------------- */

enum bug {
    NULL_QUEUE,
    NULL_KEY,
    NULL_CLOSED,
    NULL_DRAINED,
    NULL_MESSAGE,
    TWO_CLOSED,
    TWO_CLOSED_LATE,
    TWO_MESSAGE,
};

static void closed(void *user)
{
    (void)user;
}

static void twice_closed(void *user)
{
    stub_call_on_closed(user, closed, NULL);
}

static void heard(void *user, struct stub_call *call, const ProtobufCMessage *message)
{
    (void)user, (void)call, (void)message;
}

static void have_a_bug(void *user, struct stub_call *call)
{
    void (*volatile no_fn)(void *) = NULL;
    void (*volatile no_reader)(void *, struct stub_call *, const ProtobufCMessage *) = NULL;
    const void *volatile none = NULL;
    size_t at = 0, bytes;

    switch (*(enum bug *)user) {
    case NULL_QUEUE:
        stub_call_set_queue(call, none);
        break;
    case NULL_KEY:
        stub_call_metadata_next(call, none, &at, &bytes);
        break;
    case NULL_CLOSED:
        stub_call_on_closed(call, no_fn, NULL);
        break;
    case NULL_DRAINED:
        stub_call_on_drained(call, no_fn, NULL);
        break;
    case NULL_MESSAGE:
        stub_call_on_message(call, no_reader, NULL);
        break;
    case TWO_CLOSED:
        stub_call_on_closed(call, closed, NULL);
        stub_call_on_closed(call, closed, NULL);
        break;
    case TWO_MESSAGE:
        stub_call_on_message(call, heard, NULL);
        stub_call_on_message(call, heard, NULL);
        break;
    case TWO_CLOSED_LATE:
        stub_call_on_closed(call, twice_closed, call);
        break;
    }
    stub_call_finish(call);
}

/* The handler runs in this process, and takes it along. */
static void expect_bug(enum bug bug)
{
    static const struct test_echo_v1_echo_service_handlers handlers = {.chat = have_a_bug};
    struct stub_stream *stream;
    echo_response *message;
    struct rig rig;

    rig_start(&rig, &handlers, &bug, NULL);
    stream = test_echo_v1_echo_service_chat_open(rig.channel, NULL);
    (void)test_echo_v1_echo_service_chat_recv(stream, -1, &message);
    stub_stream_close(stream, NULL);
    rig_stop(&rig);
}

Test(misuse, a_queue_that_is_null, .signal = SIGABRT)
{
    expect_bug(NULL_QUEUE);
}

Test(misuse, a_key_that_is_null, .signal = SIGABRT)
{
    expect_bug(NULL_KEY);
}

Test(misuse, an_on_closed_that_is_null, .signal = SIGABRT)
{
    expect_bug(NULL_CLOSED);
}

Test(misuse, an_on_drained_that_is_null, .signal = SIGABRT)
{
    expect_bug(NULL_DRAINED);
}

Test(misuse, an_on_message_that_is_null, .signal = SIGABRT)
{
    expect_bug(NULL_MESSAGE);
}

Test(misuse, a_second_on_closed, .signal = SIGABRT)
{
    expect_bug(TWO_CLOSED);
}

Test(misuse, a_second_on_closed_once_the_first_has_run, .signal = SIGABRT)
{
    expect_bug(TWO_CLOSED_LATE);
}

Test(misuse, a_second_on_message, .signal = SIGABRT)
{
    expect_bug(TWO_MESSAGE);
}

static struct stub_stream *open_chat(void)
{
    struct fixture f = fixture_start(NULL);

    return test_echo_v1_echo_service_chat_open(f.channel, NULL);
}

Test(misuse, a_stream_that_waits_is_not_paused, .signal = SIGABRT)
{
    stub_stream_pause(open_chat());
}

Test(misuse, a_stream_that_waits_is_not_resumed, .signal = SIGABRT)
{
    stub_stream_resume(open_chat());
}

Test(misuse, a_stream_that_waits_is_not_released, .signal = SIGABRT)
{
    stub_stream_release(open_chat());
}

Test(misuse, a_stream_whose_messages_nobody_takes, .signal = SIGABRT)
{
    struct fixture f = fixture_start(NULL);
    count_request request = TEST__ECHO__V1__COUNT_REQUEST__INIT;

    test_echo_v1_echo_service_count_start(f.channel, NULL, &request, NULL, NULL, NULL);
}

/* --- no object at all ----------------------------------------------------------------------------- */

/* UndefinedBehaviorSanitizer, which comes with this one, says it before the CHECK does. */
#ifndef __SANITIZE_ADDRESS__

Test(misuse, no_call_to_reply, .signal = SIGABRT)
{
    struct stub_call *volatile none = NULL;

    stub_call_reply(none, NULL);
}

Test(misuse, no_call_to_fail, .signal = SIGABRT)
{
    struct stub_call *volatile none = NULL;

    stub_call_fail(none, STUB_ABORTED, "", NULL, 0);
}

Test(misuse, no_call_to_ask, .signal = SIGABRT)
{
    struct stub_call *volatile none = NULL;

    stub_call_peer(none);
}

Test(misuse, no_call_to_hear, .signal = SIGABRT)
{
    struct stub_call *volatile none = NULL;

    stub_call_on_message(none, NULL, NULL);
}

Test(misuse, no_call_whose_metadata_could_be_asked_for, .signal = SIGABRT)
{
    struct stub_call *volatile none = NULL;
    size_t at = 0, bytes;

    stub_call_metadata_next(none, "key", &at, &bytes);
}

Test(misuse, no_server_whose_calls_could_be_seen, .signal = SIGABRT)
{
    struct stub_server *volatile none = NULL;
    struct stub_interceptor interceptor = {0};

    stub_server_intercept(none, &interceptor);
}

Test(misuse, no_server_whose_health_could_be_set, .signal = SIGABRT)
{
    struct stub_server *volatile none = NULL;

    stub_health_set(none, "", true);
}

Test(misuse, no_server_that_could_serve, .signal = SIGABRT)
{
    struct stub_server *volatile none = NULL;
    struct test_echo_v1_echo_service_handlers handlers = {0};

    test_echo_v1_echo_service_register(none, &handlers, NULL);
}

Test(misuse, no_status_to_look_into, .signal = SIGABRT)
{
    struct stub_status *volatile none = NULL;

    stub_status_detail(none, &google__rpc__error_info__descriptor);
}

Test(misuse, no_channel, .signal = SIGABRT)
{
    struct stub_channel *volatile none = NULL;

    test_echo_v1_echo_service_echo(none, NULL, NULL, NULL, NULL);
}

Test(misuse, no_server, .signal = SIGABRT)
{
    struct stub_server *volatile none = NULL;

    cr_assert_not(stub_server_start(none));
}

#endif

Test(misuse, nothing_is_destroyed_without_harm)
{
    struct stub_status st = STUB_STATUS_INIT;

    stub_server_destroy(NULL);
    stub_channel_destroy(NULL);
    stub_cancel_destroy(NULL);
    stub_credentials_destroy(NULL);
    stub_status_clear(&st);
}
