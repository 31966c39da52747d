/* Messages that no honest client sends, through the whole server. */
#include "tests/stub/fixture.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

static int echo_compressed(bool server_takes)
{
    const struct echo_options options = {.server.compression = server_takes};
    const struct stub_channel_options compressing = {.compression = true};
    struct fixture f = fixture_start(&options);
    struct stub_channel *channel = stub_channel_create(echo_target(f.echo), &compressing);
    struct stub_status st = STUB_STATUS_INIT;
    static char message[3 + 4096] = "\x0a\x80\x20"; /* field 1, 4,096 times the same letter */
    int code;

    memset(message + 3, 'a', 4096);
    code = raw_echo(channel, message, sizeof(message), &st);
    cr_assert_eq(code, st.code);
    stub_status_clear(&st);
    expect_alive(&f);
    stub_channel_destroy(channel);
    fixture_stop(&f);
    return code;
}

Test(hostile, compressed_requests_are_refused_unless_they_are_allowed)
{
    cr_assert_eq(echo_compressed(false), STUB_UNIMPLEMENTED);
    cr_assert_eq(echo_compressed(true), STUB_OK);
}

Test(hostile, a_missing_message_is_invalid)
{
    struct fixture f = fixture_start(NULL);
    struct stub_method method = test_echo_v1_echo_service_methods[0];
    struct stub_stream *stream;
    struct stub_status st = STUB_STATUS_INIT;
    ProtobufCMessage *message;

    method.kind = STUB_KIND_CLIENT_STREAM;
    stream = stub_stream_open(f.channel, &method, NULL, NULL);
    stub_stream_send_end(stream);
    cr_assert_eq(stub_stream_recv(stream, -1, &message), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, &st), STUB_INVALID_ARGUMENT);
    cr_assert_str_eq(st.message, "the message is missing");
    stub_status_clear(&st);
    expect_alive(&f);
    fixture_stop(&f);
}

static int connect_to(const char *target)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_port = htons((uint16_t)atoi(strrchr(target, ':') + 1));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert_geq(fd, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

Test(hostile, bytes_that_are_no_http2_do_no_harm)
{
    struct fixture f = fixture_start(NULL);
    unsigned seed = 7;

    for (int i = 0; i < 100; i++) {
        static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        uint8_t noise[512];
        int fd = connect_to(echo_target(f.echo));

        for (size_t j = 0; j < sizeof(noise); j++)
            noise[j] = (uint8_t)rand_r(&seed);
        if (i % 3)
            (void)!write(fd, preface, sizeof(preface) - 1);
        if (i % 5)
            (void)!write(fd, noise, sizeof(noise));
        close(fd);
    }
    expect_alive(&f);
    fixture_stop(&f);
}

Test(hostile, a_client_that_is_killed_leaves_no_call_behind)
{
    struct fixture f = fixture_start(NULL);

    for (int i = 0; i < 20; i++) {
        struct stub_channel *channel = stub_channel_create(echo_target(f.echo), NULL);
        Test__Echo__V1__CountRequest request = TEST__ECHO__V1__COUNT_REQUEST__INIT;
        struct stub_stream *stream;
        ProtobufCMessage *message;

        request.bytes = 1000;
        stream = test_echo_v1_echo_service_count_open(channel, NULL, &request);
        cr_assert_eq(stub_stream_recv(stream, -1, &message), STUB_RECV_MESSAGE);
        protobuf_c_message_free_unpacked(message, NULL);
        stub_stream_close(stream, NULL);
        stub_channel_destroy(channel); /* closes the socket, with data under way */
    }
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
