#include "ledger/database_internal.h"

#include "base/fault.h"
#include "ledger/migrations.h"
#include "ledger/pulse.h"
#include "ledger/session.h"
#include "quota/times.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PREPARED_MAX = 128,
    RECONNECT_MS = 100,
    IDLE_READS_MAX = 4,
    PULSE_LOOK_MS = 100,
};

struct database {
    struct database_options options;
    char *conninfo;
    PGconn *conn;
    bool in_transaction;
    int warnings;
    int64_t connect_not_before_us;
    enum status connect_status; /* of the last attempt */
    size_t prepared_count;
    const struct statement *prepared[PREPARED_MAX];
    char error[SESSION_ERROR_MAX];
    char sqlstate[SQLSTATE_BYTES];
};

struct database *database_create(const struct database_options *options)
{
    struct database *db = calloc(1, sizeof(*db));

    CHECK(db);
    db->options = *options;
    db->conninfo = strdup(options->conninfo);
    CHECK(db->conninfo);
    db->options.conninfo = db->conninfo;
    if (db->options.connect_timeout_ms <= 0)
        db->options.connect_timeout_ms = CONNECT_MS;
    if (db->options.statement_timeout_ms <= 0)
        db->options.statement_timeout_ms = STATEMENT_LONG_MS;
    return db;
}

static void disconnect(struct database *db)
{
    if (db->conn)
        PQfinish(db->conn);
    db->conn = NULL;
    db->in_transaction = false;
    db->prepared_count = 0;
}

void database_destroy(struct database *db)
{
    if (!db)
        return;
    disconnect(db);
    free(db->conninfo);
    free(db);
}

bool database_conninfo_valid(const char *conninfo, char *error, size_t error_bytes)
{
    char why[SESSION_ERROR_MAX];

    if (session_conninfo_valid(conninfo, why))
        return true;
    snprintf(error, error_bytes, "%s", why);
    return false;
}

bool database_has_password(const char *conninfo)
{
    return session_has_password(conninfo);
}

const char *database_error(const struct database *db)
{
    return db->error;
}

const char *database_sqlstate(const struct database *db)
{
    return db->sqlstate;
}

struct alarms *database_alarms(const struct database *db)
{
    return db->options.alarms;
}

enum status database_corrupt(struct database *db, const char *what)
{
    snprintf(db->error, sizeof(db->error), "unexpected answer: %s", what);
    db->sqlstate[0] = '\0';
    return STATUS_CORRUPT;
}

/*
 * Between two commands the server says nothing, unless it ends: a connection that was lost while it
 * lay idle is seen here, before anything is sent on it, and costs its next user no failure.
 */
static bool is_alive(struct database *db)
{
    struct pollfd poll_fd = {.fd = PQsocket(db->conn), .events = POLLIN};

    for (int i = 0; i < IDLE_READS_MAX; i++) {
        if (poll(&poll_fd, 1, 0) == 0)
            return true;
        if (!PQconsumeInput(db->conn) || PQstatus(db->conn) != CONNECTION_OK)
            return false;
        (void)PQisBusy(db->conn); /* takes what has been read: a last word, or a notice */
    }
    return false;
}

static const char silent[] = "the database does not answer";

static enum status connect_now(struct database *db)
{
    const struct session_options session = {
        .conninfo = db->conninfo,
        .connect_timeout_ms = db->options.connect_timeout_ms,
        .statement_timeout_ms = db->options.statement_timeout_ms,
        .lock_timeout_ms = db->options.lock_timeout_ms > 0 ? db->options.lock_timeout_ms
                                                           : db->options.statement_timeout_ms / 2,
        .clock = db->options.clock,
        .stop = db->options.stop,
        .compared = db->options.compared,
    };

    db->sqlstate[0] = '\0'; /* what fails from here on is not what was answered before */
    if (stop_is_due(db->options.stop, clock_mono_us(db->options.clock))) {
        snprintf(db->error, sizeof(db->error), "the server is stopping");
        return STATUS_UNAVAILABLE;
    }
    if (pulse_is_silent(db->options.pulse)) {
        disconnect(db); /* the next one may lead elsewhere */
        snprintf(db->error, sizeof(db->error), "%s", silent);
        return STATUS_UNAVAILABLE;
    }
    if (db->conn && PQstatus(db->conn) == CONNECTION_OK && is_alive(db))
        return STATUS_OK;
    disconnect(db);
    if (clock_mono_us(db->options.clock) < db->connect_not_before_us)
        return db->connect_status;
    db->connect_status = session_open(&session, &db->conn, db->error);
    if (db->connect_status == STATUS_OK) {
        session_count_warnings(db->conn, &db->warnings);
        return STATUS_OK;
    }
    pulse_doubt(db->options.pulse);
    db->connect_not_before_us = clock_mono_us(db->options.clock) + RECONNECT_MS * 1000;
    return db->connect_status;
}

