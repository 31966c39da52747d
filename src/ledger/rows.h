/*
 * Rows of the root and the record, read under their locks and written back: what committer, grants,
 * reap and admin share. Each operation exists in two halves, a statement with its parameters and the
 * reading of its result, so that the committer can send many at once; below them are the blocking
 * forms, which run inside the caller's transaction.
 *
 * Order of locks (README.md): limit_, quota, old_lease, keys of jobs, tenant.
 */
#ifndef HOLDFAST_LEDGER_ROWS_H
#define HOLDFAST_LEDGER_ROWS_H

#include "base/arena.h"
#include "base/check.h"
#include "base/slice.h"
#include "base/status.h"
#include "ledger/database_internal.h"
#include "quota/hold.h"
#include "quota/period.h"
#include "quota/settle.h"

#include <stddef.h>
#include <stdint.h>

/* One quota row by its key. */
struct rows_ref {
    int64_t tenant_id;
    struct quota_ref ref;
};

int rows_ref_compare(struct rows_ref a, struct rows_ref b);

/* Sorts and removes duplicates; returns how many are left. */
size_t rows_refs_sort(struct rows_ref *refs, size_t count);

/* One job whose facts are wanted. */
struct rows_job {
    int64_t tenant_id;
    struct slice job_id;
    bool assumed_new;          /* see batch.h */
    struct settle_facts facts; /* out */
};

int rows_job_compare(const struct rows_job *a, const struct rows_job *b);

/* --- blocking, inside a transaction of the caller --------------------------------------------- */

/*
 * Makes quota rows that are missing; *ret_missing (may be NULL): how many refs still have none, since
 * their limit is gone. A transaction of its own: call it before database_begin. A new period of a
 * limit that starts anew makes a PERIOD_STARTED event. The period's kind is the limit's;
 * period_start_ms must be a start of that kind.
 */
MUST_CHECK enum status rows_make(struct database *db, struct arena *arena,
                                 const struct rows_ref *refs, size_t count, size_t *ret_missing);

/*
 * The same for rows that something is booked in as they are made. fill finds them in a book, with the clock
 * and the epochs of their shards; what it changes in them is what they are made with. It is called again
 * if the transaction runs again, and not at all if no row is to be made.
 */
struct rows_making {
    struct arena *arena;
    void (*fill)(void *user, struct book *book);
    void *user;
    /* out, OK: */
    struct book book; /* rows that were absent; */
    bool *made;       /* [i]: the book's i-th was made here, and not by somebody else meanwhile */
    /* private */
    struct rows_ref *absent;
    size_t absent_count;
};
MUST_CHECK enum status rows_make_filled(struct database *db, struct rows_making *making,
                                        const struct rows_ref *refs, size_t count);

/*
 * Locks the quota rows that exist among refs (sorted by rows_refs_sort), then reads the clock, the
 * epochs and the old leases. Fills quotas, leases, now_ms and the empty list of events of the
 * book; arena and late_window_ms are the caller's.
 *
 * A tenant whose rows contradict each other is told to the alarms, and has none in the book: see
 * book_is_bad. So nothing can be written for it, and the others go on.
 */
MUST_CHECK enum status rows_lock(struct database *db, struct book *book,
                                 const struct rows_ref *refs, size_t count);

/* The same for one tenant: CORRUPT if its rows contradict each other. */
MUST_CHECK enum status rows_lock_tenant(struct database *db, struct book *book,
                                        const struct rows_ref *refs, size_t count);

/*
 * The same, also of a tenant whose rows contradict each other: for who puts them right. Nothing else may be
 * decided on them.
 */
MUST_CHECK enum status rows_lock_as_they_are(struct database *db, struct book *book,
                                             const struct rows_ref *refs, size_t count);

/*
 * Row of pg_hold, ledger, fences and newest expired hold of each job (sorted by rows_job_compare, no
 * duplicates). A hold that nobody can read is a fact of its job, and no failure of the others.
 */
MUST_CHECK enum status rows_facts(struct database *db, struct arena *arena, struct rows_job *jobs,
                                  size_t count);

/* The same where all jobs are in one part of the ledger; 0: they may be in several. */
MUST_CHECK enum status rows_facts_in(struct database *db, struct arena *arena, int ledger_part,
                                     struct rows_job *jobs, size_t count);

/* Sorts and removes duplicates; returns how many are left. */
size_t rows_jobs_sort(struct rows_job *jobs, size_t count);
struct rows_job *rows_jobs_find(struct rows_job *jobs, size_t count, int64_t tenant_id,
                                struct slice job_id); /* it is there */

/* Writes what is dirty: quotas, old leases; then the events, for which it locks the tenants. */
MUST_CHECK enum status rows_write(struct database *db, struct book *book);

/* Old leases begun or closed. */
MUST_CHECK enum status rows_leases_insert(struct database *db, struct arena *arena,
                                          const struct lease_row *leases, size_t count);
MUST_CHECK enum status rows_leases_delete(struct database *db, struct arena *arena,
                                          const struct lease_row *leases, size_t count);

