#include "quota/period.h"

#include <criterion/criterion.h>
#include <time.h>

static int64_t utc_ms(int year, int month, int day, int hour, int minute)
{
    struct tm tm = {.tm_year = year - 1900,
                    .tm_mon = month - 1,
                    .tm_mday = day,
                    .tm_hour = hour,
                    .tm_min = minute};

    return (int64_t)timegm(&tm) * 1000;
}

Test(period, short_periods_begin_at_whole_units)
{
    int64_t now = utc_ms(2026, 11, 25, 12, 43) + 17123;

    cr_assert_eq(period_start_ms(PERIOD_MINUTE, now), utc_ms(2026, 11, 25, 12, 43));
    cr_assert_eq(period_start_ms(PERIOD_HOUR, now), utc_ms(2026, 11, 25, 12, 0));
    cr_assert_eq(period_start_ms(PERIOD_DAY, now), utc_ms(2026, 11, 25, 0, 0));
    cr_assert_eq(period_start_ms(PERIOD_MONTH, now), utc_ms(2026, 11, 1, 0, 0));
    cr_assert_eq(period_start_ms(PERIOD_NEVER, now), 0);
    cr_assert_eq(period_end_ms(PERIOD_MINUTE, utc_ms(2026, 1, 1, 0, 59)),
                 utc_ms(2026, 1, 1, 1, 0));
    cr_assert_eq(period_end_ms(PERIOD_DAY, utc_ms(2028, 2, 28, 0, 0)), utc_ms(2028, 2, 29, 0, 0));
    cr_assert_eq(period_end_ms(PERIOD_NEVER, 0), INT64_MAX);
}

Test(period, first_moment_belongs_to_the_new_period_and_the_one_before_to_the_old)
{
    int64_t first = utc_ms(2027, 1, 1, 0, 0);

    for (enum period period = PERIOD_MINUTE; period <= PERIOD_MONTH; period++) {
        if (period == 5)
            continue;
        cr_assert_eq(period_start_ms(period, first), first);
        cr_assert_lt(period_start_ms(period, first - 1), first);
        cr_assert_eq(period_end_ms(period, period_start_ms(period, first - 1)), first);
    }
}

Test(period, months_are_those_of_the_calendar_for_four_centuries)
{
    for (int month = 0; month < 400 * 12; month++) {
        int64_t start = utc_ms(1970 + month / 12, month % 12 + 1, 1, 0, 0);
        int64_t end = utc_ms(1970 + (month + 1) / 12, (month + 1) % 12 + 1, 1, 0, 0);

        cr_assert_eq(period_start_ms(PERIOD_MONTH, start), start);
        cr_assert_eq(period_start_ms(PERIOD_MONTH, start + (end - start) / 2), start);
        cr_assert_eq(period_start_ms(PERIOD_MONTH, end - 1), start);
        cr_assert_eq(period_end_ms(PERIOD_MONTH, start), end);
    }
}
