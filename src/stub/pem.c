#include "stub/pem.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Far above the tick of any file system's clock that TLS files are likely to lie on. */
enum { SETTLE_S = 2 };

PRINTF_LIKE(2, 3) static bool refuse(char error[PEM_ERROR_MAX], const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error, PEM_ERROR_MAX, format, arguments);
    va_end(arguments);
    return false;
}

/* --- stamps ------------------------------------------------------------------------------------- */

static void stamp_read(const char *path, struct pem_stamp *ret)
{
    struct stat status;

    *ret = (struct pem_stamp){0};
    if (path && stat(path, &status) == 0)
        *ret = (struct pem_stamp){
            .device = status.st_dev,
            .inode = status.st_ino,
            .bytes = status.st_size,
            .modified = status.st_mtim,
            .changed = status.st_ctim,
        };
}

void pem_stamps_read(const struct stub_tls_files *files, struct pem_stamps *ret)
{
    stamp_read(files->certificate, &ret->of[0]);
    stamp_read(files->key, &ret->of[1]);
    stamp_read(files->authority, &ret->of[2]);
}

static bool times_equal(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool pem_stamps_equal(const struct pem_stamps *a, const struct pem_stamps *b)
{
    for (size_t i = 0; i < ARRAY_COUNT(a->of); i++) {
        const struct pem_stamp *one = &a->of[i], *other = &b->of[i];

        if (one->device != other->device || one->inode != other->inode ||
            one->bytes != other->bytes || !times_equal(one->modified, other->modified) ||
            !times_equal(one->changed, other->changed))
            return false;
    }
    return true;
}

bool pem_stamps_settled(const struct pem_stamps *stamps)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    for (size_t i = 0; i < ARRAY_COUNT(stamps->of); i++) {
        time_t changed = stamps->of[i].changed.tv_sec;

        if (changed <= now.tv_sec && now.tv_sec - changed <= SETTLE_S)
            return false;
    }
    return true;
}

/* --- reading ------------------------------------------------------------------------------------ */

static bool mode_is_private(int fd, const char *path, char error[PEM_ERROR_MAX])
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return refuse(error, "TLS key file %s: %s", path, strerror(errno));
    if (status.st_mode & (S_IRWXO | S_IWGRP))
        return refuse(error,
                      "TLS key file %s: its mode %04o lets others use it; chmod 600 (or 640, for a "
                      "group that may read it)",
                      path, (unsigned)(status.st_mode & 07777));
    return true;
}

static char *read_open(int fd, const char *what, const char *path, char error[PEM_ERROR_MAX])
{
    struct stat status;
    size_t bytes = 0, room;
    ssize_t got = 1;
    char *text;

    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size > PEM_BYTES_MAX) {
        refuse(error, "TLS %s file %s: is not a file of at most 4 MiB", what, path);
        return NULL;
    }
    room = (size_t)status.st_size + 1; /* one more byte shows whether it grows */
    text = malloc(room + 1);
    CHECK(text);
    while (bytes < room && (got = read(fd, text + bytes, room - bytes)) > 0)
        bytes += (size_t)got;
    text[bytes] = '\0';
    if (got == 0 && bytes == (size_t)status.st_size && strlen(text) == bytes)
        return text;
    if (got < 0)
        refuse(error, "TLS %s file %s: %s", what, path, strerror(errno));
    else if (bytes != (size_t)status.st_size)
        refuse(error, "TLS %s file %s: changed while it was read", what, path);
    else
        refuse(error, "TLS %s file %s: is not PEM", what, path);
    OPENSSL_cleanse(text, room);
    free(text);
    return NULL;
}

static char *read_file(const char *what, const char *path, bool is_key, char error[PEM_ERROR_MAX])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char *text = NULL;

    if (fd < 0) {
        refuse(error, "TLS %s file %s: %s", what, path, strerror(errno));
        return NULL;
    }
    if (!is_key || mode_is_private(fd, path, error))
        text = read_open(fd, what, path, error);
    close(fd);
    return text;
}

/* --- checking ----------------------------------------------------------------------------------- */

static const char *openssl_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    return reason ? reason : "unknown reason";
}

/*
 * Hands each certificate to take, which owns it then and may refuse by false. False unless there is at
 * least one, and all are whole.
 */
