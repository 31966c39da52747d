/*
 * The hub's turn:
 *
 *     1. start some of who is new: the check that their position lies among the events that exist
 *     2. once a second: has any tenant's newest event gone back behind its readers?
 *     3. read what lies after the lowest position of each watched tenant, page by page over all of
 *        them: once for readers that are up to date (live), then for those that are catching up, so
 *        that nobody waits for another one's history
 *     4. offer each event to the tenant's subscribers; each takes the one after its own position
 *     5. progress frames; forget who has ended
 *
 * Between two such turns, which are poll_ms apart, a turn may be about hinted tenants alone: 3. and 4. of
 * these, for readers that are live. So what a busy tenant costs does not grow with the number of others.
 *
 * A page is one statement: some tenants, some events of each. A tenant that fills its share has more:
 * the turn begins again at once, and the others are asked before it gets its next share. A subscriber
 * that is still catching up takes part only while its queue is less than half full, and a share fills
 * the other half at most, so that history never ends a stream that reads. One that has caught up (live)
 * takes part always; when its queue is full it catches up again, from where it stands. A stream that takes
 * nothing of what waits for it is ended (subscriber.c). Queues drain meanwhile: who takes part is decided
 * once per page.
 */
#include "notice/hub.h"

#include "base/check.h"
#include "base/log.h"
#include "base/thread.h"
#include "notice/subscriber.h"
#include "quota/times.h"

#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    PAGE_EVENTS = 512, /* of all its tenants, roughly */
    PAGE_TENANTS = 256,
    SHARE_MIN = 8,      /* events of one tenant in a page, */
    SHARE_MAX = 256,    /* but never so many that its readers get more than */
    OFFERS_MAX = 16384, /* frames in all */
    STARTS_MAX = 32,    /* new subscribers in a turn */
    NEWEST_EVERY_US = 1000000,
    HUB_RETRY_MS = 100,
    HINTS_MAX = 64, /* tenants; more, and everybody is read */
};

enum { WATCHED_BUCKETS = 1024 };

/* A tenant that somebody watches. */
struct watched {
    struct watched *next;
    struct watched *next_in_bucket;
    int64_t tenant_id;
    struct hub_subscriber *readers;
    size_t readers_count;
};

struct hub {
    struct hub_options options;
    struct database *db;
    struct arena arena;
    pthread_t thread;
    int wake_fd;
    pthread_mutex_t lock;         /* over `fresh` and `hints` */
    struct hub_subscriber *fresh; /* not yet seen by the thread, newest first */
    struct hints {
        bool all; /* the next turn is about everybody, else about these */
        size_t count;
        int64_t tenants[HINTS_MAX];
    } hints;
    struct watched *watched;                  /* the thread's own, like all below */
    struct watched *buckets[WATCHED_BUCKETS]; /* by tenant */
    size_t watched_count;
    int64_t poll_us;   /* when everybody is read again */
    int64_t newest_us; /* when to compare positions with the newest events again */
    bool unstarted;    /* some subscriber could not be started in this turn */
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

/* The next turn is about everybody, and soon. */
static void wake_for_all(struct hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    hub->hints.all = true;
    pthread_mutex_unlock(&hub->lock);
    wake(hub);
}

static void failed(struct hub *hub, const char *what, enum status status)
{
    log_every(&hub->log, LOG_WARN, "hub", "%s.failed status=%s error=%s", what, status_name(status),
              LOG_VALUE(database_error(hub->db)));
}

/* --- starting ------------------------------------------------------------------------------------- */

static struct watched **bucket_of(struct hub *hub, int64_t tenant_id)
{
    return &hub->buckets[(uint64_t)tenant_id % WATCHED_BUCKETS];
}

/* NULL: nobody watches it. */
static struct watched *find_watched(struct hub *hub, int64_t tenant_id)
{
    struct watched *watched = *bucket_of(hub, tenant_id);

    while (watched && watched->tenant_id != tenant_id)
        watched = watched->next_in_bucket;
    return watched;
}

static struct watched *watched_of(struct hub *hub, int64_t tenant_id)
{
    struct watched *watched = find_watched(hub, tenant_id), **bucket = bucket_of(hub, tenant_id);

