/*
 * What the files of this folder use to talk to Postgres: statements prepared on first use,
 * parameters and results in binary format, transactions on the blocking connection.
 *
 * Each statement is a constant with a name of its own; casts say the parameters' types:
 *
 *     static const struct statement quota_find = {
 *         "quota_find", "SELECT committed, debt FROM quota WHERE tenant_id = $1::bigint"};
 *
 *     struct sql_params params;
 *     PGresult *result;
 *
 *     sql_params_begin(&params, arena);
 *     sql_add_i64(&params, tenant_id);
 *     status = database_run(db, &quota_find, &params, &result);
 *     if (status != STATUS_OK)
 *         return status;
 *     for (struct sql_row row = sql_rows(result, arena); sql_next(&row);) {
 *         committed = sql_i64(&row);            columns in the order of the SELECT list
 *         debt = sql_i64(&row);
 *     }
 *     status = sql_done(&row)                   CORRUPT if any column was not what was asked for
 */
#ifndef HOLDFAST_LEDGER_DATABASE_INTERNAL_H
#define HOLDFAST_LEDGER_DATABASE_INTERNAL_H

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"
#include "base/status.h"
#include "ledger/database.h"
#include "quota/period.h"
#include "quota/times.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- statements and parameters ---------------------------------------------------------------- */

/* Lives for ever; two statements never share a name. */
struct statement {
    const char *name;
    const char *text;
};

enum { SQL_PARAMS_MAX = 32 };

/*
 * Memory comes from the arena. When that is exhausted `bad` is set and running the statement answers
 * STATUS_EXHAUSTED.
 */
struct sql_params {
    struct arena *arena;
    bool bad;
    int count;
    const char *values[SQL_PARAMS_MAX];
    int lengths[SQL_PARAMS_MAX];
    int formats[SQL_PARAMS_MAX];
};

void sql_params_begin(struct sql_params *params, struct arena *arena);

void sql_add_null(struct sql_params *params);
void sql_add_i64(struct sql_params *params, int64_t value);      /* $n::bigint */
void sql_add_bool(struct sql_params *params, bool value);        /* $n::boolean */
void sql_add_text(struct sql_params *params, struct slice text); /* $n::text; also ::bytea */
void sql_add_time_ms(struct sql_params *params, int64_t ms);     /* $n::timestamptz */
void sql_add_i64s(struct sql_params *params, const int64_t *values, size_t count); /* bigint[] */

/*
 * An array element by element: begin, then exactly `count` elements, in one go (no other sql_add_ in
 * between). Types: bigint[], text[], boolean[].
 */
enum sql_type { SQL_BIGINT, SQL_TEXT, SQL_BOOLEAN };

struct sql_array {
    struct sql_params *params;
    size_t left;
    size_t room;
    char *end;  /* NULL when bad */
    bool plain; /* a column of one row: its value and no array */
};

/* text_bytes: of all texts together; 0 for other types. */
struct sql_array sql_array_begin(struct sql_params *params, enum sql_type type, size_t count,
                                 size_t text_bytes);
void sql_array_i64(struct sql_array *array, int64_t value);
void sql_array_bool(struct sql_array *array, bool value);
void sql_array_text(struct sql_array *array, struct slice text);
void sql_array_null(struct sql_array *array); /* not of a plain one */

/*
 * Rows as parameters: an array for each column, taken apart side by side in the list of a sub-SELECT.
 *
 *     "... FROM (SELECT " SQL_ROWS(1, bigint, tenant) ", " SQL_ROWS(2, text, job) ") AS n JOIN ..."
 *
 * FROM unnest($1, $2, ...) means the same, but makes a tuplestore for every array.
 *
 * Where one row is the common case a statement has two forms: of one row the parameters are plain
 * values, and the planner sees through the sub-SELECT. Both come from one text,
 *
 *     #define THING_FIND(rows) "... FROM (SELECT " rows(1, bigint, tenant) ") AS n JOIN ..."
 *     static const struct statement thing_find[] = SQL_FORMS("thing_find", THING_FIND);
 *
 * thing_find[sql_form(count)] is the one to run, and its columns are begun by sql_column_begin, which
 * makes the same choice.
 */
