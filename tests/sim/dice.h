/*
 * Chance from a seed: every choice of a run comes from one of these.
 */
#ifndef HOLDFAST_TESTS_SIM_DICE_H
#define HOLDFAST_TESTS_SIM_DICE_H

#include <stdbool.h>
#include <stdint.h>

struct dice {
    uint64_t state;
};

static inline uint64_t dice_u64(struct dice *dice)
{
    uint64_t z = dice->state += UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* 0 to bound - 1. */
static inline int64_t dice_below(struct dice *dice, int64_t bound)
{
    return (int64_t)(dice_u64(dice) >> 1) % bound;
}

static inline int64_t dice_between(struct dice *dice, int64_t from, int64_t to)
{
    return from + dice_below(dice, to - from + 1);
}

/* True once in n times; never for n 0. */
static inline bool dice_one_in(struct dice *dice, int64_t n)
{
    return n > 0 && dice_below(dice, n) == 0;
}

#endif
