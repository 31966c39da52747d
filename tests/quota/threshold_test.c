#include "quota/threshold.h"

#include "base/amount.h"

#include <criterion/criterion.h>

static struct crossing crossings[CROSSINGS_MAX];

static void expect(size_t at, enum event_kind kind, bool up)
{
    cr_assert_eq(crossings[at].kind, kind);
    cr_assert_eq(crossings[at].up, up);
}

Test(threshold, jump_over_everything_rises_lowest_first_and_falls_highest_first)
{
    struct stops stops = {.soft = 90, .amount = 100, .cap = 110};
    int level = 0;

    cr_assert_eq(threshold_cross(&stops, 110, &level, crossings), 3);
    expect(0, EVENT_SOFT_STOP, true);
    expect(1, EVENT_HARD_STOP, true);
    expect(2, EVENT_HARD_CAP, true);
    cr_assert_eq(level, LEVEL_SOFT_BIT | LEVEL_HARD_BIT | LEVEL_CAP_BIT);
    cr_assert_eq(threshold_cross(&stops, 0, &level, crossings), 3);
    expect(0, EVENT_HARD_CAP, false);
    expect(1, EVENT_HARD_STOP, false);
    expect(2, EVENT_SOFT_STOP, false);
    cr_assert_eq(level, 0);
}

Test(threshold, stop_re_arms_only_below_two_percent_of_the_limit_under_it)
{
    struct stops stops = {.soft = 90, .amount = 100, .cap = 110};
    int level = 0;

    cr_assert_eq(threshold_cross(&stops, 89, &level, crossings), 0);
    cr_assert_eq(threshold_cross(&stops, 90, &level, crossings), 1);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(threshold_cross(&stops, 88, &level, crossings), 0);
        cr_assert_eq(threshold_cross(&stops, 90, &level, crossings), 0);
    }
    cr_assert_eq(threshold_cross(&stops, 87, &level, crossings), 1);
    expect(0, EVENT_SOFT_STOP, false);
    cr_assert_eq(threshold_cross(&stops, 90, &level, crossings), 1);
    level = LEVEL_SOFT_BIT | LEVEL_HARD_BIT | LEVEL_CAP_BIT;
    cr_assert_eq(threshold_cross(&stops, 108, &level, crossings), 0);
    cr_assert_eq(threshold_cross(&stops, 107, &level, crossings), 1);
    expect(0, EVENT_HARD_CAP, false);
}

Test(threshold, fractions_of_a_unit_are_not_rounded_away)
{
    struct stops stops = {.soft = 135, .amount = 149, .cap = 149}; /* 2 %: 2.98 */
    int level = LEVEL_SOFT_BIT;

    cr_assert_eq(threshold_cross(&stops, 133, &level, crossings), 0);
    cr_assert_eq(threshold_cross(&stops, 132, &level, crossings), 1);
}

Test(threshold, without_overage_hard_stop_and_cap_both_fire)
{
    struct stops stops = {.soft = 9, .amount = 10, .cap = 10};
    int level = LEVEL_SOFT_BIT;

    cr_assert_eq(threshold_cross(&stops, 10, &level, crossings), 2);
    expect(0, EVENT_HARD_STOP, true);
    expect(1, EVENT_HARD_CAP, true);
}

Test(threshold, limit_change_may_fall_and_rise_at_once)
{
    struct stops before = {.soft = 100, .amount = 100, .cap = 100};
    struct stops after = {.soft = 50, .amount = 1000, .cap = 1000};
    int level = 0;

    cr_assert_eq(threshold_cross(&before, 100, &level, crossings), 3);
    level &= ~LEVEL_SOFT_BIT;
    cr_assert_eq(threshold_cross(&after, 100, &level, crossings), 3);
    expect(0, EVENT_HARD_CAP, false);
    expect(1, EVENT_HARD_STOP, false);
    expect(2, EVENT_SOFT_STOP, true);
}

Test(threshold, unlimited_has_no_stops_and_a_largest_cap_is_none)
{
    struct stops unlimited = {AMOUNT_MAX, AMOUNT_MAX, AMOUNT_MAX, true};
    struct stops uncapped = {.soft = 9, .amount = 10, .cap = AMOUNT_MAX};
    int level = LEVEL_SOFT_BIT | LEVEL_HARD_BIT;

    cr_assert_eq(threshold_cross(&unlimited, AMOUNT_MAX, &level, crossings), 2);
    cr_assert_eq(level, 0);
    cr_assert_eq(threshold_level(&unlimited, AMOUNT_MAX), 1);
    cr_assert_eq(threshold_cross(&uncapped, AMOUNT_MAX, &level, crossings), 2);
    cr_assert_eq(threshold_level(&uncapped, AMOUNT_MAX), 3);
}

Test(threshold, lowest_stops_re_arm_at_zero_and_a_limit_of_zero_stays_crossed)
{
    struct stops low = {.soft = 1, .amount = 100, .cap = 100};
    struct stops zero = {0};
    int level = LEVEL_SOFT_BIT;

    cr_assert_eq(threshold_cross(&low, 0, &level, crossings), 1);
    cr_assert_eq(threshold_cross(&zero, 0, &level, crossings), 3);
    cr_assert_eq(threshold_cross(&zero, 0, &level, crossings), 0);
}

Test(threshold, level_without_hysteresis_follows_use)
{
    struct stops stops = {.soft = 90, .amount = 100, .cap = 110};

    cr_assert_eq(threshold_level(&stops, 89), 1);
    cr_assert_eq(threshold_level(&stops, 90), 2);
    cr_assert_eq(threshold_level(&stops, 100), 3);
    cr_assert_eq(threshold_level(&stops, 110), 4);
}
