/* Calls over TLS that cannot reach their server say why. */
#include "tests/stub/tls_fixture.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_US = 10 * 1000 * 1000 };

struct answer {
    int code;
    char text[TLS_TEXT_MAX];
};

static struct answer call(struct stub_channel *channel, int64_t timeout_us, bool wait_for_ready)
{
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct stub_call_options options = {.timeout_us = timeout_us, .wait_for_ready = wait_for_ready};
    struct stub_status status = STUB_STATUS_INIT;
    struct answer answer = {
        .code = test_echo_v1_echo_service_echo(channel, &options, &request, NULL, &status)};

    snprintf(answer.text, sizeof(answer.text), "%s", status.message);
    stub_status_clear(&status);
    return answer;
}

/* A channel to any target; the fixture need not serve. */
static struct stub_channel *channel_to(const char *target, const struct stub_tls_files *files)
{
    char error[512] = "";
    struct stub_credentials *credentials = stub_credentials_create(files, error, sizeof(error));
    struct stub_channel_options options = {.credentials = credentials};
    struct stub_channel *channel;

    cr_assert(credentials, "%s", error);
    channel = stub_channel_create(target, &options);
    stub_credentials_destroy(credentials);
    return channel;
}

/* The first call on a new channel fails at once and says this. */
static void expect(const struct tls_fixture *f, const struct stub_tls_files *files,
                   const char *server_name, const char *said)
{
    struct stub_channel *channel = tls_channel(f, files, server_name);
    struct answer answer = call(channel, PATIENCE_US, false);

    cr_expect_eq(answer.code, STUB_UNAVAILABLE, "%s", answer.text);
    cr_expect(strstr(answer.text, said), "\"%s\" does not say \"%s\"", answer.text, said);
    stub_channel_destroy(channel);
}

/* --- the client is refused ---------------------------------------------------------------------- */

Test(tls_reason, a_certificate_that_is_missing)
{
    struct stub_tls_files files;
    struct tls_fixture f;

    tls_make(&f);
    tls_serve(&f, NULL);
    files = (struct stub_tls_files){.authority = f.ca_crt};
    expect(&f, &files, NULL, "; TLS: the server asks for a client certificate, and there is none");
    tls_remove(&f);
}

Test(tls_reason, a_call_that_waits_for_the_server_until_its_deadline)
{
    struct stub_tls_files files;
    struct stub_channel *channel;
    struct tls_fixture f;
    struct answer answer;

    tls_make(&f);
    tls_serve(&f, NULL);
    files = (struct stub_tls_files){.authority = f.ca_crt};
    channel = tls_channel(&f, &files, NULL);
    answer = call(channel, 3 * 1000 * 1000, true);
    cr_assert_eq(answer.code, STUB_DEADLINE_EXCEEDED);
    cr_assert(strstr(answer.text, "asks for a client certificate"), "%s", answer.text);
    stub_channel_destroy(channel);
    tls_remove(&f);
}

Test(tls_reason, a_certificate_of_another_authority)
{
    struct certificate_options options = {.names = "URI:spiffe://test/client"};
    struct authority *other = authority_create("authority");
    struct tls_fixture f;
    char said[TLS_TEXT_MAX];

    tls_make(&f);
    tls_serve(&f, NULL);
    authority_issue(other, &options, f.dir, "client");
    snprintf(said, sizeof(said), "; TLS: the server refuses the client certificate %s", f.client_crt);
    expect(&f, &f.client_files, NULL, said);
    tls_remove(&f);
    authority_destroy(other);
}

Test(tls_reason, a_certificate_that_has_expired)
{
    struct certificate_options options = {
        .names = "URI:spiffe://test/client", .from_s = -7200, .until_s = -60};
    struct tls_fixture f;

    tls_make(&f);
    tls_serve(&f, NULL);
    authority_issue(f.authority, &options, f.dir, "client");
    expect(&f, &f.client_files, NULL, "client.crt, which has expired");
    tls_remove(&f);
}

/* --- the server is refused ---------------------------------------------------------------------- */

