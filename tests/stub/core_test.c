/* What this runtime asks of the libraries below it, for the whole process. */
#include "stub/core.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <grpc/support/sync.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { KEPT = 7, CLEANED_UP = 8, CROWD = 8, TURNS = 2000 };

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

struct crowd {
    gpr_mu lock;
    atomic_int spoilt;
};

static void *take_turns(void *user)
{
    struct crowd *crowd = user;

    for (int i = 0; i < TURNS; i++) {
        errno = 0;
        gpr_mu_lock(&crowd->lock);
        if (errno == ENOENT)
            atomic_fetch_add(&crowd->spoilt, 1);
        sched_yield(); /* for others to wait */
        gpr_mu_unlock(&crowd->lock);
    }
    return NULL;
}

/* Core would take it for the errno of connect(). */
Test(core, waiting_for_a_mutex_does_not_look_like_a_failed_connect)
{
    struct crowd crowd = {.spoilt = 0};
    pthread_t threads[CROWD];

    core_contend();
    gpr_mu_init(&crowd.lock);
    for (int i = 0; i < CROWD; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, take_turns, &crowd), 0);
    for (int i = 0; i < CROWD; i++)
        pthread_join(threads[i], NULL);
    gpr_mu_destroy(&crowd.lock);
    cr_assert_eq(crowd.spoilt, 0);
}
