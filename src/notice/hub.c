/*
 * The hub's turn:
 *
 *     1. start who is new: a snapshot exact at its seq, or the check that its position still exists
 *     2. read what lies after the lowest position of each watched tenant, one page in one statement:
 *        once for those that are up to date (live), then for those that are catching up, so that
 *        nobody waits for another one's history
 *     3. offer each event to the tenant's subscribers; each takes the one after its own position
 *     4. progress frames; forget who has ended
 *
 * A full page means that more is there: the turn begins again at once. A subscriber that is still
 * catching up takes part only while its queue is less than half full, and a page fills the other half
 * at most, so that history never ends a stream that reads; one that has caught up once (live) is ended
 * when its queue is full. Queues drain meanwhile: who takes part is decided once per page.
 */
#include "notice/hub.h"

#include "base/check.h"
#include "base/log.h"
#include "base/thread.h"
#include "notice/subscriber.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    PAGE_EVENTS = 512,
    SNAPSHOT_TRIES = 5,
    SNAPSHOT_QUOTAS = 256, /* in one frame, so that it stays below every message limit */
    RETRY_MS = 100,
    CONNECT_TIMEOUT_MS = 1000,
    STATEMENT_TIMEOUT_MS = 5000,
};

struct hub {
    struct hub_options options;
    struct database *db;
    struct arena arena;
    pthread_t thread;
    int wake_fd;
    pthread_mutex_t lock;           /* over `fresh` */
    struct hub_subscriber *fresh;   /* not yet seen by the thread, newest first */
    struct hub_subscriber *readers; /* the thread's own */
    _Atomic size_t count;
    _Atomic bool draining, stopping;
    bool full_page;
    struct log_limit log;
};

static int64_t mono_us(const struct hub *hub)
{
    return clock_mono_us(hub->options.clock);
}

