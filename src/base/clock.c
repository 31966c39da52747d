#include "base/clock.h"

#include "base/check.h"

#include <time.h>

static int64_t real_mono_us(void *user)
{
    struct timespec now;

    (void)user;
    CHECK(clock_gettime(CLOCK_BOOTTIME, &now) == 0);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

static int64_t real_wall_ms(void *user)
{
    struct timespec now;

    (void)user;
    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

const struct clock *clock_real(void)
{
    static const struct clock real = {real_mono_us, real_wall_ms, NULL};

    return &real;
}

static int64_t manual_mono_us(void *user)
{
    struct clock_manual *manual = user;

    return manual->start_mono_us + atomic_load(&manual->elapsed_us);
}

static int64_t manual_wall_ms(void *user)
{
    struct clock_manual *manual = user;

    return manual->start_wall_ms + atomic_load(&manual->elapsed_us) / 1000;
}

void clock_manual_init(struct clock_manual *manual, int64_t mono_us, int64_t wall_ms)
{
    manual->clock = (struct clock){manual_mono_us, manual_wall_ms, manual};
    manual->start_mono_us = mono_us;
    manual->start_wall_ms = wall_ms;
    atomic_init(&manual->elapsed_us, 0);
}

void clock_manual_advance_us(struct clock_manual *manual, int64_t us)
{
    CHECK_MSG(us >= 0, "us=%lld", (long long)us);
    atomic_fetch_add(&manual->elapsed_us, us);
}