/* Keeps what a failed result says, and tells the alarms of a fault. */
static void note_error(struct database *db, const PGresult *result)
{
    enum status status = session_status(result);

    session_copy_error(db->error, PQresultErrorMessage(result));
    session_copy_sqlstate(db->sqlstate, result);
    if (session_is_fault(status, db->sqlstate))
        alarms_fault(db->options.alarms, db->sqlstate, db->error);
}

/* The next result. While the deadline is far, one that the pulse says will not come is not waited for. */
static PGresult *next_result(struct database *db, int64_t sent_us, int64_t deadline_us,
                             bool *ret_timeout)
{
    for (;;) {
        int64_t look_us = clock_mono_us(db->options.clock) + PULSE_LOOK_MS * INT64_C(1000);
        bool last = !db->options.pulse || look_us > deadline_us;
        PGresult *result = session_result(db->conn, db->options.clock, db->options.stop,
                                          last ? deadline_us : look_us, ret_timeout);

        if (!*ret_timeout || last || pulse_fails(db->options.pulse, sent_us) ||
            stop_is_due(db->options.stop, clock_mono_us(db->options.clock)))
            return result;
    }
}

/*
 * Waits for the answer of one query, of which the first result counts. Whatever else comes is
 * dropped. NULL: the connection is gone; it was closed.
 */
static PGresult *answer(struct database *db)
{
    int64_t sent_us = clock_mono_us(db->options.clock);
    int64_t deadline_us =
        sent_us + ((int64_t)db->options.statement_timeout_ms + ANSWER_GRACE_BLOCKING_MS) * 1000;
    PGresult *first = NULL;
    PGresult *result;
    bool timeout;

    db->sqlstate[0] = '\0';
    while ((result = next_result(db, sent_us, deadline_us, &timeout))) {
        if (!first || PQresultStatus(result) == PGRES_FATAL_ERROR) {
            PQclear(first);
            first = result;
        } else {
            PQclear(result);
        }
    }
    if (timeout) {
        snprintf(db->error, sizeof(db->error), "no answer in time");
        PQclear(first);
        first = NULL;
    } else if (first && session_status(first) != STATUS_OK) {
        note_error(db, first);
    } else if (!first) {
        session_copy_error(db->error, PQerrorMessage(db->conn));
    }
    if (!first || PQstatus(db->conn) != CONNECTION_OK) {
        bool in_transaction = db->in_transaction;

        disconnect(db);
        /* So that the rest of a failed transaction does not run outside of one. */
        db->in_transaction = in_transaction;
    }
    return first;
}

/* A command without parameters. */
static enum status command(struct database *db, const char *text)
{
    enum status status;
    PGresult *result;

    if (!PQsendQuery(db->conn, text)) {
        session_copy_error(db->error, PQerrorMessage(db->conn));
        return STATUS_UNAVAILABLE;
    }
    result = answer(db);
    status = session_status(result);
    PQclear(result);
    return status;
}

enum status database_begin(struct database *db)
{
    enum status status;

    CHECK(!db->in_transaction);
    status = connect_now(db);
    if (status != STATUS_OK)
        return status;
    status = command(db, "BEGIN");
    db->in_transaction = status == STATUS_OK;
    return status;
}

enum status database_commit(struct database *db)
{
    enum status status;
    PGresult *result;

    CHECK(db->in_transaction);
    db->in_transaction = false;
    db->sqlstate[0] = '\0';
    if (!db->conn)
        return STATUS_UNAVAILABLE;
    db->warnings = 0;
    if (!PQsendQuery(db->conn, "COMMIT")) {
        session_copy_error(db->error, PQerrorMessage(db->conn));
        disconnect(db);
        return STATUS_UNKNOWN;
    }
    result = answer(db);
    if (!result)
        return STATUS_UNKNOWN;
    status = session_status(result);
    if (status == STATUS_OK && db->warnings == 0)
        pulse_heard(db->options.pulse);
    if (status == STATUS_OK && FAULT("database.commit_error")) {
        snprintf(db->error, sizeof(db->error), "an error planted by a fault point");
        status = STATUS_FAULT;
    }
    if (!session_is_fault(status, db->sqlstate))
        db->sqlstate[0] = '\0';
    /* An error says that something failed, not that nothing was committed before it did. */
    if (status != STATUS_OK)
        status = STATUS_UNKNOWN;
    if (status == STATUS_OK && strcmp(PQcmdStatus(result), "COMMIT") != 0) {
        snprintf(db->error, sizeof(db->error), "the transaction was rolled back");
        status = STATUS_UNAVAILABLE;
    } else if (status == STATUS_OK && db->warnings > 0) {
        snprintf(db->error, sizeof(db->error), "the commit was confirmed with a warning");
        status = STATUS_UNKNOWN;
    }
    PQclear(result);
    return status;
}

void database_rollback(struct database *db)
{
    if (!db->in_transaction)
        return;
    db->in_transaction = false;
    if (db->conn) {
        char error[SESSION_ERROR_MAX];
        char sqlstate[SQLSTATE_BYTES];

        memcpy(error, db->error, sizeof(error));
        memcpy(sqlstate, db->sqlstate, sizeof(sqlstate));
        if (command(db, "ROLLBACK") != STATUS_OK)
            disconnect(db);
        memcpy(db->error, error, sizeof(error));
        memcpy(db->sqlstate, sqlstate, sizeof(sqlstate));
        db->in_transaction = false;
    }
}

