/*
 * Threshold events to subscribers.
 *
 * One thread of its own, with its own Postgres connection. The rows of the table event are the only
 * truth: the hub reads what lies after its cursor for every tenant that somebody watches, every
 * poll_ms (10) while anyone watches and at once after hub_hint, and hands each frame to the
 * subscribers of the tenant, in the order of seq. Events of other servers come the same way.
 *
 * A subscriber is a start position, a filter and a table of functions. It first gets what it missed
 * (snapshot, or the events after its position, page by page as its queue drains), then live events.
 * A subscriber whose queue is full is ended (slow); nobody waits for it.
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
    int poll_ms;       /* 10 */
    int progress_ms;   /* keep-alive frames: 15,000; at once (1 s) when filtered-out events passed */
    size_t queue_max;  /* events waiting per subscriber: 1,024; at least 2 */
};

enum hub_took { HUB_TOOK, HUB_FULL, HUB_GONE };
enum hub_end { HUB_END_SLOW, HUB_END_DRAINING, HUB_END_TOO_OLD, HUB_END_FAILED };

/* Called on the hub's thread; each returns whether the stream took the frame. */
struct hub_sink {
    enum hub_took (*snapshot)(void *user, int64_t seq, int64_t prev_seq, int64_t now_ms,
                              const struct ledger_usage *usages, size_t count, bool more);
    enum hub_took (*event)(void *user, int64_t prev_seq, const struct ledger_event *event);
    enum hub_took (*progress)(void *user, int64_t seq, int64_t prev_seq, int64_t now_ms);
    size_t (*queued)(void *user);   /* frames that still wait in the stream */
    /*
     * Exactly once, last: the subscriber is forgotten. seq: every event up to here was looked at;
     * -1 if even the snapshot was not sent. oldest_seq only for TOO_OLD, which also ends a stream
     * that reads so slowly that the events before it were deleted meanwhile.
     */
    void (*end)(void *user, enum hub_end end, int64_t seq, int64_t prev_seq, int64_t oldest_seq);
};

struct hub_filter { /* all counts 0: everything; contents are copied */
    const struct slice *scopes; /* these and below */
    size_t scopes_count;
    const struct slice *meters;
    size_t meters_count;
    const int *kinds;
    size_t kinds_count;
};

struct hub *hub_create(const struct hub_options *options);
/* Ends every stream (DRAINING) and joins. */
void hub_destroy(struct hub *hub);
/* Ends every stream with DRAINING; later subscribers too. Any thread. */
void hub_drain(struct hub *hub);

/* Any thread. plan: one reference is taken. after_seq < 0: snapshot, then live. */
struct hub_subscriber *hub_subscribe(struct hub *hub, struct plan *plan, int64_t after_seq,
                                     const struct hub_filter *filter, const struct hub_sink *sink,
                                     void *user);
/* The client is gone: end is still called, on the hub's thread, HUB_END_FAILED. Any thread. */
void hub_unsubscribe(struct hub *hub, struct hub_subscriber *subscriber);

/* These tenants got events just now. Any thread; only a hint. */
void hub_hint(struct hub *hub, const int64_t *tenants, size_t count);

size_t hub_subscribers(struct hub *hub);

#endif
