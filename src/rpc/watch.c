/*
 * Watch: on a desk the tenant is found and, without a position, the snapshot is read and sent; then
 * the stream belongs to the hub, whose thread calls the functions of the sink below. Each frame is
 * encoded in scratch memory and packed at once.
 *
 * Two things refer to a stream: the hub, until it has called `end`, and the call's on_closed. The
 * lock decides their race: after `end` nobody may name the subscriber any more.
 */
#include "rpc/handlers.h"

#include "base/check.h"
#include "notice/hub.h"
#include "op/queries.h"
#include "rpc/auth.h"
#include "rpc/failure.h"
#include "rpc/quota_state.h"
#include "rpc/inbound.h"
#include "rpc/page.h"
#include "rpc/timestamps.h"
#include "rpc/validate.h"

#include "holdfast/v1/quota_service.stub.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

enum {
    FRAME_BYTES = 16 * 1024,
    FILTERS_MAX = 256,
    SNAPSHOT_QUOTAS = 256, /* in one frame, if as many fit */
};

struct stream {
    struct op_snapshot snapshot;
    struct stub_call *call;
    struct hub *hub;
    int64_t after_seq; /* -1: snapshot first */
    struct hub_filter filter;
    pthread_mutex_t lock;
    struct hub_subscriber *subscriber; /* NULL before and after */
    bool closed, ended;
};

/* --- frames, on the hub's thread -------------------------------------------------------------- */

static enum hub_took took(enum stub_send sent)
{
    switch (sent) {
    case STUB_SEND_OK:
        return HUB_TOOK;
    case STUB_SEND_FULL:
        return HUB_FULL;
    case STUB_SEND_DEAD:
        return HUB_GONE;
    }
    UNREACHABLE();
}

/* As many quotas as fit into one frame. *ret_sent: how many. */
static enum hub_took send_snapshot(struct stream *stream, const struct op_quota *quotas,
                                   size_t count, int64_t prev_seq, size_t *ret_sent)
{
    size_t some = count < SNAPSHOT_QUOTAS ? count : SNAPSHOT_QUOTAS;
    Holdfast__V1__WatchResponse frame = HOLDFAST__V1__WATCH_RESPONSE__INIT;
    Holdfast__V1__Snapshot snapshot = HOLDFAST__V1__SNAPSHOT__INIT;
    struct arena arena;
    enum stub_send sent;

    arena_init(&arena, FRAME_BYTES, SIZE_MAX / 2);
    snapshot.quotas = quota_states(&arena, quotas, some);
    snapshot.n_quotas = PAGE_FIT(snapshot.quotas, some);
    snapshot.more = snapshot.n_quotas < count;
    frame.seq = stream->snapshot.event_seq;
    frame.prev_seq = prev_seq;
    frame.frame_case = HOLDFAST__V1__WATCH_RESPONSE__FRAME_SNAPSHOT;
    frame.snapshot = &snapshot;
    sent = holdfast_v1_quota_service_watch_send(stream->call, &frame);
    *ret_sent = snapshot.n_quotas;
    arena_done(&arena);
    return took(sent);
}

static bool wants_quota(struct op_snapshot *op, struct slice scope, struct slice meter)
{
    return hub_filter_wants_quota(&container_of(op, struct stream, snapshot)->filter, scope, meter);
}

/* On the desk. A stream that does not take all of its snapshot is over: see watch_done. */
static void show_snapshot(struct op_snapshot *op, const struct op_quota *quotas, size_t count)
{
    struct stream *stream = container_of(op, struct stream, snapshot);
    int64_t prev_seq = 0;
    size_t at = 0, sent;

    stub_call_send_initial(stream->call);
    do {
        if (send_snapshot(stream, quotas + at, count - at, prev_seq, &sent) != HUB_TOOK) {
            op_fail(&op->op, FAILURE_OVERLOADED, false,
                    "the snapshot is larger than what may wait for this reader: filter by scope "
                    "or meter, or read faster");
            return;
        }
        prev_seq = op->event_seq;
        at += sent;
    } while (at < count);
    stream->after_seq = op->event_seq;
}

static const char *stop_name(enum event_kind kind)
{
    switch (kind) {
    case EVENT_SOFT_STOP:
        return "soft stop";
    case EVENT_HARD_STOP:
        return "limit";
    case EVENT_HARD_CAP:
        return "limit with overage";
    case EVENT_PERIOD_STARTED:
    case EVENT_LIMIT_CHANGED:
    case EVENT_HOLD_EXPIRED:
    case EVENT_LATE_COMMIT:
    case EVENT_DEGRADED:
    case EVENT_RECOVERED:
    case EVENT_DRIFT:
    case EVENT_ADJUSTED:
        break;
    }
    return "stop";
}

