/*
 * How an item or a batch ends: answered, back into the queue, failed. ledger/README.md, "When something
 * breaks".
 */
#include "ledger/committer_internal.h"

#include "ledger/database_internal.h"
#include "ledger/session.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum {
    TRIES_MAX = 10, /* conflicts of one item, alone */
    EXPIRE_MS = 20, /* between two looks at whose deadline has passed */
    RETRY_MS = 100, /* after a failure that another try at once would meet again */
};

/* --- items ------------------------------------------------------------------------------------ */

/* Back to the front of the queue, in the order they had. */
static void put_back(struct committer *committer, struct batch *batch)
{
    struct commit_item *items[BATCH_ITEMS_MAX];

    for (size_t i = 0; i < batch->count; i++)
        items[i] = batch->items[i].item;
    items_put_back(committer, items, batch->count);
    batch->count = 0;
}

void items_finish(struct committer *committer, struct commit_item *const *items, size_t count,
                  enum status status)
{
    for (size_t i = 0; i < count; i++) {
        items[i]->status = status;
        items[i]->settle.facts = NULL;
    }
    if (count == 0)
        return;
    mailbox_done(committer->mailbox, count);
    committer->options.done(committer->options.user, items, count);
}

/* What the caller is told of an item that was not done. */
static enum status given_up(const struct committer *committer, const struct commit_item *item)
{
    if (item->maybe_landed)
        return STATUS_UNKNOWN;
    return atomic_load(&committer->up) ? STATUS_TIMEOUT : STATUS_UNAVAILABLE;
}

/* What is past its deadline is answered here: a free work could take it again before items_expire looks. */
void items_put_back(struct committer *committer, struct commit_item *const *items, size_t count)
{
    struct commit_item *kept[BATCH_ITEMS_MAX];
    int64_t now = committer_now_us(committer);
    size_t kept_count = 0;

    CHECK(count <= BATCH_ITEMS_MAX);
    for (size_t i = 0; i < count; i++) {
        struct commit_item *item = items[i];

        item->came_back = true;
        if (item->give_up_us <= now)
            items_finish(committer, &item, 1, given_up(committer, item));
        else
            kept[kept_count++] = item;
    }
    queue_put_back(&committer->queue, kept, kept_count);
}

/* Whoever waits for a database that is away is told so before the deadline passes. */
static bool is_away(const struct committer *committer, int64_t now)
{
    if (committer->hung)
        return true;
    return committer->options.away_ms > 0 && !atomic_load(&committer->up) &&
           now - committer->down_since_us > committer->options.away_ms * 1000;
}

void items_expire(struct committer *committer)
{
    int64_t now = committer_now_us(committer);
    int64_t until = is_away(committer, now) ? INT64_MAX : now;
    struct commit_item *item;

    if (now < committer->expire_at_us)
        return;
    committer->expire_at_us = now + EXPIRE_MS * 1000;
    while ((item = queue_take_expired(&committer->queue, until)))
        items_finish(committer, &item, 1, given_up(committer, item));
}

void items_give_up(struct committer *committer)
{
    struct commit_item *item;

    while ((item = queue_take_expired(&committer->queue, INT64_MAX)))
        items_finish(committer, &item, 1, given_up(committer, item));
}

/* --- failures --------------------------------------------------------------------------------- */

void work_pause(struct committer *committer, struct work *work)
{
    work->not_before_us = committer_now_us(committer) + RETRY_MS * 1000;
}

/* The one item that the database does not take. */
static void refuse_item(struct committer *committer, struct work *work, enum status status)
{
    struct commit_item *item = work->batch.items[0].item;

    log_every(&committer->log_batch, LOG_ERROR, "ledger",
              "commit.item_refused tenant_id=%" PRId64 " status=%s error=%s",
              item->settle.tenant_id, status_name(status), LOG_VALUE(work->lane.error));
    work->batch.count = 0;
    memcpy(item->sqlstate, work->lane.sqlstate, sizeof(item->sqlstate));
    if (session_is_fault(status, work->lane.sqlstate))
        alarms_fault(committer->options.alarms, work->lane.sqlstate, work->lane.error);
    if (item->maybe_landed && item->refused == STATUS_OK) {
        /* COMMIT itself answered the error: the next run looks whether the item is on the record. */
        item->refused = status;
        items_put_back(committer, &item, 1);
        return;
    }
    items_finish(committer, &item, 1, item->maybe_landed ? STATUS_UNKNOWN : status);
}

