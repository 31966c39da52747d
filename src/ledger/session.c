#include "ledger/session.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Plans are generic and made of nested index look-ups only: every statement here finds rows by their
 * keys, and a plan that was chosen while a table was small must not scan it when it is large.
 */
static const char settings_format[] =
    "SET synchronous_commit = on;"
    "SET statement_timeout = %d;"
    "SET lock_timeout = %d;"
    "SET idle_in_transaction_session_timeout = 2000;"
    "SET search_path = public;"
    "SET client_min_messages = warning;"
    "SET default_transaction_isolation = 'read committed';"
    "SET default_transaction_read_only = off;"
    "SET plan_cache_mode = force_generic_plan;"
    "SET enable_seqscan = off;"
    "SET enable_hashjoin = off;"
    "SET enable_mergejoin = off;"
    "SET enable_material = off;"
    "SET jit = off;"
    "SELECT current_setting('fsync'), current_setting('full_page_writes'),"
    " current_setting('synchronous_commit'), pg_is_in_recovery()::text";

void session_copy_error(char error[SESSION_ERROR_MAX], const char *message)
{
    size_t len = strcspn(message, "\n");

    snprintf(error, SESSION_ERROR_MAX, "%.*s", (int)(len < SESSION_ERROR_MAX ? len : 255),
             message);
}

bool session_conninfo_valid(const char *conninfo, char error[SESSION_ERROR_MAX])
{
    char *message = NULL;
    PQconninfoOption *parsed = PQconninfoParse(conninfo, &message);

    if (parsed) {
        PQconninfoFree(parsed);
        return true;
    }
    session_copy_error(error, message ? message : "out of memory");
    PQfreemem(message);
    return false;
}

bool session_wait(PGconn *conn, bool want_write, const struct clock *clock, int64_t deadline_us)
{
    struct pollfd fd = {.fd = PQsocket(conn), .events = POLLIN};

    if (want_write)
        fd.events |= POLLOUT;
    for (;;) {
        int64_t left_us = deadline_us - clock_mono_us(clock);
        int ready;

        if (left_us < 0)
            return false;
        ready = poll(&fd, 1, (int)(left_us / 1000) + 1);
        if (ready > 0)
            return true;
        if (ready < 0 && errno != EINTR)
            return false;
    }
}

PGresult *session_result(PGconn *conn, const struct clock *clock, int64_t deadline_us,
                         bool *ret_timeout)
{
    *ret_timeout = false;
    for (;;) {
        int unsent = PQflush(conn);

        if (unsent == 0 && !PQisBusy(conn))
            return PQgetResult(conn);
        if (unsent < 0)
            return PQgetResult(conn);
        if (!session_wait(conn, unsent > 0, clock, deadline_us)) {
            *ret_timeout = true;
            return NULL;
        }
        if (!PQconsumeInput(conn))
            return PQgetResult(conn);
    }
}

/* X(code, status): by the first characters of SQLSTATE, longest first. */
static const struct {
    const char *code;
    enum status status;
} meanings[] = {
    {"40001", STATUS_CONFLICT},    /* serialization_failure */
    {"40P01", STATUS_CONFLICT},    /* deadlock_detected */
    {"55P03", STATUS_CONFLICT},    /* lock_not_available */
    {"25006", STATUS_REFUSED},     /* read_only_sql_transaction: not the primary */
    {"22", STATUS_INVALID},        /* data_exception */
    {"23", STATUS_INVALID},        /* integrity_constraint_violation */
    {"54", STATUS_INVALID},        /* program_limit_exceeded: a key that is too long */
    {"28", STATUS_REFUSED},        /* invalid_authorization_specification */
    {"3D", STATUS_REFUSED},        /* invalid_catalog_name */
    {"42", STATUS_REFUSED},        /* a table that is missing, a right that is missing */
    {"", STATUS_UNAVAILABLE},
};

enum status session_status(const PGresult *result)
{
    const char *code;

    if (!result)
        return STATUS_UNAVAILABLE;
    switch (PQresultStatus(result)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_PIPELINE_SYNC:
    case PGRES_EMPTY_QUERY:
        return STATUS_OK;
    default:
        break;
    }
    code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (!code)
        return STATUS_UNAVAILABLE;
    for (size_t i = 0;; i++)
        if (strncmp(code, meanings[i].code, strlen(meanings[i].code)) == 0)
            return meanings[i].status;
}

static enum status connect_wait(PGconn *conn, const struct session_options *options)
{
    int64_t deadline_us =
        clock_mono_us(options->clock) + (int64_t)options->connect_timeout_ms * 1000;
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;

    if (PQstatus(conn) == CONNECTION_BAD)
        return STATUS_UNAVAILABLE;
    while (state != PGRES_POLLING_OK) {
        struct pollfd fd = {.fd = PQsocket(conn)};
        int64_t left_us = deadline_us - clock_mono_us(options->clock);

        if (state == PGRES_POLLING_FAILED)
            return STATUS_UNAVAILABLE;
        fd.events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (left_us < 0)
            return STATUS_TIMEOUT;
        if (poll(&fd, 1, (int)(left_us / 1000) + 1) > 0)
            state = PQconnectPoll(conn);
    }
    return STATUS_OK;
}

