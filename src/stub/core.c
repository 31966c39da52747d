#define _GNU_SOURCE /* gettid */

#include "stub/core.h"

#include "base/check.h"
#include "base/log.h"
#include "base/thread.h"

#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <grpc/support/sync.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/*
 * grpc_shutdown() does not wait for Core's threads (gRPC issue 38539: crashes and leaks at exit), and
 * the exit handler of OpenSSL 3 frees what one that is still in a handshake, or about to end, is using.
 * So there must be none; the system takes the memory back. The first use of OpenSSL decides this, and
 * that can be a key file, a checksum or libpq: so it is done before main().
 */
__attribute__((constructor)) static void keep_openssl(void)
{
    CHECK(OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL) == 1);
}

/*
 * Core takes these from the environment alone, which is to be written before there are threads. Its own
 * resolver, c-ares, loses some bytes with each resolution; the C library's does not. Its support for fork
 * stops the parent until its threads stand still, which they may never do. Who has set them is right.
 */
__attribute__((constructor)) static void set_environment(void)
{
    CHECK(setenv("GRPC_DNS_RESOLVER", "native", 0) == 0);
    CHECK(setenv("GRPC_ENABLE_FORK_SUPPORT", "0", 0) == 0);
}

/*
 * The first time that two threads wait for one mutex of abseil's, which Core's are, abseil looks for the
 * processor's frequency in files that few machines have, and leaves ENOENT in errno. Core 1.51 looks at
 * the errno of connect() only after it has taken several mutexes (tcp_client_posix.cc): with that first
 * time in between, it gives a connection up that is being made, as "No such file or directory", and its
 * calls fail until the back-off is over. Programs met it whose threads make their first calls together,
 * one in a hundred of those with 64 threads and 8 connections. So it is had here, before any connection.
 */
enum { CONTENDERS = 2, CONTEND_TRIES = 200, CONTEND_NS = 50 * 1000 };

struct contention {
    gpr_mu lock;
    pthread_t threads[CONTENDERS];
    atomic_int numbers[CONTENDERS]; /* of each thread, as soon as it does nothing but lock */
    atomic_int count;
};

static void *contend(void *user)
{
    struct contention *contention = user;

    atomic_store(&contention->numbers[atomic_fetch_add(&contention->count, 1)], gettid());
    gpr_mu_lock(&contention->lock);
    gpr_mu_unlock(&contention->lock);
    return NULL;
}

/* False as well if /proc does not say. */
static bool is_asleep(int thread)
{
    char path[64], line[256] = "";
    const char *name_end;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", thread);
    file = fopen(path, "re");
    if (!file)
        return false;
    if (!fgets(line, sizeof(line), file))
        line[0] = 0;
    fclose(file);
    name_end = strrchr(line, ')'); /* proc(5): pid (comm) state ... */
    return name_end && strncmp(name_end, ") S", 3) == 0;
}

static bool all_wait(struct contention *contention)
{
    for (int i = 0; i < CONTENDERS; i++) {
        int number = atomic_load(&contention->numbers[i]);

        if (number == 0 || !is_asleep(number))
            return false;
    }
    return true;
}

static void contend_first(void)
{
    struct contention contention = {.count = 0};

    gpr_mu_init(&contention.lock);
    gpr_mu_lock(&contention.lock);
    for (int i = 0; i < CONTENDERS; i++)
        thread_start(&contention.threads[i], "contend", contend, &contention);
    for (int tries = 0; tries < CONTEND_TRIES && !all_wait(&contention); tries++)
        nanosleep(&(struct timespec){.tv_nsec = CONTEND_NS}, NULL);
    gpr_mu_unlock(&contention.lock);
    for (int i = 0; i < CONTENDERS; i++)
        CHECK(pthread_join(contention.threads[i], NULL) == 0);
    gpr_mu_destroy(&contention.lock);
}

void core_contend(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    CHECK(pthread_once(&once, contend_first) == 0);
}

/* --- fork ----------------------------------------------------------------------------------------- */

atomic_bool core_forked;
static atomic_bool used;

static void child_of_fork(void)
{
    if (atomic_load(&used))
        atomic_store(&core_forked, true);
}

static void watch_forks(void)
{
    CHECK(pthread_atfork(NULL, NULL, child_of_fork) == 0);
}

void core_use(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    CHECK(pthread_once(&once, watch_forks) == 0);
    atomic_store(&used, true);
}

/* The header came after the function for a log of one's own had gone. */
#if __has_include(<grpc/credentials.h>)

void core_log(void)
{
}

#else

static void write_log(gpr_log_func_args *args)
{
    static struct log_limit limit; /* Core has one log for the process, and one function for it */

    if (args->severity == GPR_LOG_SEVERITY_ERROR)
        log_every(&limit, LOG_WARN, "grpc", "core file=%s:%d message=%s", args->file, args->line,
                  LOG_VALUE(args->message)); /* peers cause them, such as by a failed handshake */
    else
        log_debug("grpc", "core file=%s:%d message=%s", args->file, args->line,
                  LOG_VALUE(args->message));
}

void core_log(void)
{
    gpr_set_log_function(write_log);
}

#endif
