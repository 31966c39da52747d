/* TLS files: what a start refuses, and what becomes of a server whose files change under it. */
#include "tests/stub/tls_fixture.h"

#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- at the start ------------------------------------------------------------------------------- */

/* The server must not start, and the error must name the file and say this. */
static void refuses(const struct tls_fixture *f, const char *path, const char *why)
{
    struct echo_options options = {.server.tls = &f->server_files};
    char error[512] = "";

    cr_assert_null(echo_start(&options, error, sizeof(error)));
    cr_assert(strstr(error, path), "%s: %s", path, error);
    cr_assert(strstr(error, why), "%s: %s", why, error);
}

Test(tls_reload, a_start_without_a_file_names_it)
{
    struct tls_fixture f;

    tls_make(&f);
    cr_assert_eq(unlink(f.ca_crt), 0);
    refuses(&f, f.ca_crt, "No such file");
    cr_assert_eq(unlink(f.server_key), 0);
    refuses(&f, f.server_key, "No such file");
    cr_assert_eq(unlink(f.server_crt), 0);
    refuses(&f, f.server_crt, "No such file");
    cr_assert_eq(mkdir(f.server_crt, 0700), 0);
    refuses(&f, f.server_crt, "is not a file");
    rmdir(f.server_crt);
    f.server_files.key = NULL;
    refuses(&f, "key file", "both");
    tls_remove(&f);
}

Test(tls_reload, a_start_with_files_that_are_no_good_says_why)
{
    struct certificate_options options = {.names = "DNS:localhost"};
    struct tls_fixture f;
    size_t bytes;
    char *text;

    tls_make(&f);
    tls_write(f.ca_crt, "", 0);
    refuses(&f, f.ca_crt, "holds no certificate");
    text = tls_read(f.server_crt, &bytes);
    tls_write(f.server_crt, text, bytes / 2);
    refuses(&f, f.server_crt, "certificate 1 is malformed or cut off");
    tls_write(f.server_crt, text, bytes);
    free(text);
    text = tls_read(f.server_key, &bytes);
    tls_write(f.server_key, text, bytes / 2);
    refuses(&f, f.server_key, "is cut off");
    authority_issue(f.authority, &options, f.dir, "other");
    f.server_files.certificate = f.client_crt;
    tls_write(f.server_key, text, bytes);
    refuses(&f, f.server_key, "is not the key of the certificate");
    refuses(&f, f.client_crt, "is not the key of the certificate");
    free(text);
    tls_remove(&f);
}

Test(tls_reload, a_key_that_others_may_use_is_refused)
{
    struct stub_credentials *credentials;
    struct tls_fixture f;
    char error[512];

    tls_make(&f);
    cr_assert_eq(chmod(f.server_key, 0644), 0);
    refuses(&f, f.server_key, "mode 0644");
    cr_assert_eq(chmod(f.server_key, 0660), 0);
    refuses(&f, f.server_key, "mode 0660");
    cr_assert_eq(chmod(f.server_key, 0640), 0);
    tls_serve(&f, NULL);
    cr_assert_eq(chmod(f.client_key, 0604), 0);
    cr_assert_null(stub_credentials_create(&f.client_files, error, sizeof(error)));
    cr_assert(strstr(error, f.client_key), "%s", error);
    cr_assert_eq(chmod(f.client_key, 0400), 0);
    credentials = stub_credentials_create(&f.client_files, error, sizeof(error));
    cr_assert(credentials, "%s", error);
    stub_credentials_destroy(credentials);
    tls_remove(&f);
}

Test(tls_reload, an_encrypted_key_is_refused_without_asking_the_terminal)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    struct tls_fixture f;
    FILE *stream;

    tls_make(&f);
    stream = fopen(f.server_key, "w");
    cr_assert(PEM_write_PKCS8PrivateKey(stream, key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL));
    fclose(stream);
    EVP_PKEY_free(key);
    refuses(&f, f.server_key, "encrypted");
    tls_remove(&f);
}

Test(tls_reload, a_key_too_weak_for_openssl_is_refused_with_its_words)
{
    EVP_PKEY *key = EVP_RSA_gen(512);
    struct tls_fixture f;
    X509 *weak = X509_new();
    FILE *stream;

    tls_make(&f);
    cr_assert(X509_gmtime_adj(X509_getm_notBefore(weak), 0));
    cr_assert(X509_gmtime_adj(X509_getm_notAfter(weak), 3600));
    cr_assert(X509_set_pubkey(weak, key));
    cr_assert(X509_sign(weak, key, EVP_sha256()));
    stream = fopen(f.server_crt, "w");
    cr_assert(PEM_write_X509(stream, weak));
    fclose(stream);
    stream = fopen(f.server_key, "w");
    cr_assert(PEM_write_PrivateKey(stream, key, NULL, NULL, 0, NULL, NULL));
    fclose(stream);
    EVP_PKEY_free(key);
    X509_free(weak);
    refuses(&f, f.server_crt, "key too small");
    tls_remove(&f);
}

/* --- under way ---------------------------------------------------------------------------------- */

static const char server_names[] = "DNS:localhost,IP:127.0.0.1";

static void issue(struct tls_fixture *f, const char *file, int64_t serial)
{
    struct certificate_options options = {.names = server_names, .serial = serial};

    authority_issue(f->authority, &options, f->dir, file);
}

