#include "op/settles.h"

#include "base/clock.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>

enum { LONG_MS = 10000 };

static int64_t waited_ms(struct settles *settles, int64_t wait_ms)
{
    int64_t begun_us = clock_mono_us(clock_real());

    settles_wait(settles, wait_ms);
    return (clock_mono_us(clock_real()) - begun_us) / 1000;
}

Test(settles, are_taken_once_and_in_order)
{
    struct settles *settles = settles_create();
    struct settle_flight flights[2] = {{0}};
    struct op_commit ops[3] = {0}, *taken[4];

    cr_assert(!settles_pending(settles));
    cr_assert_eq(settles_take(settles, &flights[0], taken, 4), 0);
    settles_landed(settles, &flights[0]); /* took none: nothing lands */
    for (int i = 0; i < 3; i++)
        settles_add(settles, &ops[i]);
    cr_assert(settles_pending(settles));
    cr_assert_eq(settles_take(settles, &flights[0], taken, 2), 2);
    cr_assert_eq(taken[0], &ops[0]);
    cr_assert_eq(taken[1], &ops[1]);
    cr_assert(settles_pending(settles));
    cr_assert_eq(settles_take(settles, &flights[1], taken, 4), 1);
    cr_assert_eq(taken[0], &ops[2]);
    cr_assert(!settles_pending(settles));
    settles_landed(settles, &flights[0]);
    settles_landed(settles, &flights[1]);
    settles_destroy(settles);
}

struct landing {
    struct settles *settles;
    struct settle_flight *flight;
    atomic_bool landed;
};

static void *land(void *user)
{
    struct landing *landing = user;
    const struct timespec pause = {.tv_nsec = 20 * 1000000};

    nanosleep(&pause, NULL); /* so that the other mostly waits already; it need not */
    atomic_store(&landing->landed, true);
    settles_landed(landing->settles, landing->flight);
    return NULL;
}

Test(settles, whoever_waits_sees_all_landed_that_was_taken_before)
{
    struct settles *settles = settles_create();
    struct settle_flight flight = {0};
    struct landing landing = {.settles = settles, .flight = &flight};
    struct op_commit op = {0}, *taken[1];
    pthread_t thread;

    cr_assert_lt(waited_ms(settles, LONG_MS), LONG_MS, "nothing is under way");
    settles_add(settles, &op);
    cr_assert_lt(waited_ms(settles, LONG_MS), LONG_MS, "what nobody took is not waited for");
    cr_assert_eq(settles_take(settles, &flight, taken, 1), 1);
    cr_assert_eq(pthread_create(&thread, NULL, land, &landing), 0);
    cr_assert_lt(waited_ms(settles, LONG_MS), LONG_MS);
    cr_assert(atomic_load(&landing.landed));
    pthread_join(thread, NULL);
    settles_destroy(settles);
}

Test(settles, the_wait_ends_when_nothing_lands)
{
    struct settles *settles = settles_create();
    struct settle_flight flight = {0};
    struct op_commit op = {0}, *taken[1];

    settles_add(settles, &op);
    cr_assert_eq(settles_take(settles, &flight, taken, 1), 1);
    cr_assert_geq(waited_ms(settles, 20), 20);
    settles_landed(settles, &flight);
    settles_destroy(settles);
}
