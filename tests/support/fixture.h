/*
 * What a test that runs beside real stores (holdfast_test(... STORES)) needs: servers as processes,
 * stores that die and come back, and questions asked of Postgres and Redis behind the server's back.
 *
 * All functions belong to the thread of the test; whatever fails ends the test with a message. Tests
 * of one program share the stores and run one after another: use a tenant of your own per test.
 */
#ifndef HOLDFAST_TESTS_SUPPORT_FIXTURE_H
#define HOLDFAST_TESTS_SUPPORT_FIXTURE_H

#include "base/check.h"
#include "stub/client.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A variable that tests/support/with_stores sets, such as "HOLDFAST_TEST_POSTGRES". */
const char *fixture_env(const char *name);

/* ---- servers ---- */

struct fixture_server {
    pid_t pid;        /* 0 when it does not run */
    char listen[64];  /* 127.0.0.1:PORT; the same over a restart */
    char log[256];    /* path of its log */
};

struct fixture_server_options {
    int workers;             /* 0: the server's default */
    const char *faults;      /* settings as in base/fault.h, or NULL */
    const char *const *args; /* more arguments, ends with NULL; may be NULL */
};

/*
 * Starts a holdfastd on the stores of this test and waits until it serves. The server dies with the
 * test's process at the latest. options may be NULL.
 */
void fixture_server_start(struct fixture_server *ret_server,
                          const struct fixture_server_options *options);

/* Starts without waiting; fixture_server_wait waits until it serves. */
void fixture_server_spawn(struct fixture_server *ret_server,
                          const struct fixture_server_options *options);
void fixture_server_wait(struct fixture_server *server);

/* SIGTERM; it must drain and exit with 0 in time. */
void fixture_server_stop(struct fixture_server *server);

/* SIGKILL, then starts again at the same address, with these options. */
void fixture_server_kill(struct fixture_server *server);
void fixture_server_restart(struct fixture_server *server,
                            const struct fixture_server_options *options);

/*
 * A channel to a server of this test, for stub_channel_destroy; options may be NULL. With mTLS if the test
 * runs with it (HOLDFAST_TEST_TLS=1, see tests/support/with_stores).
 */
struct stub_channel *fixture_channel(const char *target, const struct stub_channel_options *options);

/* ---- stores ---- */

/*
 * Runs deploy/stores with this command: "kill-redis", "start-redis", "stop-postgres",
 * "restart-redis", ...; option is NULL or "--lose-data".
 */
void fixture_stores(const char *command, const char *option);

/*
 * First column of the first row; the query must have one. Text is valid until the thread's next call.
 * Any thread.
 */
int64_t fixture_sql(const char *format, ...) PRINTF_LIKE(1, 2);
const char *fixture_sql_text(const char *format, ...) PRINTF_LIKE(1, 2);
void fixture_sql_do(const char *format, ...) PRINTF_LIKE(1, 2);

/* A Redis command in one line, words apart by spaces. An integer or a bulk that reads as one. */
int64_t fixture_redis(const char *format, ...) PRINTF_LIKE(1, 2);
const char *fixture_redis_text(const char *format, ...) PRINTF_LIKE(1, 2);

/* ---- time ---- */

int64_t fixture_now_us(void); /* monotonic */

/* How many times as long a promise may take: a sanitizer makes servers that slow. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { FIXTURE_SLOWER = 4 };
#else
enum { FIXTURE_SLOWER = 1 };
#endif

/* True soon after the condition is, false after the deadline: asks every 5 ms at first, then every 200 ms. */
bool fixture_until(int64_t deadline_ms, bool (*condition)(void *user), void *user);

#endif
