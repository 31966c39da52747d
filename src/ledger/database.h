/*
 * One connection to Postgres, blocking, for one thread. (The committer has its own, asynchronous.)
 *
 * Connecting verifies what durability rests on and refuses otherwise (STATUS_REFUSED, with a sentence
 * that names the setting): fsync and full_page_writes on, not a replica; and sets for the session
 * synchronous_commit=on, statement_timeout, lock_timeout, idle_in_transaction_session_timeout 2 s
 * and search_path. After a failure the connection is closed and the next use connects anew; after
 * an attempt in vain not before 100 ms are over.
 *
 * Statuses: UNAVAILABLE nothing was sent or the transaction certainly did not commit; UNKNOWN the
 * connection broke after COMMIT was sent; CONFLICT 40001, 40P01, 55P03 (lock timeout): run the
 * transaction again; CORRUPT a result of an unexpected shape; INVALID a constraint refused the data.
 */
#ifndef HOLDFAST_LEDGER_DATABASE_H
#define HOLDFAST_LEDGER_DATABASE_H

#include "base/check.h"
#include "base/clock.h"
#include "base/estimate.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

struct database;

struct database_options {
    const char *conninfo; /* libpq: key=value words or a URI */
    int connect_timeout_ms;
    int statement_timeout_ms; /* locks are waited for half as long */
    const struct clock *clock;
    struct estimate *estimate; /* told of every clock_timestamp() that is read; may be NULL */
};

/* Connects lazily. */
struct database *database_create(const struct database_options *options);
void database_destroy(struct database *database);

/* Connects if need be and asks the database for its time. */
MUST_CHECK enum status database_ping(struct database *database);
const char *database_error(const struct database *database); /* last one; "" if none */

/* Applies the numbered files of sql/ that are missing, under an advisory lock. Safe to run by many. */
MUST_CHECK enum status database_migrate(struct database *database, char *error, size_t error_bytes);

#endif