static int64_t stop_units(const struct ledger_event *event)
{
    return event->kind == EVENT_SOFT_STOP   ? event->stops.soft
           : event->kind == EVENT_HARD_STOP ? event->stops.amount
                                            : event->stops.cap;
}

/* What becomes of use at a stop of a limit. */
static char *crossing_text(struct arena *arena, const struct ledger_event *event)
{
    int64_t use = event->committed + event->debt + event->held;
    const char *what =
        event->basis == HOLDFAST__V1__BASIS__BASIS_RESERVED ? "used and held" : "used";

    if (event->stops.unlimited)
        return arena_printf(arena, "%.*s: %" PRId64 " %s, there is no %s any more",
                            SLICE_ARGS(event->limit_name), use, what, stop_name(event->kind));
    return arena_printf(arena, "%.*s: %" PRId64 " %s, %s the %s of %" PRId64,
                        SLICE_ARGS(event->limit_name), use, what,
                        event->direction == 2 ? "back under" : "at or over", stop_name(event->kind),
                        stop_units(event));
}

static bool is_removal(const struct ledger_event *event)
{
    return event->kind == EVENT_LIMIT_CHANGED && event->level == LEVEL_REMOVED;
}

static char *change_text(struct arena *arena, const struct ledger_event *event)
{
    if (is_removal(event))
        return arena_printf(arena, "%.*s: was removed", SLICE_ARGS(event->limit_name));
    if (event->stops.unlimited)
        return arena_printf(arena, "%.*s: is unlimited now", SLICE_ARGS(event->limit_name));
    return arena_printf(arena, "%.*s: is %" PRId64 " now, %" PRId64 " with overage",
                        SLICE_ARGS(event->limit_name), event->stops.amount, event->stops.cap);
}

static char *event_text(struct arena *arena, const struct ledger_event *event)
{
    char *text = NULL;

    switch (event->kind) {
    case EVENT_PERIOD_STARTED:
        text = arena_printf(arena, "%.*s: a new period began", SLICE_ARGS(event->limit_name));
        break;
    case EVENT_LIMIT_CHANGED:
        text = change_text(arena, event);
        break;
    case EVENT_HOLD_EXPIRED:
        text = arena_printf(arena, "job %.*s: its hold expired", SLICE_ARGS(event->job_id));
        break;
    case EVENT_LATE_COMMIT:
        text = arena_printf(arena, "job %.*s: committed after its hold had expired",
                            SLICE_ARGS(event->job_id));
        break;
    case EVENT_DEGRADED:
        text = arena_printf(arena, "served from Postgres: its counters in Redis cannot be used");
        break;
    case EVENT_RECOVERED:
        text =
            event->recovered_from == EVENT_DRIFT
                ? arena_printf(arena, "%.*s: its books agree again", SLICE_ARGS(event->limit_name))
                : arena_printf(arena, "served from Redis again");
        break;
    case EVENT_DRIFT:
        text = arena_printf(arena, "%.*s: its books differ", SLICE_ARGS(event->limit_name));
        break;
    case EVENT_ADJUSTED:
        text = arena_printf(arena, "%.*s: was adjusted to %" PRId64 " used (job %.*s)",
                            SLICE_ARGS(event->limit_name), event->committed + event->debt,
                            SLICE_ARGS(event->job_id));
        break;
    case EVENT_SOFT_STOP:
    case EVENT_HARD_STOP:
    case EVENT_HARD_CAP:
        text = crossing_text(arena, event);
    }
    if (!text) /* a newer server wrote it, or a hand */
        text = arena_printf(arena, "something that this server has no words for (kind %d)",
                            (int)event->kind);
    CHECK(text);
    return text;
}

static void fill_event_quota(struct arena *arena, const struct ledger_event *event,
                             Holdfast__V1__QuotaState *state)
{
    struct op_quota quota = {
        .limit_name = event->limit_name,
        .scope = event->scope,
        .meter = event->meter,
        .period = event->period,
        .period_start_ms = event->period_start_ms,
        .period_end_ms = event->period_end_ms,
        .stops = event->stops,
        .committed = event->committed,
        .debt = event->debt,
        .held = event->held,
        .ledger_seq = event->ledger_seq,
    };

    quota_state_fill(arena, &quota, state);
    if (event->level > 0)
        state->level = (Holdfast__V1__Level)event->level;
}

static enum hub_took send_event(void *user, int64_t prev_seq, const struct ledger_event *from)
{
    struct stream *stream = user;
    Holdfast__V1__WatchResponse frame = HOLDFAST__V1__WATCH_RESPONSE__INIT;
    Holdfast__V1__Event event = HOLDFAST__V1__EVENT__INIT;
    Holdfast__V1__QuotaState quota;
    struct arena arena;
    enum stub_send sent;

