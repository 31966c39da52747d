/*
 * Numbers as decimal text, where printf is too slow: what each request writes. Pure; any thread.
 * The way back: slice_to_i64 (base/slice.h).
 */
#ifndef HOLDFAST_BASE_DIGITS_H
#define HOLDFAST_BASE_DIGITS_H

#include <stddef.h>
#include <stdint.h>

enum {
    DIGITS_MAX = 20, /* of INT64_MIN, its sign counted */
    DIGITS_PAIR_MAX = 2 * DIGITS_MAX + 1,
};

/* Writes 1 to DIGITS_MAX characters to out, no NUL; returns their number. */
size_t digits_write(int64_t value, char *out);

/* The same for "a.b" or "a:b": up to DIGITS_PAIR_MAX characters. */
size_t digits_write_pair(int64_t a, char separator, int64_t b, char *out);

#endif
