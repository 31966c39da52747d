#include "stub/tls_probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct tls_probe {
    atomic_int refs;
    SSL_CTX *context;
    char *authority;   /* file; NULL: the system's collection */
    char *certificate; /* file, or NULL */
    bool expired;      /* the certificate */
    pthread_mutex_t lock;
    bool system_loaded; /* the system's collection: only when somebody asks, it is large */
};

/* One handshake. */
struct shake {
    struct tls_probe *probe;
    SSL *ssl;
    const char *name; /* what the certificate must be for */
    int fd, stop_fd;
    int64_t until_ms;
    bool asked;   /* for a certificate */
    bool stopped; /* by stop_fd: nothing is known */
    bool late;    /* nothing came in time */
    char *ret;
};

/* --- what it is made of ------------------------------------------------------------------------- */

static bool use_pair(SSL_CTX *context, const struct pem *pem)
{
    BIO *chain = BIO_new_mem_buf(pem->certificate, -1), *key_bio = BIO_new_mem_buf(pem->key, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);
    X509 *own = PEM_read_bio_X509(chain, NULL, NULL, NULL), *next;
    bool good = own && key && SSL_CTX_use_certificate(context, own) == 1 &&
                SSL_CTX_use_PrivateKey(context, key) == 1;

    while (good && (next = PEM_read_bio_X509(chain, NULL, NULL, NULL))) {
        if (SSL_CTX_add_extra_chain_cert(context, next) != 1) {
            X509_free(next);
            good = false;
        }
    }
    X509_free(own);
    EVP_PKEY_free(key);
    BIO_free(chain);
    BIO_free(key_bio);
    return good;
}