static void wake(struct hub *hub)
{
    uint64_t one = 1;

    CHECK(write(hub->wake_fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
}

static void failed(struct hub *hub, const char *what, enum status status)
{
    log_every(&hub->log, LOG_WARN, "hub", "%s.failed status=%s error=%s", what,
              status_name(status), LOG_VALUE(database_error(hub->db)));
}

/* --- starting ------------------------------------------------------------------------------------- */

static size_t keep_wanted(const struct hub_subscriber *reader, struct ledger_usage *usages,
                          size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++)
        if (subscriber_wants_quota(reader, usages[i].quota.scope, usages[i].quota.meter))
            usages[kept++] = usages[i];
    return kept;
}

static void send_snapshot(struct hub *hub, struct hub_subscriber *reader,
                          const struct ledger_usage *usages, size_t count, int64_t seq)
{
    int64_t now_ms = estimate_now_ms(hub->options.estimate, mono_us(hub));
    size_t at = 0;

    do {
        size_t some = count - at < SNAPSHOT_QUOTAS ? count - at : SNAPSHOT_QUOTAS;
        bool more = at + some < count;

        if (reader->sink.snapshot(reader->user, seq, reader->last_seq, now_ms, usages + at, some,
                                  more) != HUB_TOOK) {
            subscriber_end(reader, HUB_END_FAILED, 0);
            return;
        }
        reader->last_seq = seq;
        at += some;
    } while (at < count);
    reader->position = seq;
    reader->last_frame_us = mono_us(hub);
    reader->started = true;
}

/* The plan and the quotas of one state of the database; a change between the two reads is tried again. */
static enum status read_snapshot(struct hub *hub, struct hub_subscriber *reader,
                                 struct ledger_usage **usages, int64_t *ret_seq)
{
    for (int try = 0; try < SNAPSHOT_TRIES; try++) {
        struct plan *plan;
        int64_t *limit_ids, config_version;
        enum status status = ledger_plan_load(hub->db, reader->plan->tenant, &plan);

        if (status != STATUS_OK)
            return status;
        if (plan) {
            plan_unref(reader->plan);
            reader->plan = plan;
        }
        plan = reader->plan;
        limit_ids = arena_array(&hub->arena, plan->limits_count + 1, sizeof(*limit_ids));
        CHECK(limit_ids);
        for (size_t i = 0; i < plan->limits_count; i++)
            limit_ids[i] = plan->limits[i].limit_id;
        status = ledger_usage_read(hub->db, &hub->arena, plan, limit_ids, plan->limits_count,
                                   estimate_now_ms(hub->options.estimate, mono_us(hub)), usages,
                                   ret_seq, &config_version);
        if (status != STATUS_OK || config_version == plan->config_version)
            return status;
    }
    return STATUS_CONFLICT;
}

static bool start_with_snapshot(struct hub *hub, struct hub_subscriber *reader)
{
    struct ledger_usage *usages;
    int64_t seq;
    enum status status = read_snapshot(hub, reader, &usages, &seq);

    if (status == STATUS_CONFLICT)
        return true; /* the limits change too fast just now: the next turn, and nobody waits for it */
    if (status != STATUS_OK) {
        failed(hub, "snapshot", status);
        return false;
    }
    send_snapshot(hub, reader, usages, keep_wanted(reader, usages, reader->plan->limits_count),
                  seq);
    return true;
}

static bool start_after(struct hub *hub, struct hub_subscriber *reader)
{
    int64_t oldest, newest;
    enum status status =
        ledger_events_span(hub->db, reader->plan->tenant_id, &oldest, &newest);

    if (status != STATUS_OK) {
        failed(hub, "resume", status);
        return false;
    }
    if (oldest > reader->position + 1)
        subscriber_end(reader, HUB_END_TOO_OLD, oldest);
    reader->last_frame_us = mono_us(hub);
    reader->started = true;
    return true;
}

/* New subscribers join; those that could not be started yet are tried again. */
static bool start_new(struct hub *hub)
{
    struct hub_subscriber *fresh, *next;
    bool all = true;

    pthread_mutex_lock(&hub->lock);
    fresh = hub->fresh;
    hub->fresh = NULL;
    pthread_mutex_unlock(&hub->lock);
    for (; fresh; fresh = next) {
        next = fresh->next;
        fresh->next = hub->readers;
        hub->readers = fresh;
    }
    for (struct hub_subscriber *reader = hub->readers; reader && all; reader = reader->next)
        if (!reader->started && !reader->ended && !reader->gone)
            all = reader->position < 0 ? start_with_snapshot(hub, reader)
                                       : start_after(hub, reader);
    return all;
}

/* --- reading --------------------------------------------------------------------------------------- */

static bool takes_part(const struct hub *hub, const struct hub_subscriber *reader)
{
    return reader->started && !reader->ended && !reader->gone &&
           (reader->live ||
            reader->sink.queued(reader->user) < hub->options.queue_max / 2);
}

/* Chooses who takes part in this page; the lowest position per tenant among them. */
static size_t list_cursors(struct hub *hub, bool live, struct ledger_cursor *cursors)
{
    size_t count = 0;

    for (struct hub_subscriber *reader = hub->readers; reader; reader = reader->next) {
        size_t i = 0;

        reader->reading = reader->live == live && takes_part(hub, reader);
        if (!reader->reading)
            continue;
        while (i < count && cursors[i].tenant_id != reader->plan->tenant_id)
            i++;
        if (i == count)
            cursors[count++] = (struct ledger_cursor){reader->plan->tenant_id, reader->position};
        else if (reader->position < cursors[i].after_seq)
            cursors[i].after_seq = reader->position;
    }
    return count;
}

static void offer_events(struct hub *hub, const struct ledger_event *events, size_t count)
{
    int64_t now_us = mono_us(hub);

    for (struct hub_subscriber *reader = hub->readers; reader; reader = reader->next) {
        if (!reader->reading)
            continue;
        for (size_t i = 0; i < count && !reader->ended; i++)
            if (events[i].tenant_id == reader->plan->tenant_id)
                subscriber_offer(reader, &events[i], hub->options.queue_max, now_us);
    }
}

static void now_live(struct hub *hub)
{
    for (struct hub_subscriber *reader = hub->readers; reader; reader = reader->next)
        reader->live |= reader->reading;
}

static bool read_page(struct hub *hub, bool live)
{
    struct ledger_cursor *cursors =
        arena_array(&hub->arena, hub->count + 1, sizeof(*cursors));
    struct ledger_event *events;
    size_t cursors_count, count, max = PAGE_EVENTS;
    enum status status;

    CHECK(cursors);
    cursors_count = list_cursors(hub, live, cursors);
    if (cursors_count == 0)
        return true;
    if (!live && max > hub->options.queue_max / 2)
        max = hub->options.queue_max / 2;
    status = ledger_events_read(hub->db, &hub->arena, cursors, cursors_count, max, &events, &count);
    if (status != STATUS_OK) {
        failed(hub, "events", status);
        return false;
    }
    offer_events(hub, events, count);
    if (count == max)
        hub->full_page = true;
    else
        now_live(hub);
    return true;
}

/* --- the turn ---------------------------------------------------------------------------------------- */

static void forget_ended(struct hub *hub)
{
    struct hub_subscriber **link = &hub->readers;

    while (*link) {
        struct hub_subscriber *reader = *link;

        if (reader->gone)
            subscriber_end(reader, HUB_END_FAILED, 0);
        else if (hub->draining)
            subscriber_end(reader, HUB_END_DRAINING, 0);
        if (!reader->ended) {
            link = &reader->next;
            continue;
        }
        *link = reader->next;
        subscriber_destroy(reader);
        hub->count--;
    }
}

static int turn(struct hub *hub)
{
    int64_t now_us, now_ms;
    bool fine;

    arena_reset(&hub->arena);
    hub->full_page = false;
    fine = start_new(hub) && read_page(hub, true) && read_page(hub, false);
    now_us = mono_us(hub);
    now_ms = estimate_now_ms(hub->options.estimate, now_us);
    for (struct hub_subscriber *reader = hub->readers; reader; reader = reader->next)
        if (reader->started)
            subscriber_progress(reader, hub->options.progress_ms, now_ms, now_us);
    forget_ended(hub);
    if (!fine)
        return RETRY_MS;
    if (hub->full_page)
        return 0;
    return hub->readers ? hub->options.poll_ms : -1;
}

static void *run(void *user)
{
    struct hub *hub = user;
    struct pollfd poll_fd = {.fd = hub->wake_fd, .events = POLLIN};

    while (true) {
        bool stopping = hub->stopping;
        int wait_ms = turn(hub);
        uint64_t wakes;

        if (stopping)
            return NULL;
        if (poll(&poll_fd, 1, wait_ms) > 0)
            CHECK(read(hub->wake_fd, &wakes, sizeof(wakes)) == (ssize_t)sizeof(wakes));
    }
}

/* --- for others ---------------------------------------------------------------------------------------- */

struct hub *hub_create(const struct hub_options *options)
{
    struct hub *hub = calloc(1, sizeof(*hub));
    struct database_options database = {
        .conninfo = options->conninfo,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .statement_timeout_ms = STATEMENT_TIMEOUT_MS,
        .clock = options->clock,
        .estimate = options->estimate,
    };

    CHECK(hub);
    hub->options = *options;
    hub->db = database_create(&database);
    arena_init(&hub->arena, 64 * 1024, 256u << 20);
    CHECK(pthread_mutex_init(&hub->lock, NULL) == 0);
    hub->wake_fd = eventfd(0, EFD_CLOEXEC);
    CHECK(hub->wake_fd >= 0);
    thread_start(&hub->thread, "hub", run, hub);
    return hub;
}

void hub_drain(struct hub *hub)
{
    hub->draining = true;
    wake(hub);
}

void hub_destroy(struct hub *hub)
{
    if (!hub)
        return;
    hub->draining = true;
    hub->stopping = true;
    wake(hub);
    pthread_join(hub->thread, NULL);
    CHECK(!hub->readers && !hub->fresh);
    database_destroy(hub->db);
    arena_done(&hub->arena);
    close(hub->wake_fd);
    pthread_mutex_destroy(&hub->lock);
    free(hub);
}

struct hub_subscriber *hub_subscribe(struct hub *hub, struct plan *plan, int64_t after_seq,
                                     const struct hub_filter *filter, const struct hub_sink *sink,
                                     void *user)
{
    struct hub_subscriber *reader = subscriber_create(plan_ref(plan), filter, sink, user);

    reader->position = after_seq < 0 ? -1 : after_seq;
    reader->last_seq = after_seq < 0 ? 0 : after_seq;
    hub->count++;
    pthread_mutex_lock(&hub->lock);
    reader->next = hub->fresh;
    hub->fresh = reader;
    pthread_mutex_unlock(&hub->lock);
    wake(hub);
    return reader;
}

void hub_unsubscribe(struct hub *hub, struct hub_subscriber *subscriber)
{
    subscriber->gone = true;
    wake(hub);
}

void hub_hint(struct hub *hub, const int64_t *tenants, size_t count)
{
    (void)tenants;
    if (count > 0 && hub->count > 0)
        wake(hub);
}

size_t hub_subscribers(struct hub *hub)
{
    return hub->count;
}