    if (watched)
        return watched;
    watched = calloc(1, sizeof(*watched));
    CHECK(watched);
    watched->tenant_id = tenant_id;
    watched->next = hub->watched;
    hub->watched = watched;
    watched->next_in_bucket = *bucket;
    *bucket = watched;
    hub->watched_count++;
    return watched;
}

static void drop_watched(struct hub *hub, struct watched **link)
{
    struct watched *watched = *link, **bucket = bucket_of(hub, watched->tenant_id);

    while (*bucket != watched)
        bucket = &(*bucket)->next_in_bucket;
    *bucket = watched->next_in_bucket;
    *link = watched->next;
    free(watched);
    hub->watched_count--;
}

static void take_fresh(struct hub *hub)
{
    struct hub_subscriber *fresh, *next;

    pthread_mutex_lock(&hub->lock);
    fresh = hub->fresh;
    hub->fresh = NULL;
    pthread_mutex_unlock(&hub->lock);
    for (; fresh; fresh = next) {
        struct watched *watched = watched_of(hub, fresh->plan->tenant_id);

        next = fresh->next;
        fresh->next = watched->readers;
        watched->readers = fresh;
        watched->readers_count++;
    }
}

static bool start_one(struct hub *hub, struct hub_subscriber *reader)
{
    int64_t oldest, newest;
    enum status status = ledger_events_span(hub->db, reader->plan->tenant_id, &oldest, &newest);

    if (status != STATUS_OK) {
        failed(hub, "resume", status);
        return false;
    }
    if (reader->position > newest)
        subscriber_end(reader, HUB_END_TOO_NEW, newest);
    else if (oldest > reader->position + 1)
        subscriber_end(reader, HUB_END_TOO_OLD, oldest);
    reader->last_frame_us = reader->taken_us = mono_us(hub);
    reader->started = true;
    return true;
}

/* New subscribers join; those that could not be started yet are tried again. */
static bool start_new(struct hub *hub)
{
    size_t started = 0;

    take_fresh(hub);
    hub->unstarted = false;
    for (struct watched *watched = hub->watched; watched; watched = watched->next)
        for (struct hub_subscriber *reader = watched->readers; reader; reader = reader->next) {
            if (reader->started || reader->ended || reader->gone)
                continue;
            if (started++ >= STARTS_MAX)
                hub->unstarted = true;
            else if (!start_one(hub, reader))
                return false;
        }
    return true;
}

/*
 * A database that went back (a failover that lost events, a restore) has fewer events than readers
 * have seen, and would give the next ones numbers that were used. Such streams end.
 */
static bool compare_newest(struct hub *hub)
{
    int64_t *tenants, *newest;
    size_t count = 0;
    enum status status;

    if (mono_us(hub) < hub->newest_us || hub->watched_count == 0)
        return true;
    hub->newest_us = mono_us(hub) + NEWEST_EVERY_US;
    tenants = arena_array(&hub->arena, hub->watched_count, sizeof(*tenants));
    newest = arena_array(&hub->arena, hub->watched_count, sizeof(*newest));
    CHECK(tenants && newest);
    for (struct watched *watched = hub->watched; watched; watched = watched->next)
        tenants[count++] = watched->tenant_id;
    status = ledger_events_newest(hub->db, &hub->arena, tenants, count, newest);
    if (status != STATUS_OK) {
        failed(hub, "newest", status);
        return false;
    }
    count = 0;
    for (struct watched *watched = hub->watched; watched; watched = watched->next, count++)
        for (struct hub_subscriber *reader = watched->readers; reader; reader = reader->next) {
            if (!reader->started || reader->ended || reader->position <= newest[count])
                continue;
            log_error("hub",
                      "events.went_back tenant=%" PRId64 " newest=%" PRId64 " seen=%" PRId64
                      ": the database has lost events that were sent",
                      watched->tenant_id, newest[count], reader->position);
            subscriber_end(reader, HUB_END_TOO_NEW, newest[count]);
        }
    return true;
}

/* --- reading --------------------------------------------------------------------------------------- */

struct page {
    struct ledger_cursor cursors[PAGE_TENANTS];
    struct watched *watched[PAGE_TENANTS];
    size_t count;
};

static bool takes_part(const struct hub *hub, const struct hub_subscriber *reader)
{
    return reader->started && !reader->ended && !reader->gone &&
           (reader->live || reader->sink.queued(reader->user) < hub->options.queue_max / 2);
}

/* Chooses who takes part in this page; the lowest position of each tenant among them. */
static void add_cursor(struct hub *hub, struct page *page, struct watched *watched, bool live)
{
    struct ledger_cursor cursor = {.tenant_id = watched->tenant_id, .after_seq = INT64_MAX};

    for (struct hub_subscriber *reader = watched->readers; reader; reader = reader->next) {
        reader->reading = reader->live == live && takes_part(hub, reader);
        if (reader->reading && reader->position < cursor.after_seq)
            cursor.after_seq = reader->position;
    }
    if (cursor.after_seq == INT64_MAX)
        return;
    page->watched[page->count] = watched;
    page->cursors[page->count++] = cursor;
}

static void share_out(struct hub *hub, struct page *page, bool live)
{
    size_t fair = PAGE_EVENTS / page->count;

    fair = fair < SHARE_MIN ? SHARE_MIN : fair > SHARE_MAX ? SHARE_MAX : fair;
    if (!live && fair > hub->options.queue_max / 2)
        fair = hub->options.queue_max / 2;
    for (size_t i = 0; i < page->count; i++) {
        size_t bearable = OFFERS_MAX / page->watched[i]->readers_count + 1;

        page->cursors[i].max = fair < bearable ? fair : bearable;
    }
}

static void offer_events(struct hub *hub, struct page *page, const struct ledger_event *events)
{
    int64_t now_us = mono_us(hub);

    for (size_t i = 0; i < page->count; i++) {
        const struct ledger_cursor *cursor = &page->cursors[i];
        bool full = cursor->count == cursor->max;

        hub->full_page |= full;
        for (struct hub_subscriber *reader = page->watched[i]->readers; reader;
             reader = reader->next) {
            if (!reader->reading)
                continue;
            for (size_t k = 0; k < cursor->count && reader->reading && !reader->ended; k++)
                subscriber_offer(reader, &events[cursor->first + k], hub->options.queue_max,
                                 now_us);
            if (reader->reading && !full) {
                reader->live = true;
                reader->behind = false;
            }
        }
    }
}

static bool read_page(struct hub *hub, struct page *page, bool live)
{
    struct ledger_event *events;
    enum status status;

    if (page->count == 0)
        return true;
    share_out(hub, page, live);
    status = ledger_events_read(hub->db, &hub->arena, page->cursors, page->count, &events);
    if (status != STATUS_OK) {
        failed(hub, "events", status);
        return false;
    }
    offer_events(hub, page, events);
    arena_reset(&hub->arena);
    return true;
}

/* Every watched tenant once, a page of them at a time. */
static bool read_all(struct hub *hub, bool live)
{
    struct page page;

    page.count = 0;
    for (struct watched *watched = hub->watched; watched; watched = watched->next) {
        add_cursor(hub, &page, watched, live);
        if (page.count < PAGE_TENANTS)
            continue;
        if (!read_page(hub, &page, live))
            return false;
        page.count = 0;
    }
    return read_page(hub, &page, live);
}

/* Those of the hinted tenants that somebody watches. */
static bool read_hinted(struct hub *hub, const struct hints *hints)
{
    struct page page;

    page.count = 0;
    for (size_t i = 0; i < hints->count; i++) {
        struct watched *watched = find_watched(hub, hints->tenants[i]);

        if (watched)
            add_cursor(hub, &page, watched, true);
    }
    return read_page(hub, &page, true);
}

_Static_assert((int)HINTS_MAX <= (int)PAGE_TENANTS, "read_hinted has one page");

/* --- the turn ---------------------------------------------------------------------------------------- */

static void forget_ended_of(struct hub *hub, struct watched *watched)
{
    struct hub_subscriber **link = &watched->readers;

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
        watched->readers_count--;
        hub->count--;
    }
}

