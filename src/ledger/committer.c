/*
 * The committer's thread: a queue, and two works, each a connection with the batch it carries.
 *
 *     free --take--> asking --decide--> writing --COMMIT's result--> free, answers go out
 *                      |                   |
 *                      '--- a statement failed: rolling back ---> free, items in front of the queue
 *                      '--- the connection broke: down, items in front of the queue, marked if
 *                           COMMIT had been sent
 *
 * Items of one tenant are only ever in one of the two batches, so that they stay in order of arrival
 * and never wait for a lock that the other batch holds until this thread comes round to it.
 *
 * How one caller is kept from spoiling it for the others is in queue.h.
 */
#include "ledger/committer.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/thread.h"
#include "ledger/batch.h"
#include "ledger/database_internal.h"
#include "ledger/lane.h"
#include "ledger/queue.h"
#include "ledger/session.h"

#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WORKS = 2,
    CONNECT_TIMEOUT_MS = 1000,
    STATEMENT_TIMEOUT_MS = 4000,
    LOCK_TIMEOUT_MS = 400, /* others wait in the same batch */
    STUCK_MS = 1000,
    RETRY_MS = 100,   /* after a failure that another try at once would meet again */
    IDLE_POLL_MS = 500,
    BUSY_POLL_MS = 20,
    GATHER_MS = 1, /* how long mail may wait unread beside a batch that is under way */
    TRIES_MAX = 10,   /* conflicts of one item, alone */
};

enum phase { PHASE_FREE, PHASE_ASKING, PHASE_WRITING, PHASE_ROLLBACK };

struct work {
    struct lane lane;
    struct batch batch;
    enum phase phase;
    int64_t asked_us;     /* clock_mono_us when the first round went out */
    int64_t not_before_us;
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
    bool gathered; /* the last wait was for a batch alone, and in vain */
    int look_up;   /* so many batches to come do not assume that jobs are new */
    int64_t expire_at_us;
    int64_t down_since_us; /* clock_mono_us since when no connection is left; while up unused */
    struct log_limit log_connect, log_batch;
};

static const struct statement rollback = {"committer_rollback", "ROLLBACK"};

static int64_t now_us(const struct committer *committer)
{
    return clock_mono_us(committer->options.clock);
}

/* --- items ------------------------------------------------------------------------------------ */

static void put_back_items(struct committer *committer, struct commit_item *const *items,
                           size_t count)
{
    for (size_t i = 0; i < count; i++)
        items[i]->came_back = true;
    queue_put_back(&committer->queue, items, count);
}

/* Back to the front of the queue, in the order they had. */
static void put_back(struct committer *committer, struct batch *batch)
{
    struct commit_item *items[BATCH_ITEMS_MAX];

    for (size_t i = 0; i < batch->count; i++)
        items[i] = batch->items[i].item;
    put_back_items(committer, items, batch->count);
    batch->count = 0;
}

static void finish(struct committer *committer, struct commit_item *const *items, size_t count,
                   enum status status)
{
    for (size_t i = 0; i < count; i++) {
        items[i]->status = status;
        items[i]->settle.facts = NULL;
    }
    if (count > 0)
        committer->options.done(committer->options.user, items, count);
}

/* What the caller is told of an item that was not done. */
static enum status given_up(const struct committer *committer, const struct commit_item *item)
{
    if (item->maybe_landed)
        return STATUS_UNKNOWN;
    return atomic_load(&committer->up) ? STATUS_TIMEOUT : STATUS_UNAVAILABLE;
}

/* Whoever waits for a database that is away had better hear so than run into his deadline. */
static bool is_away(const struct committer *committer, int64_t now)
{
    return committer->options.away_ms > 0 && !atomic_load(&committer->up) &&
           now - committer->down_since_us > committer->options.away_ms * 1000;
}

