/*
 * The time, behind a table so that tests and the simulator can set it.
 *
 * mono_us is CLOCK_BOOTTIME: it never goes back and counts while the machine sleeps, so that a
 * paused server notices how long it was away. wall_ms is the calendar, for people and ids only;
 * decisions use the database's time (estimate.h). Any thread may read a clock.
 */
#ifndef HOLDFAST_BASE_CLOCK_H
#define HOLDFAST_BASE_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>

struct clock {
    int64_t (*mono_us)(void *user);
    int64_t (*wall_ms)(void *user); /* since 1970, UTC */
    void *user;
};

static inline int64_t clock_mono_us(const struct clock *clock)
{
    return clock->mono_us(clock->user);
}

static inline int64_t clock_wall_ms(const struct clock *clock)
{
    return clock->wall_ms(clock->user);
}

/* The machine's clock; lives for ever. */
const struct clock *clock_real(void);

/* A clock that moves only when told to; pass &manual.clock on. */
struct clock_manual {
    struct clock clock;
    _Atomic int64_t elapsed_us;
    int64_t start_mono_us;
    int64_t start_wall_ms;
};

/* The struct must stay where it is while in use. */
void clock_manual_init(struct clock_manual *manual, int64_t mono_us, int64_t wall_ms);

/* Moves both times forward; any thread. */
void clock_manual_advance_us(struct clock_manual *manual, int64_t us);

#endif