static bool each_certificate(const char *what, const char *path, const char *text,
                             bool (*take)(void *user, X509 *certificate), void *user,
                             char error[PEM_ERROR_MAX])
{
    BIO *bio = BIO_new_mem_buf(text, -1);
    X509 *certificate;
    int count = 0;
    bool good = true;

    CHECK(bio);
    ERR_clear_error();
    while (good && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        count++;
        if (!take(user, certificate))
            good = refuse(error, "TLS %s file %s: OpenSSL refuses certificate %d: %s", what, path,
                          count, openssl_reason());
    }
    if (good && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        good = refuse(error, "TLS %s file %s: certificate %d is malformed or cut off", what, path,
                      count + 1);
    else if (good && count == 0)
        good = refuse(error, "TLS %s file %s: holds no certificate", what, path);
    BIO_free(bio);
    ERR_clear_error();
    return good;
}

static int no_passphrase(char *buffer, int size, int writing, void *user)
{
    (void)buffer, (void)size, (void)writing, (void)user;
    return -1;
}

static EVP_PKEY *parse_key(const char *path, const char *text, char error[PEM_ERROR_MAX])
{
    BIO *bio = BIO_new_mem_buf(text, -1);
    EVP_PKEY *key;

    CHECK(bio);
    key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    if (!key && strstr(text, "ENCRYPTED"))
        refuse(error, "TLS key file %s: is encrypted; openssl pkey -in it -out another", path);
    else if (!key)
        refuse(error, "TLS key file %s: is not a private key, or is cut off", path);
    ERR_clear_error();
    return key;
}

struct chain {
    SSL_CTX *context;
    X509 *own;
};

static bool take_chain(void *user, X509 *certificate)
{
    struct chain *chain = user;

    if (chain->own) {
        if (SSL_CTX_add_extra_chain_cert(chain->context, certificate) == 1)
            return true;
        X509_free(certificate);
        return false;
    }
    chain->own = certificate;
    return SSL_CTX_use_certificate(chain->context, certificate) == 1;
}

/* Serial number and end, as `openssl x509 -serial -enddate` would tell them. */
static void summarize(struct pem *pem, const X509 *own)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(own), NULL);
    char *serial = number ? BN_bn2hex(number) : NULL;
    struct tm end = {0};
    char time_text[32] = "?";

    if (ASN1_TIME_to_tm(X509_get0_notAfter(own), &end) == 1)
        (void)strftime(time_text, sizeof(time_text), "%Y-%m-%dT%H:%M:%SZ", &end);
    pem->expired = X509_cmp_current_time(X509_get0_notAfter(own)) < 0;
    snprintf(pem->summary, sizeof(pem->summary), "serial=%s not_after=%s%s", serial ? serial : "?",
             time_text, pem->expired ? " expired=true" : "");
    OPENSSL_free(serial);
    BN_free(number);
}

/* Does to the pair what Core will do, so that Core has nothing left to refuse. */
static bool check_pair(const struct stub_tls_files *files, struct pem *pem,
                       char error[PEM_ERROR_MAX])
{
    struct chain chain = {.context = SSL_CTX_new(TLS_method())};
    EVP_PKEY *key = NULL;
    bool good;

    CHECK(chain.context);
    good = each_certificate("certificate", files->certificate, pem->certificate, take_chain, &chain,
                            error);
    if (good)
        key = parse_key(files->key, pem->key, error);
    good = good && key;
    if (good && X509_check_private_key(chain.own, key) != 1)
        good = refuse(error, "TLS key file %s: is not the key of the certificate in %s", files->key,
                      files->certificate);
    if (good && SSL_CTX_use_PrivateKey(chain.context, key) != 1)
        good =
            refuse(error, "TLS key file %s: OpenSSL refuses it: %s", files->key, openssl_reason());
    if (good)
        summarize(pem, chain.own);
    X509_free(chain.own);
    EVP_PKEY_free(key);
    SSL_CTX_free(chain.context);
    ERR_clear_error(); /* Core judges by what it finds there */
    return good;
}

static bool drop_certificate(void *user, X509 *certificate)
{
    (void)user;
    X509_free(certificate);
    return true;
}

bool pem_load(const struct stub_tls_files *files, struct pem *ret, char ret_error[PEM_ERROR_MAX])
{
    bool good = true;

    *ret = (struct pem){0};
    if (!files->certificate != !files->key)
        return refuse(ret_error, "TLS needs both a certificate file and its key file");
    if (files->certificate) {
        ret->certificate = read_file("certificate", files->certificate, false, ret_error);
        if (ret->certificate)
            ret->key = read_file("key", files->key, true, ret_error);
        good = ret->certificate && ret->key && check_pair(files, ret, ret_error);
    }
    if (good && files->authority) {
        ret->authority = read_file("CA", files->authority, false, ret_error);
        good = ret->authority && each_certificate("CA", files->authority, ret->authority,
                                                  drop_certificate, NULL, ret_error);
    }
    if (!good)
        pem_done(ret);
    return good;
}

static bool texts_equal(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

bool pem_equal(const struct pem *a, const struct pem *b)
{
    return texts_equal(a->certificate, b->certificate) && texts_equal(a->key, b->key) &&
           texts_equal(a->authority, b->authority);
}

void pem_done(struct pem *pem)
{
    free(pem->certificate);
    if (pem->key)
        OPENSSL_cleanse(pem->key, strlen(pem->key));
    free(pem->key);
    free(pem->authority);
    *pem = (struct pem){0};
}
