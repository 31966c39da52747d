/*
 * Random bytes, behind a table so that tests and the simulator get the same ones again.
 *
 * The real source is the kernel's (getrandom) and fit for keys; any thread may use it. A seeded one
 * belongs to one thread and is fit for tests only.
 */
#ifndef HOLDFAST_BASE_ENTROPY_H
#define HOLDFAST_BASE_ENTROPY_H

#include <stddef.h>
#include <stdint.h>

struct entropy {
    void (*fill)(void *user, void *out, size_t size);
    void *user;
};

static inline void entropy_fill(const struct entropy *entropy, void *out, size_t size)
{
    entropy->fill(entropy->user, out, size);
}

/* 64 random bits. */
uint64_t entropy_u64(const struct entropy *entropy);

/* 0 to bound - 1, each equally likely; bound >= 1. */
uint64_t entropy_below(const struct entropy *entropy, uint64_t bound);

/* The kernel's source; lives for ever. */
const struct entropy *entropy_real(void);

/* Repeats the same bytes for the same seed; pass &seeded.entropy on. Must stay where it is. */
struct entropy_seeded {
    struct entropy entropy;
    uint64_t state;
};

void entropy_seeded_init(struct entropy_seeded *seeded, uint64_t seed);

#endif