#define SQL_ROW(number, type, name) "$" #number "::" #type " AS " #name
#define SQL_ROWS(number, type, name) "unnest($" #number "::" #type "[]) AS " #name

enum sql_form { SQL_FORM_ROW, SQL_FORM_ROWS, SQL_FORMS_COUNT };

#define SQL_FORMS(name, text)                                                                      \
    {                                                                                              \
        {name "_row", text(SQL_ROW)},                                                              \
        {                                                                                          \
            name "_rows", text(SQL_ROWS)                                                           \
        }                                                                                          \
    }

static inline enum sql_form sql_form(size_t count)
{
    return count == 1 ? SQL_FORM_ROW : SQL_FORM_ROWS;
}

/* Milliseconds since 1970. A subquery is run once and gives a bigint, so that an index can be used. */
#define SQL_MS_OF(time) "(SELECT floor(extract(epoch FROM " time ") * 1000)::bigint)"

/* The first number of every advisory lock; README.md has the second ones. */
#define LEDGER_LOCKS 7237117

/*
 * Which history of the database this is: the cluster, and how often a standby of it has taken over. The
 * control file lags behind a promotion; the name of a segment does not.
 */
#define LEDGER_SYSTEM_SQL "(SELECT system_identifier FROM pg_control_system())"
#define LEDGER_TIMELINE_SQL                                                                        \
    "('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer::bigint"

/* It was compared with Redis (losses.c). */
#define LEDGER_COMPARED_SQL                                                                        \
    "EXISTS (SELECT FROM history WHERE system = " LEDGER_SYSTEM_SQL                                \
    " AND timeline = " LEDGER_TIMELINE_SQL ")"

/* End of a period that never ends. */
#define LEDGER_NEVER TEXT_OF(PERIOD_END_NEVER)

/* limit_.period_kind is so much more where the limit has a calendar. */
enum { LEDGER_PERIOD_ZONED = 16 };

/* What the column says, whether there is a calendar or not; it may be no period (period_known). */
static inline int64_t ledger_period(int64_t kind)
{
    return kind >= LEDGER_PERIOD_ZONED + PERIOD_DAY && kind <= LEDGER_PERIOD_ZONED + PERIOD_YEAR
               ? kind - LEDGER_PERIOD_ZONED
               : kind;
}

/* The boundaries of its calendar around now, from the beginning of the period before: for calendar_read. */
#define LEDGER_BOUNDARIES_SQL                                                                              \
    "CASE WHEN l.calendar_id IS NOT NULL THEN ARRAY(SELECT k.at_ms FROM boundary k"                        \
    " WHERE k.calendar_id = l.calendar_id AND k.at_ms >= coalesce((SELECT min(p.at_ms)"                    \
    " FROM (SELECT b.at_ms FROM boundary b WHERE b.calendar_id = l.calendar_id AND b.at_ms <= " SQL_MS_OF( \
        "clock_timestamp()") " ORDER BY b.at_ms DESC LIMIT 2) AS p), 0)"                                   \
                             " ORDER BY k.at_ms LIMIT " TEXT_OF(LEDGER_BOUNDARIES_MAX) ") END"
#define LEDGER_BOUNDARIES_MAX 4
_Static_assert(LEDGER_BOUNDARIES_MAX == CALENDAR_BOUNDS_MAX, "a plain number for statements");

/* A period closes when no hold of it can be live or committed on time any more. */
#define LEDGER_GRACE_SQL TEXT_OF(PERIOD_GRACE_MS)

/* Which closed periods go, and when: these two must read as in the index quota_purge. */
#define LEDGER_PURGED "state = 'X' AND period_end_ms < " LEDGER_NEVER
#define LEDGER_PURGE_SQL                                                                           \
    "(period_end_ms + greatest(" TEXT_OF(PERIOD_KEEP_MS) ", " TEXT_OF(                             \
        PERIOD_KEEP_TIMES) " * (period_end_ms - period_start_ms)))"

