#include "quota/lease.h"

#include "base/amount.h"

#include <criterion/criterion.h>
#include <signal.h>

static struct quota_row quota;
static struct lease_row old;

static void set_up(void)
{
    quota = (struct quota_row){
        .tenant_id = 1,
        .ref = {2, 0},
        .period_end_ms = PERIOD_END_NEVER,
        .stops = {.soft = 90, .amount = 100, .cap = 110},
        .lease_target = 20,
        .state = QUOTA_OPEN,
        .epoch = 7,
    };
    lease_begin(&quota, &old);
    quota.dirty = false;
}

TestSuite(lease, .init = set_up);

Test(lease, first_lease_sets_nothing_aside_and_carries_its_epoch)
{
    cr_assert_eq(old.lease_id, 0);
    cr_assert_eq(quota.lease_id, 7 * LEASE_IDS_PER_EPOCH);
    cr_assert_eq(lease_epoch(quota.lease_id), 7);
    cr_assert_not(lease_is_stale(&quota));
}

Test(lease, is_stale_without_an_id_or_in_a_later_epoch_only)
{
    quota.epoch = 8;
    cr_assert(lease_is_stale(&quota));
    quota.epoch = 6;
    cr_assert_not(lease_is_stale(&quota));
    quota.lease_id = 0;
    cr_assert(lease_is_stale(&quota));
}

Test(lease, next_one_sets_aside_what_is_still_lent)
{
    cr_assert_eq(lease_raise(&quota, 30, 500), 30);
    quota.spent = 4;
    quota.leased -= 4;
    quota.committed = 4;
    lease_return(&quota, quota.lease_id, 6);
    quota.epoch = 9;
    lease_begin(&quota, &old);
    cr_assert_eq(old.lease_id, 7 * LEASE_IDS_PER_EPOCH);
    cr_assert_eq(old.granted, 30);
    cr_assert_eq(old.returned, 6);
    cr_assert_eq(old.spent, 4);
    cr_assert_eq(old.deadline_ms, 500);
    cr_assert_eq(quota.lease_id, 9 * LEASE_IDS_PER_EPOCH);
    cr_assert_eq(quota.granted + quota.returned + quota.spent, 0);
    cr_assert_eq(quota.leased, 20);
    lease_begin(&quota, &old);
    cr_assert_eq(old.lease_id, 0, "nothing was lent");
    cr_assert_eq(quota.lease_id, 9 * LEASE_IDS_PER_EPOCH + 1);
}

Test(lease, ids_of_an_epoch_end)
{
    cr_assert(lease_may_begin(&quota));
    quota.lease_id = 8 * LEASE_IDS_PER_EPOCH - 2;
    cr_assert(lease_may_begin(&quota));
    lease_begin(&quota, &old);
    cr_assert_eq(quota.lease_id, 8 * LEASE_IDS_PER_EPOCH - 1, "the last one");
    cr_assert_not(lease_may_begin(&quota));
    quota.epoch = 8;
    cr_assert(lease_may_begin(&quota));
    quota.epoch = 6;
    cr_assert_not(lease_may_begin(&quota), "a lease of a later epoch");
    quota.epoch = 0;
    quota.lease_id = 0;
    cr_assert_not(lease_may_begin(&quota), "a shard without a row");
}

Test(lease, begin_aborts_when_the_row_knows_a_later_epoch, .signal = SIGABRT)
{
    quota.epoch = 6;
    lease_begin(&quota, &old);
}

Test(lease, raise_lends_the_target_or_what_is_needed_if_that_is_more)
{
    cr_assert_eq(lease_raise(&quota, 1, 500), 20);
    cr_assert_eq(lease_raise(&quota, 50, 400), 50);
    cr_assert_eq(quota.granted, 70);
    cr_assert_eq(quota.leased, 70);
    cr_assert_eq(quota.lease_deadline_ms, 500);
    cr_assert(quota.dirty);
}

Test(lease, raise_of_nothing_moves_the_deadline_only)
{
    cr_assert_eq(lease_raise(&quota, 0, 500), 0);
    cr_assert_eq(quota.lease_deadline_ms, 500);
    cr_assert(quota.dirty);
}

Test(lease, raise_stops_at_the_root_condition_and_lends_less_than_needed)
{
    quota.committed = 60;
    quota.debt = 10;
    quota.pg_held = 5;
    cr_assert_eq(lease_raise(&quota, 50, 0), 35);
    cr_assert_eq(book_room(&quota), 0);
    cr_assert_eq(lease_raise(&quota, 1, 0), 0);
    quota.debt = 100;
    cr_assert_eq(book_room(&quota), -90);
    cr_assert_eq(lease_raise(&quota, 1, 0), 0);
}

Test(lease, raise_gives_nothing_outside_an_open_quota_or_under_another_epoch)
{
    quota.state = QUOTA_CLOSING;
    cr_assert_eq(lease_raise(&quota, 1, 0), 0);
    quota.state = QUOTA_CLOSED;
    cr_assert_eq(lease_raise(&quota, 1, 0), 0);
    quota.state = QUOTA_OPEN;
    quota.epoch = 8;
    cr_assert_eq(lease_raise(&quota, 1, 0), 0);
    quota.epoch = 6;
    cr_assert_eq(lease_raise(&quota, 1, 0), 0);
}

Test(lease, raise_during_a_recall_lends_only_what_is_needed)
{
    quota.recall = true;
    cr_assert_eq(lease_raise(&quota, 3, 0), 3);
}

