/*
 * One of the committer's works: a connection with the batch that it carries, and the stages of that.
 * One thread.
 */
#ifndef HOLDFAST_LEDGER_COMMITTER_WORK_H
#define HOLDFAST_LEDGER_COMMITTER_WORK_H

#include "ledger/batch.h"
#include "ledger/lane.h"
#include "ledger/queue.h"

#include <stddef.h>
#include <stdint.h>

enum phase { PHASE_FREE, PHASE_ASKING, PHASE_WRITING, PHASE_ROLLBACK };

struct work {
    struct lane lane;
    struct batch batch;
    enum phase phase;
    int64_t asked_us; /* clock_mono_us when the first round went out */
    int64_t not_before_us;
};

/* Steps to the phase; the lane and the batch are as it says already. */
void work_go(struct work *work, enum phase to);

/*
 * After a probe of items that queue_take_stuck gave: which of them go on? Those of tenants that nobody
 * keeps locked; if there is none, those of the one tenant that waited in line longest ago (the first
 * that can). The others are put back, and their tenants pause. Returns how many stay in items.
 */
size_t work_choose_stuck(struct queue *queue, struct commit_item **items, size_t count,
                         const enum batch_way *ways, int64_t now_us);

/* Puts back all but the first item's tenant's, whose turn it is now. Returns how many stay in items. */
size_t work_keep_first(struct queue *queue, struct commit_item **items, size_t count,
                       int64_t now_us);

#endif
