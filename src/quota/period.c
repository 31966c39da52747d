#include "quota/period.h"

#include "base/check.h"
#include "quota/times.h"

_Static_assert(PERIOD_END_NEVER == INT64_MAX, "nothing ends later");

/* Days from 1970-01-01 to the first day of a month, which is counted from year 0. */
static int64_t days_of_month(int64_t month)
{
    /* Years begin in March here, so that the leap day is the last of a year. */
    int64_t shifted = month - 2;
    int64_t year = shifted / 12;
    int64_t month_of_year = shifted % 12;
    int64_t day_of_year = (153 * month_of_year + 2) / 5;

    return 365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719468;
}

/* The month, counted from year 0, that contains a day. */
static int64_t month_of_day(int64_t day)
{
    /* At most one month too early: no month is longer than 31 days and years before 1970 are 12. */
    int64_t month = 1970 * 12 + day / 31;

    while (days_of_month(month + 1) <= day) {
        int64_t ahead = (day - days_of_month(month)) / 31;

        month += ahead > 0 ? ahead : 1;
    }
    return month;
}

static int64_t length_ms(enum period period)
{
    switch (period) {
    case PERIOD_MINUTE:
        return MINUTE_IN_MS;
    case PERIOD_HOUR:
        return HOUR_IN_MS;
    case PERIOD_DAY:
        return DAY_IN_MS;
    case PERIOD_WEEK:
        return 7 * DAY_IN_MS;
    case PERIOD_NEVER:
    case PERIOD_MONTH:
    case PERIOD_YEAR:
        break;
    }
    UNREACHABLE();
}

bool period_known(int64_t kind)
{
    if (kind < 0 || kind > INT32_MAX)
        return false;
    switch ((enum period)kind) {
    case PERIOD_NEVER:
    case PERIOD_MINUTE:
    case PERIOD_HOUR:
    case PERIOD_DAY:
    case PERIOD_WEEK:
    case PERIOD_MONTH:
    case PERIOD_YEAR:
        return true;
    }
    return false;
}

/* Months of a period that is made of them; 0: it is not. */
static int64_t length_months(enum period period)
{
    return period == PERIOD_MONTH ? 1 : period == PERIOD_YEAR ? 12 : 0;
}

/* The first month of such a period with a day in it. */
static int64_t first_month(int64_t months, int64_t ms)
{
    int64_t month = month_of_day(ms / DAY_IN_MS);

    return month - month % months;
}

/* What has passed of a period of fixed length. 1970 began on a Thursday, weeks begin on Mondays. */
static int64_t passed_ms(enum period period, int64_t ms)
{
    return (ms + (period == PERIOD_WEEK ? 3 * DAY_IN_MS : 0)) % length_ms(period);
}

int64_t period_start_ms(enum period period, int64_t now_ms)
{
    int64_t months = length_months(period);
    int64_t start_ms;

    CHECK(now_ms >= 0);
    if (period == PERIOD_NEVER)
        return 0;
    if (months > 0)
        return days_of_month(first_month(months, now_ms)) * DAY_IN_MS;
    start_ms = now_ms - passed_ms(period, now_ms);
    return start_ms > 0 ? start_ms : 0;
}

int64_t period_end_ms(enum period period, int64_t start_ms)
{
    int64_t months = length_months(period);

    CHECK(start_ms >= 0);
    if (period == PERIOD_NEVER)
        return PERIOD_END_NEVER;
    if (months > 0)
        return days_of_month(first_month(months, start_ms) + months) * DAY_IN_MS;
    return start_ms - passed_ms(period, start_ms) + length_ms(period);
}

bool calendar_valid(const int64_t *at_ms, size_t count)
{
    bool valid = count >= CALENDAR_BOUNDS_MIN && count <= CALENDAR_BOUNDS_MAX && at_ms[0] >= 0;

    for (size_t i = 1; valid && i < count; i++)
        valid = at_ms[i - 1] < at_ms[i];
    return valid;
}

int64_t calendar_start_ms(const struct calendar *or_null, enum period period, int64_t now_ms)
{
    size_t at;

    if (!or_null || or_null->count == 0)
        return period_start_ms(period, now_ms);
    for (at = or_null->count - 1; at > 0 && or_null->at_ms[at] > now_ms;)
        at--;
    return or_null->at_ms[at];
}

int64_t calendar_end_ms(const struct calendar *or_null, enum period period, int64_t start_ms)
{
    if (!or_null || or_null->count == 0)
        return period_end_ms(period, start_ms);
    for (size_t i = 0; i < or_null->count; i++)
        if (or_null->at_ms[i] > start_ms)
            return or_null->at_ms[i];
    return start_ms + DAY_IN_MS;
}
