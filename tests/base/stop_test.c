#include "base/stop.h"

#include <criterion/criterion.h>

Test(stop, nobody_stops_before_it_is_set)
{
    struct stop stop;

    stop_init(&stop);
    cr_assert_not(stop_is_due(&stop, INT64_MAX - 1));
    cr_assert_not(stop_is_due(NULL, INT64_MAX));
}

Test(stop, the_earliest_time_counts)
{
    struct stop stop;

    stop_init(&stop);
    stop_set(&stop, 100);
    stop_set(&stop, 200);
    cr_assert_not(stop_is_due(&stop, 99));
    cr_assert(stop_is_due(&stop, 100));
    stop_set(&stop, 50);
    cr_assert(stop_is_due(&stop, 50));
}

Test(stop, who_may_be_stopped_waits_in_slices)
{
    struct stop stop;

    stop_init(&stop);
    cr_assert_eq(stop_slice_ms(NULL, 5000), 5000);
    cr_assert_eq(stop_slice_ms(&stop, 5000), STOP_LOOK_MS);
    cr_assert_eq(stop_slice_ms(&stop, 7), 7);
}