static void expire_queue(struct committer *committer)
{
    int64_t now = now_us(committer);
    int64_t until = is_away(committer, now) ? INT64_MAX : now;
    struct commit_item *item;

    if (now < committer->expire_at_us)
        return;
    committer->expire_at_us = now + BUSY_POLL_MS * 1000;
    while ((item = queue_take_expired(&committer->queue, until)))
        finish(committer, &item, 1, given_up(committer, item));
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

/* --- failures --------------------------------------------------------------------------------- */

static void pause_work(struct committer *committer, struct work *work)
{
    work->not_before_us = now_us(committer) + RETRY_MS * 1000;
}

/* The one item that the database does not take. */
static void refuse_item(struct committer *committer, struct work *work, enum status status)
{
    struct commit_item *item = work->batch.items[0].item;

    log_every(&committer->log_batch, LOG_ERROR, "ledger",
              "commit.item_refused tenant_id=%" PRId64 " status=%s error=%s", item->settle.tenant_id,
              status_name(status), LOG_VALUE(work->lane.error));
    work->batch.count = 0;
    finish(committer, &item, 1, item->maybe_landed ? STATUS_UNKNOWN : status);
}

/* The batch certainly did not commit. Its items go back, together or in smaller parts, or fail. */
static void fail_batch(struct committer *committer, struct work *work, enum status status)
{
    struct batch *batch = &work->batch;
    bool data = status == STATUS_INVALID || status == STATUS_EXHAUSTED || status == STATUS_CORRUPT;

    if (status == STATUS_CONFLICT) {
        for (size_t i = 0; i < batch->count; i++)
            data |= ++batch->items[i].item->tries > TRIES_MAX;
    } else if (!data) {
        pause_work(committer, work);
    }
    log_every(&committer->log_batch, LOG_WARN, "ledger",
              "commit.batch_failed items=%zu status=%s error=%s", batch->count, status_name(status),
              LOG_VALUE(work->lane.error));
    if (data && batch->count == 1) {
        refuse_item(committer, work,
                    status == STATUS_INVALID || status == STATUS_EXHAUSTED ? status
                                                                           : STATUS_UNAVAILABLE);
        return;
    }
    if (data) {
        queue_suspect(&committer->queue, batch->count, (batch->count + 1) / 2);
        /* Alone, an item gets its own number of tries. */
        for (size_t i = 0; i < batch->count; i++)
            batch->items[i].item->tries = 0;
    }
    put_back(committer, batch);
}

/* Some job of the batch has a record already; the next run reads it. */
static void fail_repeated(struct committer *committer, struct work *work)
{
    committer->look_up = COMMITTER_LOOK_UP_BATCHES;
    put_back(committer, &work->batch);
}

/* A row stays locked by somebody: whose is it? Alone, the tenant waits for its next turn. */
static void fail_locked(struct committer *committer, struct work *work)
{
    struct batch *batch = &work->batch;

    log_every(&committer->log_batch, LOG_WARN, "ledger",
              "commit.row_locked items=%zu tenant_id=%" PRId64, batch->count,
              batch->items[0].item->settle.tenant_id);
    if (batch->jobs[0].tenant_id == batch->jobs[batch->jobs_count - 1].tenant_id) {
        queue_leave_out(&committer->queue, batch->jobs[0].tenant_id,
                        now_us(committer) + STUCK_MS * 1000);
    } else {
        queue_suspect(&committer->queue, batch->count, 1);
    }
    put_back(committer, batch);
}

static void lane_lost(struct committer *committer, struct work *work)
{
    bool maybe = work->phase == PHASE_WRITING;

    log_every(&committer->log_connect, LOG_WARN, "ledger", "commit.connection_lost error=%s",
              LOG_VALUE(work->lane.error));
    if (maybe)
        batch_may_have_landed(&work->batch);
    work->phase = PHASE_FREE;
    put_back(committer, &work->batch);
}

/* As if the network had failed: what the fault points do. */
static void cut(struct committer *committer, struct work *work)
{
    snprintf(work->lane.error, sizeof(work->lane.error), "cut by a fault point");
    lane_close(&work->lane);
    lane_lost(committer, work);
}

/* --- rounds ----------------------------------------------------------------------------------- */

static void send(struct committer *committer, struct work *work, enum phase phase)
{
    enum status status = lane_send(&work->lane);

    work->phase = phase;
    if (status == STATUS_OK)
        return;
    if (status == STATUS_EXHAUSTED) {
        work->phase = PHASE_FREE;
        fail_batch(committer, work, status);
        return;
    }
    if (status != STATUS_UNKNOWN)
        work->phase = PHASE_ASKING; /* no COMMIT was sent */
    lane_lost(committer, work);
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
    *ret_now_ms = estimate_now_ms(estimate, now_us(committer));
    return STATUS_OK;
}

static void start(struct committer *committer, struct work *work)
{
    struct commit_item *items[BATCH_ITEMS_MAX];
    size_t count = queue_take(&committer->queue, committer->options.batch_max, now_us(committer),
                              in_flight, committer, items);
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
        snprintf(work->lane.error, sizeof(work->lane.error), "%s",
                 database_error(committer->aside));
        fail_batch(committer, work, status);
        return;
    }
    batch_ask(&work->batch, &work->lane);
    work->asked_us = now_us(committer);
    send(committer, work, PHASE_ASKING);
}

