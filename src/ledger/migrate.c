/*
 * Migrations: the files of sql/, built in, each applied once and in order. The version that a
 * database has reached stands in its table schema_migration, written in the same transaction.
 */
#include "ledger/database_internal.h"
#include "ledger/migrations.h"
#include "ledger/session.h"
#include "quota/times.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Runs any number of statements; *ret_number: the last row's only column as a number. */
static enum status run(PGconn *conn, const struct clock *clock, const char *text,
                       int64_t *ret_number, char error[SESSION_ERROR_MAX])
{
    int64_t deadline_us =
        clock_mono_us(clock) + INT64_C(1000) * (STATEMENT_MIGRATION_MS + ANSWER_GRACE_BLOCKING_MS);
    enum status status = STATUS_OK;
    PGresult *result;
    bool timeout;

    if (!PQsendQuery(conn, text)) {
        session_copy_error(error, PQerrorMessage(conn));
        return STATUS_UNAVAILABLE;
    }
    while ((result = session_result(conn, clock, NULL, deadline_us, &timeout))) {
        if (status == STATUS_OK && session_status(result) != STATUS_OK) {
            status = session_status(result);
            session_copy_error(error, PQresultErrorMessage(result));
        }
        if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 && ret_number)
            *ret_number = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
        PQclear(result);
    }
    if (timeout || PQstatus(conn) != CONNECTION_OK) {
        snprintf(error, SESSION_ERROR_MAX, "the connection broke");
        return STATUS_UNAVAILABLE;
    }
    return status;
}

static enum status apply(PGconn *conn, const struct clock *clock, const struct migration *migration,
                         char error[SESSION_ERROR_MAX])
{
    char note[128];
    enum status status = run(conn, clock, migration->text, NULL, error);

    if (status != STATUS_OK)
        return status;
    snprintf(note, sizeof(note), "INSERT INTO schema_migration (version, name) VALUES (%d, '%s')",
             migration->version, migration->name);
    return run(conn, clock, note, NULL, error);
}

/* clang-format off */
static const char begin_text[] =
    "SET LOCAL statement_timeout = " TEXT_OF(STATEMENT_MIGRATION_MS) ";"
    "SET LOCAL lock_timeout = " TEXT_OF(STATEMENT_MIGRATION_MS) ";"
    "SELECT pg_advisory_xact_lock(" TEXT_OF(LEDGER_LOCKS) ", 1);"
    "CREATE TABLE IF NOT EXISTS schema_migration (version integer PRIMARY KEY,"
    " name text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());"
    "SELECT coalesce(max(version), 0) FROM schema_migration";
/* clang-format on */

static enum status apply_missing(PGconn *conn, const struct clock *clock,
                                 char error[SESSION_ERROR_MAX])
{
    int64_t reached = 0;
    enum status status = run(conn, clock, begin_text, &reached, error);

    if (status == STATUS_OK && reached > migrations[migrations_count - 1].version) {
        snprintf(error, SESSION_ERROR_MAX, "the schema is of version %lld, this program knows %d",
                 (long long)reached, migrations[migrations_count - 1].version);
        return STATUS_REFUSED;
    }
    for (size_t i = 0; status == STATUS_OK && i < migrations_count; i++)
        if (migrations[i].version > reached)
            status = apply(conn, clock, &migrations[i], error);
    return status;
}

enum status database_migrate_connection(PGconn *conn, const struct clock *clock,
                                        char error[SESSION_ERROR_MAX])
{
    enum status status = run(conn, clock, "BEGIN", NULL, error);

    if (status != STATUS_OK)
        return status;
    status = apply_missing(conn, clock, error);
    if (status == STATUS_OK)
        return run(conn, clock, "COMMIT", NULL, error);
    if (PQstatus(conn) == CONNECTION_OK) {
        char ignored[SESSION_ERROR_MAX];

        if (run(conn, clock, "ROLLBACK", NULL, ignored) != STATUS_OK)
            return status;
    }
    return status;
}
