/*
 * Calendar periods: plain ones in UTC, which are computed, and those of a time zone or an anchor, whose
 * boundaries are written in the database (ledger/sql/016_calendar.sql) and only read here. Pure.
 */
#ifndef HOLDFAST_QUOTA_PERIOD_H
#define HOLDFAST_QUOTA_PERIOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values as in holdfast.v1.Period and in the database. */
enum period {
    PERIOD_NEVER = 1,
    PERIOD_MINUTE = 2,
    PERIOD_HOUR = 3,
    PERIOD_DAY = 4,
    PERIOD_WEEK = 5,
    PERIOD_MONTH = 6,
    PERIOD_YEAR = 7,
};

/* End of a period that never ends: INT64_MAX, as a plain number for statements. */
#define PERIOD_END_NEVER 9223372036854775807

/* Is it one of the above? For numbers that come from a store or a caller. */
bool period_known(int64_t kind);

/* Start of the period that contains now_ms (>= 0); 0 for NEVER, and for the week that 1970 begins in. */
int64_t period_start_ms(enum period period, int64_t now_ms);

/* First moment after the period that begins at start_ms; PERIOD_END_NEVER for NEVER. */
int64_t period_end_ms(enum period period, int64_t start_ms);

/* May it have a time zone and an anchor? Shorter ones are the same everywhere, or nearly. */
static inline bool period_may_have_zone(enum period period)
{
    return period >= PERIOD_DAY && period <= PERIOD_YEAR;
}

/*
 * Boundaries as they are written, in ascending order: those around the time when they were read, up to the
 * end of the period after the current one. All zeroes: there are none, periods are plain.
 */
enum { CALENDAR_BOUNDS_MIN = 2, CALENDAR_BOUNDS_MAX = 4 };

struct calendar {
    size_t count; /* 0, or CALENDAR_BOUNDS_MIN to _MAX */
    int64_t at_ms[CALENDAR_BOUNDS_MAX];
};

/* Are these what a struct calendar may hold? For what comes from a store. */
bool calendar_valid(const int64_t *at_ms, size_t count);

/*
 * As period_start_ms and period_end_ms, by the boundaries where there are some; NULL is as all zeroes.
 * A time before the first boundary is taken for the first. Behind the last one the end is not known: it is a
 * day later, until boundaries are read anew, which is long before (PLANS_LAST_MS).
 */
int64_t calendar_start_ms(const struct calendar *or_null, enum period period, int64_t now_ms);
int64_t calendar_end_ms(const struct calendar *or_null, enum period period, int64_t start_ms);

#endif
