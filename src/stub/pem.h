/*
 * PEM files as TLS needs them: reads and checks them, and notices when they have changed. For the files
 * of src/stub/ only.
 */
#ifndef HOLDFAST_STUB_PEM_H
#define HOLDFAST_STUB_PEM_H

#include "base/check.h"
#include "stub/tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

enum { PEM_BYTES_MAX = 4 << 20, PEM_ERROR_MAX = 768, PEM_SUMMARY_MAX = 160 };

/* Which bytes a path stood for; equal stamps of settled files mean equal bytes. */
struct pem_stamp {
    dev_t device;
    ino_t inode;
    off_t bytes;
    struct timespec modified;
    struct timespec changed;
};

/* The content of struct stub_tls_files; NULL where that has none. */
struct pem {
    char *certificate;
    char *key;
    char *authority;
    char summary[PEM_SUMMARY_MAX]; /* serial number and end of the certificate; "" without one */
    bool expired;
};

/* The stamps of the files in the order of struct stub_tls_files; zero for what cannot be looked at. */
struct pem_stamps {
    struct pem_stamp of[3];
};
void pem_stamps_read(const struct stub_tls_files *files, struct pem_stamps *ret);
bool pem_stamps_equal(const struct pem_stamps *a, const struct pem_stamps *b);

/*
 * False while a file is so new that another write may not change its stamp: the clock of the file system
 * ticks slowly.
 */
bool pem_stamps_settled(const struct pem_stamps *stamps);

/*
 * Reads and checks: every file is whole, the key may be seen by its owner only and is the
 * certificate's, OpenSSL would use them. False: ret_error says why, and *ret holds nothing.
 */
MUST_CHECK bool pem_load(const struct stub_tls_files *files, struct pem *ret,
                         char ret_error[PEM_ERROR_MAX]);
bool pem_equal(const struct pem *a, const struct pem *b);

/* Frees it, the key overwritten first. */
void pem_done(struct pem *pem);

#endif
