#include "base/estimate.h"

#include "base/check.h"

#include <criterion/criterion.h>
#include <pthread.h>

static struct estimate estimate;

static void set_up(void)
{
    estimate_init(&estimate);
}

static void tear_down(void)
{
    estimate_done(&estimate);
}

TestSuite(estimate, .init = set_up, .fini = tear_down);

Test(estimate, knows_nothing_but_the_floor_before_the_first_observation)
{
    cr_assert(!estimate_ready(&estimate));
    cr_assert_eq(estimate_now_ms(&estimate, 5000000), 0);
    estimate_floor(&estimate, 77);
    cr_assert_eq(estimate_now_ms(&estimate, 5000000), 77);
    cr_assert(!estimate_ready(&estimate));
}

Test(estimate, follows_the_own_clock_after_an_observation)
{
    estimate_observe(&estimate, 1000000, 500, 1500);
    cr_assert(estimate_ready(&estimate));
    cr_assert_eq(estimate_now_ms(&estimate, 1500), 1000000);
    cr_assert_eq(estimate_now_ms(&estimate, 1500 + 250000), 1000250);
}

Test(estimate, uncertainty_is_the_round_trip_and_a_thousandth_of_the_elapsed_time)
{
    struct estimate_reading reading;

    estimate_observe(&estimate, 1000000, 10000, 14000);
    reading = estimate_read(&estimate, 14000 + 60000000);
    cr_assert_eq(reading.now_ms, 1060000);
    cr_assert_eq(reading.earliest_ms, 1060000 - 60);
    cr_assert_eq(reading.latest_ms, 1060000 + 60 + 4);
}

Test(estimate, never_goes_backwards_when_the_database_does)
{
    estimate_observe(&estimate, 1000000, 0, 1000);
    cr_assert_eq(estimate_now_ms(&estimate, 2001000), 1002000);
    estimate_observe(&estimate, 990000, 2002000, 2003000);
    cr_assert_eq(estimate_now_ms(&estimate, 3003000), 1002000);
    /* The bounds tell the truth, and now goes on once the database has caught up. */
    cr_assert_lt(estimate_read(&estimate, 3003000).latest_ms, 992000);
    cr_assert_eq(estimate_now_ms(&estimate, 2003000 + 13000000), 1003000);
}

Test(estimate, jumps_ahead_with_the_database)
{
    estimate_observe(&estimate, 1000000, 0, 1000);
    estimate_observe(&estimate, 4600000, 2000, 3000);
    cr_assert_eq(estimate_now_ms(&estimate, 3000), 4600000);
}

Test(estimate, floor_raises_now_and_does_not_speed_it_up)
{
    estimate_observe(&estimate, 1000000, 0, 1000);
    estimate_floor(&estimate, 1000500);
    cr_assert_eq(estimate_now_ms(&estimate, 1000 + 100000), 1000500);
    cr_assert_eq(estimate_now_ms(&estimate, 1000 + 600000), 1000600);
    estimate_floor(&estimate, 5);
    cr_assert_eq(estimate_now_ms(&estimate, 1000 + 600000), 1000600);
}

Test(estimate, fast_round_trip_is_not_spoilt_by_a_slow_one)
{
    struct estimate_reading reading;

    /* True database time is 1000000 ms + own clock. The slow answer was read early. */
    estimate_observe(&estimate, 1000010, 10000, 10400);
    estimate_observe(&estimate, 1000020, 20000, 90000);
    reading = estimate_read(&estimate, 90000);
    cr_assert_eq(reading.now_ms, 1000089);
    cr_assert_leq(reading.earliest_ms, 1000090);
    cr_assert_geq(reading.latest_ms, 1000090);
    cr_assert_leq(reading.latest_ms - reading.earliest_ms, 2);
}

Test(estimate, late_report_of_an_old_answer_changes_nothing_that_is_known_better)
{
    estimate_observe(&estimate, 2000000, 1000000, 1001000);
    estimate_observe(&estimate, 1000000, 10000, 11000);
    cr_assert_eq(estimate_now_ms(&estimate, 1001000), 2000000);
    cr_assert_eq(estimate_read(&estimate, 1001000).earliest_ms, 2000000);
}

/* Many writers tell the same truth (own clock + 7 s) with different delays, readers check it. */
enum { THREADS = 4, ROUNDS = 20000 };

static void *write_truth(void *argument)
{
    int64_t mono_us = *(int64_t *)argument;

    for (int i = 0; i < ROUNDS; i++) {
        mono_us += 97;
        estimate_observe(&estimate, (mono_us + 7000000) / 1000, mono_us - 150,
                         mono_us + 40 * i % 900);
    }
    return NULL;
}

static void *read_truth(void *argument)
{
    int64_t mono_us = *(int64_t *)argument;
    int64_t last_ms = 0;

    for (int i = 0; i < ROUNDS; i++) {
        struct estimate_reading reading = estimate_read(&estimate, mono_us += 97);
        int64_t truth_us = mono_us + 7000000;

        CHECK(reading.now_ms >= last_ms);
        CHECK(reading.earliest_ms <= truth_us / 1000);
        CHECK(reading.latest_ms >= truth_us / 1000);
        last_ms = reading.now_ms;
    }
    return NULL;
}

Test(estimate, readers_see_whole_observations_while_many_write)
{
    pthread_t threads[2 * THREADS];
    int64_t start_us = 1000000;

    estimate_observe(&estimate, 8000, 999900, 1000100);
    for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, i % 2 ? read_truth : write_truth, &start_us),
                     0);
    for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    cr_assert_geq(estimate_now_ms(&estimate, 1000000 + ROUNDS * 97), 8000 + ROUNDS * 97 / 1000 - 2);
}
