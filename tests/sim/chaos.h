/*
 * How the stores and the ways to them behave: latencies and faults, each drawn from the run's seed.
 * A rate is "one in so many round trips", 0 for never.
 */
#ifndef HOLDFAST_TESTS_SIM_CHAOS_H
#define HOLDFAST_TESTS_SIM_CHAOS_H

#include "tests/sim/dice.h"

#include <stdbool.h>
#include <stdint.h>

/* What becomes of a round trip. */
enum fate {
    FATE_DONE,
    FATE_REFUSED,     /* nothing was sent */
    FATE_LOST_BEFORE, /* sent, never carried out, no answer */
    FATE_LOST_AFTER,  /* carried out, no answer */
    FATE_LATE,        /* no answer in time; carried out after the caller has given up */
    FATE_CUT,         /* carried out in part (of several requests), no answer */
};

struct chaos_rates {
    int64_t refused, lost_before, lost_after, late, cut;
    int64_t slow;    /* takes 5 to 400 ms */
    int64_t stalled; /* takes 1 to 5 s */
};

struct chaos {
    struct dice dice;
    struct chaos_rates redis, postgres;
    bool redis_away, postgres_away;
    bool keys_lost;     /* singly, some time: a script may say that something is missing */
    int64_t latency_us; /* of a usual round trip, about; 0: none at all */
    int64_t faults;     /* so far */
};

enum fate chaos_fate(struct chaos *chaos, const struct chaos_rates *rates);

/* One way of a round trip. */
int64_t chaos_delay_us(struct chaos *chaos, const struct chaos_rates *rates);

#endif
