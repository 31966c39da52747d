/*
 * A stream without a transport: records the frames that the hub sends, and holds as many of them back
 * as the test wants. Any thread.
 */
#ifndef HOLDFAST_TESTS_NOTICE_READER_H
#define HOLDFAST_TESTS_NOTICE_READER_H

#include "notice/hub.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum reader_frame_kind { READER_EVENT, READER_PROGRESS };

struct reader_frame {
    enum reader_frame_kind kind;
    int64_t seq, prev_seq;
    int64_t committed; /* of the event */
};

enum { READER_FRAMES_MAX = 32768 };

struct reader {
    pthread_mutex_t lock;
    struct reader_frame frames[READER_FRAMES_MAX];
    size_t frames_count;
    bool reads;        /* false: what is sent waits */
    size_t waiting;    /* frames that wait; the test takes them by lowering it */
    size_t waiting_most;
    bool gone;         /* says HUB_GONE from now on */
    int ends;
    enum hub_end end;
    int64_t end_seq, end_prev_seq, bound_seq;
};

extern const struct hub_sink reader_sink; /* its user is a struct reader */

struct reader *reader_create(void); /* reads at once */
void reader_destroy(struct reader *reader);

void reader_set_reads(struct reader *reader, bool reads);
void reader_take(struct reader *reader, size_t frames); /* some of those that wait */
size_t reader_count(struct reader *reader);
size_t reader_waiting(struct reader *reader);
bool reader_ended(struct reader *reader);
int64_t reader_last_seq(struct reader *reader);

/* Each frame's prev_seq is the seq of the one before; the first one's is `first`. */
void reader_check_chain(struct reader *reader, int64_t first);

#endif
