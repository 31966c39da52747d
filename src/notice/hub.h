/*
 * Threshold events to subscribers.
 *
 * One thread of its own, with its own Postgres connection. The rows of the table event are the only
 * truth: the hub reads what lies after its cursor for every tenant that somebody watches, every
 * poll_ms (10) while anyone watches, and for those that hub_hint names at once, and hands each frame
 * to the subscribers of the tenant, in the order of seq. Events of other servers come the same way.
 * While nobody watches it asks the database nothing.
 *
 * A subscriber is a start position, a filter and a table of functions. It first gets what it missed,
 * page by page as its queue drains, then live events. One whose queue is full goes on page by page
 * again; one that takes nothing from a full queue for 250 ms, or from any for a minute, is ended (slow).
 * Nobody waits for it. The hub sends no snapshots: whoever subscribes sends one first, and subscribes at
 * its seq.
 *
 * A turn reads a bounded number of events of each tenant, and of a bounded number of tenants, in
 * rotation: one tenant's history, events or subscribers delay the others by one such page.
 */
#ifndef HOLDFAST_NOTICE_HUB_H
#define HOLDFAST_NOTICE_HUB_H

#include "base/arena.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/estimate.h"
#include "base/slice.h"
#include "ledger/ledger.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hub;
struct hub_subscriber;

struct hub_options {
    const char *conninfo;
    const struct clock *clock;
    struct estimate *estimate;
    struct pulse *pulse;     /* ledger/pulse.h; may be NULL */
    struct alarms *alarms;   /* ledger/alarms.h; may be NULL */
    const struct stop *stop; /* base/stop.h; may be NULL */
    int poll_ms;             /* 10 */
    int progress_ms;  /* keep-alive frames: 15,000; at once (1 s) when filtered-out events passed */
    size_t queue_max; /* events waiting per subscriber: 1,024; at least 2 */
};

enum hub_took { HUB_TOOK, HUB_FULL, HUB_GONE };
enum hub_end {
    HUB_END_SLOW,
    HUB_END_DRAINING,
    HUB_END_TOO_OLD, /* events after the position were deleted by age */
    HUB_END_TOO_NEW, /* the position is above the newest event: another tenant's, or of a database
                        that went back */
    HUB_END_FAILED,
};

/* Called on the hub's thread; each returns whether the stream took the frame. */
struct hub_sink {
    enum hub_took (*event)(void *user, int64_t prev_seq, const struct ledger_event *event);
    enum hub_took (*progress)(void *user, int64_t seq, int64_t prev_seq, int64_t now_ms);
    size_t (*queued)(void *user); /* frames that still wait in the stream */
    /*
     * Exactly once, last: the subscriber is forgotten. seq: every event up to here was looked at.
     * bound_seq: the oldest seq for TOO_OLD, which also ends a stream that reads so slowly that the
     * events before it were deleted meanwhile; the newest for TOO_NEW; else 0.
     */
    void (*end)(void *user, enum hub_end end, int64_t seq, int64_t prev_seq, int64_t bound_seq);
};

struct hub_filter {             /* all counts 0: everything; contents are copied */
    const struct slice *scopes; /* these and below */
    size_t scopes_count;
    const struct slice *meters;
    size_t meters_count;
    const int *kinds;
    size_t kinds_count;
};

/* May a quota be seen through the filter? Pure. */
bool hub_filter_wants_quota(const struct hub_filter *filter, struct slice scope,
                            struct slice meter);

struct hub *hub_create(const struct hub_options *options);
/* Ends every stream (DRAINING) and joins. */
void hub_destroy(struct hub *hub);
/* Ends every stream with DRAINING; later subscribers too. Any thread. */
void hub_drain(struct hub *hub);

/* Any thread. plan: one reference is taken. Every event after after_seq (0 or more). */
struct hub_subscriber *hub_subscribe(struct hub *hub, struct plan *plan, int64_t after_seq,
                                     const struct hub_filter *filter, const struct hub_sink *sink,
                                     void *user);
/* The client is gone: end is still called, on the hub's thread, HUB_END_FAILED. Any thread. */
void hub_unsubscribe(struct hub *hub, struct hub_subscriber *subscriber);

/*
 * These tenants got events just now: they are read at once, and nobody else for their sake. Any thread;
 * only a hint.
 */
void hub_hint(struct hub *hub, const int64_t *tenants, size_t count);

size_t hub_subscribers(struct hub *hub);

#endif