/* Failures that follow an item wherever it goes, or all of them: then each fails by itself. */
static bool is_of_data(enum status status)
{
    return status == STATUS_INVALID || status == STATUS_EXHAUSTED || status == STATUS_CORRUPT ||
           status == STATUS_FAULT;
}

void work_fail(struct committer *committer, struct work *work, enum status status)
{
    struct batch *batch = &work->batch;
    bool data = is_of_data(status);

    if (status == STATUS_CONFLICT) {
        for (size_t i = 0; i < batch->count; i++)
            data |= ++batch->items[i].item->tries > TRIES_MAX;
    } else if (!data) {
        work_pause(committer, work);
    }
    log_every(&committer->log_batch, LOG_WARN, "ledger",
              "commit.batch_failed items=%zu status=%s error=%s", batch->count, status_name(status),
              LOG_VALUE(work->lane.error));
    if (data && batch->count == 1) {
        refuse_item(committer, work, status);
        return;
    }
    for (size_t i = 0; data && i < batch->jobs_count; i++)
        queue_let_in(&committer->queue, batch->jobs[i].tenant_id);
    if (data) {
        queue_suspect(&committer->queue, batch->count, (batch->count + 1) / 2);
        /* Alone, an item gets its own number of tries. */
        for (size_t i = 0; i < batch->count; i++)
            batch->items[i].item->tries = 0;
    }
    put_back(committer, batch);
}

void work_fail_repeated(struct committer *committer, struct work *work)
{
    committer->look_up = COMMITTER_LOOK_UP_BATCHES;
    put_back(committer, &work->batch);
}

/*
 * A row stays locked by somebody: whose is it? Those tenants wait alone, the others go on at once. If it
 * is nobody's (any more, or it is a key that another transaction inserts), smaller parts tell.
 */
void work_fail_locked(struct committer *committer, struct work *work)
{
    struct batch *batch = &work->batch;
    struct rows_locked locked = batch_locked(batch, committer->aside);
    int64_t first = batch->jobs[0].tenant_id;

    if (locked.count == 0 && first == batch->jobs[batch->jobs_count - 1].tenant_id)
        queue_leave_out(&committer->queue, first, committer_now_us(committer));
    else if (locked.count == 0 && work == &committer->works[WORK_STUCK])
        committer->alone = (int)batch->count;
    else if (locked.count == 0)
        queue_suspect(&committer->queue, batch->count, (batch->count + 1) / 2);
    for (size_t i = 0; i < locked.count; i++)
        queue_leave_out(&committer->queue, locked.tenants[i], committer_now_us(committer));
    log_every(&committer->log_batch, LOG_WARN, "ledger",
              "commit.row_locked items=%zu tenants=%zu tenant_id=%" PRId64, batch->count,
              locked.count, locked.count > 0 ? locked.tenants[0] : first);
    put_back(committer, batch);
}

void work_lost(struct committer *committer, struct work *work, bool maybe)
{
    log_every(&committer->log_connect, LOG_WARN, "ledger", "commit.connection_lost error=%s",
              LOG_VALUE(work->lane.error));
    if (maybe)
        batch_may_have_landed(&work->batch);
    put_back(committer, &work->batch);
    if (work->phase != PHASE_FREE)
        work_go(work, PHASE_FREE);
}

void work_cut(struct committer *committer, struct work *work)
{
    snprintf(work->lane.error, sizeof(work->lane.error), "cut by a fault point");
    lane_close(&work->lane);
    work_lost(committer, work, work->phase == PHASE_WRITING);
}
