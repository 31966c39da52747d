/* Who goes next, and who has to wait. */
#include "ledger/queue.h"

#include <criterion/criterion.h>

enum { ITEMS = 16 };

static struct commit_item items[ITEMS];
static struct commit_item *taken[ITEMS];
static struct queue queue;

/* Item i belongs to tenant i % 3 and gives up at i. */
static void fill(void)
{
    queue_init(&queue);
    for (int i = 0; i < ITEMS; i++) {
        items[i].settle.tenant_id = i % 3;
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

static bool only_tenant_1(void *user, int64_t tenant_id)
{
    (void)user;
    return tenant_id != 1;
}

static size_t take(size_t max)
{
    return queue_take(&queue, max, 0, none, NULL, taken);
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
    cr_assert_eq(queue_take(&queue, 3, 0, only_tenant_1, NULL, taken), 3);
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

Test(queue, leaves_a_tenant_out_until_its_time_is_over)
{
    queue_leave_out(&queue, 0, 100);
    cr_assert_eq(queue_take(&queue, 2, 99, none, NULL, taken), 2);
    cr_assert_eq(taken[0], &items[1]);
    cr_assert_eq(taken[1], &items[2]);
    cr_assert_eq(queue_take(&queue, 2, 100, none, NULL, taken), 2);
    cr_assert_eq(taken[0], &items[0]);
}

Test(queue, forgets_the_oldest_of_too_many_that_are_left_out)
{
    queue_leave_out(&queue, 0, 100);
    for (int i = 0; i < QUEUE_STUCK_MAX; i++)
        queue_leave_out(&queue, 10 + i, 200 + i);
    cr_assert_eq(take(1), 1);
    cr_assert_eq(taken[0], &items[0]);
}
