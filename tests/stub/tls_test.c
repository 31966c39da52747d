/* TLS and mTLS: who is served, and who the server takes him for. */
#include "tests/stub/tls_fixture.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* --- who is served ------------------------------------------------------------------------------ */

Test(tls, a_client_needs_no_certificate_where_none_is_asked_for)
{
    struct stub_tls_files files;
    struct tls_fixture f;
    char names[TLS_TEXT_MAX];

    tls_make(&f);
    f.server_files.authority = NULL;
    tls_serve(&f, NULL);
    files = (struct stub_tls_files){.authority = f.ca_crt};
    cr_assert_eq(tls_once(&f, &files, NULL, names), STUB_OK);
    cr_assert_str_eq(names, "");
    /* One that has a certificate all the same is nobody: the server has not verified it. */
    cr_assert_eq(tls_once(&f, &f.client_files, NULL, names), STUB_OK);
    cr_assert_str_eq(names, "");
    tls_remove(&f);
}

Test(tls, a_client_with_a_certificate_is_known_by_its_name)
{
    struct tls_fixture f;
    char names[TLS_TEXT_MAX];

    tls_make(&f);
    tls_serve(&f, NULL);
    cr_assert_eq(tls_once(&f, &f.client_files, NULL, names), STUB_OK);
    cr_assert_str_eq(names, "uri=spiffe://test/client");
    cr_assert_eq(atomic_load(&f.loaded), 1);
    cr_assert(strstr(f.text, "serial=03E9 not_after="), "%s", f.text); /* 1001 */
    tls_remove(&f);
}

Test(tls, a_client_without_a_certificate_is_refused)
{
    struct stub_tls_files files;
    struct tls_fixture f;

    tls_make(&f);
    tls_serve(&f, NULL);
    files = (struct stub_tls_files){.authority = f.ca_crt};
    cr_assert_eq(tls_once(&f, &files, NULL, NULL), STUB_UNAVAILABLE);
    cr_assert_eq(tls_once(&f, &f.client_files, NULL, NULL), STUB_OK);
    tls_remove(&f);
}

Test(tls, a_client_of_another_authority_is_refused)
{
    struct certificate_options options = {.names = "URI:spiffe://test/client"};
    struct authority *other = authority_create("authority"); /* the same name even */
    struct tls_fixture f;

    tls_make(&f);
    tls_serve(&f, NULL);
    authority_issue(other, &options, f.dir, "client");
    cr_assert_eq(tls_once(&f, &f.client_files, NULL, NULL), STUB_UNAVAILABLE);
    tls_remove(&f);
    authority_destroy(other);
}

Test(tls, a_client_does_not_talk_to_a_server_of_another_authority)
{
    struct authority *other = authority_create("authority");
    char other_crt[TLS_PATH_MAX + 16];
    struct tls_fixture f;

    tls_make(&f);
    tls_serve(&f, NULL);
    authority_write(other, f.dir, "other.crt");
    snprintf(other_crt, sizeof(other_crt), "%s/other.crt", f.dir);
    cr_assert_eq(tls_once(&f, &f.client_files, NULL, NULL), STUB_OK);
    f.client_files.authority = other_crt;
    cr_assert_eq(tls_once(&f, &f.client_files, NULL, NULL), STUB_UNAVAILABLE);
    tls_remove(&f);
    authority_destroy(other);
}

Test(tls, an_expired_client_is_refused)
{
    struct certificate_options options = {
        .names = "URI:spiffe://test/client", .from_s = -7200, .until_s = -60};
    struct tls_fixture f;

    tls_make(&f);
    tls_serve(&f, NULL);
    authority_issue(f.authority, &options, f.dir, "client");
    cr_assert_eq(tls_once(&f, &f.client_files, NULL, NULL), STUB_UNAVAILABLE);
    tls_remove(&f);
}

Test(tls, an_expired_server_starts_with_a_warning_and_is_not_talked_to)
{
    struct certificate_options options = {
        .names = "DNS:localhost,IP:127.0.0.1", .from_s = -7200, .until_s = -60};
    struct tls_fixture f;

    tls_make(&f);
    authority_issue(f.authority, &options, f.dir, "server");
    tls_serve(&f, NULL);
    cr_assert(strstr(f.text, "expired=true"), "%s", f.text);
    cr_assert_eq(tls_once(&f, &f.client_files, NULL, NULL), STUB_UNAVAILABLE);
    tls_remove(&f);
}

Test(tls, a_server_must_be_who_the_client_wants)
{
    struct certificate_options options = {.names = "DNS:quota.example"};
    struct tls_fixture f;

    tls_make(&f);
    authority_issue(f.authority, &options, f.dir, "server");
    tls_serve(&f, NULL);
    cr_assert_eq(tls_once(&f, &f.client_files, NULL, NULL), STUB_UNAVAILABLE);
    cr_assert_eq(tls_once(&f, &f.client_files, "other.example", NULL), STUB_UNAVAILABLE);
    cr_assert_eq(tls_once(&f, &f.client_files, "quota.example", NULL), STUB_OK);
    tls_remove(&f);
}

Test(tls, a_client_without_tls_is_refused)
{
    struct stub_channel *channel;
    struct tls_fixture f;

    tls_make(&f);
    tls_serve(&f, NULL);
    channel = stub_channel_create(echo_target(f.echo), NULL);
    cr_assert_eq(tls_call(channel, NULL), STUB_UNAVAILABLE);
    stub_channel_destroy(channel);
    tls_remove(&f);
}