static void trust(SSL_CTX *context, const char *authority)
{
    BIO *bio = BIO_new_mem_buf(authority, -1);
    X509 *certificate;

    while ((certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        (void)X509_STORE_add_cert(SSL_CTX_get_cert_store(context), certificate);
        X509_free(certificate);
    }
    BIO_free(bio);
}

static char *copy(const char *text)
{
    char *copied = text ? strdup(text) : NULL;

    CHECK(!text || copied);
    return copied;
}

struct tls_probe *tls_probe_create(const struct stub_tls_files *files, const struct pem *pem)
{
    static const unsigned char h2[] = {2, 'h', '2'};
    struct tls_probe *probe = calloc(1, sizeof(*probe));
    bool good;

    CHECK(probe);
    atomic_store(&probe->refs, 1);
    CHECK(pthread_mutex_init(&probe->lock, NULL) == 0);
    probe->authority = copy(files->authority);
    probe->certificate = copy(files->certificate);
    probe->expired = pem->expired;
    probe->context = SSL_CTX_new(TLS_client_method());
    CHECK(probe->context);
    SSL_CTX_set_verify(probe->context, SSL_VERIFY_PEER, NULL);
    good = SSL_CTX_set_min_proto_version(probe->context, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_alpn_protos(probe->context, h2, sizeof(h2)) == 0 &&
           (!pem->certificate || use_pair(probe->context, pem));
    if (good && pem->authority)
        trust(probe->context, pem->authority);
    ERR_clear_error(); /* Core judges by what it finds there */
    if (good)
        return probe;
    tls_probe_unref(probe);
    return NULL;
}

struct tls_probe *tls_probe_ref(struct tls_probe *probe)
{
    if (probe)
        atomic_fetch_add(&probe->refs, 1);
    return probe;
}

void tls_probe_unref(struct tls_probe *probe)
{
    if (!probe || atomic_fetch_sub(&probe->refs, 1) != 1)
        return;
    SSL_CTX_free(probe->context);
    pthread_mutex_destroy(&probe->lock);
    free(probe->authority);
    free(probe->certificate);
    free(probe);
}

/* --- the connection ----------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* False: not in time, or to be stopped. */
static bool wait_for(struct shake *shake, short events)
{
    struct pollfd fds[] = {{.fd = shake->fd, .events = events},
                           {.fd = shake->stop_fd, .events = POLLIN}};

    for (;;) {
        int64_t left_ms = shake->until_ms - now_ms();
        int count = poll(fds, ARRAY_COUNT(fds), left_ms > 0 ? (int)left_ms : 0);

        if (count < 0 && errno == EINTR)
            continue;
        shake->stopped = count < 0 || fds[1].revents != 0;
        shake->late = count == 0;
        return !shake->stopped && !shake->late;
    }
}

static bool connect_to(struct shake *shake, const struct sockaddr *address, socklen_t bytes)
{
    int error = 0;
    socklen_t error_bytes = sizeof(error);

    shake->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (shake->fd < 0)
        return false;
    if (connect(shake->fd, address, bytes) == 0)
        return true;
    if (errno == EINPROGRESS && wait_for(shake, POLLOUT) &&
        getsockopt(shake->fd, SOL_SOCKET, SO_ERROR, &error, &error_bytes) == 0 && error == 0)
        return true;
    close(shake->fd);
    shake->fd = -1;
    return false;
}

static bool connect_unix(struct shake *shake, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    return connect_to(shake, (const struct sockaddr *)&address, sizeof(address));
}

static bool connect_any(struct shake *shake, const struct address *address)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list;
    char port[8];
    bool good = false;

    if (address->kind == ADDRESS_UNIX)
        return connect_unix(shake, address->path);
    snprintf(port, sizeof(port), "%u", (unsigned)address->port);
    if (getaddrinfo(address->host, port, &hints, &list) != 0)
        return false;
    for (struct addrinfo *one = list; one && !good && !shake->stopped; one = one->ai_next)
        good = connect_to(shake, one->ai_addr, one->ai_addrlen);
    freeaddrinfo(list);
    return good;
}

/* --- what comes of it --------------------------------------------------------------------------- */

PRINTF_LIKE(2, 3) static void find(struct shake *shake, const char *format, ...)
{
    int used = snprintf(shake->ret, TLS_FINDING_MAX, "TLS: ");
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(shake->ret + used, TLS_FINDING_MAX - (size_t)used, format, arguments);
    va_end(arguments);
}

static const char *authority_name(const struct shake *shake)
{
    return shake->probe->authority ? shake->probe->authority : "the system's collection";
}

/* We refuse the server. */
static void find_distrust(struct shake *shake, long verdict)
{
    switch (verdict) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        find(shake, "the server's certificate has expired");
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        find(shake, "the server's certificate is not valid yet");
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        find(shake, "the server's certificate is not for %s", shake->name);
        break;
    default:
        find(shake, "the server's certificate is not trusted by %s: %s", authority_name(shake),
             X509_verify_cert_error_string(verdict));
        break;
    }
}

/* The server has asked for a certificate and then hung up, or said that it does not like it. */
static void find_refused(struct shake *shake, const char *said)
{
    const struct tls_probe *probe = shake->probe;

    if (!probe->certificate)
        find(shake, "the server asks for a client certificate, and there is none");
    else if (probe->expired)
        find(shake, "the server refuses the client certificate %s, which has expired",
             probe->certificate);
    else
        find(shake, "the server refuses the client certificate %s%s%s", probe->certificate,
             *said ? ": " : "", said);
}

static bool is_no_tls(int reason)
{
    return reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST ||
           reason == SSL_R_HTTPS_PROXY_REQUEST || reason == SSL_R_PACKET_LENGTH_TOO_LONG ||
           reason == SSL_R_BAD_RECORD_TYPE || reason == SSL_R_UNEXPECTED_MESSAGE;
}