Test(tls_reason, a_server_of_another_authority)
{
    struct authority *other = authority_create("other");
    char other_crt[TLS_PATH_MAX + 16], said[TLS_TEXT_MAX];
    struct tls_fixture f;

    tls_make(&f);
    tls_serve(&f, NULL);
    authority_write(other, f.dir, "other.crt");
    snprintf(other_crt, sizeof(other_crt), "%s/other.crt", f.dir);
    snprintf(said, sizeof(said), "; TLS: the server's certificate is not trusted by %s: ",
             other_crt);
    f.client_files.authority = other_crt;
    expect(&f, &f.client_files, NULL, said);
    tls_remove(&f);
    authority_destroy(other);
}

/* To load it may take longer than a call waits, under sanitizers. */
Test(tls_reason, a_server_that_the_system_does_not_know)
{
    struct stub_channel *channel;
    struct answer answer = {0};
    struct tls_fixture f;

    tls_make(&f);
    tls_serve(&f, NULL);
    f.client_files.authority = NULL;
    channel = tls_channel(&f, &f.client_files, NULL);
    for (int i = 0; i < 5 && !strstr(answer.text, "TLS:"); i++)
        answer = call(channel, PATIENCE_US, false);
    cr_assert(strstr(answer.text, "is not trusted by the system's collection"), "%s", answer.text);
    stub_channel_destroy(channel);
    tls_remove(&f);
}

Test(tls_reason, a_server_whose_certificate_has_expired)
{
    struct certificate_options options = {
        .names = "DNS:localhost,IP:127.0.0.1", .from_s = -7200, .until_s = -60};
    struct tls_fixture f;

    tls_make(&f);
    authority_issue(f.authority, &options, f.dir, "server");
    tls_serve(&f, NULL);
    expect(&f, &f.client_files, NULL, "; TLS: the server's certificate has expired");
    tls_remove(&f);
}

Test(tls_reason, a_server_of_another_name)
{
    struct certificate_options options = {.names = "DNS:quota.example"};
    struct tls_fixture f;

    tls_make(&f);
    authority_issue(f.authority, &options, f.dir, "server");
    tls_serve(&f, NULL);
    expect(&f, &f.client_files, NULL, "; TLS: the server's certificate is not for 127.0.0.1");
    expect(&f, &f.client_files, "other.example", "; TLS: the server's certificate is not for other.example");
    tls_remove(&f);
}

Test(tls_reason, a_server_without_tls)
{
    struct fixture plain = fixture_start(NULL);
    struct stub_channel *channel;
    struct tls_fixture f;
    struct answer answer;

    tls_make(&f);
    channel = channel_to(echo_target(plain.echo), &f.client_files);
    answer = call(channel, PATIENCE_US, false);
    cr_assert_eq(answer.code, STUB_UNAVAILABLE);
    cr_assert(strstr(answer.text, "; TLS: the server does not speak TLS"), "%s", answer.text);
    stub_channel_destroy(channel);
    tls_remove(&f);
    fixture_stop(&plain);
}

/* A listener that nobody serves; the port. */
static int listen_silently(int *ret_fd)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t bytes = sizeof(address);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(*ret_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(listen(*ret_fd, 64), 0);
    cr_assert_eq(getsockname(*ret_fd, (struct sockaddr *)&address, &bytes), 0);
    return ntohs(address.sin_port);
}

Test(tls_reason, a_server_that_does_not_answer)
{
    struct stub_channel *channel;
    struct tls_fixture f;
    struct answer answer;
    char target[64];
    int fd;

    tls_make(&f);
    snprintf(target, sizeof(target), "127.0.0.1:%d", listen_silently(&fd));
    channel = channel_to(target, &f.client_files);
    answer = call(channel, 5 * 1000 * 1000, false);
    cr_assert_eq(answer.code, STUB_DEADLINE_EXCEEDED);
    cr_assert(strstr(answer.text, "TLS: the server does not answer the handshake"), "%s",
              answer.text);
    stub_channel_destroy(channel);
    close(fd);
    tls_remove(&f);
}

/* --- other forms of a call ---------------------------------------------------------------------- */

Test(tls_reason, a_stream_that_waits)
{
    struct stub_tls_files files;
    struct stub_channel *channel;
    struct stub_stream *stream;
    struct stub_status status = STUB_STATUS_INIT;
    ProtobufCMessage *message;
    struct tls_fixture f;

    tls_make(&f);
    tls_serve(&f, NULL);
    files = (struct stub_tls_files){.authority = f.ca_crt};
    channel = tls_channel(&f, &files, NULL);
    stream = stub_stream_open(channel, &test_echo_v1_echo_service_methods[3], NULL, NULL);
    cr_assert_eq(stub_stream_recv(stream, -1, &message), STUB_RECV_END);
    cr_assert_eq(stub_stream_close(stream, &status), STUB_UNAVAILABLE);
    cr_assert(strstr(status.message, "asks for a client certificate"), "%s", status.message);
    stub_status_clear(&status);
    stub_channel_destroy(channel);
    tls_remove(&f);
}

