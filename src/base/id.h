/*
 * Ids that nobody else makes: UUID version 7, whose text sorts by the time it was made.
 *
 * Any thread, as far as the entropy allows it.
 */
#ifndef HOLDFAST_BASE_ID_H
#define HOLDFAST_BASE_ID_H

#include "base/clock.h"
#include "base/entropy.h"

enum { ID_LEN = 36 };

struct id {
    char text[ID_LEN + 1];
};

/* "0193642f-7a3c-7b0e-9c55-2f1f0d0c8a11": 48 bits of wall_ms, then 74 random bits. */
struct id id_make(const struct clock *clock, const struct entropy *entropy);

#endif
