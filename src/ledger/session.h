/*
 * Opening a connection to Postgres the way every user of this folder does: with a time limit, with
 * the session's settings made and with proof of what durability rests on.
 *
 * Any thread, one at a time per connection.
 */
#ifndef HOLDFAST_LEDGER_SESSION_H
#define HOLDFAST_LEDGER_SESSION_H

#include "base/check.h"
#include "base/clock.h"
#include "base/status.h"
#include "base/stop.h"
#include "ledger/alarms.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SESSION_ERROR_MAX = 256 };

struct session_options {
    const char *conninfo;
    int connect_timeout_ms;
    int statement_timeout_ms;
    int lock_timeout_ms;
    const struct clock *clock;
    const struct stop *stop; /* when it is due nothing is waited for; may be NULL */
    bool compared; /* no database whose history was not compared with Redis: UNAVAILABLE */
};

/*
 * Waits for the connection at most connect_timeout_ms, and for the queries that make and test its
 * settings at most statement_timeout_ms each. If conninfo lists several hosts, they are tried one after
 * another, each for that long, beginning with the one that let somebody of this process in last.
 * UNAVAILABLE: try later; REFUSED: this database must not be used, or it is there and does not let this
 * user in, or conninfo can never work. error says why, of the host that was tried last.
 */
MUST_CHECK enum status session_open(const struct session_options *options, PGconn **ret_conn,
                                    char error[SESSION_ERROR_MAX]);

/*
 * True if the text can be parsed; error says why not, without what may be a password. Values (a port,
 * sslmode) are judged by session_open.
 */
MUST_CHECK bool session_conninfo_valid(const char *conninfo, char error[SESSION_ERROR_MAX]);

/* True if a password stands in the text itself. */
bool session_has_password(const char *conninfo);

/*
 * The next result of what was sent, as PQgetResult, or NULL when there is no more. *ret_timeout:
 * nothing came until deadline_us; the connection is of no use any more.
 */
PGresult *session_result(PGconn *conn, const struct clock *clock, const struct stop *stop,
                         int64_t deadline_us, bool *ret_timeout);

/*
 * What a failed result means; NULL: the connection is gone. OK for results that did not fail.
 * UNAVAILABLE only where the connection or the server went away, or a statement took too long; FAULT
 * for an error that another connection would meet again.
 */
enum status session_status(const PGresult *result);

/* The result's SQLSTATE into sqlstate; "" if it has none. */
void session_copy_sqlstate(char sqlstate[SQLSTATE_BYTES], const PGresult *result);

/* True for errors that are counted and told to people: FAULT, and data that a constraint refuses. */
bool session_is_fault(enum status status, const char *sqlstate);

/*
 * Counts warnings from here on into *count. One that comes with COMMIT says that the transaction may
 * be less durable than was asked for (a wait for the synchronous standby was cut short): the outcome
 * is then unknown.
 */
void session_count_warnings(PGconn *conn, int *count);

/* Copies a message of libpq, which ends in a newline. */
void session_copy_error(char error[SESSION_ERROR_MAX], const char *message);

#endif
