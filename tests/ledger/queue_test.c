/* Who goes next, and who has to wait. */
#include "ledger/queue.h"

#include <criterion/criterion.h>

enum { ITEMS = 16 };

static struct commit_item items[ITEMS];
static struct commit_item *taken[ITEMS];
static struct queue queue;

/* Item i belongs to tenant 1 + i % 3 and gives up at i. */
static void fill(void)
{
    queue_init(&queue);
    for (int i = 0; i < ITEMS; i++) {
        items[i].settle.tenant_id = 1 + i % 3;
        items[i].give_up_us = i;
        items[i].mailbox.next = NULL;
        queue_append(&queue, &items[i].mailbox);
    }
}

TestSuite(queue, .init = fill);

static bool none(void *user, int64_t tenant_id)
{
    (void)user;
    (void)tenant_id;
    return false;
}

static bool only_tenant_2(void *user, int64_t tenant_id)
{
    (void)user;
    return tenant_id != 2;
}

static size_t take(size_t max)
{
    return queue_take(&queue, max, none, NULL, taken);
}

Test(queue, gives_the_oldest_first)
{
    cr_assert_eq(take(5), 5);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(taken[i], &items[i]);
    cr_assert_eq(take(100), ITEMS - 5);
    cr_assert_eq(taken[0], &items[5]);
    cr_assert_eq(taken[ITEMS - 6], &items[ITEMS - 1]);
    cr_assert(queue_is_empty(&queue));
    cr_assert_eq(take(5), 0);
}

Test(queue, takes_items_at_its_end_again_after_it_was_emptied)
{
    cr_assert_eq(take(100), ITEMS);
    items[3].mailbox.next = &items[4].mailbox;
    items[4].mailbox.next = NULL;
    queue_append(&queue, &items[3].mailbox);
    queue_append(&queue, NULL);
    cr_assert_eq(take(100), 2);
    cr_assert_eq(taken[1], &items[4]);
}

Test(queue, lets_others_pass_a_tenant_that_is_under_way)
{
    cr_assert_eq(queue_take(&queue, 3, only_tenant_2, NULL, taken), 3);
    cr_assert_eq(taken[0], &items[1]);
    cr_assert_eq(taken[1], &items[4]);
    cr_assert_eq(taken[2], &items[7]);
    cr_assert_eq(take(3), 3);
    cr_assert_eq(taken[0], &items[0]);
    cr_assert_eq(taken[1], &items[2]);
    cr_assert_eq(taken[2], &items[3]);
}

Test(queue, what_is_put_back_goes_first_and_in_order)
{
    cr_assert_eq(take(6), 6);
    queue_put_back(&queue, taken, 6);
    cr_assert_eq(take(7), 7);
    for (int i = 0; i < 7; i++)
        cr_assert_eq(taken[i], &items[i]);
    cr_assert_eq(take(100), ITEMS - 7);
    queue_put_back(&queue, taken, 2);
    cr_assert_eq(take(100), 2);
    cr_assert_eq(taken[0], &items[7]);
    cr_assert(queue_is_empty(&queue));
}

Test(queue, gives_up_each_item_at_its_own_time)
{
    struct commit_item *item;
    int expected = 0;

    while ((item = queue_take_expired(&queue, 9)))
        cr_assert_eq(item, &items[expected++]);
    cr_assert_eq(expected, 10);
    cr_assert_eq(take(1), 1);
    cr_assert_eq(taken[0], &items[10]);
}

Test(queue, suspects_go_in_small_parts_that_grow_with_success)
{
    cr_assert_eq(take(8), 8);
    queue_put_back(&queue, taken, 8);
    queue_suspect(&queue, 8, 1);
    cr_assert_eq(take(100), 1);
    queue_trust(&queue);
    cr_assert_eq(take(100), 2);
    queue_trust(&queue);
    cr_assert_eq(take(100), 4);
    queue_put_back(&queue, taken, 4);
    queue_suspect(&queue, 4, 2);
    cr_assert_eq(take(100), 2);
    cr_assert_eq(taken[0], &items[3]);
    cr_assert_eq(take(100), 2);
    cr_assert_eq(take(100), 2, "the last suspect and one that is none");
    cr_assert_eq(take(100), ITEMS - 9, "no suspects are left");
}

static size_t take_stuck(int64_t now_us)
{
    return queue_take_stuck(&queue, 8, now_us, taken);
}

Test(queue, a_stuck_tenant_waits_in_its_own_line_and_in_order)
{
    cr_assert_eq(take(4), 4);
    queue_leave_out(&queue, 1, 0);
    queue_put_back(&queue, taken, 4);
    cr_assert_eq(take(2), 2);
    cr_assert_eq(taken[0], &items[1]);
    cr_assert_eq(taken[1], &items[2]);
    cr_assert_eq(take(100), 8, "none of tenant 1");
    cr_assert_not(queue_is_empty(&queue));
    cr_assert_eq(take_stuck(1), 0, "it pauses");
    cr_assert_eq(take_stuck(1000000), 6);
    for (int i = 0; i < 6; i++)
        cr_assert_eq(taken[i], &items[3 * i]);
    cr_assert(queue_is_empty(&queue));
}

Test(queue, what_comes_of_a_stuck_tenant_waits_behind_it)
{
    queue_leave_out(&queue, 1, 0);
    cr_assert_eq(take_stuck(1000000), 6);
    taken[0]->mailbox.next = NULL;
    queue_append(&queue, &taken[0]->mailbox);
    cr_assert_eq(take(100), ITEMS - 6);
    cr_assert_eq(take_stuck(1000000), 1);
    cr_assert_eq(taken[0], &items[0]);
}

Test(queue, pauses_grow_and_end_with_a_try_that_goes_through)
{
    int64_t now = 0, pause, last = 0;

    for (int i = 0; i < 10; i++) {
        queue_leave_out(&queue, 1, now);
        for (pause = 1; take_stuck(now + pause * 1000) == 0; pause++)
            ;
        queue_put_back(&queue, taken, 6);
        cr_assert_geq(pause, last);
        cr_assert_leq(pause, 320);
        last = pause;
        now += pause * 1000;
    }
    cr_assert_eq(last, 320);
    queue_leave_out(&queue, 1, now);
    queue_went_through(&queue, 1);
    cr_assert_eq(take_stuck(now), 6);
}

Test(queue, who_waited_in_line_longest_ago_is_first)
{
    queue_leave_out(&queue, 1, 0);
    queue_leave_out(&queue, 2, 0);
    queue_tries(&queue, 1, 5);
    cr_assert_eq(take_stuck(1000000), 8);
    cr_assert_eq(taken[0], &items[1]);
    queue_put_back(&queue, taken, 8);
    queue_tries(&queue, 2, 6);
    cr_assert_eq(take_stuck(1000000), 8);
    cr_assert_eq(taken[0], &items[0]);
}

Test(queue, believes_it_for_some_seconds_only)
{
    queue_leave_out(&queue, 1, 0);
    cr_assert_eq(take_stuck(3600 * INT64_C(1000000)), 0, "it was let in");
    cr_assert_eq(take(100), ITEMS);
}

Test(queue, lets_one_in_of_too_many_that_are_stuck)
{
    queue_leave_out(&queue, 1, 0);
    for (int i = 0; i < QUEUE_STUCK_MAX; i++)
        queue_leave_out(&queue, 10 + i, 100);
    cr_assert_eq(take(1), 1);
    cr_assert_eq(taken[0], &items[0]);
}
