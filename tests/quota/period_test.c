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
    int64_t first;

    for (enum period period = PERIOD_MINUTE; period <= PERIOD_YEAR; period++) {
        if (period == PERIOD_WEEK)
            first = utc_ms(2027, 1, 4, 0, 0);
        else
            first = utc_ms(2027, 1, 1, 0, 0);
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

Test(period, years_are_those_of_the_calendar_for_four_centuries)
{
    for (int year = 1970; year < 2370; year++) {
        int64_t start = utc_ms(year, 1, 1, 0, 0), end = utc_ms(year + 1, 1, 1, 0, 0);

        cr_assert_eq(period_start_ms(PERIOD_YEAR, start), start);
        cr_assert_eq(period_start_ms(PERIOD_YEAR, utc_ms(year, 2, 29, 12, 0)), start);
        cr_assert_eq(period_start_ms(PERIOD_YEAR, end - 1), start);
        cr_assert_eq(period_end_ms(PERIOD_YEAR, start), end);
    }
}

Test(period, weeks_begin_on_mondays_over_the_ends_of_years)
{
    for (int64_t day = utc_ms(1970, 1, 5, 0, 0); day < utc_ms(2070, 1, 1, 0, 0); day += 86400000) {
        time_t second = (time_t)(day / 1000);
        struct tm tm;
        int64_t monday;

        gmtime_r(&second, &tm);
        monday = day - (tm.tm_wday + 6) % 7 * INT64_C(86400000);
        cr_assert_eq(period_start_ms(PERIOD_WEEK, day), monday);
        cr_assert_eq(period_start_ms(PERIOD_WEEK, day + 86399999), monday);
        cr_assert_eq(period_end_ms(PERIOD_WEEK, monday), monday + 7 * INT64_C(86400000));
    }
    cr_assert_eq(period_start_ms(PERIOD_WEEK, utc_ms(2027, 1, 2, 0, 0)), utc_ms(2026, 12, 28, 0, 0));
}

Test(period, the_first_week_of_the_clock_is_short)
{
    cr_assert_eq(period_start_ms(PERIOD_WEEK, utc_ms(1970, 1, 4, 23, 59)), 0);
    cr_assert_eq(period_end_ms(PERIOD_WEEK, 0), utc_ms(1970, 1, 5, 0, 0));
}

Test(period, a_calendar_says_where_periods_begin_and_end)
{
    const struct calendar calendar = {4, {1000, 2000, 3500, 4000}};

    cr_assert(calendar_valid(calendar.at_ms, calendar.count));
    cr_assert_eq(calendar_start_ms(&calendar, PERIOD_DAY, 1999), 1000);
    cr_assert_eq(calendar_start_ms(&calendar, PERIOD_DAY, 2000), 2000);
    cr_assert_eq(calendar_start_ms(&calendar, PERIOD_DAY, 3999), 3500);
    cr_assert_eq(calendar_end_ms(&calendar, PERIOD_DAY, 2000), 3500);
    cr_assert_eq(calendar_end_ms(&calendar, PERIOD_DAY, 3500), 4000);
    cr_assert_eq(calendar_start_ms(&calendar, PERIOD_DAY, 999), 1000, "a clock that is behind");
    cr_assert_eq(calendar_start_ms(&calendar, PERIOD_DAY, 9000), 4000);
    cr_assert_eq(calendar_end_ms(&calendar, PERIOD_DAY, 4000), 4000 + 86400000, "not known yet");
}

Test(period, without_a_calendar_periods_are_plain)
{
    const struct calendar none = {0};

    cr_assert_eq(calendar_start_ms(NULL, PERIOD_HOUR, 3600001), 3600000);
    cr_assert_eq(calendar_start_ms(&none, PERIOD_HOUR, 3600001), 3600000);
    cr_assert_eq(calendar_end_ms(NULL, PERIOD_HOUR, 3600000), 7200000);
}

Test(period, boundaries_that_contradict_each_other_are_none)
{
    const int64_t bad[][3] = {{1, 1, 2}, {3, 2, 1}, {-1, 2, 3}}, good[] = {1, 2, 3, 4, 5};

    for (size_t i = 0; i < 3; i++)
        cr_assert_not(calendar_valid(bad[i], 3));
    cr_assert_not(calendar_valid(good, 1));
    cr_assert_not(calendar_valid(good, 5));
    cr_assert(calendar_valid(good, 2));
}