/* --- halves ----------------------------------------------------------------------------------- */

/* Reaps of before a database went back may be forgotten; what they freed in Redis is not (losses.c). */
#define ROWS_REAPED_TO "greatest(q.reaped_to_ms, (SELECT h.reaped_to_ms FROM history h))"

/*
 * The columns of struct quota_row, in the order in which rows_quota_read takes them, for SELECTs of
 * others, of a row q of quota and its limit l. epoch is not among them and stays 0.
 */
#define ROWS_QUOTA_COLUMNS                                                                         \
    "q.tenant_id, q.limit_id, q.period_start_ms, q.period_end_ms, l.name, l.scope, l.meter,"       \
    " l.period_kind, q.soft_amount, q.limit_amount, q.cap_amount, q.unlimited, q.committed,"       \
    " q.debt, q.pg_held, q.leased, q.lease_id, q.granted, q.returned, q.spent,"                    \
    " q.lease_deadline_ms, q.lease_target, q.recall, " ROWS_REAPED_TO ", q.ledger_seq, q.level,"   \
    " q.state, q.seq_lost"

/* Of a row q of quota: acknowledged use of it was lost, and the loss waits to be accepted (losses.c). */
#define ROWS_LOSS_WAITS                                                                            \
    "EXISTS (SELECT FROM loss x WHERE x.tenant_id = q.tenant_id AND x.limit_id = q.limit_id"       \
    " AND x.period_start_ms = q.period_start_ms AND x.accepted IS NULL)"

/* Reads one row's columns, starting at the next; more columns may follow. */
void rows_quota_read(struct sql_row *row, struct quota_row *ret);

/*
 * How a statement finds rows of a table by keys that come as parameters or from another table. A plain join
 * leaves the planner the choice where to begin. Statements are planned once: one that was planned when the
 * table had a row or none may read all of it for each key, until the next ANALYZE. So
 *
 *     ROWS_OF(quota, key)      stands where a JOIN would: the row is looked up by its key. FOR UPDATE OF its
 *                              alias locks each row that is looked up, also one that is left out later
 *     ROWS_PLACE(quota, key)   the same for a table that the statement changes, which cannot be looked up so:
 *                              AS k WHERE q.ctid = k.place follows. The row is locked already, or taken as it
 *                              is in this statement
 *
 * tests/ledger/plans_stay_test.c runs everything on tables that were small when it was planned.
 */
/* clang-format off */
#define ROWS_OF(table, key) " CROSS JOIN LATERAL (SELECT * FROM " #table " WHERE " key " OFFSET 0)"
#define ROWS_PLACE(table, key)                                                                     \
    " CROSS JOIN LATERAL (SELECT ctid AS place FROM " #table " WHERE " key " OFFSET 0) AS k"

/* clang-format on */
/* Keys: of a row n of ROWS_REFS, and of ROWS_NUMBERED's own. */
#define ROWS_KEY_NEWEST "tenant_id = w.tenant_id"
#define ROWS_KEY_TENANT "tenant_id = n.tenant"
#define ROWS_KEY_LIMIT ROWS_KEY_TENANT " AND limit_id = n.lim"
#define ROWS_KEY_QUOTA ROWS_KEY_LIMIT " AND period_start_ms = n.start"
#define ROWS_KEY_LEASE ROWS_KEY_QUOTA " AND lease_id = n.lease"

/* The keys of quota rows as parameters 1 to 3 of a statement in two forms, [sql_form(count)]. */
#define ROWS_REFS(rows)                                                                            \
    "(SELECT " rows(1, bigint, tenant) ", " rows(2, bigint, lim) ", " rows(3, bigint,              \
                                                                           start) ") AS n"
void rows_refs_params(struct sql_params *params, const struct rows_ref *refs, size_t count);

extern const struct statement rows_quota_lock[SQL_FORMS_COUNT]; /* of rows_refs_params */
MUST_CHECK enum status rows_quota_lock_read(PGresult *result, struct book *book);

/*
 * What holds while the rows are locked: the clock, the epochs of their shards, their old leases. A
 * statement after rows_quota_lock; its result is read after that one's. Old leases are not locked: who
 * writes one has the quota row.
 */
extern const struct statement rows_now[SQL_FORMS_COUNT]; /* of rows_refs_params */
MUST_CHECK enum status rows_now_read(PGresult *result, struct book *book);

/*
 * The ledger as a whole, [0], and each of its partitions, [plan->ledger_part]. For a statement on a
 * partition the database does not lock and open all 16 of them and their indexes.
 */
enum { ROWS_LEDGER_PARTS_COUNT = 17 };
#define ROWS_LEDGER_PARTS(of)                                                                      \
    of(""), of("_0"), of("_1"), of("_2"), of("_3"), of("_4"), of("_5"), of("_6"), of("_7"),        \
        of("_8"), of("_9"), of("_10"), of("_11"), of("_12"), of("_13"), of("_14"), of("_15")

