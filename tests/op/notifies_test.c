#include "op/notifies.h"

#include "base/clock.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { LONG_MS = 10000 };

static int64_t waited_ms(struct notifies *notifies, int64_t wait_ms)
{
    int64_t begun_us = clock_mono_us(clock_real());

    notifies_wait(notifies, wait_ms);
    return (clock_mono_us(clock_real()) - begun_us) / 1000;
}

Test(notifies, are_taken_once_and_in_order)
{
    struct notifies *notifies = notifies_create();
    struct notify_flight flights[2] = {{0}};
    struct op_commit ops[3] = {0}, *taken[4];

    cr_assert(!notifies_pending(notifies));
    cr_assert_eq(notifies_take(notifies, &flights[0], taken, 4), 0);
    notifies_landed(notifies, &flights[0]); /* took none: nothing lands */
    for (int i = 0; i < 3; i++)
        notifies_add(notifies, &ops[i]);
    cr_assert(notifies_pending(notifies));
    cr_assert_eq(notifies_take(notifies, &flights[0], taken, 2), 2);
    cr_assert_eq(taken[0], &ops[0]);
    cr_assert_eq(taken[1], &ops[1]);
    cr_assert(notifies_pending(notifies));
    cr_assert_eq(notifies_take(notifies, &flights[1], taken, 4), 1);
    cr_assert_eq(taken[0], &ops[2]);
    cr_assert(!notifies_pending(notifies));
    notifies_landed(notifies, &flights[0]);
    notifies_landed(notifies, &flights[1]);
    notifies_destroy(notifies);
}

struct landing {
    struct notifies *notifies;
    struct notify_flight *flight;
    atomic_bool landed;
};

static void *land(void *user)
{
    struct landing *landing = user;
    const struct timespec pause = {.tv_nsec = 20 * 1000000};

    nanosleep(&pause, NULL); /* so that the other mostly waits already; it need not */
    atomic_store(&landing->landed, true);
    notifies_landed(landing->notifies, landing->flight);
    return NULL;
}

Test(notifies, whoever_waits_sees_all_landed_that_was_taken_before)
{
    struct notifies *notifies = notifies_create();
    struct notify_flight flight = {0};
    struct landing landing = {.notifies = notifies, .flight = &flight};
    struct op_commit op = {0}, *taken[1];
    pthread_t thread;

    cr_assert_lt(waited_ms(notifies, LONG_MS), LONG_MS, "nothing is under way");
    notifies_add(notifies, &op);
    cr_assert_lt(waited_ms(notifies, LONG_MS), LONG_MS, "what nobody took is not waited for");
    cr_assert_eq(notifies_take(notifies, &flight, taken, 1), 1);
    cr_assert_eq(pthread_create(&thread, NULL, land, &landing), 0);
    cr_assert_lt(waited_ms(notifies, LONG_MS), LONG_MS);
    cr_assert(atomic_load(&landing.landed));
    pthread_join(thread, NULL);
    notifies_destroy(notifies);
}

Test(notifies, the_wait_ends_when_nothing_lands)
{
    struct notifies *notifies = notifies_create();
    struct notify_flight flight = {0};
    struct op_commit op = {0}, *taken[1];

    notifies_add(notifies, &op);
    cr_assert_eq(notifies_take(notifies, &flight, taken, 1), 1);
    cr_assert_geq(waited_ms(notifies, 20), 20);
    notifies_landed(notifies, &flight);
    notifies_destroy(notifies);
}

static void keep(struct notifies *notifies, int64_t tenant_id)
{
    notifies_keep_mark(notifies, tenant_id, 5, SLICE("job"), 1000 + tenant_id);
}

Test(notifies, marks_are_kept_up_to_a_bound_and_the_oldest_goes)
{
    struct notifies *notifies = notifies_create();
    struct notify_mark *marks[2];

    cr_assert_eq(notifies_take_marks(notifies, marks, 2), 0);
    for (int64_t i = 0; i < NOTIFIES_MARKS_MAX + 3; i++)
        keep(notifies, i);
    cr_assert_eq(notifies_take_marks(notifies, marks, 2), 2);
    cr_assert_eq(marks[0]->tenant_id, 3);
    cr_assert_eq(marks[1]->tenant_id, 4);
    cr_assert(slice_equal(slice_of(marks[0]->job_id, marks[0]->job_len), SLICE("job")));
    cr_assert_eq(marks[0]->shard, 5);
    cr_assert_eq(marks[0]->until_us, 1003);
    notifies_give_back_mark(notifies, marks[1]);
    free(marks[0]);
    for (int i = 0; i < NOTIFIES_MARKS_MAX - 1; i++) {
        cr_assert_eq(notifies_take_marks(notifies, marks, 1), 1);
        free(marks[0]);
    }
    cr_assert_eq(notifies_take_marks(notifies, marks, 2), 0);
    keep(notifies, 1); /* and what is left goes with the notifies */
    notifies_destroy(notifies);
}