static void decide(struct committer *committer, struct work *work)
{
    enum status status = batch_decide(&work->batch, &work->lane);

    if (status != STATUS_OK) {
        snprintf(work->lane.error, sizeof(work->lane.error), "rows are not as expected");
        fail_batch(committer, work, status);
        roll_back(committer, work);
        return;
    }
    if (committer->options.estimate)
        estimate_observe(committer->options.estimate, work->batch.book.now_ms, work->asked_us,
                         now_us(committer));
    if (FAULT("commit.before_commit")) {
        cut(committer, work);
        return;
    }
    batch_write(&work->batch, &work->lane);
    send(committer, work, PHASE_WRITING);
    if (work->phase == PHASE_WRITING && FAULT("commit.after_commit_sent"))
        cut(committer, work);
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
    put_back_items(committer, again, again_count);
}

static void committed(struct committer *committer, struct work *work)
{
    struct batch *batch = &work->batch;
    bool confirmed = lane_warnings(&work->lane) == 0;
    struct commit_item *items[BATCH_ITEMS_MAX];
    size_t count;

    queue_trust(&committer->queue);
    put_back_again(committer, batch);
    count = batch->count;
    for (size_t i = 0; i < count; i++) {
        items[i] = batch->items[i].item;
        batch_answer(batch, &batch->items[i]);
    }
    batch->count = 0;
    work->phase = PHASE_FREE;
    finish(committer, items, count, confirmed ? STATUS_OK : STATUS_UNKNOWN);
    if (batch->event_tenants_count > 0 && committer->options.events)
        committer->options.events(committer->options.user, batch->event_tenants,
                                  batch->event_tenants_count);
}

static void answered(struct committer *committer, struct work *work)
{
    enum lane_cause cause;
    enum phase phase = work->phase;
    enum status status = lane_status(&work->lane, &cause);

    work->phase = PHASE_FREE;
    if (status != STATUS_OK) {
        if (phase == PHASE_ROLLBACK) {
            lane_close(&work->lane);
            return;
        }
        if (cause == LANE_LOCK_TIMEOUT)
            fail_locked(committer, work);
        else if (cause == LANE_DUPLICATE && batch_has_assumed(&work->batch))
            fail_repeated(committer, work);
        else
            /* DUPLICATE: another server wrote the same job meanwhile; the next run reads what. */
            fail_batch(committer, work, cause == LANE_DUPLICATE ? STATUS_CONFLICT : status);
        roll_back(committer, work);
        return;
    }
    if (phase == PHASE_ASKING) {
        work->phase = PHASE_ASKING;
        decide(committer, work);
    } else if (phase == PHASE_WRITING) {
        if (FAULT("commit.after_commit")) {
            work->phase = PHASE_WRITING;
            cut(committer, work);
        } else if (!batch_committed(&work->batch, &work->lane)) {
            fail_batch(committer, work, STATUS_CONFLICT);
        } else {
            committed(committer, work);
        }
    }
}