static bool is_value(const PGresult *result, int column, const char *value)
{
    return strcmp(PQgetvalue(result, 0, column), value) == 0;
}

/* The last row of the settings: REFUSED unless a COMMIT means what it says. */
static enum status verify(const PGresult *result, char error[SESSION_ERROR_MAX])
{
    static const struct {
        const char *name, *value;
    } wanted[] = {{"fsync", "on"}, {"full_page_writes", "on"}, {"synchronous_commit", "on"}};

    if (PQntuples(result) != 1 || PQnfields(result) != 4) {
        snprintf(error, SESSION_ERROR_MAX, "the database does not tell its settings");
        return STATUS_CORRUPT;
    }
    for (int i = 0; i < (int)ARRAY_COUNT(wanted); i++) {
        if (is_value(result, i, wanted[i].value))
            continue;
        snprintf(error, SESSION_ERROR_MAX, "the database runs with %s=%s and could lose what it %s",
                 wanted[i].name, PQgetvalue(result, 0, i), "has confirmed; set it to on");
        return STATUS_REFUSED;
    }
    if (!is_value(result, 3, "false")) {
        snprintf(error, SESSION_ERROR_MAX, "the database is a replica (pg_is_in_recovery)");
        return STATUS_REFUSED;
    }
    return STATUS_OK;
}

static enum status prepare_session(PGconn *conn, const struct session_options *options,
                                   char error[SESSION_ERROR_MAX])
{
    int64_t deadline_us = clock_mono_us(options->clock) +
                          (int64_t)(options->statement_timeout_ms + options->connect_timeout_ms) *
                              1000;
    enum status status = STATUS_OK;
    bool verified = false;
    bool timeout;
    PGresult *result;
    char settings[sizeof(settings_format) + 32];

    snprintf(settings, sizeof(settings), settings_format, options->statement_timeout_ms,
             options->lock_timeout_ms);
    if (!PQsendQuery(conn, settings)) {
        session_copy_error(error, PQerrorMessage(conn));
        return STATUS_UNAVAILABLE;
    }
    while ((result = session_result(conn, options->clock, deadline_us, &timeout))) {
        if (status == STATUS_OK && session_status(result) != STATUS_OK) {
            status = session_status(result);
            session_copy_error(error, PQresultErrorMessage(result));
        } else if (status == STATUS_OK && PQresultStatus(result) == PGRES_TUPLES_OK) {
            status = verify(result, error);
            verified = true;
        }
        PQclear(result);
    }
    if (status == STATUS_OK && !verified) {
        snprintf(error, SESSION_ERROR_MAX, "the database %s",
                 timeout ? "did not answer in time" : "closed the connection");
        return STATUS_UNAVAILABLE;
    }
    return status;
}

static void ignore_notice(void *user, const PGresult *result)
{
    (void)user;
    (void)result;
}

static void count_notice(void *user, const PGresult *result)
{
    int *count = user;

    (void)result;
    (*count)++;
}

void session_count_warnings(PGconn *conn, int *count)
{
    PQsetNoticeReceiver(conn, count_notice, count);
}

static PGconn *connect_start(const char *conninfo)
{
    /* Later keywords win over conninfo, which dbname is expanded from. */
    static const char *const keywords[] = {
        "dbname", "fallback_application_name", "keepalives_idle", "keepalives_interval",
        "keepalives_count", "tcp_user_timeout", NULL};
    const char *values[] = {conninfo, "holdfast", "10", "5", "3", "20000", NULL};

    return PQconnectStartParams(keywords, values, 1);
}

enum status session_open(const struct session_options *options, PGconn **ret_conn,
                         char error[SESSION_ERROR_MAX])
{
    PGconn *conn = connect_start(options->conninfo);
    enum status status;

    *ret_conn = NULL;
    CHECK(conn);
    PQsetNoticeReceiver(conn, ignore_notice, NULL);
    status = connect_wait(conn, options);
    if (status == STATUS_TIMEOUT) {
        snprintf(error, SESSION_ERROR_MAX, "no connection within %d ms",
                 options->connect_timeout_ms);
        status = STATUS_UNAVAILABLE;
    } else if (status != STATUS_OK) {
        session_copy_error(error, PQerrorMessage(conn));
    } else if (PQsetnonblocking(conn, 1) != 0) {
        session_copy_error(error, PQerrorMessage(conn));
        status = STATUS_UNAVAILABLE;
    } else {
        status = prepare_session(conn, options, error);
    }
    if (status != STATUS_OK) {
        PQfinish(conn);
        return status;
    }
    *ret_conn = conn;
    return STATUS_OK;
}