static void forget_ended(struct hub *hub)
{
    struct watched **link = &hub->watched;

    while (*link) {
        struct watched *watched = *link;

        forget_ended_of(hub, watched);
        if (watched->readers) {
            link = &watched->next;
            continue;
        }
        drop_watched(hub, link);
    }
}

static void send_progress(struct hub *hub)
{
    int64_t now_us = mono_us(hub);
    int64_t now_ms = estimate_now_ms(hub->options.estimate, now_us);

    for (struct watched *watched = hub->watched; watched; watched = watched->next)
        for (struct hub_subscriber *reader = watched->readers; reader; reader = reader->next)
            if (reader->started)
                subscriber_progress(reader, hub->options.progress_ms, now_ms, now_us);
}

static struct hints take_hints(struct hub *hub)
{
    struct hints hints;

    pthread_mutex_lock(&hub->lock);
    hints = hub->hints;
    hub->hints.all = false;
    hub->hints.count = 0;
    pthread_mutex_unlock(&hub->lock);
    return hints;
}

/* False: the database failed. */
static bool turn_of_all(struct hub *hub)
{
    bool fine;

    hub->full_page = false;
    fine = start_new(hub) && compare_newest(hub) && read_all(hub, true) && read_all(hub, false);
    send_progress(hub);
    forget_ended(hub);
    hub->poll_us = mono_us(hub) + hub->options.poll_ms * INT64_C(1000);
    return fine;
}