static void advance(struct committer *committer, struct work *work)
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
        lane_lost(committer, work);
        break;
    }
}

/* --- the loop --------------------------------------------------------------------------------- */

static void note_up(struct committer *committer)
{
    bool up = false;

    for (size_t i = 0; i < WORKS; i++)
        up |= committer->works[i].lane.state != LANE_DOWN;
    if (atomic_load(&committer->up) && !up)
        committer->down_since_us = now_us(committer);
    atomic_store(&committer->up, up);
}

static void connect_work(struct committer *committer, struct work *work)
{
    const struct statement *statements[BATCH_STATEMENTS_MAX + 1];
    size_t count = batch_statements(statements);
    enum status status;

    statements[count++] = &rollback;
    status = lane_connect(&work->lane, statements, count);
    if (status == STATUS_OK) {
        log_info("ledger", "commit.connected");
        return;
    }
    pause_work(committer, work);
    log_every(&committer->log_connect, LOG_WARN, "ledger",
              "commit.connect_failed status=%s error=%s", status_name(status),
              LOG_VALUE(work->lane.error));
}

static void run_works(struct committer *committer)
{
    for (size_t i = 0; i < WORKS; i++) {
        struct work *work = &committer->works[i];

        if (work->phase != PHASE_FREE || now_us(committer) < work->not_before_us)
            continue;
        if (work->lane.state == LANE_DOWN)
            connect_work(committer, work);
        if (work->lane.state == LANE_IDLE && !queue_is_empty(&committer->queue))
            start(committer, work);
    }
    note_up(committer);
}

static bool is_finished(struct committer *committer)
{
    if (!queue_is_empty(&committer->queue) || !mailbox_is_closed(committer->mailbox) ||
        mailbox_count(committer->mailbox) > 0)
        return false;
    for (size_t i = 0; i < WORKS; i++)
        if (committer->works[i].phase != PHASE_FREE)
            return false;
    return true;
}

static int sleep_ms(const struct committer *committer)
{
    if (!queue_is_empty(&committer->queue))
        return BUSY_POLL_MS;
    for (size_t i = 0; i < WORKS; i++)
        if (committer->works[i].phase != PHASE_FREE || committer->works[i].lane.state == LANE_DOWN)
            return BUSY_POLL_MS;
    return IDLE_POLL_MS;
}

static nfds_t watch_lanes(const struct committer *committer, struct pollfd *fds)
{
    nfds_t count = 0;

    for (size_t i = 0; i < WORKS; i++) {
        const struct lane *lane = &committer->works[i].lane;

        if (lane->state == LANE_DOWN)
            continue;
        fds[count++] = (struct pollfd){
            .fd = lane_fd(lane),
            .events = (short)(lane_wants_write(lane) ? POLLIN | POLLOUT : POLLIN),
        };
    }
    return count;
}

static bool is_busy(const struct committer *committer)
{
    for (size_t i = 0; i < WORKS; i++)
        if (committer->works[i].lane.state == LANE_BUSY)
            return true;
    return false;
}

/*
 * Waits for mail or for a connection. Beside a batch, mail gathers for a moment first: one wake-up
 * for each commit would cost its sender and this thread more than the batch itself.
 */
