/*
 * Certificates for tests: authorities that sign what they are told to, made in memory and written down
 * as PEM files. Everything fails the test when it does not work.
 */
#ifndef HOLDFAST_TESTS_STUB_AUTHORITY_H
#define HOLDFAST_TESTS_STUB_AUTHORITY_H

#include <stdint.h>

/* With a key of its own; two of the same name are not the same. */
struct authority;
struct authority *authority_create(const char *name);
void authority_destroy(struct authority *authority);

struct certificate_options {
    const char *name; /* common name; NULL: "test" */
    const char *names; /* subject alternative names as OpenSSL writes them, "DNS:a,URI:b"; NULL: none */
    int64_t serial;   /* 0: 1 */
    int64_t from_s;   /* counted from now; both 0: an hour ago to an hour ahead */
    int64_t until_s;
};

/* Writes <dir>/<file>.crt and <dir>/<file>.key, the latter for its owner only. */
void authority_issue(struct authority *authority, const struct certificate_options *options,
                     const char *dir, const char *file);

/* Writes the authority's own certificate as <dir>/<file>. */
void authority_write(const struct authority *authority, const char *dir, const char *file);

#endif