    arena_init(&arena, FRAME_BYTES, SIZE_MAX / 2);
    event.seq = from->seq;
    event.time = timestamp_of(&arena, from->at_ms);
    event.kind = (Holdfast__V1__EventKind)from->kind;
    event.direction = (Holdfast__V1__Direction)from->direction;
    event.basis = (Holdfast__V1__Basis)from->basis;
    event.tenant = text_copy(&arena, stream->snapshot.op.tenant);
    if (from->has_quota) {
        fill_event_quota(&arena, from, &quota);
        event.quota = &quota;
    }
    event.job_id = text_copy(&arena, from->job_id);
    if (from->job_id.len > 0)
        event.attempt = attempt_text(&arena, from->attempt);
    event.message = event_text(&arena, from);
    event.limit_removed = is_removal(from);
    event.recovered_from = (Holdfast__V1__EventKind)from->recovered_from;
    frame.seq = from->seq;
    frame.prev_seq = prev_seq;
    frame.frame_case = HOLDFAST__V1__WATCH_RESPONSE__FRAME_EVENT;
    frame.event = &event;
    sent = holdfast_v1_quota_service_watch_send(stream->call, &frame);
    arena_done(&arena);
    return took(sent);
}

static enum hub_took send_progress(void *user, int64_t seq, int64_t prev_seq, int64_t now_ms)
{
    struct stream *stream = user;
    Holdfast__V1__WatchResponse frame = HOLDFAST__V1__WATCH_RESPONSE__INIT;
    Holdfast__V1__Progress progress = HOLDFAST__V1__PROGRESS__INIT;
    struct arena arena;
    enum stub_send sent;

    arena_init(&arena, 128, SIZE_MAX / 2);
    progress.server_time = timestamp_of(&arena, now_ms);
    frame.seq = seq;
    frame.prev_seq = prev_seq;
    frame.frame_case = HOLDFAST__V1__WATCH_RESPONSE__FRAME_PROGRESS;
    frame.progress = &progress;
    sent = holdfast_v1_quota_service_watch_send(stream->call, &frame);
    arena_done(&arena);
    return took(sent);
}