extern const struct statement rows_ledger_find[ROWS_LEDGER_PARTS_COUNT];
extern const struct statement rows_placed_find, rows_fence_find, rows_expired_find;
void rows_jobs_params(struct sql_params *params, const struct rows_job *jobs, size_t count);

/* Into the facts of the jobs, which are sorted by rows_job_compare. */
MUST_CHECK enum status rows_ledger_find_read(PGresult *result, struct arena *arena,
                                             struct rows_job *jobs, size_t count);
MUST_CHECK enum status rows_placed_find_read(PGresult *result, struct arena *arena,
                                             struct rows_job *jobs, size_t count);
MUST_CHECK enum status rows_fence_find_read(PGresult *result, struct arena *arena,
                                            struct rows_job *jobs, size_t count);
MUST_CHECK enum status rows_expired_find_read(PGresult *result, struct arena *arena,
                                              struct rows_job *jobs, size_t count);

/* For the dirty rows; *ret_count 0: there are none, do not send. */
extern const struct statement rows_quota_update[SQL_FORMS_COUNT]; /* [sql_form(*ret_count)] */
extern const struct statement rows_lease_update;
void rows_quota_update_params(struct sql_params *params, const struct book *book,
                              size_t *ret_count);
void rows_lease_update_params(struct sql_params *params, const struct book *book,
                              size_t *ret_count);

/* First the lock, then the insert, as two statements: the second must see what the first waited for. */
extern const struct statement rows_event_lock, rows_event_insert;

/*
 * Numbers the new events of some tenants, whose rows the transaction has locked by rows_event_lock: for a
 * WITH, named `numbered` (tenant_id, was, before), from a list `fresh` with a row for each event. Numbers
 * go on after event_seq, and after the newest event where event_seq went back behind it (a restore of
 * one row, a failover): otherwise each later event would have a number that is taken, for ever.
 */
/* clang-format off */
#define ROWS_NUMBERED(fresh)                                                                       \
    "counted AS MATERIALIZED (SELECT tenant_id, count(*) AS count FROM " fresh                     \
    " GROUP BY tenant_id), newest AS MATERIALIZED (SELECT c.tenant_id, c.count,"                   \
    " coalesce((SELECT max(seq) FROM event e WHERE e.tenant_id = c.tenant_id), 0) AS seq,"         \
    " (SELECT event_seq FROM tenant o WHERE o.tenant_id = c.tenant_id) AS was FROM counted c),"    \
    " numbered AS (UPDATE tenant t SET event_seq = greatest(t.event_seq, w.seq) + w.count"         \
    " FROM newest w" ROWS_PLACE(tenant, ROWS_KEY_NEWEST) " WHERE t.ctid = k.place"                 \
    " RETURNING t.tenant_id, w.was, t.event_seq - w.count AS before)"
/* clang-format on */

/* What such a statement answers at its end: who went back. */
#define ROWS_WENT_BACK "SELECT tenant_id, was, before FROM numbered WHERE was < before"

/* Logs what ROWS_WENT_BACK found, and clears the result. */
void rows_event_told(PGresult *result);
size_t rows_event_tenants(const struct book *book, int64_t *tenants, size_t tenants_max);
void rows_event_lock_params(struct sql_params *params, const int64_t *tenants, size_t count);
void rows_event_insert_params(struct sql_params *params, const struct book *book,
                              size_t *ret_count);

/* Attempts in Postgres begin here. */
#define ROWS_PLACED_SEQ "4503599627370496" /* HOLD_SEQ_POSTGRES, quota/hold.h */

/* A row of pg_hold. */
struct rows_placed {
    int64_t tenant_id;
    struct slice job_id;
    const struct hold *hold;
};

/*
 * In the order of (tenant, job). The insert leaves out whom another transaction was faster to hold, so look
 * at the number of rows. The others name attempts: a row of another attempt stays.
 */
extern const struct statement rows_placed_insert, rows_placed_update; /* of rows_placed_params */
extern const struct statement rows_placed_delete;                     /* of rows_placed_names */
void rows_placed_params(struct sql_params *params, const struct rows_placed *rows, size_t count);
void rows_placed_names(struct sql_params *params, const struct rows_placed *rows, size_t count);

/* The same of the items that have dropped theirs. */
void rows_dropped_names(struct sql_params *params, struct settle_item *const *items, size_t count,
                        size_t *ret_count);

/*
 * Ledger entries and fences of items that made one (made_record, made_fence), in the order given,
 * which must be by (tenant, job). *ret_count: rows to be inserted. A unique key that is violated means
 * that another transaction was faster: roll back and begin again.
 */
extern const struct statement rows_ledger_insert[ROWS_LEDGER_PARTS_COUNT], rows_fence_insert;
void rows_ledger_insert_params(struct sql_params *params, struct settle_item *const *items,
                               size_t count, size_t *ret_count);
void rows_fence_insert_params(struct sql_params *params, struct settle_item *const *items,
                              size_t count, int64_t now_ms, int64_t keep_ms, size_t *ret_count);

#endif
