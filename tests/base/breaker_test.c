#include "base/breaker.h"

#include <criterion/criterion.h>

#define MS INT64_C(1000)

static struct breaker *breaker;

static void set_up(void)
{
    const struct breaker_options options = {.first_ms = 50, .max_ms = 1000, .probe_ms = 300};

    breaker = breaker_create(&options);
}

static void tear_down(void)
{
    breaker_destroy(breaker);
}

TestSuite(breaker, .init = set_up, .fini = tear_down);

Test(breaker, is_closed_until_something_fails)
{
    cr_assert(breaker_is_closed(breaker));
    cr_assert_not(breaker_probe(breaker, 0));
    cr_assert_eq(breaker_wait_ms(breaker, 0), -1);
    cr_assert(breaker_failed(breaker, 0, 0));
    cr_assert_not(breaker_is_closed(breaker));
    cr_assert_not(breaker_failed(breaker, 0, 0), "it is open already");
}

Test(breaker, has_one_prober_after_its_pause)
{
    breaker_failed(breaker, 0, 0);
    cr_assert_not(breaker_probe(breaker, 25 * MS - 1));
    cr_assert_eq(breaker_wait_ms(breaker, 0), 25);
    cr_assert(breaker_probe(breaker, 25 * MS));
    cr_assert_not(breaker_probe(breaker, 30 * MS), "somebody is at it");
    cr_assert_not(breaker_is_closed(breaker), "and nobody else asks");
    breaker_worked(breaker, 31 * MS);
    cr_assert(breaker_is_closed(breaker));
}

Test(breaker, a_prober_that_says_nothing_is_followed_by_another)
{
    breaker_failed(breaker, 0, 0);
    cr_assert(breaker_probe(breaker, 25 * MS));
    cr_assert_not(breaker_probe(breaker, 325 * MS - 1));
    cr_assert(breaker_probe(breaker, 325 * MS));
}

Test(breaker, tells_how_long_it_has_been_open)
{
    cr_assert_eq(breaker_open_ms(breaker, 0), -1);
    breaker_failed(breaker, 10 * MS, 0);
    cr_assert(breaker_probe(breaker, 50 * MS));
    breaker_failed(breaker, 60 * MS, 0);
    cr_assert_eq(breaker_open_ms(breaker, 90 * MS), 80);
}

Test(breaker, what_worked_before_it_opened_does_not_close_it)
{
    breaker_failed(breaker, 0, 0);
    breaker_worked(breaker, 1 * MS);
    cr_assert_not(breaker_is_closed(breaker));
}

Test(breaker, pauses_double_up_to_the_longest)
{
    int64_t now_us = 0;

    breaker_failed(breaker, 0, 0);
    for (int pause_ms = 50; pause_ms < 5000; pause_ms *= 2) {
        int expected_ms = (pause_ms < 1000 ? pause_ms : 1000) / 2;

        cr_assert_eq(breaker_wait_ms(breaker, now_us), expected_ms);
        now_us += expected_ms * MS;
        cr_assert(breaker_probe(breaker, now_us));
        breaker_failed(breaker, now_us, 0);
    }
}

Test(breaker, jitter_is_half_of_the_pause_at_most)
{
    for (uint64_t random = 0; random < 60000; random += 1000) {
        tear_down();
        set_up();
        breaker_failed(breaker, 0, random);
        cr_assert_geq(breaker_wait_ms(breaker, 0), 25);
        cr_assert_leq(breaker_wait_ms(breaker, 0), 50);
    }
    tear_down();
    set_up();
    breaker_failed(breaker, 0, 25000);
    cr_assert_eq(breaker_wait_ms(breaker, 0), 50);
}

Test(breaker, begins_with_the_first_pause_again_after_a_while)
{
    breaker_failed(breaker, 0, 0);
    cr_assert(breaker_probe(breaker, 25 * MS));
    breaker_worked(breaker, 25 * MS);
    breaker_failed(breaker, 100 * MS, 0);
    cr_assert_eq(breaker_wait_ms(breaker, 100 * MS), 50, "it comes and goes");
    cr_assert(breaker_probe(breaker, 150 * MS));
    breaker_worked(breaker, 150 * MS);
    breaker_failed(breaker, 2150 * MS, 0);
    cr_assert_eq(breaker_wait_ms(breaker, 2150 * MS), 25);
}

Test(breaker, what_comes_and_goes_is_one_absence)
{
    int64_t first;

    breaker_failed(breaker, 0, 0);
    first = breaker_episode(breaker);
    cr_assert(breaker_probe(breaker, 100 * MS));
    breaker_worked(breaker, 100 * MS);
    breaker_failed(breaker, 2099 * MS, 0);
    cr_assert_eq(breaker_episode(breaker), first);
    cr_assert(breaker_probe(breaker, 3000 * MS));
    breaker_worked(breaker, 3000 * MS);
    cr_assert_eq(breaker_episode(breaker), first);
    breaker_failed(breaker, 5000 * MS, 0);
    cr_assert_eq(breaker_episode(breaker), first + 1);
}
