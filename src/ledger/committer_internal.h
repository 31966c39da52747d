/*
 * The committer's own memory, and what its files ask of each other:
 *
 *     committer.c         the thread: when is what done; creating and ending
 *     committer_rounds.c  a work's way through its rounds
 *     committer_end.c     how an item or a batch ends: answered, back into the queue, failed
 *
 * A file calls those below it. All of it belongs to the committer's thread, but for what committer.h says.
 */
#ifndef HOLDFAST_LEDGER_COMMITTER_INTERNAL_H
#define HOLDFAST_LEDGER_COMMITTER_INTERNAL_H

#include "base/log.h"
#include "ledger/batch.h"
#include "ledger/committer.h"
#include "ledger/committer_work.h"
#include "ledger/database.h"
#include "ledger/queue.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WORKS_FREE = 2,          /* for everybody whose rows nobody keeps locked */
    WORK_STUCK = WORKS_FREE, /* for the others */
    WORKS,
};

struct committer {
    struct committer_options options;
    char *conninfo;
    struct mailbox *mailbox;
    pthread_t thread;
    _Atomic bool up;
    struct database *aside;
    struct work works[WORKS];
    struct queue queue;
    bool hung;     /* the database is silent: nothing is begun, only sent COMMITs are waited for */
    bool gathered; /* the last wait was for a batch alone, and brought nothing */
    int alone;     /* so many batches of stuck tenants to come are of one tenant */
    int look_up;   /* so many batches to come do not assume that jobs are new */
    int64_t expire_at_us;
    int64_t down_since_us; /* clock_mono_us since when no connection is left; while up unused */
    struct log_limit log_connect, log_batch;
};

static inline int64_t committer_now_us(const struct committer *committer)
{
    return clock_mono_us(committer->options.clock);
}

/* --- committer_rounds.c: while its lane is idle, or has something to say --- */

/* A free work takes a batch, if there is one for it. */
void work_start_free(struct committer *committer, struct work *work);
void work_start_stuck(struct committer *committer, struct work *work);

/* Goes on with what the connection has answered. */
void work_advance(struct committer *committer, struct work *work);

/* The statements of a work's connection; at most BATCH_STATEMENTS_MAX + 1. */
size_t work_statements(const struct statement **ret_statements);

/* --- committer_end.c --- */

/* The items' callers are told; of each the status, and what batch_answer wrote. */
void items_finish(struct committer *committer, struct commit_item *const *items, size_t count,
                  enum status status);

/* To the front of the queue, in their order. */
void items_put_back(struct committer *committer, struct commit_item *const *items, size_t count);

/* Those in the queue whose callers do not wait any longer; some times a second. */
void items_expire(struct committer *committer);

/* All that are in the queue. */
void items_give_up(struct committer *committer);

/* No new batch for a while. */
void work_pause(struct committer *committer, struct work *work);

/* The batch certainly did not commit. Its items go back, together or in smaller parts, or fail. */
void work_fail(struct committer *committer, struct work *work, enum status status);

/* Some job of the batch has a record already; the next run reads it. */
void work_fail_repeated(struct committer *committer, struct work *work);

/* A row stayed locked. */
void work_fail_locked(struct committer *committer, struct work *work);

/* The connection is gone. maybe: COMMIT may have reached the database. */
void work_lost(struct committer *committer, struct work *work, bool maybe);

/* As if the network had failed: what the fault points do. */
void work_cut(struct committer *committer, struct work *work);

#endif
