#include "base/clock.h"

#include <criterion/criterion.h>
#include <signal.h>

Test(clock, real_clock_moves_forward)
{
    int64_t first_us = clock_mono_us(clock_real());
    int64_t wall_ms = clock_wall_ms(clock_real());
    int64_t now_us;

    do
        now_us = clock_mono_us(clock_real());
    while (now_us == first_us);
    cr_assert_gt(now_us, first_us);
    /* After 2024 and before 2100: milliseconds, not seconds or microseconds. */
    cr_assert_gt(wall_ms, INT64_C(1704067200000));
    cr_assert_lt(wall_ms, INT64_C(4102444800000));
}

Test(clock, manual_clock_moves_only_when_told)
{
    struct clock_manual manual;

    clock_manual_init(&manual, 1000, 50);
    cr_assert_eq(clock_mono_us(&manual.clock), 1000);
    cr_assert_eq(clock_wall_ms(&manual.clock), 50);
    clock_manual_advance_us(&manual, 2500);
    cr_assert_eq(clock_mono_us(&manual.clock), 3500);
    cr_assert_eq(clock_wall_ms(&manual.clock), 52);
}

Test(clock, manual_clock_never_goes_back, .signal = SIGABRT)
{
    struct clock_manual manual;

    clock_manual_init(&manual, 0, 0);
    clock_manual_advance_us(&manual, -1);
}