static void wait(struct committer *committer)
{
    struct pollfd fds[1 + WORKS];
    nfds_t count = watch_lanes(committer, fds + 1);
    bool asleep;

    if (is_busy(committer) && !committer->gathered) {
        committer->gathered = poll(fds + 1, count, GATHER_MS) == 0;
        return;
    }
    committer->gathered = false;
    asleep = mailbox_will_sleep(committer->mailbox);
    fds[0] = (struct pollfd){.fd = mailbox_fd(committer->mailbox), .events = POLLIN};
    /* A closed mailbox does not sleep any more; its last items still take their time. */
    if (asleep || mailbox_is_closed(committer->mailbox)) {
        fds[0].fd = asleep ? fds[0].fd : -1;
        (void)poll(fds, 1 + count, sleep_ms(committer));
    } else {
        (void)poll(fds + 1, count, 0);
    }
    if (asleep)
        mailbox_awake(committer->mailbox);
}

static void *run(void *user)
{
    struct committer *committer = user;

    for (;;) {
        queue_append(&committer->queue, mailbox_take_all(committer->mailbox));
        expire_queue(committer);
        run_works(committer);
        if (is_finished(committer))
            return NULL;
        wait(committer);
        for (size_t i = 0; i < WORKS; i++)
            advance(committer, &committer->works[i]);
    }
}

/* --- from outside ----------------------------------------------------------------------------- */

static void open_works(struct committer *committer)
{
    const struct session_options session = {
        .conninfo = committer->conninfo,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .statement_timeout_ms = STATEMENT_TIMEOUT_MS,
        .lock_timeout_ms = LOCK_TIMEOUT_MS,
        .clock = committer->options.clock,
    };
    const struct database_options aside = {
        .conninfo = committer->conninfo,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .statement_timeout_ms = STATEMENT_TIMEOUT_MS,
        .clock = committer->options.clock,
        .estimate = committer->options.estimate,
    };

    committer->aside = database_create(&aside);
    for (size_t i = 0; i < WORKS; i++) {
        lane_init(&committer->works[i].lane, &session);
        batch_init(&committer->works[i].batch, committer->options.late_window_ms,
                   committer->options.lease_ms);
    }
}

struct committer *committer_create(const struct committer_options *options, char *error,
                                   size_t error_bytes)
{
    struct committer *committer;
    char why[SESSION_ERROR_MAX];

    if (!session_conninfo_valid(options->conninfo, why)) {
        snprintf(error, error_bytes, "%s", why);
        return NULL;
    }
    committer = calloc(1, sizeof(*committer));
    CHECK(committer);
    committer->options = *options;
    if (committer->options.batch_max == 0 || committer->options.batch_max > BATCH_ITEMS_MAX)
        committer->options.batch_max = BATCH_ITEMS_MAX;
    queue_init(&committer->queue);
    committer->conninfo = strdup(options->conninfo);
    CHECK(committer->conninfo);
    committer->mailbox = mailbox_create(options->items_max);
    if (!committer->mailbox) {
        snprintf(error, error_bytes, "no file descriptor left");
        free(committer->conninfo);
        free(committer);
        return NULL;
    }
    open_works(committer);
    committer->down_since_us = now_us(committer);
    thread_start_batch(&committer->thread, "committer", run, committer);
    return committer;
}

bool committer_submit(struct committer *committer, struct commit_item *item)
{
    item->maybe_landed = false;
    item->came_back = false;
    item->tries = 0;
    return mailbox_push(committer->mailbox, &item->mailbox);
}

void committer_destroy(struct committer *committer)
{
    if (!committer)
        return;
    mailbox_close(committer->mailbox);
    pthread_join(committer->thread, NULL);
    for (size_t i = 0; i < WORKS; i++) {
        lane_done(&committer->works[i].lane);
        batch_done(&committer->works[i].batch);
    }
    database_destroy(committer->aside);
    mailbox_destroy(committer->mailbox);
    free(committer->conninfo);
    free(committer);
}

bool committer_is_up(const struct committer *committer)
{
    return atomic_load(&committer->up);
}
