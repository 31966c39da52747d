/*
 * One connection to Postgres, blocking, for one thread. (The committer has its own, asynchronous.)
 *
 * Connecting verifies what durability rests on and refuses otherwise (STATUS_REFUSED, with a sentence
 * that names the setting): fsync and full_page_writes must be on, it must not be a replica, it must let
 * this user in, and conninfo must not have a value that can never work. It sets for the session
 * synchronous_commit=on, statement_timeout, lock_timeout, idle_in_transaction_session_timeout 2 s,
 * search_path and enable_bitmapscan=off. After a failure the connection is closed and the next use
 * connects anew, at the earliest 100 ms after an attempt that failed.
 *
 * Statuses: UNAVAILABLE nothing was sent or the transaction certainly did not commit; UNKNOWN
 * COMMIT was sent, and the connection broke or COMMIT answered an error: it may have landed all the
 * same; CONFLICT 40001, 40P01, 55P03 (lock timeout): run the
 * transaction again; CORRUPT a result of an unexpected shape; INVALID a constraint refused the data;
 * FAULT any other error that the database answers (a table or a right is missing, the disk is full),
 * told to the alarms.
 */
#ifndef HOLDFAST_LEDGER_DATABASE_H
#define HOLDFAST_LEDGER_DATABASE_H

#include "base/check.h"
#include "base/clock.h"
#include "base/estimate.h"
#include "base/status.h"
#include "base/stop.h"
#include "ledger/alarms.h"

#include <stdbool.h>
#include <stddef.h>

struct database;
struct pulse;

struct database_options {
    const char *conninfo; /* libpq: key=value words or a URI */
    int connect_timeout_ms;
    int statement_timeout_ms;
    int lock_timeout_ms; /* 0: half of the statement's */
    const struct clock *clock;
    struct estimate *estimate; /* told of every clock_timestamp() that is read; may be NULL */
    struct alarms *alarms;     /* told of faults; may be NULL */
    /* While the database is silent (pulse.h), every call fails as if it were away; may be NULL. */
    struct pulse *pulse;
    const struct stop *stop; /* once due, every call fails as if the database were away; or NULL */
    bool compared; /* for who lends: a database that is being compared with Redis counts as away */
};

/* True if conninfo has the form that libpq reads; else `error` says what is wrong, in one line. */
MUST_CHECK bool database_conninfo_valid(const char *conninfo, char *error, size_t error_bytes);

/* True if a password stands in the text itself. */
bool database_has_password(const char *conninfo);

/* Connects lazily. */
struct database *database_create(const struct database_options *options);
void database_destroy(struct database *database);

/* Connects if need be and asks the database for its time. */
MUST_CHECK enum status database_ping(struct database *database);
const char *database_error(const struct database *database);    /* last one; "" if none */
const char *database_sqlstate(const struct database *database); /* of that one; "" if it has none */
struct alarms *database_alarms(const struct database *database); /* those of the options */

/* Applies the numbered files of sql/ that are missing, under an advisory lock. Safe to run by many. */
MUST_CHECK enum status database_migrate(struct database *database, char *error, size_t error_bytes);

#endif
