/*
 * The files of sql/ as they are built into the program (embed.cmake), in the order of their numbers.
 */
#ifndef HOLDFAST_LEDGER_MIGRATIONS_H
#define HOLDFAST_LEDGER_MIGRATIONS_H

#include "base/clock.h"
#include "base/status.h"
#include "ledger/session.h"

#include <libpq-fe.h>
#include <stddef.h>

struct migration {
    int version; /* the number in front of the file's name */
    const char *name;
    const char *text;
};

extern const struct migration migrations[];
extern const size_t migrations_count;

/* database_migrate on an open connection. */
MUST_CHECK enum status database_migrate_connection(PGconn *conn, const struct clock *clock,
                                                   char error[SESSION_ERROR_MAX]);

#endif
