#include "base/histogram.h"

#include "base/check.h"

#include <math.h>
#include <stddef.h>

/*
 * Values below 64 have a bucket each. Above, a value with its highest bit at position e is shifted
 * right until 7 bits are left: the upper one is always set, the lower six choose the bucket.
 */
static size_t bucket_of(int64_t value)
{
    int shift;

    if (value < (1 << HISTOGRAM_SUB_BITS))
        return (size_t)value;
    shift = 63 - __builtin_clzll((unsigned long long)value) - HISTOGRAM_SUB_BITS;
    return ((size_t)shift << HISTOGRAM_SUB_BITS) + (size_t)(value >> shift);
}

/* The largest value that falls into the bucket. */
static int64_t bucket_end(size_t bucket)
{
    size_t shift = bucket >> HISTOGRAM_SUB_BITS;
    int64_t low;

    if (shift <= 1)
        return (int64_t)bucket;
    shift--;
    low = (int64_t)(bucket - (shift << HISTOGRAM_SUB_BITS));
    return ((low + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, int64_t value)
{
    size_t bucket;

    if (value < 0)
        value = 0;
    if (value > HISTOGRAM_MAX)
        value = HISTOGRAM_MAX;
    bucket = bucket_of(value);
    CHECK(bucket < HISTOGRAM_BUCKETS);
    histogram->buckets[bucket]++;
    histogram->count++;
    if (value > histogram->max)
        histogram->max = value;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
    into->count += from->count;
    if (from->max > into->max)
        into->max = from->max;
}

int64_t histogram_percentile(const struct histogram *histogram, double percent)
{
    int64_t wanted, seen = 0;

    CHECK(percent >= 0 && percent <= 100);
    if (histogram->count == 0)
        return 0;
    wanted = (int64_t)ceil((double)histogram->count * percent / 100);
    if (wanted < 1)
        wanted = 1;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= wanted) {
            int64_t end = bucket_end(i);

            return end < histogram->max ? end : histogram->max;
        }
    }
    return histogram->max;
}
