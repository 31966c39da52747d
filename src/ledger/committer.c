/*
 * The committer's thread: a queue, and three works, each a connection with the batch it carries. Two
 * take turns; the third is for tenants with a row that somebody keeps locked (queue.h).
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
#include "ledger/committer_internal.h"

#include "base/thread.h"
#include "ledger/lane.h"
#include "ledger/pulse.h"
#include "ledger/session.h"
#include "quota/times.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    IDLE_POLL_MS = 500,
    BUSY_POLL_MS = 20, /* while there is something to do */
    GATHER_MS = 1,     /* how long mail may wait unread beside a batch that is under way */
};

/* --- the loop --------------------------------------------------------------------------------- */

static void note_up(struct committer *committer)
{
    bool up = false;

    for (size_t i = 0; i < WORKS; i++)
        up |= committer->works[i].lane.state != LANE_DOWN;
    if (atomic_load(&committer->up) && !up)
        committer->down_since_us = committer_now_us(committer);
    atomic_store(&committer->up, up && !committer->hung);
}

/* One that fails after a second is not followed by others: mail waits meanwhile. */
static void pause_unconnected(struct committer *committer)
{
    for (size_t i = 0; i < WORKS; i++)
        if (committer->works[i].lane.state == LANE_DOWN)
            work_pause(committer, &committer->works[i]);
}

static void connect_work(struct committer *committer, struct work *work)
{
    const struct statement *statements[BATCH_STATEMENTS_MAX + 1];
    size_t count = work_statements(statements);
    enum status status = lane_connect(&work->lane, statements, count);

    if (status == STATUS_OK) {
        log_info("ledger", "commit.connected");
        return;
    }
    pause_unconnected(committer);
    pulse_doubt(committer->options.pulse);
    log_every(&committer->log_connect, LOG_WARN, "ledger",
              "commit.connect_failed status=%s error=%s", status_name(status),
              LOG_VALUE(work->lane.error));
}

static void run_works(struct committer *committer)
{
    for (size_t i = 0; i < WORKS; i++) {
        struct work *work = &committer->works[i];

        if (committer->hung || work->phase != PHASE_FREE ||
            committer_now_us(committer) < work->not_before_us ||
            stop_is_due(committer->options.stop, committer_now_us(committer)))
            continue;
        if (work->lane.state == LANE_DOWN)
            connect_work(committer, work);
        if (work->lane.state == LANE_IDLE && i == WORK_STUCK)
            work_start_stuck(committer, work);
        else if (work->lane.state == LANE_IDLE)
            work_start_free(committer, work);
    }
    note_up(committer);
}

static bool waits_in_vain(struct committer *committer)
{
    bool vain = committer->hung && pulse_is_silent(committer->options.pulse);

    for (size_t i = 0; i < WORKS; i++) {
        const struct lane *lane = &committer->works[i].lane;

        if (lane->state == LANE_BUSY)
            vain |= pulse_fails(committer->options.pulse, lane->sent_us);
    }
    return vain;
}

/* Others are answered again. What was sent before may have gone to a server that never comes back. */
static void hurry_old(struct committer *committer)
{
    int64_t by_us = committer_now_us(committer) + PULSE_ANSWER_MS * INT64_C(1000);

    for (size_t i = 0; i < WORKS; i++)
        if (committer->works[i].lane.state == LANE_BUSY)
            lane_hurry(&committer->works[i].lane, by_us);
}

/*
 * Does the database hang? Then what has not come to its COMMIT never will, and what waits is answered. A
 * COMMIT that was sent may still come back. Idle connections are given up: the next ones may lead elsewhere.
 */
static void look_for_hang(struct committer *committer)
{
    bool hung = waits_in_vain(committer);

    if (hung != committer->hung)
        log_warn("ledger", hung ? "commit.hung" : "commit.hung_no_more");
    if (committer->hung && !hung)
        hurry_old(committer);
    committer->hung = hung;
    for (size_t i = 0; hung && i < WORKS; i++) {
        struct work *work = &committer->works[i];

        if (work->lane.state == LANE_DOWN || work->phase == PHASE_WRITING)
            continue;
        lane_close(&work->lane);
        snprintf(work->lane.error, sizeof(work->lane.error), "the database does not answer");
        if (work->phase != PHASE_FREE)
            work_lost(committer, work, false);
    }
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
    for (size_t i = 0; i < WORKS_FREE; i++)
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

/* The server stops and waits no longer: what is under way is cut, everything is answered. */
static void cut_all(struct committer *committer)
{
    for (size_t i = 0; i < WORKS; i++) {
        struct work *work = &committer->works[i];

        if (work->lane.state != LANE_DOWN)
            lane_close(&work->lane);
        if (work->phase != PHASE_FREE) {
            snprintf(work->lane.error, sizeof(work->lane.error), "the server is stopping");
            work_lost(committer, work, work->phase == PHASE_WRITING);
        }
    }
    atomic_store(&committer->up, false);
    items_give_up(committer);
}

static void *run(void *user)
{
    struct committer *committer = user;

    for (;;) {
        queue_append(&committer->queue, mailbox_take_all(committer->mailbox));
        if (stop_is_due(committer->options.stop, committer_now_us(committer)))
            cut_all(committer);
        look_for_hang(committer);
        note_up(committer);
        items_expire(committer);
        run_works(committer);
        if (is_finished(committer))
            return NULL;
        wait(committer);
        for (size_t i = 0; i < WORKS; i++)
            work_advance(committer, &committer->works[i]);
    }
}

/* --- from outside ----------------------------------------------------------------------------- */

static void open_works(struct committer *committer)
{
    struct session_options session = {
        .conninfo = committer->conninfo,
        .connect_timeout_ms = CONNECT_SHARED_MS,
        .statement_timeout_ms = STATEMENT_COMMITTER_MS,
        .lock_timeout_ms = LOCK_WAIT_MS,
        .clock = committer->options.clock,
        .stop = committer->options.stop,
        .compared = true,
    };
    const struct database_options aside = {
        .conninfo = committer->conninfo,
        .connect_timeout_ms = CONNECT_SHARED_MS,
        .statement_timeout_ms = STATEMENT_COMMITTER_MS,
        .lock_timeout_ms = LOCK_WAIT_MS,
        .clock = committer->options.clock,
        .estimate = committer->options.estimate,
        .alarms = committer->options.alarms,
        .pulse = committer->options.pulse,
        .stop = committer->options.stop,
    };

    committer->aside = database_create(&aside);
    for (size_t i = 0; i < WORKS; i++) {
        session.lock_timeout_ms = i == WORK_STUCK ? LOCK_WAIT_STUCK_MS : LOCK_WAIT_MS;
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
    committer->down_since_us = committer_now_us(committer);
    thread_start_batch(&committer->thread, "committer", run, committer);
    return committer;
}

bool committer_submit(struct committer *committer, struct commit_item *item)
{
    item->maybe_landed = false;
    item->came_back = false;
    item->refused = STATUS_OK;
    item->sqlstate[0] = '\0';
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
