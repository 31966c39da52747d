#include "tests/stub/tls_fixture.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void path_in(const struct tls_fixture *f, char path[TLS_PATH_MAX + 16], const char *file)
{
    snprintf(path, TLS_PATH_MAX + 16, "%s/%s", f->dir, file);
}

void tls_make(struct tls_fixture *f)
{
    struct certificate_options server = {.names = "DNS:localhost,IP:127.0.0.1", .serial = 1001};
    struct certificate_options client = {.names = "URI:spiffe://test/client"};

    *f = (struct tls_fixture){.dir = "/tmp/stub_tls_XXXXXX"};
    cr_assert(mkdtemp(f->dir));
    f->authority = authority_create("authority");
    authority_write(f->authority, f->dir, "ca.crt");
    authority_issue(f->authority, &server, f->dir, "server");
    authority_issue(f->authority, &client, f->dir, "client");
    path_in(f, f->ca_crt, "ca.crt");
    path_in(f, f->server_crt, "server.crt");
    path_in(f, f->server_key, "server.key");
    path_in(f, f->client_crt, "client.crt");
    path_in(f, f->client_key, "client.key");
    f->server_files = (struct stub_tls_files){f->server_crt, f->server_key, f->ca_crt};
    f->client_files = (struct stub_tls_files){f->client_crt, f->client_key, f->ca_crt};
}

static void report(void *user, bool loaded, const char *text)
{
    struct tls_fixture *f = user;

    snprintf(f->text, sizeof(f->text), "%s", text);
    atomic_fetch_add(loaded ? &f->loaded : &f->refused, 1);
}

void tls_serve(struct tls_fixture *f, const struct echo_options *options)
{
    struct echo_options echo = options ? *options : (struct echo_options){0};
    char error[512] = "";

    echo.server.tls = &f->server_files;
    echo.server.tls_report = report;
    echo.server.tls_report_user = f;
    f->echo = echo_start(&echo, error, sizeof(error));
    cr_assert(f->echo, "%s", error);
}

void tls_remove(struct tls_fixture *f)
{
    DIR *dir = opendir(f->dir);
    struct dirent *entry;
    char path[TLS_PATH_MAX + 300];

    if (f->echo)
        cr_assert(echo_stop(f->echo, 2000), "a call was left without an answer");
    while ((entry = readdir(dir))) {
        snprintf(path, sizeof(path), "%s/%s", f->dir, entry->d_name);
        unlink(path);
    }
    closedir(dir);
    rmdir(f->dir);
    authority_destroy(f->authority);
}

/* --- through the stubs -------------------------------------------------------------------------- */

struct stub_channel *tls_channel(const struct tls_fixture *f, const struct stub_tls_files *files,
                                 const char *server_name)
{
    struct stub_channel_options options = {.server_name = server_name};
    char error[512] = "";
    struct stub_credentials *credentials = stub_credentials_create(files, error, sizeof(error));
    struct stub_channel *channel;

    cr_assert(credentials, "%s", error);
    options.credentials = credentials;
    channel = stub_channel_create(echo_target(f->echo), &options);
    stub_credentials_destroy(credentials);
    return channel;
}

int tls_call(struct stub_channel *channel, char names[TLS_TEXT_MAX])
{
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    struct stub_call_options options = {.timeout_us = 20000000};
    struct stub_status status = STUB_STATUS_INIT;
    Test__Echo__V1__EchoResponse *reply;
    int code = test_echo_v1_echo_service_echo(channel, &options, &request, &reply, &status);

    if (code != STUB_OK)
        fprintf(stderr, "call: %s: %s\n", stub_code_name(code), status.message);
    if (names) {
        const char *seen = stub_status_metadata(&status, "echo-identities");

        snprintf(names, TLS_TEXT_MAX, "%s", seen ? seen : "");
    }
    if (reply)
        test__echo__v1__echo_response__free_unpacked(reply, NULL);
    stub_status_clear(&status);
    return code;
}

int tls_once(const struct tls_fixture *f, const struct stub_tls_files *files,
             const char *server_name, char names[TLS_TEXT_MAX])
{
    struct stub_channel *channel = tls_channel(f, files, server_name);
    int code = tls_call(channel, names);

    stub_channel_destroy(channel);
    return code;
}

/* --- without them ------------------------------------------------------------------------------- */

int tls_connect(const struct tls_fixture *f)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)stub_server_port(echo_server(f->echo), 0)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    struct timeval patience = {.tv_sec = 10};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert(fd >= 0);
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    cr_assert_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

SSL *tls_handshake(const struct tls_fixture *f, int version_max)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl;

    cr_assert(SSL_CTX_set_cipher_list(context, "DEFAULT:@SECLEVEL=0")); /* which allows old ones */
    cr_assert(SSL_CTX_set_min_proto_version(context, TLS1_VERSION));
    cr_assert(SSL_CTX_set_max_proto_version(context, version_max));
    cr_assert(SSL_CTX_use_certificate_chain_file(context, f->client_crt));
    cr_assert(SSL_CTX_use_PrivateKey_file(context, f->client_key, SSL_FILETYPE_PEM));
    cr_assert_eq(SSL_CTX_set_alpn_protos(context, (const unsigned char *)"\x02h2", 3), 0);
    ssl = SSL_new(context);
    SSL_CTX_free(context);
    cr_assert(SSL_set_fd(ssl, tls_connect(f)));
    if (SSL_connect(ssl) == 1)
        return ssl;
    ERR_clear_error();
    tls_hang_up(ssl);
    return NULL;
}

void tls_hang_up(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);

    SSL_free(ssl);
    close(fd);
}

long tls_serial(const struct tls_fixture *f)
{
    SSL *ssl = tls_handshake(f, TLS1_3_VERSION);
    X509 *peer;
    long serial;

    if (!ssl)
        return -1;
    peer = SSL_get1_peer_certificate(ssl);
    cr_assert(peer);
    serial = ASN1_INTEGER_get(X509_get_serialNumber(peer));
    X509_free(peer);
    tls_hang_up(ssl);
    return serial;
}

void tls_write(const char *path, const char *text, size_t bytes)
{
    FILE *stream = fopen(path, "w");

    cr_assert(stream, "%s", path);
    cr_assert_eq(fwrite(text, 1, bytes, stream), bytes);
    cr_assert_eq(fclose(stream), 0);
}

char *tls_read(const char *path, size_t *ret_bytes)
{
    FILE *stream = fopen(path, "r");
    char *text = calloc(1, 65536);

    cr_assert(stream, "%s", path);
    *ret_bytes = fread(text, 1, 65535, stream);
    fclose(stream);
    return text;
}