static size_t queued(void *user)
{
    return stub_call_queued(((struct stream *)user)->call);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void stream_unref(struct stream *stream)
{
    stub_call_unref(stream->call);
}

static void send_end(struct stream *stream, Holdfast__V1__EndCause cause, int64_t seq,
                     int64_t prev_seq)
{
    Holdfast__V1__WatchResponse frame = HOLDFAST__V1__WATCH_RESPONSE__INIT;
    Holdfast__V1__StreamEnd end = HOLDFAST__V1__STREAM_END__INIT;

    end.cause = cause;
    end.resume_after_seq = seq;
    frame.seq = seq;
    frame.prev_seq = prev_seq;
    frame.frame_case = HOLDFAST__V1__WATCH_RESPONSE__FRAME_END;
    frame.end = &end;
    /* If the client is gone there is nobody to tell. */
    (void)holdfast_v1_quota_service_watch_send(stream->call, &frame);
    stub_call_finish(stream->call);
}

static void fail(struct stream *stream, enum failure failure, const char *key, int64_t value)
{
    struct op_error error = {.failure = failure};
    char text[24];
    struct failure_fact fact = {key, text};

    snprintf(text, sizeof(text), "%" PRId64, value);
    failure_answer(stream->snapshot.op.services, stream->call, &error, &fact, key ? 1 : 0);
}

static void end(void *user, enum hub_end why, int64_t seq, int64_t prev_seq, int64_t bound_seq)
{
    struct stream *stream = user;

    pthread_mutex_lock(&stream->lock);
    stream->ended = true;
    stream->subscriber = NULL;
    pthread_mutex_unlock(&stream->lock);
    switch (why) {
    case HUB_END_SLOW:
        send_end(stream, HOLDFAST__V1__END_CAUSE__END_CAUSE_SLOW_READER, seq, prev_seq);
        break;
    case HUB_END_DRAINING:
        send_end(stream, HOLDFAST__V1__END_CAUSE__END_CAUSE_DRAINING, seq, prev_seq);
        break;
    case HUB_END_TOO_OLD:
        fail(stream, FAILURE_SEQ_TOO_OLD, "oldest_seq", bound_seq);
        break;
    case HUB_END_TOO_NEW:
        fail(stream, FAILURE_SEQ_TOO_NEW, "newest_seq", bound_seq);
        break;
    case HUB_END_FAILED:
        fail(stream, FAILURE_POSTGRES_UNAVAILABLE, "resume_after_seq", seq);
        break;
    }
    stream_unref(stream);
}

static const struct hub_sink sink = {
    .event = send_event,
    .progress = send_progress,
    .queued = queued,
    .end = end,
};

/* On a poller thread: the client is gone, or the stream is over. */
static void closed(void *user)
{
    struct stream *stream = user;

    pthread_mutex_lock(&stream->lock);
    stream->closed = true;
    if (stream->subscriber)
        hub_unsubscribe(stream->hub, stream->subscriber);
    pthread_mutex_unlock(&stream->lock);
    stream_unref(stream);
}

/* --- the beginning ---------------------------------------------------------------------------- */

static void subscribe(struct stream *stream)
{
    struct hub_subscriber *subscriber;

    stub_call_ref(stream->call); /* until the hub's end */
    stub_call_ref(stream->call); /* until closed */
    stub_call_send_initial(stream->call);
    pthread_mutex_lock(&stream->lock);
    subscriber = hub_subscribe(stream->hub, stream->snapshot.op.plan, stream->after_seq,
                               &stream->filter, &sink, stream);
    if (!stream->ended)
        stream->subscriber = subscriber;
    pthread_mutex_unlock(&stream->lock);
    stub_call_on_closed(stream->call, closed, stream);
}

static void watch_done(struct op *base)
{
    struct stream *stream = container_of(base, struct stream, snapshot.op);

    if (!inbound_failed(base))
        subscribe(stream);
}

static struct slice *slices(struct op *op, size_t count)
{
    struct slice *list = arena_array(op->arena, count, sizeof(*list));

    CHECK(list);
    return list;
}

static size_t bounded(struct op *op, const char *list, size_t count)
{
    if (count <= FILTERS_MAX)
        return count;
    invalid(op, FIELD(list), "has %zu entries, more than %d", count, FILTERS_MAX);
    return FILTERS_MAX;
}

static void decode_filter(struct stream *stream, const Holdfast__V1__WatchRequest *request)
{
    struct op *op = &stream->snapshot.op;
    struct hub_filter *filter = &stream->filter;
    struct slice *scopes, *meters;
    int *kinds;

    filter->scopes_count = bounded(op, "scopes", request->n_scopes);
    filter->meters_count = bounded(op, "meters", request->n_meters);
    filter->kinds_count = bounded(op, "kinds", request->n_kinds);
    filter->scopes = scopes = slices(op, filter->scopes_count);
    filter->meters = meters = slices(op, filter->meters_count);
    filter->kinds = kinds = arena_array(op->arena, filter->kinds_count, sizeof(*kinds));
    CHECK(kinds);
    for (size_t i = 0; i < filter->scopes_count; i++)
        scopes[i] = valid_scope(op, FIELD_AT("scopes", i, NULL), request->scopes[i]);
    for (size_t i = 0; i < filter->meters_count; i++)
        meters[i] = valid_name(op, FIELD_AT("meters", i, NULL), request->meters[i], true);
    for (size_t i = 0; i < filter->kinds_count; i++) {
        kinds[i] = (int)request->kinds[i];
        if (valid_enum(op, FIELD_AT("kinds", i, NULL), &holdfast__v1__event_kind__descriptor,
                       kinds[i]) &&
            kinds[i] == 0)
            invalid(op, FIELD_AT("kinds", i, NULL), "is unspecified");
    }
}

static bool decode(struct stream *stream, const Holdfast__V1__WatchRequest *request)
{
    struct op *op = &stream->snapshot.op;
    struct slice tenant = valid_name(op, FIELD("tenant"), request->tenant, true);

    decode_filter(stream, request);
    stream->after_seq = -1;
    if (request->start_case == HOLDFAST__V1__WATCH_REQUEST__START_AFTER_SEQ) {
        stream->after_seq = request->after_seq;
        if (request->after_seq < 0)
            invalid(op, FIELD("after_seq"), "is negative");
    }
    return valid(op) && auth_tenant(op, stream->call, tenant);
}

void rpc_watch(void *user, struct stub_call *call, const Holdfast__V1__WatchRequest *request)
{
    struct stream *stream = stub_call_alloc(call, sizeof(*stream));

    if (!inbound_begin(user, call, &stream->snapshot.op, watch_done))
        return;
    stream->call = call;
    stream->hub = stream->snapshot.op.services->hub;
    CHECK(pthread_mutex_init(&stream->lock, NULL) == 0);
    if (!decode(stream, request)) {
        inbound_fail(&stream->snapshot.op);
        return;
    }
    inbound_hold(&stream->snapshot.op);
    if (stream->after_seq >= 0) {
        op_plan_start(&stream->snapshot.op);
        return;
    }
    stream->snapshot.wants = wants_quota;
    stream->snapshot.show = show_snapshot;
    op_snapshot_start(&stream->snapshot);
}