Test(tls, a_unix_socket_stays_plaintext)
{
    char address[TLS_PATH_MAX + 16], names[TLS_TEXT_MAX];
    struct echo_options options = {.listen = address};
    struct stub_channel *channel;
    struct tls_fixture f;

    tls_make(&f);
    snprintf(address, sizeof(address), "unix:%s/s", f.dir);
    tls_serve(&f, &options);
    channel = stub_channel_create(address, NULL);
    cr_assert_eq(tls_call(channel, names), STUB_OK);
    cr_assert_str_eq(names, ""); /* though this server verifies, it has not verified this one */
    stub_channel_destroy(channel);
    tls_remove(&f);
}

Test(tls, nothing_below_1_2_is_spoken)
{
    struct tls_fixture f;
    SSL *ssl;

    tls_make(&f);
    tls_serve(&f, NULL);
    cr_assert_null(tls_handshake(&f, TLS1_1_VERSION));
    ssl = tls_handshake(&f, TLS1_2_VERSION);
    cr_assert(ssl);
    tls_hang_up(ssl);
    tls_remove(&f);
}

static int count_lines(FILE *stream, const char *what)
{
    char line[4096];
    int lines = 0;

    rewind(stream);
    while (fgets(line, sizeof(line), stream))
        lines += strstr(line, what) != NULL;
    return lines;
}

Test(tls, whoever_fails_to_shake_hands_does_not_fill_the_log)
{
    struct timespec begun, ended;
    FILE *log = tmpfile();
    struct tls_fixture f;
    char byte;

    cr_assert(log && dup2(fileno(log), STDERR_FILENO) == STDERR_FILENO);
    tls_make(&f);
    tls_serve(&f, NULL);
    clock_gettime(CLOCK_MONOTONIC, &begun);
    for (int i = 0; i < 100; i++) {
        int fd = tls_connect(&f);

        cr_assert_eq(send(fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL), 18);
        while (recv(fd, &byte, 1, 0) > 0)
            ;
        close(fd);
    }
    clock_gettime(CLOCK_MONOTONIC, &ended);
    cr_assert_geq(count_lines(log, "Handshake failed"), 1);
    cr_assert_leq(count_lines(log, "Handshake failed"), 2 + (int)(ended.tv_sec - begun.tv_sec));
    cr_assert_eq(tls_once(&f, &f.client_files, NULL, NULL), STUB_OK);
    tls_remove(&f);
    fclose(log);
}

/* --- who he is ---------------------------------------------------------------------------------- */

Test(tls, identities_are_all_names_of_the_certificate_and_not_its_common_name)
{
    struct certificate_options options = {
        .name = "admin",
        .names = "DNS:a.example,IP:10.1.2.3,email:me@example,URI:spiffe://test/a,DNS:b.example,"
                 "URI:urn:x,IP:2001:db8::1,RID:1.2.3",
    };
    struct tls_fixture f;
    char names[TLS_TEXT_MAX];

    tls_make(&f);
    tls_serve(&f, NULL);
    authority_issue(f.authority, &options, f.dir, "client");
    cr_assert_eq(tls_once(&f, &f.client_files, NULL, names), STUB_OK);
    cr_assert_str_eq(names, "uri=spiffe://test/a uri=urn:x dns=a.example dns=b.example "
                            "email=me@example ip=10.1.2.3 ip=2001:db8::1");
    options.names = NULL;
    authority_issue(f.authority, &options, f.dir, "client");
    cr_assert_eq(tls_once(&f, &f.client_files, NULL, names), STUB_OK);
    cr_assert_str_eq(names, "");
    tls_remove(&f);
}

Test(tls, a_name_that_holds_a_nul_is_no_identity)
{
    /* SEQUENCE { [2] "admin\0.evil.example", [2] "evil.example" } */
    struct certificate_options options = {
        .names = "DER:30:23:82:13:61:64:6d:69:6e:00:2e:65:76:69:6c:2e:65:78:61:6d:70:6c:65:"
                 "82:0c:65:76:69:6c:2e:65:78:61:6d:70:6c:65",
    };
    struct tls_fixture f;
    char names[TLS_TEXT_MAX];

    tls_make(&f);
    tls_serve(&f, NULL);
    authority_issue(f.authority, &options, f.dir, "client");
    cr_assert_eq(tls_once(&f, &f.client_files, NULL, names), STUB_OK);
    cr_assert_str_eq(names, "dns=evil.example");
    tls_remove(&f);
}

/* --- who does not finish ------------------------------------------------------------------------ */

Test(tls, a_handshake_that_never_ends_is_cut)
{
    struct echo_options options = {.server.handshake_ms = 2000};
    struct tls_fixture f;
    char byte, some[256];
    int silent, half, got;
    SSL *ssl;

    tls_make(&f);
    tls_serve(&f, &options);
    silent = tls_connect(&f); /* not a word */
    half = tls_connect(&f);   /* the head of a TLS record, and no more */
    cr_assert_eq(send(half, "\x16\x03\x01\x02", 4, MSG_NOSIGNAL), 4);
    ssl = tls_handshake(&f, TLS1_3_VERSION); /* TLS, but then no HTTP/2 */
    cr_assert(ssl);
    cr_assert(recv(silent, &byte, 1, 0) == 0 || errno == ECONNRESET, "still open after 10 s");
    cr_assert(recv(half, &byte, 1, 0) == 0 || errno == ECONNRESET, "still open after 10 s");
    while ((got = SSL_read(ssl, some, sizeof(some))) > 0)
        ; /* the server's settings, then the end */
    cr_assert_neq(SSL_get_error(ssl, got), SSL_ERROR_WANT_READ, "still open after 10 s");
    close(silent);
    close(half);
    tls_hang_up(ssl);
    tls_remove(&f);
}