struct heard {
    atomic_int count;
    int code;
    char text[TLS_TEXT_MAX];
};

static void hear(void *user, const struct stub_status *status,
                 const Test__Echo__V1__EchoResponse *reply)
{
    struct heard *heard = user;

    (void)reply;
    heard->code = status->code;
    snprintf(heard->text, sizeof(heard->text), "%s", status->message);
    atomic_fetch_add(&heard->count, 1);
}

static void hear_end(void *user, struct stub_stream *stream, const struct stub_status *status)
{
    (void)stream;
    hear(user, status, NULL);
}

static void hear_message(void *user, struct stub_stream *stream,
                         const Test__Echo__V1__EchoResponse *message)
{
    (void)user, (void)stream, (void)message;
}

static bool has_heard(void *user)
{
    return atomic_load(&((struct heard *)user)->count) > 0;
}

static void call_back(struct stub_channel *channel, int64_t timeout_us, struct heard *heard)
{
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct stub_call_options options = {.timeout_us = timeout_us};

    test_echo_v1_echo_service_echo_async(channel, &options, &request, hear, heard);
}

Test(tls_reason, the_first_call_that_calls_back)
{
    struct heard heard[3] = {{.count = 0}};
    struct stub_tls_files files;
    struct stub_channel *channel;
    struct tls_fixture f;

    tls_make(&f);
    tls_serve(&f, NULL);
    files = (struct stub_tls_files){.authority = f.ca_crt};
    channel = tls_channel(&f, &files, NULL);
    for (int i = 0; i < 3; i++)
        call_back(channel, PATIENCE_US, &heard[i]);
    for (int i = 0; i < 3; i++) {
        cr_assert(eventually(has_heard, &heard[i]));
        cr_assert_eq(heard[i].code, STUB_UNAVAILABLE);
        cr_assert(strstr(heard[i].text, "asks for a client certificate"), "%s", heard[i].text);
    }
    stub_channel_destroy(channel);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(atomic_load(&heard[i].count), 1);
    tls_remove(&f);
}

Test(tls_reason, the_first_stream_that_calls_back)
{
    const struct stub_stream_events events = {.on_end = hear_end};
    struct heard heard = {.count = 0};
    struct stub_tls_files files;
    struct stub_channel *channel;
    struct stub_stream *stream;
    struct tls_fixture f;

    tls_make(&f);
    tls_serve(&f, NULL);
    files = (struct stub_tls_files){.authority = f.ca_crt};
    channel = tls_channel(&f, &files, NULL);
    stream = test_echo_v1_echo_service_chat_start(channel, NULL, hear_message, &events, &heard);
    cr_assert(eventually(has_heard, &heard));
    cr_assert_eq(heard.code, STUB_UNAVAILABLE);
    cr_assert(strstr(heard.text, "asks for a client certificate"), "%s", heard.text);
    stub_stream_release(stream);
    stub_channel_destroy(channel);
    cr_assert_eq(atomic_load(&heard.count), 1);
    tls_remove(&f);
}

/* Hangs up on the first connection, which is the channel's, and says nothing on others. */
struct sulky {
    int fd;
    char target[64];
    pthread_t thread;
};

static void *hang_up_once(void *user)
{
    struct sulky *sulky = user;
    int fd = accept(sulky->fd, NULL, NULL);

    close(fd);
    return NULL;
}

static void sulky_start(struct sulky *sulky)
{
    snprintf(sulky->target, sizeof(sulky->target), "127.0.0.1:%d", listen_silently(&sulky->fd));
    cr_assert_eq(pthread_create(&sulky->thread, NULL, hang_up_once, sulky), 0);
}

static void sulky_stop(struct sulky *sulky)
{
    pthread_join(sulky->thread, NULL);
    close(sulky->fd);
}