/* The handshake, or the first read after it, has failed. */
static void find_failure(struct shake *shake)
{
    unsigned long error = ERR_peek_last_error();
    bool ours = ERR_GET_LIB(error) == ERR_LIB_SSL;
    int reason = ours ? ERR_GET_REASON(error) : 0;
    const char *text = ours ? ERR_reason_error_string(error) : NULL;
    long verdict = SSL_get_verify_result(shake->ssl);

    if (shake->stopped)
        return;
    if (verdict != X509_V_OK)
        find_distrust(shake, verdict);
    else if (shake->late && !SSL_is_init_finished(shake->ssl))
        find(shake, "the server does not answer the handshake");
    else if (shake->late)
        return;
    else if (shake->asked)
        find_refused(shake, reason >= SSL_AD_REASON_OFFSET && text ? text : "");
    else if (is_no_tls(reason))
        find(shake, "the server does not speak TLS there");
    else if (!SSL_is_init_finished(shake->ssl))
        find(shake, "the handshake failed: %s", text ? text : "the server closed the connection");
}

/* --- the handshake ------------------------------------------------------------------------------ */

static int asked_for_certificate(SSL *ssl, void *user)
{
    struct shake *shake = user;

    (void)ssl;
    shake->asked = true;
    return 1; /* goes on with what the context has */
}

/* What OpenSSL waits for; false: the step has failed, or took too long. */
static bool again(struct shake *shake, int result)
{
    switch (SSL_get_error(shake->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return wait_for(shake, POLLIN);
    case SSL_ERROR_WANT_WRITE:
        return wait_for(shake, POLLOUT);
    default:
        return false;
    }
}

static bool set_name(struct shake *shake)
{
    unsigned char numeric[sizeof(struct in6_addr)];

    if (inet_pton(AF_INET, shake->name, numeric) == 1 ||
        inet_pton(AF_INET6, shake->name, numeric) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(shake->ssl), shake->name) == 1;
    return SSL_set_tlsext_host_name(shake->ssl, shake->name) == 1 &&
           SSL_set1_host(shake->ssl, shake->name) == 1;
}

/* TLS 1.3 refuses a client only after the client's part of the handshake; a server that sends does not. */
static bool is_welcome(struct shake *shake)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
    char byte;
    int got;

    do
        got = SSL_write(shake->ssl, preface, sizeof(preface)); /* with its NUL */
    while (got <= 0 && again(shake, got));
    do
        got = SSL_read(shake->ssl, &byte, 1);
    while (got <= 0 && again(shake, got));
    return got == 1;
}

static void handshake(struct shake *shake)
{
    int got;

    ERR_clear_error();
    SSL_set_cert_cb(shake->ssl, asked_for_certificate, shake);
    if (SSL_set_fd(shake->ssl, shake->fd) != 1 || !set_name(shake))
        return;
    do
        got = SSL_connect(shake->ssl);
    while (got <= 0 && again(shake, got));
    if (got != 1 || !is_welcome(shake))
        find_failure(shake);
    ERR_clear_error();
}

static void load_system(struct tls_probe *probe)
{
    pthread_mutex_lock(&probe->lock);
    if (!probe->authority && !probe->system_loaded)
        probe->system_loaded = SSL_CTX_set_default_verify_paths(probe->context) == 1;
    pthread_mutex_unlock(&probe->lock);
}

void tls_probe_run(struct tls_probe *probe, const struct address *address, const char *name,
                   int stop_fd, char ret[TLS_FINDING_MAX])
{
    struct shake shake = {
        .probe = probe,
        .name = name                            ? name
                : address->kind == ADDRESS_UNIX ? "localhost"
                                                : address->host,
        .fd = -1,
        .stop_fd = stop_fd,
        .ret = ret,
    };

    *ret = '\0';
    load_system(probe); /* takes a while, which is not the server's */
    shake.until_ms = now_ms() + TLS_PROBE_MS;
    if (!connect_any(&shake, address))
        return;
    shake.ssl = SSL_new(probe->context);
    CHECK(shake.ssl);
    handshake(&shake);
    SSL_free(shake.ssl);
    close(shake.fd);
}