Test(lease, totals_never_leave_the_range_of_amounts)
{
    quota.stops = (struct stops){AMOUNT_MAX, AMOUNT_MAX, AMOUNT_MAX, true};
    cr_assert_eq(lease_raise(&quota, AMOUNT_MAX, 0), AMOUNT_MAX);
    lease_return(&quota, quota.lease_id, AMOUNT_MAX);
    cr_assert_eq(quota.leased, 0);
    cr_assert_eq(lease_raise(&quota, 1, 0), 0);
}

Test(lease, returns_are_cumulative_and_clamped)
{
    lease_raise(&quota, 40, 0);
    quota.spent = 10;
    quota.leased = 30;
    quota.committed = 10;
    lease_return(&quota, quota.lease_id, 5);
    cr_assert_eq(quota.leased, 25);
    lease_return(&quota, quota.lease_id, 5);
    lease_return(&quota, quota.lease_id, 3);
    lease_return(&quota, quota.lease_id - 1, 20);
    cr_assert_eq(quota.leased, 25);
    cr_assert_eq(quota.returned, 5);
    lease_return(&quota, quota.lease_id, 99);
    cr_assert_eq(quota.returned, 30);
    cr_assert_eq(quota.leased, 0);
}

Test(lease, recall_goes_on_while_the_quota_is_over_its_cap_and_holds_are_out)
{
    lease_raise(&quota, 40, 0);
    quota.debt = 80;
    quota.recall = true;
    lease_return(&quota, quota.lease_id + 1, 40);
    cr_assert(quota.recall, "another lease acknowledges nothing");
    lease_return(&quota, quota.lease_id, 5);
    cr_assert(quota.recall, "35 are held: they come back later");
    lease_return(&quota, quota.lease_id, 10);
    cr_assert_not(quota.recall, "room for all: 80 + 30 of 110");
    quota.recall = true;
    quota.debt = 200;
    lease_return(&quota, quota.lease_id, 40);
    cr_assert_not(quota.recall, "nothing is lent any more");
}

Test(lease, deadline_falls_with_what_comes_back_and_where_that_is_news)
{
    lease_raise(&quota, 40, 5000);
    lease_ebb(&quota, quota.lease_id, 10, 3000, false);
    cr_assert_eq(quota.returned, 10);
    cr_assert_eq(quota.lease_deadline_ms, 3000);
    cr_assert_eq(quota.lease_target, 20);
    lease_raise(&quota, 0, 4000);
    lease_ebb(&quota, quota.lease_id, 10, 3000, true);
    cr_assert_eq(quota.lease_deadline_ms, 4000, "somebody has relied on it since");
    lease_ebb(&quota, quota.lease_id, 5, 3000, true);
    lease_ebb(&quota, quota.lease_id + 1, 20, 3000, true);
    lease_ebb(&quota, quota.lease_id, 41, 3000, true);
    cr_assert_eq(quota.lease_deadline_ms, 4000, "none of these is the row's Redis");
    cr_assert_eq(quota.returned, 40);
}

Test(lease, what_is_idle_for_long_makes_the_next_refill_smaller)
{
    lease_raise(&quota, 40, 5000);
    lease_ebb(&quota, quota.lease_id, 35, 0, true);
    cr_assert_eq(quota.lease_target, 5);
    cr_assert_eq(quota.lease_deadline_ms, 5000);
    lease_ebb(&quota, quota.lease_id, 40, 6000, true);
    cr_assert_eq(quota.lease_target, 0);
    cr_assert_eq(quota.lease_deadline_ms, 5000, "it never rises so");
}

Test(lease, one_under_which_very_much_came_back_is_followed_by_another)
{
    quota.stops = (struct stops){AMOUNT_MAX, AMOUNT_MAX, AMOUNT_MAX, true};
    lease_raise(&quota, AMOUNT_MAX / 2 + 1, 0);
    cr_assert(lease_is_worn(&quota));
    cr_assert_not(lease_is_worn_out(&quota), "it has something lent");
    lease_return(&quota, quota.lease_id, AMOUNT_MAX);
    cr_assert(lease_is_worn_out(&quota));
    lease_begin(&quota, &old);
    cr_assert_eq(old.lease_id, 0);
    cr_assert_not(lease_is_worn(&quota));
}

Test(lease, old_one_closes_after_its_deadline_and_moves_reaped_to)
{
    lease_raise(&quota, 40, 500);
    quota.epoch = 8;
    lease_begin(&quota, &old);
    cr_assert_not(lease_close(&quota, &old, 500));
    cr_assert_eq(quota.leased, 40);
    cr_assert(lease_close(&quota, &old, 501));
    cr_assert_eq(quota.leased, 0);
    cr_assert_eq(quota.reaped_to_ms, 501);
    cr_assert_eq(old.granted, old.returned + old.spent);
}

Test(lease, target_is_twice_the_need_between_one_and_twentyfive_percent)
{
    struct stops stops = {.soft = 900, .amount = 1000, .cap = 1100};
    struct stops tiny = {.soft = 1, .amount = 1, .cap = 1};
    struct stops zero = {0};
    struct stops uncapped = {.soft = 9, .amount = 10, .cap = AMOUNT_MAX};
    struct stops unlimited = {AMOUNT_MAX, AMOUNT_MAX, AMOUNT_MAX, true};

    cr_assert_eq(lease_target(&stops, 0), 10);
    cr_assert_eq(lease_target(&stops, 50), 100);
    cr_assert_eq(lease_target(&stops, 500), 250);
    cr_assert_eq(lease_target(&stops, AMOUNT_MAX), 250);
    cr_assert_eq(lease_target(&tiny, 7), 1);
    cr_assert_eq(lease_target(&zero, 0), 1);
    cr_assert_eq(lease_target(&uncapped, 0), INT64_C(1) << 40);
    cr_assert_eq(lease_target(&unlimited, 0), INT64_C(1) << 40);
}