static bool is_about_all(const struct hub *hub, const struct hints *hints)
{
    return hints->all || hub->draining || hub->full_page || hub->unstarted ||
           mono_us(hub) >= hub->poll_us;
}

/* Returns how long to wait for the next one; -1: until somebody watches. */
static int turn(struct hub *hub)
{
    const struct hints hints = take_hints(hub);
    int64_t left_us;

    arena_reset(&hub->arena);
    if (is_about_all(hub, &hints) ? !turn_of_all(hub) : !read_hinted(hub, &hints)) {
        hub->poll_us = 0; /* then everybody is read */
        return HUB_RETRY_MS;
    }
    if (hub->full_page || hub->unstarted)
        return 0;
    left_us = hub->poll_us - mono_us(hub);
    return !hub->watched ? -1 : left_us > 0 ? (int)((left_us + 999) / 1000) : 0;
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
        .connect_timeout_ms = CONNECT_SHARED_MS,
        .statement_timeout_ms = STATEMENT_MS,
        .clock = options->clock,
        .estimate = options->estimate,
        .alarms = options->alarms,
        .pulse = options->pulse,
        .stop = options->stop,
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
    wake_for_all(hub);
}

void hub_destroy(struct hub *hub)
{
    if (!hub)
        return;
    hub->draining = true;
    hub->stopping = true;
    wake_for_all(hub);
    pthread_join(hub->thread, NULL);
    CHECK(!hub->watched && !hub->fresh);
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

    CHECK(after_seq >= 0);
    reader->position = after_seq;
    reader->last_seq = after_seq;
    hub->count++;
    pthread_mutex_lock(&hub->lock);
    reader->next = hub->fresh;
    hub->fresh = reader;
    hub->hints.all = true;
    pthread_mutex_unlock(&hub->lock);
    wake(hub);
    return reader;
}

void hub_unsubscribe(struct hub *hub, struct hub_subscriber *subscriber)
{
    subscriber->gone = true;
    wake_for_all(hub);
}

/* The lock is held. */
static void add_hint(struct hints *hints, int64_t tenant_id)
{
    for (size_t i = 0; i < hints->count; i++)
        if (hints->tenants[i] == tenant_id)
            return;
    if (hints->count < HINTS_MAX)
        hints->tenants[hints->count++] = tenant_id;
    else
        hints->all = true;
}

void hub_hint(struct hub *hub, const int64_t *tenants, size_t count)
{
    bool asleep;

    if (count == 0 || hub->count == 0)
        return;
    pthread_mutex_lock(&hub->lock);
    asleep = hub->hints.count == 0 && !hub->hints.all;
    for (size_t i = 0; i < count; i++)
        add_hint(&hub->hints, tenants[i]);
    pthread_mutex_unlock(&hub->lock);
    if (asleep) /* else it was woken, and has not come by since */
        wake(hub);
}

size_t hub_subscribers(struct hub *hub)
{
    return hub->count;
}
