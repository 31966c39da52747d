/*
 * A work's way through its rounds: a batch is taken, asked for, decided, written; committer.c draws it.
 */
#include "ledger/committer_internal.h"

#include "base/fault.h"
#include "ledger/database_internal.h"
#include "ledger/lane.h"
#include "ledger/pulse.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PROBE_MS = 20 /* between two looks at who is still stuck */ };

static const struct statement rollback = {"committer_rollback", "ROLLBACK"};

size_t work_statements(const struct statement **ret_statements)
{
    size_t count = batch_statements(ret_statements);

    ret_statements[count++] = &rollback;
    return count;
}

/* For queue_take: is a batch with items of this tenant under way? */
static bool in_flight(void *user, int64_t tenant_id)
{
    const struct committer *committer = user;

    for (size_t i = 0; i < WORKS; i++) {
        const struct work *work = &committer->works[i];

        if (work->phase != PHASE_FREE && work->batch.count > 0 &&
            batch_has_tenant(&work->batch, tenant_id))
            return true;
    }
    return false;
}

static void send(struct committer *committer, struct work *work, enum phase phase)
{
    enum status status = lane_send(&work->lane);

    if (status == STATUS_OK) {
        work_go(work, phase);
    } else if (status == STATUS_EXHAUSTED) {
        work_fail(committer, work, status);
        if (work->phase != PHASE_FREE)
            work_go(work, PHASE_FREE);
    } else {
        work_lost(committer, work, phase == PHASE_WRITING && status == STATUS_UNKNOWN);
    }
}

static void roll_back(struct committer *committer, struct work *work)
{
    lane_begin(&work->lane);
    lane_add(&work->lane, &rollback, NULL);
    send(committer, work, PHASE_ROLLBACK);
}

static enum status database_now(struct committer *committer, int64_t *ret_now_ms)
{
    struct estimate *estimate = committer->options.estimate;

    if (!estimate || !estimate_ready(estimate))
        return database_clock(committer->aside, ret_now_ms);
    *ret_now_ms = estimate_now_ms(estimate, committer_now_us(committer));
    return STATUS_OK;
}

static void fail_start(struct committer *committer, struct work *work, enum status status)
{
    const char *sqlstate = database_sqlstate(committer->aside);

    snprintf(work->lane.error, sizeof(work->lane.error), "%s", database_error(committer->aside));
    memcpy(work->lane.sqlstate, sqlstate, sizeof(work->lane.sqlstate));
    if (status == STATUS_CONFLICT && strcmp(sqlstate, "55P03") == 0)
        work_fail_locked(committer, work);
    else
        work_fail(committer, work, status);
}

static void start(struct committer *committer, struct work *work, struct commit_item **items,
                  size_t count)
{
    int64_t now_ms = 0;
    enum status status;

    if (count == 0)
        return;
    if (committer->look_up > 0)
        committer->look_up--;
    status = database_now(committer, &now_ms);
    /* Also when there is no time: the batch holds the items until they are put back. */
    if (status == STATUS_OK) {
        status = batch_begin(&work->batch, items, count, committer->aside, now_ms,
                             committer->look_up == 0);
    } else {
        for (size_t i = 0; i < count; i++)
            work->batch.items[i] = (struct batch_item){.item = items[i]};
        work->batch.count = count;
    }
    if (status != STATUS_OK) {
        fail_start(committer, work, status);
        return;
    }
    batch_ask(&work->batch, &work->lane);
    work->asked_us = committer_now_us(committer);
    send(committer, work, PHASE_ASKING);
}

void work_start_free(struct committer *committer, struct work *work)
{
    struct commit_item *items[BATCH_ITEMS_MAX];
    size_t count =
        queue_take(&committer->queue, committer->options.batch_max, in_flight, committer, items);

    start(committer, work, items, count);
}

/* Tenants that are stuck: a look tells who is not any more, and one of the others waits in line. */
void work_start_stuck(struct committer *committer, struct work *work)
{
    struct commit_item *items[BATCH_ITEMS_MAX];
    enum batch_way ways[BATCH_ITEMS_MAX];
    size_t count = queue_take_stuck(&committer->queue, committer->options.batch_max,
                                    committer_now_us(committer), items);
    int64_t now_ms = 0;
    enum status status;

    if (count == 0)
        return;
    if (committer->alone > 0) {
        committer->alone--;
        count = work_keep_first(&committer->queue, items, count, committer_now_us(committer));
    }
    status = database_now(committer, &now_ms);
    if (status == STATUS_OK)
        status = batch_probe(&work->batch, items, count, committer->aside, now_ms, ways);
    if (status != STATUS_OK) {
        queue_put_back(&committer->queue, items, count);
        work_pause(committer, work);
        return;
    }
    count = work_choose_stuck(&committer->queue, items, count, ways, committer_now_us(committer));
    if (count == 0)
        work->not_before_us = committer_now_us(committer) + PROBE_MS * 1000;
    start(committer, work, items, count);
}

static void decide(struct committer *committer, struct work *work)
{
    enum status status = batch_decide(&work->batch, &work->lane);

    if (status != STATUS_OK) {
        snprintf(work->lane.error, sizeof(work->lane.error), "rows are not as expected");
        work_fail(committer, work, status);
        roll_back(committer, work);
        return;
    }
    for (size_t i = 0; i < work->batch.book.bad_count; i++)
        alarms_set_aside(committer->options.alarms, work->batch.book.bad[i],
                         work->batch.contradiction);
    if (committer->options.estimate)
        estimate_observe(committer->options.estimate, work->batch.book.now_ms, work->asked_us,
                         committer_now_us(committer));
    if (FAULT("commit.before_commit")) {
        work_cut(committer, work);
        return;
    }
    batch_write(&work->batch, &work->lane);
    send(committer, work, PHASE_WRITING);
    if (work->phase == PHASE_WRITING && FAULT("commit.after_commit_sent"))
        work_cut(committer, work);
}

