/*
 * What the committer does in one transaction, apart from waiting: which rows the items need, the
 * statements of its two rounds, the decisions in between, and the answers afterwards.
 *
 *     batch_begin      items, their locks                        (asks the blocking connection when
 *                                                                 an item is known by its job only)
 *     batch_ask        BEGIN, locks, clock, facts                 first round
 *     batch_decide     rows read; settle_decide in order of arrival
 *     batch_write      rows, COMMIT                               second round
 *     batch_answer     results into the items' own memory
 *
 * Nearly every Commit is the first of its job, and the ledger's key refuses a second one anyway. So
 * jobs may be assumed new, which saves a look-up for each:
 *
 *     the batch records the job      the key proves that it was new, for all items of that job
 *     the key is taken               the transaction fails whole, and all its items run again
 *     the batch does not record it   nothing is proven (a repeat must get its record, whatever else
 *                                    there is to say): its items run again
 *
 * Never assumed: a job that a Release means or that is known by its id only, and that of an item which
 * comes back.
 *
 * One thread. Everything lives in the batch's arena until the next batch_begin.
 */
#ifndef HOLDFAST_LEDGER_BATCH_H
#define HOLDFAST_LEDGER_BATCH_H

#include "base/arena.h"
#include "base/check.h"
#include "base/status.h"
#include "ledger/committer.h"
#include "ledger/lane.h"
#include "ledger/locked.h"
#include "ledger/rows.h"
#include "quota/settle.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BATCH_ITEMS_MAX = COMMITTER_BATCH_MAX };

/* An item in a batch. */
struct batch_item {
    struct commit_item *item;
    size_t job;             /* index into jobs */
    bool by_job;            /* known by its job id only: expired_hold says which hold */
    struct attempt expired; /* which one that was before the locks; seq 0: none */
    struct attempt placed;  /* the same of the row of pg_hold */
    bool again;             /* decided on too little: run it again */
    bool refused;           /* with the status item->refused: that is its answer */
};

struct batch {
    struct arena arena;
    int64_t late_window_ms;
    int64_t lease_ms;
    struct batch_item items[BATCH_ITEMS_MAX];
    size_t count;
    struct rows_job *jobs; /* sorted, each once */
    size_t jobs_count;
    struct rows_job *asked; /* those that are looked up in the ledger */
    size_t asked_count;
    struct rows_ref *refs; /* the same */
    size_t refs_count;
    struct rows_ref *absent; /* those of refs that may have to be made */
    size_t absent_count;
    bool ask_expired, ask_placed;
    int ledger_part; /* index into rows_ledger_find and rows_ledger_insert */
    struct book book;
    char contradiction[ALARMS_TEXT_BYTES]; /* if book.bad_count > 0 */
    struct settle_item **made;             /* items with rows to be inserted, by (tenant, job) */
    size_t made_count;
    int64_t *event_tenants;
    size_t event_tenants_count;
    size_t entries_count, fences_count; /* rows to be inserted */
    size_t commit_step, event_step;     /* event_step: only with events */
    struct {                            /* steps of the first round */
        size_t quotas, now, placed, ledger, fences, expired;
    } steps;
};

void batch_init(struct batch *batch, int64_t late_window_ms, int64_t lease_ms);
void batch_done(struct batch *batch);

/* The statements that a lane must have prepared. */
enum { BATCH_STATEMENTS_MAX = 64 };
size_t batch_statements(const struct statement *ret_statements[BATCH_STATEMENTS_MAX]);

/*
 * Takes items[0..count) over. aside: a blocking connection, used only for items that are known by
 * their job or may be late. now_ms: about what time it is in the database. assume_new: where that is
 * allowed. A failure is aside's.
 */
MUST_CHECK enum status batch_begin(struct batch *batch, struct commit_item *const *items,
                                   size_t count, struct database *aside, int64_t now_ms,
                                   bool assume_new);

/* After batch_begin and a lock_timeout: whose rows somebody keeps locked. Waits for nothing. */
struct rows_locked batch_locked(struct batch *batch, struct database *aside);

enum batch_way {
    BATCH_FREE,   /* nobody has a row of the tenant locked */
    BATCH_LOCKED, /* somebody has */
    BATCH_SHUT,   /* likewise, and rows would have to be made: that would wait on `aside` */
};

/*
 * What batch_begin would meet now, by item; waits for nothing, makes nothing, and leaves the batch
 * empty. A failure is aside's.
 */
MUST_CHECK enum status batch_probe(struct batch *batch, struct commit_item *const *items,
                                   size_t count, struct database *aside, int64_t now_ms,
                                   enum batch_way *ret_ways);

/* Was any job assumed new? Between batch_begin and batch_answer. */
bool batch_has_assumed(const struct batch *batch);

/* Between batch_begin and batch_answer. */
bool batch_has_tenant(const struct batch *batch, int64_t tenant_id);

void batch_ask(struct batch *batch, struct lane *lane);

/* Reads the first round's results and decides. Then book.bad tells whose rows contradict. */
MUST_CHECK enum status batch_decide(struct batch *batch, struct lane *lane);

/* Adds the second round's statements, COMMIT last. */
void batch_write(struct batch *batch, struct lane *lane);

/* True if the COMMIT of the second round was carried out. */
bool batch_committed(struct batch *batch, struct lane *lane);

/* True if it was the COMMIT that answered an error: then what came before it had worked. */
bool batch_commit_failed(const struct batch *batch, const struct lane *lane);

/* After a COMMIT that was sent and not heard of: what may be in the record already. */
void batch_may_have_landed(struct batch *batch);

/* Copies the results of one item to its arena. */
void batch_answer(struct batch *batch, struct batch_item *of);

#endif
