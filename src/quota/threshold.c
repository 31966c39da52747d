#include "quota/threshold.h"

#include "base/amount.h"

enum { HYSTERESIS_PERCENT = 2 };

static bool has_cap(const struct stops *stops)
{
    return !stops->unlimited && stops->cap < AMOUNT_MAX;
}

static bool moved(bool exists, int64_t stop, int64_t hysteresis, int64_t use, bool was)
{
    if (!exists)
        return false;
    if (use >= stop)
        return true;
    /* A stop so low that nothing is 2 % below it re-arms at 0. */
    return was && use >= amount_max(stop - hysteresis, 1);
}

static const int bits[CROSSINGS_MAX] = {LEVEL_SOFT_BIT, LEVEL_HARD_BIT, LEVEL_CAP_BIT};

size_t threshold_between(int before, int after, struct crossing crossings[CROSSINGS_MAX])
{
    static const enum event_kind kinds[CROSSINGS_MAX] = {EVENT_SOFT_STOP, EVENT_HARD_STOP,
                                                         EVENT_HARD_CAP};
    size_t count = 0;

    for (size_t i = CROSSINGS_MAX; i-- > 0;)
        if (before & ~after & bits[i])
            crossings[count++] = (struct crossing){kinds[i], false};
    for (size_t i = 0; i < CROSSINGS_MAX; i++)
        if (after & ~before & bits[i])
            crossings[count++] = (struct crossing){kinds[i], true};
    return count;
}

size_t threshold_cross(const struct stops *stops, int64_t use, int *level,
                       struct crossing crossings[CROSSINGS_MAX])
{
    const int64_t at[CROSSINGS_MAX] = {stops->soft, stops->amount, stops->cap};
    const bool exists[CROSSINGS_MAX] = {!stops->unlimited, !stops->unlimited, has_cap(stops)};
    int64_t hysteresis = amount_mul_percent_floor(stops->amount, HYSTERESIS_PERCENT);
    int before = *level;
    int after = 0;

    for (size_t i = 0; i < CROSSINGS_MAX; i++)
        if (moved(exists[i], at[i], hysteresis, use, before & bits[i]))
            after |= bits[i];
    *level = after;
    return threshold_between(before, after, crossings);
}

int threshold_level(const struct stops *stops, int64_t use)
{
    if (has_cap(stops) && use >= stops->cap)
        return 4;
    if (!stops->unlimited && use >= stops->amount)
        return 3;
    if (!stops->unlimited && use >= stops->soft)
        return 2;
    return 1;
}
