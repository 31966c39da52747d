#include "ledger/pulse.h"

#include "base/log.h"
#include "base/stop.h"
#include "base/thread.h"
#include "ledger/session.h"
#include "quota/times.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    PULSE_AGAIN_MS = 100, /* after a connection that failed */
    /*
     * A connection that says nothing is given up after the first, as another one may lead to another
     * Postgres, then after twice as long each time: what hangs does not notice, and keeps them.
     */
    PATIENCE_MS = 2000,
    PATIENCE_MAX_MS = 30000,
};

struct pulse {
    char *conninfo;
    const struct clock *clock;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool wanted;      /* under the lock */
    struct stop stop; /* due: the thread ends */
    /* The thread's: */
    PGconn *conn;
    int warnings;
    int patience_ms;
    /* clock_mono_us; 0: nothing is asked that was not answered. */
    _Atomic int64_t asked_us;
    _Atomic int64_t heard_us; /* when the last COMMIT came back */
};

/* A COMMIT with something to write, which is nothing to anybody. */
static const char question[] = "SELECT pg_logical_emit_message(true, 'holdfast', '')";

static int64_t pulse_now_us(const struct pulse *pulse)
{
    return clock_mono_us(pulse->clock);
}

static bool is_over(const struct pulse *pulse)
{
    return stop_is_due(&pulse->stop, pulse_now_us(pulse));
}

static void disconnect(struct pulse *pulse)
{
    if (pulse->conn)
        PQfinish(pulse->conn);
    pulse->conn = NULL;
}

static bool connect_pulse(struct pulse *pulse)
{
    const struct session_options session = {
        .conninfo = pulse->conninfo,
        .connect_timeout_ms = CONNECT_SHARED_MS,
        .statement_timeout_ms = STATEMENT_COMMITTER_MS,
        .lock_timeout_ms = LOCK_WAIT_MS,
        .clock = pulse->clock,
        .stop = &pulse->stop,
    };
    char error[SESSION_ERROR_MAX];

    if (pulse->conn)
        return true;
    if (session_open(&session, &pulse->conn, error) != STATUS_OK)
        return false;
    session_count_warnings(pulse->conn, &pulse->warnings);
    return true;
}

/* True if what was sent is answered as it should be. Else the connection is of no use. */
static bool hear(struct pulse *pulse)
{
    int64_t until_us = pulse_now_us(pulse) + pulse->patience_ms * INT64_C(1000);
    bool good = true, timeout = false;
    size_t results = 0;
    PGresult *result;

    while ((result = session_result(pulse->conn, pulse->clock, &pulse->stop, until_us, &timeout))) {
        good &= session_status(result) == STATUS_OK;
        results++;
        PQclear(result);
    }
    if (timeout && pulse->patience_ms < PATIENCE_MAX_MS)
        pulse->patience_ms *= 2;
    return good && !timeout && results > 0 && pulse->warnings == 0 &&
           PQstatus(pulse->conn) == CONNECTION_OK;
}

static bool ask(struct pulse *pulse)
{
    if (!connect_pulse(pulse))
        return false;
    pulse->warnings = 0;
    if (PQsendQuery(pulse->conn, question) && hear(pulse)) {
        pulse->patience_ms = PATIENCE_MS;
        return true;
    }
    disconnect(pulse);
    return false;
}

/* Until there is an answer. What was lost while it lay idle is replaced at once. */
static void ask_until_answered(struct pulse *pulse)
{
    const struct timespec pause = {.tv_nsec = PULSE_AGAIN_MS * 1000000L};
    int64_t begun_us = pulse_now_us(pulse);
    bool told = false;

    atomic_store(&pulse->asked_us, begun_us);
    for (int tries = 0; !is_over(pulse) && !ask(pulse); tries++) {
        if (!told && pulse_is_silent(pulse))
            log_warn("ledger", "postgres.silent ms=%" PRId64,
                     (pulse_now_us(pulse) - begun_us) / 1000);
        told |= pulse_is_silent(pulse);
        if (tries > 0)
            nanosleep(&pause, NULL);
    }
    atomic_store(&pulse->asked_us, 0);
    if (told)
        log_info("ledger", "postgres.answers after_ms=%" PRId64,
                 (pulse_now_us(pulse) - begun_us) / 1000);
}

static void *run(void *user)
{
    struct pulse *pulse = user;

    (void)connect_pulse(pulse);
    pthread_mutex_lock(&pulse->lock);
    while (!is_over(pulse)) {
        if (!pulse->wanted) {
            pthread_cond_wait(&pulse->wake, &pulse->lock);
            continue;
        }
        pthread_mutex_unlock(&pulse->lock);
        ask_until_answered(pulse);
        pthread_mutex_lock(&pulse->lock);
        pulse->wanted = false;
    }
    pthread_mutex_unlock(&pulse->lock);
    return NULL;
}

struct pulse *pulse_create(const char *conninfo, const struct clock *clock)
{
    struct pulse *pulse = calloc(1, sizeof(*pulse));

    CHECK(pulse);
    pulse->conninfo = strdup(conninfo);
    CHECK(pulse->conninfo);
    pulse->clock = clock;
    pulse->patience_ms = PATIENCE_MS;
    stop_init(&pulse->stop);
    CHECK(pthread_mutex_init(&pulse->lock, NULL) == 0);
    CHECK(pthread_cond_init(&pulse->wake, NULL) == 0);
    thread_start(&pulse->thread, "pulse", run, pulse);
    return pulse;
}

void pulse_destroy(struct pulse *pulse)
{
    if (!pulse)
        return;
    pthread_mutex_lock(&pulse->lock);
    stop_set(&pulse->stop, 0);
    pthread_cond_signal(&pulse->wake);
    pthread_mutex_unlock(&pulse->lock);
    pthread_join(pulse->thread, NULL);
    disconnect(pulse);
    pthread_cond_destroy(&pulse->wake);
    pthread_mutex_destroy(&pulse->lock);
    free(pulse->conninfo);
    free(pulse);
}

bool pulse_is_silent(const struct pulse *pulse)
{
    int64_t asked_us, heard_us;

    if (!pulse)
        return false;
    asked_us = atomic_load(&pulse->asked_us);
    heard_us = atomic_load(&pulse->heard_us);
    if (asked_us == 0)
        return false;
    return pulse_now_us(pulse) - (heard_us > asked_us ? heard_us : asked_us) >=
           PULSE_ANSWER_MS * INT64_C(1000);
}

bool pulse_fails(struct pulse *pulse, int64_t since_us)
{
    if (!pulse || pulse_now_us(pulse) - since_us < PULSE_DOUBT_MS * INT64_C(1000))
        return false;
    pulse_doubt(pulse);
    return pulse_is_silent(pulse);
}

void pulse_doubt(struct pulse *pulse)
{
    if (!pulse || atomic_load(&pulse->asked_us) != 0)
        return;
    pthread_mutex_lock(&pulse->lock);
    pulse->wanted = true;
    pthread_cond_signal(&pulse->wake);
    pthread_mutex_unlock(&pulse->lock);
}

void pulse_heard(struct pulse *pulse)
{
    if (pulse)
        atomic_store(&pulse->heard_us, pulse_now_us(pulse));
}
