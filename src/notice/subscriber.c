#include "notice/subscriber.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

/* After events that the filter hides, a progress frame follows within this time. */
enum { HIDDEN_PROGRESS_US = 1000000 };

/*
 * For how long a stream may take none of the frames that wait for it: one that was live and is behind, and
 * one that reads what was before.
 */
enum { BEHIND_STALL_US = 250000, HISTORY_STALL_US = 60000000 };

static struct slice *copy_slices(const struct slice *from, size_t count)
{
    struct slice *copy = calloc(count ? count : 1, sizeof(*copy));

    CHECK(copy);
    for (size_t i = 0; i < count; i++) {
        char *text = malloc(from[i].len + 1);

        CHECK(text);
        if (from[i].len > 0)
            memcpy(text, from[i].data, from[i].len);
        text[from[i].len] = '\0';
        copy[i] = slice_of(text, from[i].len);
    }
    return copy;
}

static void free_slices(struct slice *slices, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free((void *)(uintptr_t)slices[i].data);
    free(slices);
}

struct hub_subscriber *subscriber_create(struct plan *plan, const struct hub_filter *filter,
                                         const struct hub_sink *sink, void *user)
{
    struct hub_subscriber *subscriber = calloc(1, sizeof(*subscriber));

    CHECK(subscriber);
    subscriber->plan = plan;
    subscriber->sink = *sink;
    subscriber->user = user;
    subscriber->scopes = copy_slices(filter->scopes, filter->scopes_count);
    subscriber->scopes_count = filter->scopes_count;
    subscriber->meters = copy_slices(filter->meters, filter->meters_count);
    subscriber->meters_count = filter->meters_count;
    subscriber->kinds = calloc(filter->kinds_count + 1, sizeof(int));
    CHECK(subscriber->kinds);
    if (filter->kinds_count > 0)
        memcpy(subscriber->kinds, filter->kinds, filter->kinds_count * sizeof(int));
    subscriber->kinds_count = filter->kinds_count;
    return subscriber;
}

void subscriber_destroy(struct hub_subscriber *subscriber)
{
    plan_unref(subscriber->plan);
    free_slices(subscriber->scopes, subscriber->scopes_count);
    free_slices(subscriber->meters, subscriber->meters_count);
    free(subscriber->kinds);
    free(subscriber);
}

/* The scope itself or one below it; the empty one covers all. */
static bool covers(struct slice above, struct slice scope)
{
    return above.len == 0 || (slice_starts_with(scope, above) &&
                              (scope.len == above.len || scope.data[above.len] == '/'));
}

bool hub_filter_wants_quota(const struct hub_filter *filter, struct slice scope, struct slice meter)
{
    bool scope_wanted = filter->scopes_count == 0;
    bool meter_wanted = filter->meters_count == 0;

    for (size_t i = 0; i < filter->scopes_count && !scope_wanted; i++)
        scope_wanted = covers(filter->scopes[i], scope);
    for (size_t i = 0; i < filter->meters_count && !meter_wanted; i++)
        meter_wanted = slice_equal(filter->meters[i], meter);
    return scope_wanted && meter_wanted;
}

/* An event of a job has no quota: a filter by scope or meter hides it. */
static bool wants(const struct hub_subscriber *subscriber, const struct ledger_event *event)
{
    bool kind_wanted = subscriber->kinds_count == 0;

    for (size_t i = 0; i < subscriber->kinds_count && !kind_wanted; i++)
        kind_wanted = subscriber->kinds[i] == (int)event->kind;
    if (!kind_wanted)
        return false;
    if (!event->has_quota)
        return subscriber->scopes_count == 0 && subscriber->meters_count == 0;
    return hub_filter_wants_quota(&(struct hub_filter){.scopes = subscriber->scopes,
                                                       .scopes_count = subscriber->scopes_count,
                                                       .meters = subscriber->meters,
                                                       .meters_count = subscriber->meters_count},
                                  event->scope, event->meter);
}

void subscriber_end(struct hub_subscriber *subscriber, enum hub_end end, int64_t bound_seq)
{
    if (subscriber->ended)
        return;
    subscriber->ended = true;
    subscriber->sink.end(subscriber->user, end, subscriber->position, subscriber->last_seq,
                         bound_seq);
}

/* How long ago did it take something? It may have nothing to take. */
static int64_t stalled_us(struct hub_subscriber *subscriber, size_t queued, int64_t mono_us)
{
    int64_t taken = subscriber->sent - (int64_t)queued;

    if (queued == 0 || taken > subscriber->taken)
        subscriber->taken_us = mono_us;
    subscriber->taken = taken;
    return mono_us - subscriber->taken_us;
}

/* A burst is more than a queue holds, and says nothing of how fast the stream reads. */
static void fall_behind(struct hub_subscriber *subscriber, int64_t stalled_for_us)
{
    if (stalled_for_us > BEHIND_STALL_US) {
        subscriber_end(subscriber, HUB_END_SLOW, 0);
        return;
    }
    subscriber->behind = true;
    subscriber->live = false;
    subscriber->reading = false;
}

static void end_if_stalled(struct hub_subscriber *subscriber, int64_t mono_us)
{
    int64_t most_us = subscriber->behind ? BEHIND_STALL_US : HISTORY_STALL_US;

    if (!subscriber->ended && mono_us - subscriber->taken_us > most_us &&
        stalled_us(subscriber, subscriber->sink.queued(subscriber->user), mono_us) > most_us)
        subscriber_end(subscriber, HUB_END_SLOW, 0);
}

void subscriber_offer(struct hub_subscriber *subscriber, const struct ledger_event *event,
                      size_t queue_max, int64_t mono_us)
{
    if (subscriber->ended || event->seq <= subscriber->position)
        return;
    if (event->seq != subscriber->position + 1) {
        subscriber_end(subscriber, HUB_END_TOO_OLD, event->seq);
        return;
    }
    if (wants(subscriber, event)) {
        size_t queued = subscriber->sink.queued(subscriber->user);
        int64_t stalled_for_us = stalled_us(subscriber, queued, mono_us);

        if (queued >= queue_max) {
            fall_behind(subscriber, stalled_for_us);
            return;
        }
        switch (subscriber->sink.event(subscriber->user, subscriber->last_seq, event)) {
        case HUB_TOOK:
            break;
        case HUB_FULL:
            subscriber_end(subscriber, HUB_END_SLOW, 0);
            return;
        case HUB_GONE:
            subscriber_end(subscriber, HUB_END_FAILED, 0);
            return;
        }
        subscriber->sent++;
        subscriber->last_seq = event->seq;
        subscriber->last_frame_us = mono_us;
    }
    subscriber->position = event->seq;
}

void subscriber_progress(struct hub_subscriber *subscriber, int progress_ms, int64_t now_ms,
                         int64_t mono_us)
{
    int64_t quiet_us = mono_us - subscriber->last_frame_us;
    bool hidden = subscriber->position > subscriber->last_seq;

    end_if_stalled(subscriber, mono_us);
    if (subscriber->ended ||
        (quiet_us < progress_ms * INT64_C(1000) && !(hidden && quiet_us >= HIDDEN_PROGRESS_US)))
        return;
    subscriber->last_frame_us = mono_us;
    if (subscriber->sink.queued(subscriber->user) > 0)
        return; /* it has frames to read: no need to say that the stream is alive */
    if (subscriber->sink.progress(subscriber->user, subscriber->position, subscriber->last_seq,
                                  now_ms) == HUB_GONE)
        subscriber_end(subscriber, HUB_END_FAILED, 0);
    else
        subscriber->last_seq = subscriber->position;
    subscriber->sent++;
}
