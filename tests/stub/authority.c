#include "tests/stub/authority.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct authority {
    X509 *own;
    EVP_PKEY *key;
};

static void set_name(X509 *certificate, const char *name)
{
    X509_NAME *subject = X509_get_subject_name(certificate);

    cr_assert(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                         (const unsigned char *)name, -1, -1, 0));
}

static void extend(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509V3_set_ctx_nodb(&context);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    cr_assert(extension, "OpenSSL does not understand %s", value);
    cr_assert(X509_add_ext(certificate, extension, -1));
    X509_EXTENSION_free(extension);
}

static X509 *make(EVP_PKEY *key, const char *name, int64_t serial, int64_t from_s, int64_t until_s)
{
    X509 *certificate = X509_new();

    cr_assert(X509_set_version(certificate, X509_VERSION_3));
    cr_assert(ASN1_INTEGER_set_int64(X509_get_serialNumber(certificate), serial));
    cr_assert(X509_gmtime_adj(X509_getm_notBefore(certificate), from_s));
    cr_assert(X509_gmtime_adj(X509_getm_notAfter(certificate), until_s));
    cr_assert(X509_set_pubkey(certificate, key));
    set_name(certificate, name);
    return certificate;
}

struct authority *authority_create(const char *name)
{
    struct authority *authority = calloc(1, sizeof(*authority));

    authority->key = EVP_EC_gen("P-256");
    cr_assert(authority->key);
    authority->own = make(authority->key, name, 1, -3600, 24 * 3600);
    cr_assert(X509_set_issuer_name(authority->own, X509_get_subject_name(authority->own)));
    extend(authority->own, authority->own, NID_basic_constraints, "critical,CA:TRUE");
    extend(authority->own, authority->own, NID_subject_key_identifier, "hash");
    cr_assert(X509_sign(authority->own, authority->key, EVP_sha256()));
    return authority;
}

void authority_destroy(struct authority *authority)
{
    X509_free(authority->own);
    EVP_PKEY_free(authority->key);
    free(authority);
}

static FILE *create(const char *dir, const char *file, const char *suffix, mode_t mode)
{
    char path[256];
    int fd;

    snprintf(path, sizeof(path), "%s/%s%s", dir, file, suffix);
    unlink(path); /* as a rename would: another inode */
    fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
    cr_assert(fd >= 0, "%s", path);
    return fdopen(fd, "w");
}

void authority_issue(struct authority *authority, const struct certificate_options *options,
                     const char *dir, const char *file)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate =
        make(key, options->name ? options->name : "test", options->serial ? options->serial : 1,
             options->from_s || options->until_s ? options->from_s : -3600,
             options->from_s || options->until_s ? options->until_s : 3600);
    FILE *stream;

    cr_assert(X509_set_issuer_name(certificate, X509_get_subject_name(authority->own)));
    if (options->names)
        extend(certificate, authority->own, NID_subject_alt_name, options->names);
    cr_assert(X509_sign(certificate, authority->key, EVP_sha256()));
    stream = create(dir, file, ".key", 0600);
    cr_assert(PEM_write_PrivateKey(stream, key, NULL, NULL, 0, NULL, NULL));
    fclose(stream);
    stream = create(dir, file, ".crt", 0644);
    cr_assert(PEM_write_X509(stream, certificate));
    fclose(stream);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

void authority_write(const struct authority *authority, const char *dir, const char *file)
{
    FILE *stream = create(dir, file, "", 0644);

    cr_assert(PEM_write_X509(stream, authority->own));
    fclose(stream);
}
