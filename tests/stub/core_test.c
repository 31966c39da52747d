/* What this runtime asks of the libraries below it, for the whole process. */
#include "stub/core.h"

#include <criterion/criterion.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <unistd.h>

enum { KEPT = 7, CLEANED_UP = 8 };

static void cleaned_up(void)
{
    _exit(CLEANED_UP);
}

/* A thread of Core may be using OpenSSL while the process ends. */
Test(core, openssl_is_not_cleaned_up_at_exit, .exit_code = KEPT)
{
    unsigned char byte;

    core_log(); /* as whoever makes a server or a channel does */
    cr_assert_eq(RAND_bytes(&byte, 1), 1);
    cr_assert_eq(OPENSSL_atexit(cleaned_up), 1); /* called by OPENSSL_cleanup() */
    exit(KEPT);
}
