#include "base/histogram.h"

#include <criterion/criterion.h>

/* 20 KiB each: kept off the stack, and zero at the start of each test (a process of its own). */
static struct histogram histogram, other;

Test(histogram, is_empty_when_zeroed)
{
    cr_assert_eq(histogram_percentile(&histogram, 99), 0);
}

Test(histogram, is_exact_for_small_values)
{
    for (int64_t value = 1; value <= 100; value++)
        histogram_add(&histogram, value);
    cr_assert_eq(histogram_percentile(&histogram, 0), 1);
    cr_assert_eq(histogram_percentile(&histogram, 50), 50);
    cr_assert_eq(histogram_percentile(&histogram, 99), 99);
    cr_assert_eq(histogram_percentile(&histogram, 100), 100);
}

Test(histogram, errs_upward_by_at_most_a_64th)
{
    for (int64_t value = 1; value < HISTOGRAM_MAX / 3; value = value * 3 + 1) {
        int64_t answer;

        histogram = (struct histogram){0};
        histogram_add(&histogram, value);
        histogram_add(&histogram, HISTOGRAM_MAX);
        answer = histogram_percentile(&histogram, 50);
        cr_assert(answer >= value && answer <= value + value / 64, "%ld became %ld", (long)value,
                  (long)answer);
    }
}

Test(histogram, never_answers_more_than_the_largest_value)
{
    histogram_add(&histogram, 1000001);
    cr_assert_eq(histogram_percentile(&histogram, 99.9), 1000001);
}

Test(histogram, holds_values_at_its_bounds)
{
    histogram_add(&histogram, -5);
    histogram_add(&histogram, INT64_MAX);
    cr_assert_eq(histogram_percentile(&histogram, 50), 0);
    cr_assert_eq(histogram_percentile(&histogram, 100), HISTOGRAM_MAX);
}

Test(histogram, merges_as_if_counted_together)
{
    for (int64_t value = 0; value < 50; value++) {
        histogram_add(&histogram, value);
        histogram_add(&other, value + 50);
    }
    histogram_merge(&histogram, &other);
    cr_assert_eq(histogram.count, 100);
    cr_assert_eq(histogram_percentile(&histogram, 50), 49);
    cr_assert_eq(histogram.max, 99);
}
