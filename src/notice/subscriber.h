/*
 * One reader of one tenant's events: where it stands, what it wants to see. Belongs to the hub's
 * thread, except for `gone`.
 *
 *     position   every event up to here was looked at
 *     last_seq   seq of the newest frame sent: prev_seq of the next
 */
#ifndef HOLDFAST_NOTICE_SUBSCRIBER_H
#define HOLDFAST_NOTICE_SUBSCRIBER_H

#include "notice/hub.h"

#include <stdatomic.h>

struct hub_subscriber {
    struct hub_subscriber *next;
    struct plan *plan;
    struct hub_sink sink;
    void *user;
    struct slice *scopes, *meters;
    size_t scopes_count, meters_count, kinds_count;
    int *kinds;
    bool started; /* its position was found among the events */
    bool live;    /* has caught up: it is offered each event as soon as there is one */
    bool behind;  /* was live until its queue was full, and catches up again */
    bool reading; /* takes part in the page that is read now */
    bool ended;
    int64_t position;
    int64_t last_seq;
    int64_t last_frame_us;
    int64_t sent, taken; /* frames; taken by the stream when it was last looked at */
    int64_t taken_us;    /* when it last took one, or had nothing to take */
    _Atomic bool gone;   /* hub_unsubscribe was called */
};

/* Copies the filter; takes the reference of the plan. */
struct hub_subscriber *subscriber_create(struct plan *plan, const struct hub_filter *filter,
                                         const struct hub_sink *sink, void *user);
void subscriber_destroy(struct hub_subscriber *subscriber);

/*
 * Sends the event if it matches, and moves on. A gap before it (deleted by age) ends the stream. If its
 * queue is full, it is behind and does not read on (`reading`), or it is ended, if it takes nothing.
 */
void subscriber_offer(struct hub_subscriber *subscriber, const struct ledger_event *event,
                      size_t queue_max, int64_t mono_us);

/* A frame that says how far the stream is, when it is time for one. Ends a stream that takes nothing. */
void subscriber_progress(struct hub_subscriber *subscriber, int progress_ms, int64_t now_ms,
                         int64_t mono_us);

/* Calls sink.end once. */
void subscriber_end(struct hub_subscriber *subscriber, enum hub_end end, int64_t bound_seq);

#endif
