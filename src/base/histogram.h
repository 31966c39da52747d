/*
 * Counts values by size, so that percentiles of millions of them cost a fixed 20 KiB.
 *
 * Log-linear: 64 buckets for each power of two, so an answer is at most 1/64 (1.6 %) above the true
 * value, and exact below 128. Values are of any unit, 0 and up; those above HISTOGRAM_MAX count as
 * HISTOGRAM_MAX. One thread at a time; give each thread its own and merge.
 */
#ifndef HOLDFAST_BASE_HISTOGRAM_H
#define HOLDFAST_BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 6
#define HISTOGRAM_MAX_BITS 42
#define HISTOGRAM_MAX ((INT64_C(1) << HISTOGRAM_MAX_BITS) - 1)
#define HISTOGRAM_BUCKETS ((HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

/* A zeroed struct is an empty histogram. */
struct histogram {
    int64_t count;
    int64_t max;
    int64_t buckets[HISTOGRAM_BUCKETS];
};

/* Counts one value; a negative one counts as 0. */
void histogram_add(struct histogram *histogram, int64_t value);

/* Adds everything that `from` has counted. */
void histogram_merge(struct histogram *into, const struct histogram *from);

/* The smallest value that at least `percent` (0 to 100) of the counted ones do not exceed, rounded
   up to the end of its bucket, and never above max. 0 when empty. */
int64_t histogram_percentile(const struct histogram *histogram, double percent);

#endif
