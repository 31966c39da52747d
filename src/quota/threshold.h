/*
 * Stops and crossings of one quota. Pure.
 *
 * use = committed + debt. Three stops: soft (ceil of limit x soft percent), hard (the limit), cap
 * (limit + overage). Each has one bit in `level`: set by the crossing UP, when use reaches the stop,
 * cleared by the crossing DOWN, when use has fallen 2 % of the limit below it. In between nothing
 * happens: that is the hysteresis. Unlimited quotas have no stops; neither has a cap of AMOUNT_MAX.
 */
#ifndef HOLDFAST_QUOTA_THRESHOLD_H
#define HOLDFAST_QUOTA_THRESHOLD_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values as in holdfast.v1.EventKind and the event table. */
enum event_kind {
    EVENT_SOFT_STOP = 1,
    EVENT_HARD_STOP = 2,
    EVENT_HARD_CAP = 3,
    EVENT_PERIOD_STARTED = 4,
    EVENT_LIMIT_CHANGED = 5,
    EVENT_HOLD_EXPIRED = 6,
    EVENT_LATE_COMMIT = 7,
    EVENT_DEGRADED = 8,
    EVENT_RECOVERED =
        9, /* event_row.recovered_from says from what: EVENT_DEGRADED or EVENT_DRIFT */
    EVENT_DRIFT = 10,
    EVENT_ADJUSTED = 11,
};

enum { LEVEL_SOFT_BIT = 1, LEVEL_HARD_BIT = 2, LEVEL_CAP_BIT = 4, LEVEL_BITS = 7 };

struct stops {
    int64_t soft;
    int64_t amount;
    int64_t cap;
    bool unlimited;
};

struct crossing {
    enum event_kind kind; /* SOFT_STOP, HARD_STOP, HARD_CAP */
    bool up;
};

enum { CROSSINGS_MAX = 3 };

/*
 * Moves *level to what use means and lists the crossings: rising lowest first, falling highest
 * first.
 */
size_t threshold_cross(const struct stops *stops, int64_t use, int *level,
                       struct crossing crossings[CROSSINGS_MAX]);

/* The crossings between two levels, in the same order. */
size_t threshold_between(int before, int after, struct crossing crossings[CROSSINGS_MAX]);

/* In a LIMIT_CHANGED instead of a level: the limit is not there any more. Nothing else has none. */
enum { LEVEL_REMOVED = 0 };

/* holdfast.v1.Level of a use, without hysteresis: 1 OK, 2 SOFT_STOP, 3 HARD_STOP, 4 HARD_CAP. */
int threshold_level(const struct stops *stops, int64_t use);

#endif
