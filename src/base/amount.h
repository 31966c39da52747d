/*
 * Amounts are whole units in int64_t, 0 to 2^53-1, so that they are exact in JSON and in Lua.
 *
 * Every sum of amounts goes through here: false means that the result would leave the range, and
 * then *ret is untouched. Pure functions; any thread.
 */
#ifndef HOLDFAST_BASE_AMOUNT_H
#define HOLDFAST_BASE_AMOUNT_H

#include "base/check.h"

#include <stdbool.h>
#include <stdint.h>

#define AMOUNT_MAX ((INT64_C(1) << 53) - 1)

/* The largest percentage that amount_percent_* accept: a hundred times the limit. */
#define AMOUNT_PERCENT_MAX 10000

static inline bool amount_valid(int64_t amount)
{
    return amount >= 0 && amount <= AMOUNT_MAX;
}

/* *ret = a + b, if both and the sum are amounts. */
static inline MUST_CHECK bool amount_add(int64_t a, int64_t b, int64_t *ret)
{
    if (!amount_valid(a) || !amount_valid(b) || a > AMOUNT_MAX - b)
        return false;
    *ret = a + b;
    return true;
}

/* a + b, held at AMOUNT_MAX: for bounds, where "as much as there can be" is meant. */
static inline int64_t amount_add_saturated(int64_t a, int64_t b)
{
    CHECK(amount_valid(a) && amount_valid(b));
    return a > AMOUNT_MAX - b ? AMOUNT_MAX : a + b;
}

static inline int64_t amount_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t amount_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* limit * percent / 100 + round_up_by/100, taken apart so that nothing overflows. */
static inline int64_t amount_percent_rounded(int64_t limit, int64_t percent, int64_t round_up_by)
{
    int64_t result;

    CHECK(amount_valid(limit));
    CHECK(percent >= 0 && percent <= AMOUNT_PERCENT_MAX);
    result = limit / 100 * percent + (limit % 100 * percent + round_up_by) / 100;
    return amount_min(result, AMOUNT_MAX);
}

/* ceil(limit * percent / 100), held at AMOUNT_MAX; percent 0 to AMOUNT_PERCENT_MAX. */
static inline int64_t amount_mul_percent_ceil(int64_t limit, int64_t percent)
{
    return amount_percent_rounded(limit, percent, 99);
}

/* floor(limit * percent / 100), held at AMOUNT_MAX; percent 0 to AMOUNT_PERCENT_MAX. */
static inline int64_t amount_mul_percent_floor(int64_t limit, int64_t percent)
{
    return amount_percent_rounded(limit, percent, 0);
}

#endif