static enum status prepare(struct database *db, const struct statement *statement)
{
    enum status status;
    PGresult *result;

    for (size_t i = 0; i < db->prepared_count; i++)
        if (db->prepared[i] == statement)
            return STATUS_OK;
    CHECK(db->prepared_count < PREPARED_MAX);
    if (!PQsendPrepare(db->conn, statement->name, statement->text, 0, NULL)) {
        session_copy_error(db->error, PQerrorMessage(db->conn));
        return STATUS_UNAVAILABLE;
    }
    result = answer(db);
    status = session_status(result);
    PQclear(result);
    if (status == STATUS_OK)
        db->prepared[db->prepared_count++] = statement;
    return status;
}

enum status database_run(struct database *db, const struct statement *statement,
                         struct sql_params *params, PGresult **ret_result)
{
    struct sql_params none = {0};
    enum status status = STATUS_OK;
    PGresult *result;

    if (ret_result)
        *ret_result = NULL;
    params = params ? params : &none;
    if (params->bad) {
        snprintf(db->error, sizeof(db->error), "no memory left for %s", statement->name);
        return STATUS_EXHAUSTED;
    }
    if (!db->in_transaction)
        status = connect_now(db);
    else if (!db->conn)
        status = STATUS_UNAVAILABLE;
    if (status == STATUS_OK)
        status = prepare(db, statement);
    if (status != STATUS_OK)
        return status;
    if (!PQsendQueryPrepared(db->conn, statement->name, params->count, params->values,
                             params->lengths, params->formats, 1)) {
        session_copy_error(db->error, PQerrorMessage(db->conn));
        return STATUS_UNAVAILABLE;
    }
    result = answer(db);
    if (!result)
        return db->in_transaction ? STATUS_UNAVAILABLE : STATUS_UNKNOWN;
    status = session_status(result);
    if (status == STATUS_OK && ret_result)
        *ret_result = result;
    else
        PQclear(result);
    return status;
}

enum status database_run_counted(struct database *db, const struct statement *statement,
                                 struct sql_params *params, size_t *ret_rows)
{
    PGresult *result;
    enum status status = database_run(db, statement, params, &result);

    *ret_rows = 0;
    if (status != STATUS_OK)
        return status;
    *ret_rows = (size_t)strtoull(PQcmdTuples(result), NULL, 10);
    PQclear(result);
    return STATUS_OK;
}

static const struct statement clock_statement = {"clock", "SELECT clock_timestamp()"};

int64_t database_mono_us(const struct database *db)
{
    return clock_mono_us(db->options.clock);
}

void database_observe(struct database *db, int64_t now_ms, int64_t sent_us)
{
    if (db->options.estimate)
        estimate_observe(db->options.estimate, now_ms, sent_us, database_mono_us(db));
}

enum status database_clock(struct database *db, int64_t *ret_now_ms)
{
    int64_t sent_us = database_mono_us(db);
    PGresult *result;
    struct sql_row row;
    enum status status = database_run(db, &clock_statement, NULL, &result);

    if (status != STATUS_OK)
        return status;
    row = sql_rows(result, NULL);
    if (!sql_next(&row))
        row.bad = true;
    else
        *ret_now_ms = sql_time_ms(&row);
    status = sql_done(&row);
    if (status != STATUS_OK)
        return database_corrupt(db, "clock");
    database_observe(db, *ret_now_ms, sent_us);
    return STATUS_OK;
}

enum status database_ping(struct database *db)
{
    int64_t now_ms;
    enum status status = database_clock(db, &now_ms);

    /* Reading the clock changes nothing, so it does not matter whether it ran. */
    return status == STATUS_UNKNOWN ? STATUS_UNAVAILABLE : status;
}

/* Ran into lock_timeout: whoever has the lock may have it for long, and that is the caller's affair. */
static bool waited(const struct database *db)
{
    return strcmp(db->sqlstate, "55P03") == 0;
}

enum status database_transact(struct database *db,
                              enum status (*body)(struct database *db, void *user), void *user)
{
    enum status status = STATUS_CONFLICT;

    for (int i = 0; i < TRANSACT_TRIES && status == STATUS_CONFLICT && !(i > 0 && waited(db));
         i++) {
        status = database_begin(db);
        if (status != STATUS_OK)
            return status;
        status = body(db, user);
        if (status == STATUS_OK)
            status = database_commit(db);
        else
            database_rollback(db);
    }
    return status;
}

enum status database_migrate(struct database *db, char *error, size_t error_bytes)
{
    enum status status;

    CHECK(!db->in_transaction);
    status = connect_now(db);
    if (status == STATUS_OK)
        status = database_migrate_connection(db->conn, db->options.clock, db->error);
    if (status != STATUS_OK && error_bytes > 0)
        snprintf(error, error_bytes, "%s", db->error);
    /* Prepared statements may refer to what has changed. */
    disconnect(db);
    return status;
}
