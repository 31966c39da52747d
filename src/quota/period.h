/*
 * Calendar periods in UTC. Pure.
 */
#ifndef HOLDFAST_QUOTA_PERIOD_H
#define HOLDFAST_QUOTA_PERIOD_H

#include <stdbool.h>
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

#endif
