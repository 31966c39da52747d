#include "ledger/session.h"

#include "ledger/database_internal.h"
#include "quota/times.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Plans are generic and made of nested index look-ups only: every statement here finds rows by their
 * keys, and a plan that was chosen while a table was small must not scan it when it is large.
 */
/* clang-format off */
static const char settings_format[] =
    "SET synchronous_commit = on;"
    "SET statement_timeout = %d;"
    "SET lock_timeout = %d;"
    "SET idle_in_transaction_session_timeout = " TEXT_OF(TRANSACTION_IDLE_MS) ";"
    "SET search_path = public;"
    "SET client_min_messages = warning;"
    "SET default_transaction_isolation = 'read committed';"
    "SET default_transaction_read_only = off;"
    "SET plan_cache_mode = force_generic_plan;"
    "SET enable_seqscan = off;"
    "SET enable_hashjoin = off;"
    "SET enable_mergejoin = off;"
    "SET enable_material = off;"
    "SET enable_bitmapscan = off;"
    "SET jit = off;"
    "SELECT current_setting('fsync'), current_setting('full_page_writes'),"
    " current_setting('synchronous_commit'), pg_is_in_recovery()::text";
/* clang-format on */

void session_copy_error(char error[SESSION_ERROR_MAX], const char *message)
{
    size_t len = strcspn(message, "\n");

    snprintf(error, SESSION_ERROR_MAX, "%.*s", (int)(len < SESSION_ERROR_MAX ? len : 255), message);
}

/* Of a text that may have a password in it libpq's message quotes pieces. */
static void hide_quoted(char *message)
{
    bool inside = false;

    for (char *at = message; *at; at++) {
        if (*at == '"')
            inside = !inside;
        else if (inside)
            *at = '*';
    }
}

/* The rest of a password that ended at its own '@' or '/', in a URI. */
static bool has_torn_password(const PQconninfoOption *parsed, const char *conninfo)
{
    static const char *const places[] = {"host", "hostaddr", "port", "dbname"};

    if (!strstr(conninfo, "://") || strstr(conninfo, "%40"))
        return false;
    for (; parsed->keyword; parsed++)
        for (size_t i = 0; i < ARRAY_COUNT(places); i++)
            if (parsed->val && strcmp(parsed->keyword, places[i]) == 0 && strchr(parsed->val, '@'))
                return true;
    return false;
}

bool session_conninfo_valid(const char *conninfo, char error[SESSION_ERROR_MAX])
{
    char *message = NULL;
    PQconninfoOption *parsed = PQconninfoParse(conninfo, &message);
    bool torn = parsed && has_torn_password(parsed, conninfo);

    if (!parsed)
        session_copy_error(error, message ? message : "out of memory");
    if (!parsed && (strchr(conninfo, '@') || strstr(conninfo, "pass")))
        hide_quoted(error);
    if (torn)
        snprintf(error, SESSION_ERROR_MAX,
                 "there is an \"@\" too many; in a password of a URI, \"@\" is written %%40, \"/\" "
                 "%%2F, \":\" %%3A");
    PQconninfoFree(parsed);
    PQfreemem(message);
    return parsed && !torn;
}

bool session_has_password(const char *conninfo)
{
    PQconninfoOption *parsed = PQconninfoParse(conninfo, NULL);
    bool found = false;

    for (const PQconninfoOption *option = parsed; option && option->keyword; option++)
        found |= option->val && *option->val && strstr(option->keyword, "password");
    PQconninfoFree(parsed);
    return found;
}

/* For reading, and for writing if wanted. False: deadline_us of clock_mono_us is over, or stop is due. */
static bool wait_for_socket(PGconn *conn, bool want_write, const struct clock *clock,
                            const struct stop *stop, int64_t deadline_us)
{
    struct pollfd fd = {.fd = PQsocket(conn), .events = POLLIN};

    if (want_write)
        fd.events |= POLLOUT;
    for (;;) {
        int64_t now_us = clock_mono_us(clock);
        int ready;

        if (deadline_us < now_us || stop_is_due(stop, now_us))
            return false;
        ready = poll(&fd, 1, stop_slice_ms(stop, (deadline_us - now_us) / 1000 + 1));
        if (ready > 0)
            return true;
        if (ready < 0 && errno != EINTR)
            return false;
    }
}