/* The look takes 1.5 s here. */
Test(tls_reason, a_call_that_calls_back_waits_no_longer_than_its_deadline)
{
    struct heard heard[2] = {{.count = 0}};
    struct stub_channel *channel;
    struct sulky sulky;
    struct tls_fixture f;

    tls_make(&f);
    sulky_start(&sulky);
    channel = channel_to(sulky.target, &f.client_files);
    call_back(channel, PATIENCE_US, &heard[0]);
    call_back(channel, 300 * 1000, &heard[1]);
    cr_assert(eventually(has_heard, &heard[1]));
    cr_assert_eq(heard[1].code, STUB_UNAVAILABLE);
    cr_assert_not(strstr(heard[1].text, "TLS:"), "%s", heard[1].text);
    cr_assert(eventually(has_heard, &heard[0]));
    cr_assert_eq(heard[0].code, STUB_UNAVAILABLE);
    cr_assert(strstr(heard[0].text, "TLS: the server does not answer"), "%s", heard[0].text);
    stub_channel_destroy(channel);
    cr_assert_eq(atomic_load(&heard[0].count) + atomic_load(&heard[1].count), 2);
    sulky_stop(&sulky);
    tls_remove(&f);
}

Test(tls_reason, a_channel_goes_while_calls_that_call_back_wait)
{
    struct heard heard[8] = {{.count = 0}};
    struct stub_channel *channel;
    struct sulky sulky;
    struct tls_fixture f;

    tls_make(&f);
    sulky_start(&sulky);
    channel = channel_to(sulky.target, &f.client_files);
    for (int i = 0; i < 8; i++)
        call_back(channel, i == 0 ? 300 * 1000 : PATIENCE_US, &heard[i]);
    cr_assert(eventually(has_heard, &heard[0]));
    stub_channel_destroy(channel);
    for (int i = 0; i < 8; i++) {
        cr_assert_eq(atomic_load(&heard[i].count), 1);
        cr_assert(heard[i].code == STUB_UNAVAILABLE || heard[i].code == STUB_CANCELLED);
    }
    sulky_stop(&sulky);
    tls_remove(&f);
}

/* --- nothing to say ----------------------------------------------------------------------------- */

Test(tls_reason, where_nobody_listens_tls_is_not_blamed)
{
    struct stub_channel *channel;
    struct tls_fixture f;
    struct answer answer;
    char target[64];
    int fd;

    tls_make(&f);
    snprintf(target, sizeof(target), "127.0.0.1:%d", listen_silently(&fd));
    close(fd);
    channel = channel_to(target, &f.client_files);
    answer = call(channel, PATIENCE_US, false);
    cr_assert_eq(answer.code, STUB_UNAVAILABLE);
    cr_assert_not(strstr(answer.text, "TLS:"), "%s", answer.text);
    stub_channel_destroy(channel);
    tls_remove(&f);
}

Test(tls_reason, what_is_repaired_is_not_blamed_any_more)
{
    struct certificate_options expired = {
        .names = "DNS:localhost,IP:127.0.0.1", .from_s = -7200, .until_s = -60};
    struct certificate_options good = {.names = "DNS:localhost,IP:127.0.0.1"};
    struct stub_channel *channel;
    struct tls_fixture f;
    struct answer answer;

    tls_make(&f);
    authority_issue(f.authority, &expired, f.dir, "server");
    tls_serve(&f, NULL);
    channel = tls_channel(&f, &f.client_files, NULL);
    answer = call(channel, PATIENCE_US, false);
    cr_assert(strstr(answer.text, "has expired"), "%s", answer.text);
    authority_issue(f.authority, &good, f.dir, "server");
    answer = call(channel, 2 * PATIENCE_US, true);
    cr_assert_eq(answer.code, STUB_OK, "%s", answer.text);
    cr_assert_str_eq(answer.text, "");
    stub_channel_destroy(channel);
    tls_remove(&f);
}

/* A channel may go while its own handshake waits for a server that says nothing. */
Test(tls_reason, a_channel_goes_during_a_look)
{
    struct stub_channel *channel;
    struct tls_fixture f;
    struct answer answer;
    char target[64];
    int fd;

    tls_make(&f);
    snprintf(target, sizeof(target), "127.0.0.1:%d", listen_silently(&fd));
    channel = channel_to(target, &f.client_files);
    answer = call(channel, 100 * 1000, false); /* asks for a look as it ends */
    cr_assert_eq(answer.code, STUB_DEADLINE_EXCEEDED, "%s", answer.text);
    stub_channel_destroy(channel);
    close(fd);
    tls_remove(&f);
}