/* Elements as of sql_array_begin. */
struct sql_array sql_column_begin(struct sql_params *params, enum sql_type type, size_t count,
                                  size_t text_bytes);

/* --- results ---------------------------------------------------------------------------------- */

struct sql_row {
    PGresult *result;
    struct arena *arena; /* texts and arrays are copied here */
    int row;             /* -1 before the first */
    int column;          /* the next to be read */
    bool bad;
};

/* Takes the result over: sql_done clears it. */
struct sql_row sql_rows(PGresult *result, struct arena *arena);
size_t sql_count(const struct sql_row *row);

/* On to the next row; false after the last one or when bad. All columns must have been read. */
MUST_CHECK bool sql_next(struct sql_row *row);

/* STATUS_OK, or CORRUPT: something was not as expected (or the arena is full). Clears the result. */
MUST_CHECK enum status sql_done(struct sql_row *row);

bool sql_is_null(const struct sql_row *row); /* of the next column, which is not consumed */
void sql_skip(struct sql_row *row);
int64_t sql_i64(struct sql_row *row); /* bigint, integer, smallint */
int64_t sql_i64_or(struct sql_row *row, int64_t if_null);
bool sql_bool(struct sql_row *row);
char sql_char(struct sql_row *row);         /* type "char" */
struct slice sql_text(struct sql_row *row); /* text, bytea */
int64_t sql_time_ms(struct sql_row *row);   /* timestamptz, rounded down */
/* bigint[] of one dimension; *ret NULL when it is empty. */
size_t sql_i64s(struct sql_row *row, int64_t **ret);

/* --- the blocking connection ------------------------------------------------------------------ */

/* Outside a transaction: connects if need be. Inside one that failed: UNAVAILABLE. */
MUST_CHECK enum status database_begin(struct database *db);

/*
 * UNKNOWN: COMMIT was sent, and anything but its success came back, or nothing. Other failures say that
 * it was certainly not committed: it was not sent, or Postgres answered ROLLBACK. With UNKNOWN
 * database_sqlstate is that of COMMIT if it answered an error that is a fault (session.h), else "".
 */
MUST_CHECK enum status database_commit(struct database *db);

/* Harmless outside a transaction. */
void database_rollback(struct database *db);

/*
 * Runs one statement, prepared if it is new on this connection; params NULL: none. Outside a
 * transaction it is one by itself (connects if need be; a connection that breaks makes UNKNOWN).
 * ret_result NULL: rows are of no interest. After a failure inside a transaction roll back.
 */
MUST_CHECK enum status database_run(struct database *db, const struct statement *statement,
                                    struct sql_params *params, PGresult **ret_result);

/* As database_run; *ret_rows: how many rows were inserted, updated or deleted. */
MUST_CHECK enum status database_run_counted(struct database *db, const struct statement *statement,
                                            struct sql_params *params, size_t *ret_rows);

/* clock_timestamp(), told to the estimate as well. */
MUST_CHECK enum status database_clock(struct database *db, int64_t *ret_now_ms);

/* For a statement that reads the clock among other things: when it is sent, and what it said. */
int64_t database_mono_us(const struct database *db);
void database_observe(struct database *db, int64_t now_ms, int64_t sent_us);

/*
 * BEGIN, body, COMMIT. The body's failure rolls back and is returned; STATUS_CONFLICT of anything
 * but a lock_timeout runs it all again, at most TRANSACT_TRIES times. The body must leave nothing
 * behind that a second run would trip over.
 */
enum { TRANSACT_TRIES = 5 };
MUST_CHECK enum status database_transact(struct database *db,
                                         enum status (*body)(struct database *db, void *user),
                                         void *user);

/* For answers that a database must not give: sets the error text, returns STATUS_CORRUPT. */
MUST_CHECK enum status database_corrupt(struct database *db, const char *what);

#endif