/* Items that were decided on too little: another hold by then, or a job that may not be new. */
static void put_back_again(struct committer *committer, struct batch *batch)
{
    struct commit_item *again[BATCH_ITEMS_MAX];
    size_t again_count = 0;
    size_t kept = 0;

    for (size_t i = 0; i < batch->count; i++) {
        if (batch->items[i].again)
            again[again_count++] = batch->items[i].item;
        else
            batch->items[kept++] = batch->items[i];
    }
    batch->count = kept;
    items_put_back(committer, again, again_count);
}

/*
 * Items that COMMIT had answered an error for, and that are not on the record; those that only a hold that
 * nobody can read could decide. Returns how many are left.
 */
static size_t finish_refused(struct committer *committer, struct batch *batch)
{
    size_t kept = 0;

    for (size_t i = 0; i < batch->count; i++) {
        struct commit_item *item = batch->items[i].item;

        if (!batch->items[i].refused) {
            batch->items[kept++] = batch->items[i];
            continue;
        }
        if (item->refused == STATUS_CORRUPT)
            log_every(&committer->log_batch, LOG_ERROR, "ledger",
                      "commit.hold_unreadable tenant_id=%" PRId64 ": the expired hold of a job",
                      item->settle.tenant_id);
        items_finish(committer, &item, 1, item->refused);
    }
    batch->count = kept;
    return kept;
}

static void committed(struct committer *committer, struct work *work)
{
    struct batch *batch = &work->batch;
    bool confirmed = lane_warnings(&work->lane) == 0;
    struct commit_item *items[BATCH_ITEMS_MAX];
    size_t count;

    if (work == &committer->works[WORK_STUCK])
        for (size_t i = 0; i < batch->jobs_count; i++)
            queue_went_through(&committer->queue, batch->jobs[i].tenant_id);
    else
        queue_trust(&committer->queue);
    if (confirmed)
        pulse_heard(committer->options.pulse);
    put_back_again(committer, batch);
    count = finish_refused(committer, batch);
    for (size_t i = 0; i < count; i++) {
        items[i] = batch->items[i].item;
        batch_answer(batch, &batch->items[i]);
    }
    batch->count = 0;
    work_go(work, PHASE_FREE);
    items_finish(committer, items, count, confirmed ? STATUS_OK : STATUS_UNKNOWN);
    if (batch->event_tenants_count > 0 && committer->options.events)
        committer->options.events(committer->options.user, batch->event_tenants,
                                  batch->event_tenants_count);
}

/* The first round failed, or the second: the batch goes back, and what it has done is undone. */
static void failed(struct committer *committer, struct work *work, enum status status,
                   enum lane_cause cause)
{
    if (work->phase == PHASE_WRITING && batch_commit_failed(&work->batch, &work->lane))
        batch_may_have_landed(&work->batch);
    if (cause == LANE_LOCK_TIMEOUT)
        work_fail_locked(committer, work);
    else if (cause == LANE_DUPLICATE && batch_has_assumed(&work->batch))
        work_fail_repeated(committer, work);
    else
        /* DUPLICATE: another server wrote the same job meanwhile; the next run reads what. */
        work_fail(committer, work, cause == LANE_DUPLICATE ? STATUS_CONFLICT : status);
    roll_back(committer, work);
}

/* The second round is over without an error. */
static void written(struct committer *committer, struct work *work)
{
    if (FAULT("commit.after_commit")) {
        work_cut(committer, work);
    } else if (FAULT("commit.result_is_error")) {
        snprintf(work->lane.error, sizeof(work->lane.error), "planted by a fault point");
        batch_may_have_landed(&work->batch);
        work_fail(committer, work, STATUS_FAULT);
        work_go(work, PHASE_FREE);
    } else if (!batch_committed(&work->batch, &work->lane)) {
        work_fail(committer, work, STATUS_CONFLICT);
        work_go(work, PHASE_FREE);
    } else {
        committed(committer, work);
    }
}

static void answered(struct committer *committer, struct work *work)
{
    enum lane_cause cause;
    enum status status = lane_status(&work->lane, &cause);

    if (status != STATUS_OK && work->phase != PHASE_ROLLBACK) {
        failed(committer, work, status, cause);
        return;
    }
    switch (work->phase) {
    case PHASE_FREE:
        UNREACHABLE();
    case PHASE_ASKING:
        decide(committer, work);
        break;
    case PHASE_WRITING:
        written(committer, work);
        break;
    case PHASE_ROLLBACK:
        if (status != STATUS_OK)
            lane_close(&work->lane);
        work_go(work, PHASE_FREE);
        break;
    }
}

void work_advance(struct committer *committer, struct work *work)
{
    if (work->lane.state == LANE_IDLE)
        lane_idle(&work->lane);
    if (work->lane.state != LANE_BUSY)
        return;
    switch (lane_advance(&work->lane)) {
    case LANE_PENDING:
        break;
    case LANE_ANSWERED:
        answered(committer, work);
        break;
    case LANE_BROKEN:
        work_lost(committer, work, work->phase == PHASE_WRITING);
        break;
    }
}
