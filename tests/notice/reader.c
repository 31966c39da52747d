#include "tests/notice/reader.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

static enum hub_took add(struct reader *reader, struct reader_frame frame)
{
    enum hub_took took = HUB_TOOK;

    pthread_mutex_lock(&reader->lock);
    cr_assert(reader->ends == 0, "a frame after the end");
    if (reader->gone) {
        took = HUB_GONE;
    } else {
        cr_assert(reader->frames_count < READER_FRAMES_MAX);
        reader->frames[reader->frames_count++] = frame;
        if (!reader->reads)
            reader->waiting++;
        if (reader->waiting > reader->waiting_most)
            reader->waiting_most = reader->waiting;
    }
    pthread_mutex_unlock(&reader->lock);
    return took;
}

static enum hub_took on_event(void *user, int64_t prev_seq, const struct ledger_event *event)
{
    return add(user, (struct reader_frame){.kind = READER_EVENT,
                                           .seq = event->seq,
                                           .prev_seq = prev_seq,
                                           .committed = event->committed});
}

static enum hub_took on_progress(void *user, int64_t seq, int64_t prev_seq, int64_t now_ms)
{
    (void)now_ms;
    return add(user,
               (struct reader_frame){.kind = READER_PROGRESS, .seq = seq, .prev_seq = prev_seq});
}

static size_t on_queued(void *user)
{
    return reader_waiting(user);
}

static void on_end(void *user, enum hub_end end, int64_t seq, int64_t prev_seq, int64_t bound_seq)
{
    struct reader *reader = user;

    pthread_mutex_lock(&reader->lock);
    reader->ends++;
    reader->end = end;
    reader->end_seq = seq;
    reader->end_prev_seq = prev_seq;
    reader->bound_seq = bound_seq;
    pthread_mutex_unlock(&reader->lock);
}

const struct hub_sink reader_sink = {
    .event = on_event,
    .progress = on_progress,
    .queued = on_queued,
    .end = on_end,
};

struct reader *reader_create(void)
{
    struct reader *reader = calloc(1, sizeof(*reader));

    cr_assert(reader != NULL);
    cr_assert(pthread_mutex_init(&reader->lock, NULL) == 0);
    reader->reads = true;
    return reader;
}

void reader_destroy(struct reader *reader)
{
    pthread_mutex_destroy(&reader->lock);
    free(reader);
}

void reader_set_reads(struct reader *reader, bool reads)
{
    pthread_mutex_lock(&reader->lock);
    reader->reads = reads;
    if (reads)
        reader->waiting = 0;
    pthread_mutex_unlock(&reader->lock);
}

void reader_take(struct reader *reader, size_t frames)
{
    pthread_mutex_lock(&reader->lock);
    reader->waiting -= frames < reader->waiting ? frames : reader->waiting;
    pthread_mutex_unlock(&reader->lock);
}

size_t reader_count(struct reader *reader)
{
    size_t count;

    pthread_mutex_lock(&reader->lock);
    count = reader->frames_count;
    pthread_mutex_unlock(&reader->lock);
    return count;
}

size_t reader_waiting(struct reader *reader)
{
    size_t waiting;

    pthread_mutex_lock(&reader->lock);
    waiting = reader->waiting;
    pthread_mutex_unlock(&reader->lock);
    return waiting;
}

bool reader_ended(struct reader *reader)
{
    bool ended;

    pthread_mutex_lock(&reader->lock);
    cr_assert(reader->ends <= 1, "ended twice");
    ended = reader->ends > 0;
    pthread_mutex_unlock(&reader->lock);
    return ended;
}

int64_t reader_last_seq(struct reader *reader)
{
    int64_t seq;

    pthread_mutex_lock(&reader->lock);
    seq = reader->frames_count ? reader->frames[reader->frames_count - 1].seq : -1;
    pthread_mutex_unlock(&reader->lock);
    return seq;
}

void reader_check_chain(struct reader *reader, int64_t first)
{
    pthread_mutex_lock(&reader->lock);
    for (size_t i = 0; i < reader->frames_count; i++) {
        cr_assert(reader->frames[i].prev_seq == first,
                  "frame %zu: prev_seq %" PRId64 ", not %" PRId64, i, reader->frames[i].prev_seq,
                  first);
        cr_assert(reader->frames[i].seq >= first);
        first = reader->frames[i].seq;
    }
    pthread_mutex_unlock(&reader->lock);
}