PGresult *session_result(PGconn *conn, const struct clock *clock, const struct stop *stop,
                         int64_t deadline_us, bool *ret_timeout)
{
    *ret_timeout = false;
    for (;;) {
        int unsent = PQflush(conn);

        if (unsent == 0 && !PQisBusy(conn))
            return PQgetResult(conn);
        if (unsent < 0)
            return PQgetResult(conn);
        if (!wait_for_socket(conn, unsent > 0, clock, stop, deadline_us)) {
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
    {"25P03", STATUS_UNAVAILABLE}, /* idle_in_transaction_session_timeout: the session was ended */
    {"53300", STATUS_UNAVAILABLE}, /* too_many_connections */
    {"57014", STATUS_UNAVAILABLE}, /* query_canceled: statement_timeout, it is too slow now */
    {"22", STATUS_INVALID},        /* data_exception */
    {"23", STATUS_INVALID},        /* integrity_constraint_violation */
    {"54", STATUS_INVALID},        /* program_limit_exceeded: a key that is too long */
    {"28", STATUS_REFUSED},        /* invalid_authorization_specification */
    {"3D", STATUS_REFUSED},        /* invalid_catalog_name */
    {"08", STATUS_UNAVAILABLE},    /* connection_exception */
    {"57P", STATUS_UNAVAILABLE},   /* shutdown, crash of another session, not up yet */
    {"", STATUS_FAULT},
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
    case PGRES_COPY_OUT:
    case PGRES_COPY_IN:
    case PGRES_BAD_RESPONSE:
    case PGRES_NONFATAL_ERROR:
    case PGRES_FATAL_ERROR:
    case PGRES_COPY_BOTH:
    case PGRES_SINGLE_TUPLE:
    case PGRES_PIPELINE_ABORTED:
        break;
    }
    code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (!code)
        return STATUS_UNAVAILABLE;
    for (size_t i = 0;; i++)
        if (strncmp(code, meanings[i].code, strlen(meanings[i].code)) == 0)
            return meanings[i].status;
}

void session_copy_sqlstate(char sqlstate[SQLSTATE_BYTES], const PGresult *result)
{
    const char *code = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;

    snprintf(sqlstate, SQLSTATE_BYTES, "%s", code ? code : "");
}

bool session_is_fault(enum status status, const char *sqlstate)
{
    /* A key that is taken is how two writers learn of each other. */
    return status == STATUS_FAULT || (status == STATUS_INVALID && strcmp(sqlstate, "23505") != 0);
}

/*
 * libpq looks at the values of conninfo (port, sslmode, lists of hosts) only when it connects, and tells
 * such a mistake from an absent server by its words alone.
 */
static bool is_unusable(const char *message)
{
    return strncmp(message, "invalid ", 8) == 0 || strncmp(message, "could not match ", 16) == 0;
}

/*
 * The server is there and does not let this user in, or has no such database. libpq keeps the SQLSTATE of
 * that to itself, but for a message of the verbose form: "FATAL:  28P01: password authentication failed".
 */
static bool is_turned_away(const PGconn *conn)
{
    if (PQconnectionNeedsPassword(conn))
        return true;
    for (const char *at = strstr(PQerrorMessage(conn), ":  "); at; at = strstr(at + 1, ":  ")) {
        const char *code = at + 3;

        if (strlen(code) > 5 && code[5] == ':' &&
            (strncmp(code, "28", 2) == 0 || strncmp(code, "3D", 2) == 0))
            return true;
    }
    return false;
}

static enum status connect_wait(PGconn *conn, const struct session_options *options)
{
    int64_t deadline_us =
        clock_mono_us(options->clock) + (int64_t)options->connect_timeout_ms * 1000;
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;

    if (PQstatus(conn) == CONNECTION_BAD)
        return is_unusable(PQerrorMessage(conn)) ? STATUS_REFUSED : STATUS_UNAVAILABLE;
    while (state != PGRES_POLLING_OK) {
        struct pollfd fd = {.fd = PQsocket(conn)};
        int64_t now_us = clock_mono_us(options->clock);

        if (state == PGRES_POLLING_FAILED)
            return is_turned_away(conn) ? STATUS_REFUSED : STATUS_UNAVAILABLE;
        fd.events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (deadline_us < now_us || stop_is_due(options->stop, now_us))
            return STATUS_TIMEOUT;
        if (poll(&fd, 1, stop_slice_ms(options->stop, (deadline_us - now_us) / 1000 + 1)) > 0)
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
    int64_t deadline_us =
        clock_mono_us(options->clock) +
        (int64_t)(options->statement_timeout_ms + options->connect_timeout_ms) * 1000;
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
    while ((result = session_result(conn, options->clock, options->stop, deadline_us, &timeout))) {
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

/* On another history a loss could still be found: nothing is recorded there before (quota/loss.h). */
static enum status check_compared(PGconn *conn, const struct session_options *options,
                                  char error[SESSION_ERROR_MAX])
{
    int64_t deadline_us =
        clock_mono_us(options->clock) + options->statement_timeout_ms * INT64_C(1000);
    enum status status = STATUS_UNAVAILABLE;
    PGresult *result;
    bool timeout;

    session_copy_error(error, "the database did not answer");
    if (!PQsendQuery(conn, "SELECT " LEDGER_COMPARED_SQL))
        return STATUS_UNAVAILABLE;
    while ((result = session_result(conn, options->clock, options->stop, deadline_us, &timeout))) {
        if (session_status(result) != STATUS_OK)
            session_copy_error(error, PQresultErrorMessage(result));
        else if (PQntuples(result) == 1 && is_value(result, 0, "t"))
            status = STATUS_OK;
        else
            session_copy_error(error,
                               "a standby has taken over, or it is another cluster: what it has is"
                               " being compared with Redis");
        PQclear(result);
    }
    return timeout ? STATUS_UNAVAILABLE : status;
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

/* After this a peer that is gone is one: so long a probe or sent bytes go without an answer. */
#define KEEPALIVE_IDLE_S 10
#define KEEPALIVE_EVERY_S 5
#define KEEPALIVE_COUNT 3
#define UNACKNOWLEDGED_MS 20000

/*
 * libpq goes on to the next host of a list when one refuses, but waits for one that says nothing as long as
 * it is let. So each is tried by itself, with its own time.
 */
enum { HOSTS_MAX = 16 /* a longer list is left to libpq */ };

struct hosts {
    size_t count;                    /* 0: conninfo as it is */
    char *texts[3];                  /* host, hostaddr, port; commas are ends. To be freed */
    const char *names[3][HOSTS_MAX]; /* NULL: not given */
};

/* The host that let somebody in last: the next connection begins with it. */
static _Atomic size_t host_first;

/* Cuts a list at its commas; 0 if there is none, or if libpq has to judge it. */
static size_t cut_list(char *text, const char *names[HOSTS_MAX])
{
    size_t count = 0;

    for (char *at = text; at;) {
        char *comma = strchr(at, ',');

        if (comma)
            *comma = '\0';
        if (*at == '\0' || count == HOSTS_MAX)
            return 0;
        names[count++] = at;
        at = comma ? comma + 1 : NULL;
    }
    return count;
}

static void hosts_done(struct hosts *hosts)
{
    for (size_t i = 0; i < ARRAY_COUNT(hosts->texts); i++)
        free(hosts->texts[i]);
}

static const char *const host_words[] = {"host", "hostaddr", "port"};

static void copy_lists(struct hosts *hosts, const char *conninfo)
{
    PQconninfoOption *parsed = PQconninfoParse(conninfo, NULL);

    for (const PQconninfoOption *option = parsed; option && option->keyword; option++)
        for (size_t i = 0; i < ARRAY_COUNT(host_words); i++)
            if (option->val && strcmp(option->keyword, host_words[i]) == 0)
                hosts->texts[i] = strdup(option->val);
    PQconninfoFree(parsed);
}

/* Lists that do not fit each other are libpq's to refuse. */
static void hosts_init(struct hosts *hosts, const char *conninfo)
{
    size_t counts[3] = {0}, most;

    *hosts = (struct hosts){0};
    copy_lists(hosts, conninfo);
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++)
        counts[i] = cut_list(hosts->texts[i], hosts->names[i]);
    most = counts[0] > counts[1] ? counts[0] : counts[1];
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++)
        if (hosts->texts[i] && counts[i] != most && !(i == 2 && counts[i] == 1))
            return;
    for (size_t i = 1; counts[2] == 1 && i < most; i++)
        hosts->names[2][i] = hosts->names[2][0];
    hosts->count = most > 1 ? most : 0;
}

static PGconn *connect_start(const char *conninfo, const struct hosts *hosts, size_t which)
{
    /* Later keywords win over conninfo, which dbname is expanded from. */
    const char *keywords[] = {"dbname",           "fallback_application_name",
                              "keepalives_idle",  "keepalives_interval",
                              "keepalives_count", "tcp_user_timeout",
                              host_words[0],      host_words[1],
                              host_words[2],      NULL};
    const char *values[] = {
        conninfo,
        "holdfast",
        TEXT_OF(KEEPALIVE_IDLE_S),
        TEXT_OF(KEEPALIVE_EVERY_S),
        TEXT_OF(KEEPALIVE_COUNT),
        TEXT_OF(UNACKNOWLEDGED_MS),
        hosts->count > 0 ? hosts->names[0][which] : NULL,
        hosts->count > 0 ? hosts->names[1][which] : NULL,
        hosts->count > 0 ? hosts->names[2][which] : NULL,
        NULL,
    };

    return PQconnectStartParams(keywords, values, 1);
}

/* One host, or conninfo as it is. */
static enum status open_one(const struct session_options *options, const struct hosts *hosts,
                            size_t which, PGconn **ret_conn, char error[SESSION_ERROR_MAX])
{
    PGconn *conn = connect_start(options->conninfo, hosts, which);
    enum status status;

    *ret_conn = NULL;
    CHECK(conn);
    PQsetNoticeReceiver(conn, ignore_notice, NULL);
    PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
    status = connect_wait(conn, options);
    PQsetErrorVerbosity(conn, PQERRORS_DEFAULT);
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
        if (status == STATUS_OK && options->compared)
            status = check_compared(conn, options, error);
    }
    if (status != STATUS_OK) {
        PQfinish(conn);
        return status;
    }
    *ret_conn = conn;
    return STATUS_OK;
}

enum status session_open(const struct session_options *options, PGconn **ret_conn,
                         char error[SESSION_ERROR_MAX])
{
    enum status status = STATUS_UNAVAILABLE;
    bool wait = false;
    struct hosts hosts;
    size_t first = atomic_load(&host_first);

    hosts_init(&hosts, options->conninfo);
    for (size_t i = 0; i == 0 || i < hosts.count; i++) {
        size_t which = hosts.count > 0 ? (first + i) % hosts.count : 0;

        status = open_one(options, &hosts, which, ret_conn, error);
        if (status == STATUS_OK && hosts.count > 0)
            atomic_store(&host_first, which);
        if (status == STATUS_OK || stop_is_due(options->stop, clock_mono_us(options->clock)))
            break;
        wait |= status == STATUS_UNAVAILABLE;
    }
    hosts_done(&hosts);
    /* One that may come back later is waited for, whatever the others say. */
    return status != STATUS_OK && wait ? STATUS_UNAVAILABLE : status;
}
