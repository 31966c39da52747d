#include "base/breaker.h"

#include "base/check.h"
#include "base/stage.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum breaker_stage { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_PROBING };

struct breaker {
    struct breaker_options options;
    pthread_mutex_t lock;
    _Atomic int stage;
    int64_t pause_us;  /* the last one, without jitter; 0: none yet */
    int64_t next_us;   /* OPEN: when it may be probed; PROBING: when the prober is given up */
    int64_t closed_us; /* since when it is closed */
    int64_t opened_us; /* or not */
    int64_t episode;
};

static bool has_pause(const void *owner)
{
    return ((const struct breaker *)owner)->pause_us > 0;
}

static const struct stage_rule rules[] = {
    [BREAKER_CLOSED] = {"closed", STAGE(BREAKER_OPEN), NULL},
    [BREAKER_OPEN] = {"open", STAGE(BREAKER_PROBING), has_pause},
    [BREAKER_PROBING] = {"probing",
                         STAGE(BREAKER_OPEN) | STAGE(BREAKER_CLOSED) | STAGE(BREAKER_PROBING),
                         has_pause},
};
static const struct stage_table stages = STAGE_TABLE("breaker", rules);

static enum breaker_stage stage_of(const struct breaker *breaker)
{
    return (enum breaker_stage)atomic_load_explicit(&breaker->stage, memory_order_acquire);
}

static void go(struct breaker *breaker, enum breaker_stage to)
{
    stage_step(&stages, stage_of(breaker), to, breaker);
    atomic_store_explicit(&breaker->stage, (int)to, memory_order_release);
}

struct breaker *breaker_create(const struct breaker_options *options)
{
    struct breaker *breaker = calloc(1, sizeof(*breaker));

    CHECK(breaker);
    CHECK(options->first_ms > 0 && options->max_ms >= options->first_ms && options->probe_ms > 0);
    CHECK(pthread_mutex_init(&breaker->lock, NULL) == 0);
    breaker->options = *options;
    breaker->closed_us = INT64_MIN / 2;
    return breaker;
}

void breaker_destroy(struct breaker *breaker)
{
    if (!breaker)
        return;
    pthread_mutex_destroy(&breaker->lock);
    free(breaker);
}

bool breaker_is_closed(const struct breaker *breaker)
{
    return stage_of(breaker) == BREAKER_CLOSED;
}

bool breaker_probe(struct breaker *breaker, int64_t now_us)
{
    bool mine = false;

    if (breaker_is_closed(breaker))
        return false;
    pthread_mutex_lock(&breaker->lock);
    if (stage_of(breaker) != BREAKER_CLOSED && breaker->next_us <= now_us) {
        breaker->next_us = now_us + breaker->options.probe_ms * INT64_C(1000);
        go(breaker, BREAKER_PROBING);
        mine = true;
    }
    pthread_mutex_unlock(&breaker->lock);
    return mine;
}

int breaker_wait_ms(struct breaker *breaker, int64_t now_us)
{
    int64_t left_us;
    bool closed;

    pthread_mutex_lock(&breaker->lock);
    closed = stage_of(breaker) == BREAKER_CLOSED;
    left_us = breaker->next_us - now_us;
    pthread_mutex_unlock(&breaker->lock);
    if (closed)
        return -1;
    return left_us <= 0 ? 0 : (int)((left_us + 999) / 1000);
}

int breaker_open_ms(struct breaker *breaker, int64_t now_us)
{
    int64_t open_us;

    pthread_mutex_lock(&breaker->lock);
    open_us = stage_of(breaker) == BREAKER_CLOSED ? -1 : now_us - breaker->opened_us;
    pthread_mutex_unlock(&breaker->lock);
    if (open_us < 0)
        return -1;
    return open_us < INT64_C(1000) * INT32_MAX ? (int)(open_us / 1000) : INT32_MAX;
}

int64_t breaker_episode(struct breaker *breaker)
{
    int64_t episode;

    pthread_mutex_lock(&breaker->lock);
    episode = breaker->episode;
    pthread_mutex_unlock(&breaker->lock);
    return episode;
}

void breaker_worked(struct breaker *breaker, int64_t now_us)
{
    pthread_mutex_lock(&breaker->lock);
    if (stage_of(breaker) == BREAKER_PROBING) {
        breaker->closed_us = now_us;
        go(breaker, BREAKER_CLOSED);
    }
    pthread_mutex_unlock(&breaker->lock);
}

/* The next pause, without jitter. */
static void grow(struct breaker *breaker, enum breaker_stage from, int64_t now_us)
{
    int64_t max_us = breaker->options.max_ms * INT64_C(1000);

    if (from == BREAKER_CLOSED && now_us - breaker->closed_us >= 2 * max_us) {
        breaker->pause_us = 0;
        breaker->episode++;
    }
    breaker->pause_us =
        breaker->pause_us > 0 ? 2 * breaker->pause_us : breaker->options.first_ms * INT64_C(1000);
    if (breaker->pause_us > max_us)
        breaker->pause_us = max_us;
}

bool breaker_failed(struct breaker *breaker, int64_t now_us, uint64_t random)
{
    enum breaker_stage from;

    pthread_mutex_lock(&breaker->lock);
    from = stage_of(breaker);
    if (from != BREAKER_OPEN) {
        int64_t half_us;

        if (from == BREAKER_CLOSED)
            breaker->opened_us = now_us;
        grow(breaker, from, now_us);
        half_us = breaker->pause_us / 2;
        breaker->next_us = now_us + half_us + (int64_t)(random % (uint64_t)(half_us + 1));
        go(breaker, BREAKER_OPEN);
    }
    pthread_mutex_unlock(&breaker->lock);
    return from == BREAKER_CLOSED;
}
