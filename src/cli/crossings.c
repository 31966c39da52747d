#include "cli/crossings.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/thread.h"
#include "cli/arguments.h"

#include "holdfast/v1/quota_service.stub.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_US 50000
#define RECONNECT_US 100000
#define FINISH_US INT64_C(5000000)

struct crossings {
    struct stub_channel *const *channels;
    size_t channels_count;
    const char *tenant;
    const char *limit_id;
    pthread_t thread;
    _Atomic int64_t until_seq; /* -1: go on */
    _Atomic int64_t give_up_us;
    int64_t last_seq; /* the thread's, like counts, until it has ended */
    struct crossings_counts counts;
};

static bool over(const struct crossings *crossings)
{
    int64_t until_seq = atomic_load(&crossings->until_seq);

    if (until_seq < 0)
        return false;
    return crossings->last_seq >= until_seq ||
           clock_mono_us(clock_real()) >= atomic_load(&crossings->give_up_us);
}

static void count_event(struct crossings *crossings, const Holdfast__V1__Event *event)
{
    struct crossings_counts *counts = &crossings->counts;
    const Holdfast__V1__QuotaState *quota = event->quota;
    int64_t over_units;

    if (!quota || strcmp(quota->limit_id, crossings->limit_id) != 0)
        return;
    if (quota->bound_case == HOLDFAST__V1__QUOTA_STATE__BOUND_LIMIT) {
        over_units = quota->committed - quota->hard_cap;
        if (over_units > counts->over_units)
            counts->over_units = over_units;
    }
    if (event->direction != HOLDFAST__V1__DIRECTION__DIRECTION_UP ||
        event->basis != HOLDFAST__V1__BASIS__BASIS_COMMITTED)
        return;
    counts->soft_stop += event->kind == HOLDFAST__V1__EVENT_KIND__EVENT_KIND_SOFT_STOP;
    counts->hard_stop += event->kind == HOLDFAST__V1__EVENT_KIND__EVENT_KIND_HARD_STOP;
    counts->hard_cap += event->kind == HOLDFAST__V1__EVENT_KIND__EVENT_KIND_HARD_CAP;
}

static void take_frame(struct crossings *crossings, const Holdfast__V1__WatchResponse *frame)
{
    /* At least once: what was seen before the stream broke may come again. */
    if (frame->frame_case == HOLDFAST__V1__WATCH_RESPONSE__FRAME_EVENT &&
        frame->event->seq > crossings->last_seq)
        count_event(crossings, frame->event);
    if (frame->seq > crossings->last_seq)
        crossings->last_seq = frame->seq;
}

static void run_stream(struct crossings *crossings, size_t channel)
{
    Holdfast__V1__WatchRequest request = HOLDFAST__V1__WATCH_REQUEST__INIT;
    const struct stub_call_options call = {.timeout_us = INT64_MAX};
    struct stub_status status = STUB_STATUS_INIT;
    enum stub_recv received = STUB_RECV_TIMEOUT;
    struct stub_stream *stream;

    request.tenant = arguments_text(crossings->tenant);
    request.start_case = HOLDFAST__V1__WATCH_REQUEST__START_AFTER_SEQ;
    request.after_seq = crossings->last_seq;
    stream = holdfast_v1_quota_service_watch_open(crossings->channels[channel], &call, &request);
    while (received != STUB_RECV_END && !over(crossings)) {
        Holdfast__V1__WatchResponse *frame;

        received = holdfast_v1_quota_service_watch_recv(stream, LOOK_US, &frame);
        if (received == STUB_RECV_MESSAGE) {
            take_frame(crossings, frame);
            holdfast__v1__watch_response__free_unpacked(frame, NULL);
        }
    }
    stub_stream_close(stream, &status);
    if (received == STUB_RECV_END && status.code != STUB_OK)
        snprintf(crossings->counts.error, sizeof(crossings->counts.error), "%s: %s",
                 stub_code_name(status.code), status.message);
    stub_status_clear(&status);
}

static void *run(void *user)
{
    struct crossings *crossings = user;

    for (size_t i = 0; !over(crossings); i++) {
        if (i > 0)
            usleep(RECONNECT_US);
        run_stream(crossings, i % crossings->channels_count);
    }
    return NULL;
}

struct crossings *crossings_start(struct stub_channel *const *channels, size_t channels_count,
                                  const char *tenant, const char *limit_id, int64_t after_seq)
{
    struct crossings *crossings = calloc(1, sizeof(*crossings));

    CHECK(crossings);
    crossings->channels = channels;
    crossings->channels_count = channels_count;
    crossings->tenant = tenant;
    crossings->limit_id = limit_id;
    crossings->last_seq = after_seq;
    atomic_init(&crossings->until_seq, -1);
    atomic_init(&crossings->give_up_us, INT64_MAX);
    thread_start(&crossings->thread, "crossings", run, crossings);
    return crossings;
}

void crossings_finish(struct crossings *crossings, int64_t until_seq, struct crossings_counts *ret)
{
    atomic_store(&crossings->give_up_us, clock_mono_us(clock_real()) + FINISH_US);
    atomic_store(&crossings->until_seq, until_seq);
    pthread_join(crossings->thread, NULL);
    crossings->counts.complete = crossings->last_seq >= until_seq;
    *ret = crossings->counts;
    free(crossings);
}
