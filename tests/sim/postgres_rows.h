/*
 * Transactions of the pretended Postgres: what the files postgres_*.c share.
 */
#ifndef HOLDFAST_TESTS_SIM_POSTGRES_ROWS_H
#define HOLDFAST_TESTS_SIM_POSTGRES_ROWS_H

#include "tests/sim/postgres.h"

#include "quota/book.h"
#include "tests/sim/stores.h"

struct database {
    struct database_options options;
    struct postgres *pg;
    int group;
    char error[64];
};

struct pg_ref {
    int64_t tenant_id;
    struct quota_ref ref;
};

/* Sorts and removes duplicates; returns how many are left. */
size_t pg_refs_sort(struct pg_ref *refs, size_t count);

/* What a COMMIT brings; made on the way there, so that it can land alone. Chained by kind. */
struct pg_change {
    struct pg_change *next;
    enum pg_change_kind {
        PG_PUT_QUOTA,
        PG_PUT_LEASE,
        PG_DROP_LEASE,
        PG_ADD_RECORD,
        PG_ADD_CORRECTION, /* user: a struct pg_correction */
        PG_ADD_FENCE,
        PG_ADD_EXPIRED,
        PG_TAKE_PLACED,
        PG_MOVE_PLACED,
        PG_DROP_PLACED,
        PG_ADD_EVENT,
        PG_CALL, /* anything else */
    } kind;
    int64_t tenant_id;
    struct slice job_id;
    struct quota_row quota;
    struct lease_row lease;
    struct settle_record *record;
    struct attempt attempt;
    const char *text;
    struct ledger_event event;
    void (*call)(struct postgres *pg, struct pg_change *change);
    void *user;
};

struct pg_tx {
    struct postgres *pg;
    int64_t number;
    int64_t timeline; /* that it began in; it lands in no other */
    int64_t lock_timeout_us;
    struct arena *arena;
    struct pg_change *changes, **changes_tail; /* in the storage */
};

/* One way to the database and back without changing anything. Not OK: it was not reached. */
enum status pg_ask(struct database *db);

/* The gate: who commits or lends is refused in a history that was not compared with Redis. */
bool pg_is_shut(const struct database *db);

/* Half a round trip within a transaction. */
void pg_pause(struct postgres *pg);

/* BEGIN. lock_timeout_ms 0: half of the connection's statement timeout. */
enum status pg_begin(struct database *db, struct pg_tx *tx, struct arena *arena,
                     int64_t lock_timeout_ms);
void pg_rollback(struct pg_tx *tx);

/* COMMIT. UNKNOWN: it landed, or will, or will not. */
enum status pg_commit(struct pg_tx *tx);

/* On landing: the next of its tenant. */
void pg_land_event(struct postgres *pg, struct pg_tenant *tenant, const struct ledger_event *from);

struct pg_change *pg_add(struct pg_tx *tx, enum pg_change_kind kind, int64_t tenant_id);

/* What limit_ says makes quota rows that are missing; a transaction of its own. */
enum status pg_make(struct database *db, struct arena *arena, const struct pg_ref *refs,
                    size_t count);

/* Locks the rows that exist, in order; then reads the clock and everything else into the book. */
enum status pg_lock(struct pg_tx *tx, struct database *db, struct book *book,
                    const struct pg_ref *refs, size_t count);
/* Does another transaction have rows of the tenant now? */
bool pg_is_locked(struct postgres *pg, int64_t tenant_id);

/* Of a PG_ADD_CORRECTION: another one has the id, or the number of the job. */
bool pg_is_corrected(struct postgres *pg, const struct pg_change *change);

bool pg_lock_limit(struct pg_tx *tx, struct pg_limit *limit);

/* Dirty rows and events of the book. */
void pg_write(struct pg_tx *tx, struct book *book);

/* Of the book's quotas without stops, as reserved_levels_drop does it; before pg_write. */
void pg_reserved_drop(struct pg_tx *tx, struct book *book);

/* CONFLICT is tried again, as ledger/database.c does it. */
enum status pg_transact(struct database *db, enum status (*body)(struct database *db, void *user),
                        void *user);

int64_t pg_now_ms(struct database *db); /* tells the estimate as well */
struct settle_facts pg_facts(struct postgres *pg, struct arena *arena, int64_t tenant_id,
                             struct slice job_id);
struct slice pg_keep(struct postgres *pg, struct slice text); /* a copy in the storage */
struct settle_record *pg_copy_record(struct arena *arena, const struct settle_record *from);
/* Who has holds in Postgres, sorted, at most LEDGER_PLACED_MAX + 1. */
size_t pg_placed_tenants(const struct postgres *pg, struct arena *arena, int64_t **ret);
struct pg_limit *pg_limit_by_id(struct pg_tenant *tenant, int64_t limit_id);
struct pg_quota *pg_find_quota(struct pg_tenant *tenant, struct quota_ref ref);
void *pg_alloc(struct arena *arena, size_t count, size_t size); /* zeroed, never NULL */

#endif
