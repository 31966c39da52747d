/* Messages that no honest client sends, through the whole server. */
#include "tests/stub/fixture.h"

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static void expect(struct fixture *f, const void *data, size_t bytes, int code, const char *text)
{
    struct stub_status st = STUB_STATUS_INIT;

    cr_assert_eq(raw_echo(f->channel, data, bytes, &st), code, "%d: %s", st.code, st.message);
    cr_assert(strstr(st.message, text), "%s", st.message);
    stub_status_clear(&st);
}

#define EXPECT(f, literal, code, text) expect(f, literal, sizeof(literal) - 1, code, text)

static void expect_alive(struct fixture *f)
{
    expect(f, "", 0, STUB_OK, "");
}

Test(hostile, malformed_messages_are_invalid_and_named)
{
    struct fixture f = fixture_start(NULL);

    EXPECT(&f, "\x0a\x01\xff", STUB_INVALID_ARGUMENT, "text is not valid UTF-8");
    EXPECT(&f, "\x0a\x03" "a\0b", STUB_INVALID_ARGUMENT, "text contains a NUL");
    EXPECT(&f, "\x08\x01", STUB_INVALID_ARGUMENT, "text is not a well-formed");
    EXPECT(&f, "\x0a\x7f" "abc", STUB_INVALID_ARGUMENT, "the message is not a well-formed");
    EXPECT(&f, "\x2a\x05\x1a\x03\x0a\x01\xff", STUB_INVALID_ARGUMENT, "node.children[0].name");
    expect_alive(&f);
    fixture_stop(&f);
}

Test(hostile, nesting_bombs_are_refused)
{
    struct fixture f = fixture_start(NULL);
    size_t room = 300000, at = room;
    uint8_t *data = malloc(room);

    /* 50,000 levels, written from the inside, lengths as varints of three bytes. */
    for (int level = 50000; level > 0; level--) {
        size_t bytes = room - at;

        data[--at] = (uint8_t)((bytes >> 14) & 0x7f);
        data[--at] = (uint8_t)(((bytes >> 7) & 0x7f) | 0x80);
        data[--at] = (uint8_t)((bytes & 0x7f) | 0x80);
        data[--at] = level > 1 ? 0x12 : 0x2a;
    }
    expect(&f, data + at, room - at, STUB_RESOURCE_EXHAUSTED, "nested too deep");
    free(data);
    expect_alive(&f);
    fixture_stop(&f);
}

/* A megabyte of empty labels: 2 bytes each on the wire, 90 in memory. */
static void send_labels(struct fixture *f, const char *text)
{
    size_t bytes = 1 << 20;
    uint8_t *data = calloc(1, bytes);

    for (size_t i = 0; i < bytes; i += 2)
        data[i] = 0x42;
    expect(f, data, bytes, STUB_RESOURCE_EXHAUSTED, text);
    free(data);
}

Test(hostile, amplification_is_bounded)
{
    struct fixture f = fixture_start(NULL);

    send_labels(&f, "labels[16384] brings too many elements");
    expect_alive(&f);
    fixture_stop(&f);
}

Test(hostile, memory_per_message_is_bounded)
{
    struct echo_options options = {.server.elements_max = 1 << 30};
    struct fixture f = fixture_start(&options);

    send_labels(&f, "needs too much memory");
    expect_alive(&f);
    fixture_stop(&f);
}

Test(hostile, oversize_is_exhausted)
{
    struct echo_options options = {.server.message_bytes_max = 65536};
    struct fixture f = fixture_start(&options);
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    Test__Echo__V1__EchoResponse *reply;
    uint8_t *data = calloc(1, 70000);

    request.payload = (ProtobufCBinaryData){65000, data};
    cr_assert_eq(test_echo_v1_echo_service_echo(f.channel, NULL, &request, &reply, NULL), STUB_OK);
    test__echo__v1__echo_response__free_unpacked(reply, NULL);
    request.payload.len = 70000;
    cr_assert_eq(test_echo_v1_echo_service_echo(f.channel, NULL, &request, &reply, NULL),
                 STUB_RESOURCE_EXHAUSTED);
    free(data);
    expect_alive(&f);
    fixture_stop(&f);
}

Test(hostile, a_missing_message_is_invalid)
{
    struct fixture f = fixture_start(NULL);
    struct stub_stream *stream =
        stub_stream_open(f.channel, &test_echo_v1_echo_service_methods[0], NULL, NULL);
    struct stub_status st = STUB_STATUS_INIT;
    ProtobufCMessage *message;

    stub_stream_send_end(stream);
    cr_assert_eq(stub_stream_recv(stream, -1, &message), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, &st), STUB_INVALID_ARGUMENT);
    cr_assert_str_eq(st.message, "the message is missing");
    stub_status_clear(&st);
    expect_alive(&f);
    fixture_stop(&f);
}

static void reject(void *user, struct stub_call *call, const struct stub_reject *rejected)
{
    atomic_int *kinds = user;

    if (strcmp(rejected->method, "/test.echo.v1.EchoService/Echo") == 0 &&
        strcmp(rejected->field, "text") == 0)
        atomic_fetch_or(kinds, 1 << rejected->kind);
    stub_call_fail(call, STUB_OUT_OF_RANGE, rejected->text, NULL, 0);
}

Test(hostile, the_application_may_word_the_refusal)
{
    atomic_int kinds = 0;
    struct echo_options options = {.server = {.reject = reject, .reject_user = &kinds}};
    struct fixture f = fixture_start(&options);

    EXPECT(&f, "\x0a\x01\xff", STUB_OUT_OF_RANGE, "UTF-8");
    EXPECT(&f, "\x0a\x01\0", STUB_OUT_OF_RANGE, "NUL");
    cr_assert_eq(atomic_load(&kinds), 1 << STUB_REJECT_UTF8 | 1 << STUB_REJECT_NUL);
    fixture_stop(&f);
}
