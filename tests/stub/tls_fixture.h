/*
 * What the tests of TLS share: a folder with an authority, a server's and a client's certificate, an
 * echo server that uses them, channels to it, and a client of OpenSSL's own.
 */
#ifndef HOLDFAST_TESTS_STUB_TLS_FIXTURE_H
#define HOLDFAST_TESTS_STUB_TLS_FIXTURE_H

#include "tests/stub/authority.h"
#include "tests/stub/fixture.h"

#include <openssl/ssl.h>
#include <stdatomic.h>

enum { TLS_PATH_MAX = 64, TLS_TEXT_MAX = 1024 };

struct tls_fixture {
    char dir[TLS_PATH_MAX];
    struct authority *authority;
    char server_crt[TLS_PATH_MAX + 16], server_key[TLS_PATH_MAX + 16];
    char client_crt[TLS_PATH_MAX + 16], client_key[TLS_PATH_MAX + 16];
    char ca_crt[TLS_PATH_MAX + 16];
    struct stub_tls_files server_files; /* all three: clients need certificates */
    struct stub_tls_files client_files;
    struct echo *echo; /* NULL until tls_serve */

    /* what the server has reported */
    atomic_int loaded, refused;
    char text[TLS_TEXT_MAX]; /* the last one; read it after a call has ended */
};

/* Makes the folder and the files; the server's certificate is for localhost and 127.0.0.1. */
void tls_make(struct tls_fixture *f);

/* Starts the echo server on options (may be NULL), with f->server_files. */
void tls_serve(struct tls_fixture *f, const struct echo_options *options);

/* Stops the server, removes the folder. */
void tls_remove(struct tls_fixture *f);

/* A channel with these files; server_name may be NULL. */
struct stub_channel *tls_channel(const struct tls_fixture *f, const struct stub_tls_files *files,
                                 const char *server_name);

/* One call on it, with a deadline of 20 s; the code. names, unless NULL, gets who the server saw. */
int tls_call(struct stub_channel *channel, char names[TLS_TEXT_MAX]);

/* tls_channel, tls_call, destroyed. */
int tls_once(const struct tls_fixture *f, const struct stub_tls_files *files,
             const char *server_name, char names[TLS_TEXT_MAX]);

/* A TCP connection to the server. */
int tls_connect(const struct tls_fixture *f);

/*
 * A TLS connection of OpenSSL's, with f->client_files and versions up to version_max. NULL: the
 * handshake has failed. The descriptor is the connection's.
 */
SSL *tls_handshake(const struct tls_fixture *f, int version_max);
void tls_hang_up(SSL *ssl);

/* The serial number that the server's certificate has for a new connection; -1: no handshake. */
long tls_serial(const struct tls_fixture *f);

/* A file in the folder gets this content, in place. */
void tls_write(const char *path, const char *text, size_t bytes);

/* The content of a file, malloc'd. */
char *tls_read(const char *path, size_t *ret_bytes);

#endif