Test(tls_reload, the_next_connection_has_the_new_certificate_and_the_old_one_goes_on)
{
    struct stub_channel *channel;
    struct tls_fixture f;

    tls_make(&f);
    tls_serve(&f, NULL);
    channel = tls_channel(&f, &f.client_files, NULL);
    cr_assert_eq(tls_call(channel, NULL), STUB_OK);
    for (int i = 1; i <= 20; i++) {
        cr_assert_eq(tls_serial(&f), 1000 + i);
        issue(&f, "server", 1001 + i);
        cr_assert_eq(tls_serial(&f), 1001 + i);
        cr_assert_eq(tls_call(channel, NULL), STUB_OK);
        cr_assert_eq(tls_once(&f, &f.client_files, NULL, NULL), STUB_OK);
    }
    cr_assert_eq(atomic_load(&f.loaded), 21);
    cr_assert_eq(atomic_load(&f.refused), 0);
    stub_channel_destroy(channel);
    tls_remove(&f);
}

Test(tls_reload, a_pair_that_does_not_match_changes_nothing_until_it_does)
{
    char other_crt[TLS_PATH_MAX + 16], other_key[TLS_PATH_MAX + 16];
    struct tls_fixture f;

    tls_make(&f);
    tls_serve(&f, NULL);
    issue(&f, "other", 2002);
    snprintf(other_crt, sizeof(other_crt), "%s/other.crt", f.dir);
    snprintf(other_key, sizeof(other_key), "%s/other.key", f.dir);
    cr_assert_eq(rename(other_crt, f.server_crt), 0);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(tls_serial(&f), 1001);
    cr_assert_eq(tls_once(&f, &f.client_files, NULL, NULL), STUB_OK);
    cr_assert_eq(atomic_load(&f.refused), 1, "reported %d times", atomic_load(&f.refused));
    cr_assert(strstr(f.text, "is not the key of the certificate"), "%s", f.text);
    cr_assert_not(stub_server_tls_reload(echo_server(f.echo)));
    cr_assert_eq(rename(other_key, f.server_key), 0);
    cr_assert(stub_server_tls_reload(echo_server(f.echo)));
    cr_assert_eq(tls_serial(&f), 2002);
    cr_assert_eq(tls_once(&f, &f.client_files, NULL, NULL), STUB_OK);
    cr_assert_eq(atomic_load(&f.loaded), 2);
    tls_remove(&f);
}

/* Written in place, a piece at a time, as by cp(1): whatever a connection meets, it is served. */
Test(tls_reload, half_written_files_change_nothing)
{
    char *crt, *key, path[TLS_PATH_MAX + 16];
    size_t crt_bytes, key_bytes;
    struct tls_fixture f;

    tls_make(&f);
    tls_serve(&f, NULL);
    issue(&f, "other", 2002);
    snprintf(path, sizeof(path), "%s/other.crt", f.dir);
    crt = tls_read(path, &crt_bytes);
    snprintf(path, sizeof(path), "%s/other.key", f.dir);
    key = tls_read(path, &key_bytes);
    for (size_t bytes = 0; bytes < crt_bytes; bytes += 50) {
        tls_write(f.server_crt, crt, bytes);
        cr_assert_eq(tls_serial(&f), 1001, "%zu of %zu bytes: %s", bytes, crt_bytes, f.text);
    }
    tls_write(f.server_crt, crt, crt_bytes);
    for (size_t bytes = 0; bytes < key_bytes - 1; bytes += 20) {
        tls_write(f.server_key, key, bytes);
        cr_assert_eq(tls_serial(&f), 1001, "%zu of %zu bytes: %s", bytes, key_bytes, f.text);
    }
    cr_assert_eq(atomic_load(&f.loaded), 1);
    cr_assert_geq(atomic_load(&f.refused), 2);
    tls_write(f.server_key, key, key_bytes);
    cr_assert_eq(tls_serial(&f), 2002, "%s", f.text);
    cr_assert_eq(atomic_load(&f.loaded), 2);
    free(crt);
    free(key);
    tls_remove(&f);
}

Test(tls_reload, missing_files_change_nothing)
{
    struct tls_fixture f;

    tls_make(&f);
    tls_serve(&f, NULL);
    cr_assert_eq(unlink(f.server_crt), 0);
    cr_assert_eq(tls_serial(&f), 1001);
    cr_assert_eq(unlink(f.server_key), 0);
    cr_assert_eq(unlink(f.ca_crt), 0);
    cr_assert_eq(tls_serial(&f), 1001);
    cr_assert_geq(atomic_load(&f.refused), 1);
    authority_write(f.authority, f.dir, "ca.crt");
    issue(&f, "server", 3003);
    cr_assert_eq(tls_serial(&f), 3003);
    tls_remove(&f);
}

Test(tls_reload, a_new_client_authority_counts_from_the_next_connection_on)
{
    struct certificate_options options = {.names = "URI:spiffe://test/new"};
    struct authority *other = authority_create("other");
    char other_crt[TLS_PATH_MAX + 16], names[TLS_TEXT_MAX];
    struct stub_channel *old;
    struct tls_fixture f;

    tls_make(&f);
    snprintf(other_crt, sizeof(other_crt), "%s/clients.crt", f.dir);
    authority_write(f.authority, f.dir, "clients.crt");
    f.server_files.authority = other_crt;
    tls_serve(&f, NULL);
    old = tls_channel(&f, &f.client_files, NULL);
    cr_assert_eq(tls_call(old, NULL), STUB_OK);
    authority_write(other, f.dir, "clients.crt");
    cr_assert_eq(tls_once(&f, &f.client_files, NULL, NULL), STUB_UNAVAILABLE);
    authority_issue(other, &options, f.dir, "client");
    cr_assert_eq(tls_once(&f, &f.client_files, NULL, names), STUB_OK);
    cr_assert_str_eq(names, "uri=spiffe://test/new");
    cr_assert_eq(tls_call(old, names), STUB_OK); /* what it has proven, it has proven */
    cr_assert_str_eq(names, "uri=spiffe://test/client");
    stub_channel_destroy(old);
    tls_remove(&f);
    authority_destroy(other);
}
