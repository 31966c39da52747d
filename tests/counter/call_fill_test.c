#include "tests/counter/fixture.h"

#include "quota/times.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

static struct fixture f;

static void set_up(void)
{
    fixture_set_up(&f);
}

static void tear_down(void)
{
    fixture_tear_down(&f);
}

TestSuite(call_fill, .init = set_up, .fini = tear_down);

/* Fills limit 1 with one lease and says what became of it. */
static struct counter_totals fill(int64_t lease_id, int64_t granted)
{
    struct counter_totals totals = totals_of(1, lease_id, granted);

    fixture_fill(&f, &totals, 1);
    return totals;
}

Test(call_fill, the_first_grant_creates_the_key)
{
    struct counter_totals totals = totals_of(1, LEASE(1), 100);

    totals.returned = 3;
    totals.spent = 4;
    totals.used = 50;
    totals.used_seq = 9;
    totals.debt = 6;
    fixture_fill(&f, &totals, 1);
    cr_assert_eq(totals.took, TOTALS_TAKEN);
    cr_assert(totals.now.exists);
    cr_assert_eq(totals.now.lease_id, LEASE(1));
    cr_assert_eq(totals.now.granted, 100);
    cr_assert_eq(totals.now.returned, 3);
    cr_assert_eq(totals.now.spent, 4);
    cr_assert_eq(totals.now.held, 0);
    cr_assert_eq(totals.now.lease_deadline_ms, LEASE_END);
    cr_assert_eq(totals.now.used, 50);
    cr_assert_eq(totals.now.used_seq, 9);
    cr_assert_eq(totals.now.debt, 6);
    cr_assert_eq(counter_available(&totals.now), 93);
    cr_assert_str_eq(fixture_cli(&f, "hget " KEY_C " 1:0"), "3145729");
}

Test(call_fill, grants_twice_and_out_of_order_only_raise)
{
    struct counter_totals totals;

    fill(LEASE(1), 100);
    fixture_admit(&f, "job", 10);
    fill(LEASE(1), 200);
    fill(LEASE(1), 200);
    totals = totals_of(1, LEASE(1), 150);
    totals.lease_deadline_ms = LEASE_END - 1;
    fixture_fill(&f, &totals, 1);
    cr_assert_eq(totals.took, TOTALS_TAKEN);
    cr_assert_eq(totals.now.granted, 200);
    cr_assert_eq(totals.now.held, 10);
    cr_assert_eq(totals.now.lease_deadline_ms, LEASE_END);
}

Test(call_fill, a_later_lease_resets_the_key_and_an_earlier_one_is_refused)
{
    struct counter_totals totals;

    fill(LEASE(1), 100);
    fixture_admit(&f, "job", 10);
    totals = fill(LEASE(2), 30);
    cr_assert_eq(totals.took, TOTALS_TAKEN);
    cr_assert_eq(totals.now.granted, 30);
    cr_assert_eq(totals.now.held, 0);
    cr_assert_str_eq(fixture_cli(&f, "hget " KEY_C " 1:0"), "3145730");
    totals = fill(LEASE(1), 500);
    cr_assert_eq(totals.took, TOTALS_OLDER);
    cr_assert_eq(totals.now.granted, 30);
    cr_assert_eq(totals.now.lease_id, LEASE(2));
    cr_assert(fixture_entry(&f, "job").len > 0, "the hold of the old lease stays");
}

Test(call_fill, a_key_that_vanished_is_not_filled_by_the_same_lease)
{
    struct counter_totals totals;

    fill(LEASE(2), 100);
    fixture_cli(&f, "del " KEY_T);
    totals = fill(LEASE(2), 100);
    cr_assert_eq(totals.took, TOTALS_VANISHED);
    cr_assert(!totals.now.exists);
    cr_assert_eq(totals.now.lease_id, LEASE(2));
    cr_assert(!fixture_quota(&f, 1).exists);
    totals = fill(LEASE(1), 100);
    cr_assert_eq(totals.took, TOTALS_OLDER);
    cr_assert(!fixture_quota(&f, 1).exists);
    totals = fill(LEASE(3), 40);
    cr_assert_eq(totals.took, TOTALS_TAKEN);
    cr_assert_eq(totals.now.granted, 40);
}

Test(call_fill, use_moves_with_a_later_sequence_only)
{
    struct counter_totals totals = totals_of(1, LEASE(1), 100);

    totals.used = 50;
    totals.used_seq = 9;
    fixture_fill(&f, &totals, 1);
    totals.used = 70;
    fixture_fill(&f, &totals, 1);
    cr_assert_eq(totals.now.used, 50);
    totals.used_seq = 8;
    fixture_fill(&f, &totals, 1);
    cr_assert_eq(totals.now.used, 50);
    totals.used = 20;
    totals.used_seq = 10;
    fixture_fill(&f, &totals, 1);
    cr_assert_eq(totals.now.used, 20);
    totals.lease_id = LEASE(2);
    totals.used = 1;
    totals.used_seq = 3;
    fixture_fill(&f, &totals, 1);
    cr_assert_eq(totals.now.used, 20, "a new lease does not bring back older use");
    cr_assert_eq(totals.now.used_seq, 10);
}

/* The guard has looked at the epoch: a version of a later one is a hand's, and would be stale for ever. */
Test(call_fill, versions_only_rise_within_the_epoch)
{
    struct counter_version version = {TENANT, 12};
    struct counter_fill filling = {.call = fixture_call(&f, COUNTER_FILL),
                                   .versions_count = 1,
                                   .versions = &version};

    fixture_run(&f, &filling.call);
    cr_assert_str_eq(fixture_cli(&f, "hget " KEY_T " v"), "3.12");
    version.config_version = 9;
    fixture_run(&f, &filling.call);
    cr_assert_str_eq(fixture_cli(&f, "hget " KEY_T " v"), "3.12");
    version.config_version = 100;
    fixture_run(&f, &filling.call);
    cr_assert_str_eq(fixture_cli(&f, "hget " KEY_T " v"), "3.100");
    fixture_cli(&f, "hset " KEY_T " v 2.1000");
    fixture_run(&f, &filling.call);
    cr_assert_str_eq(fixture_cli(&f, "hget " KEY_T " v"), "3.100");
    fixture_cli(&f, "hset " KEY_T " v 4.1");
    fixture_run(&f, &filling.call);
    cr_assert_str_eq(fixture_cli(&f, "hget " KEY_T " v"), "3.100");
}

Test(call_fill, one_call_serves_many_quotas_and_tenants_even_one_twice)
{
    struct counter_totals totals[] = {totals_of(1, LEASE(1), 10), totals_of(2, LEASE(1), 20),
                                      totals_of(1, LEASE(2), 30), totals_of(1, LEASE(7), 70)};

    totals[3].tenant_id = 8;
    fixture_fill(&f, totals, 4);
    for (size_t i = 0; i < 4; i++)
        cr_assert_eq(totals[i].took, TOTALS_TAKEN);
    cr_assert_eq(fixture_quota(&f, 1).granted, 30);
    cr_assert_eq(fixture_quota(&f, 1).lease_id, LEASE(2));
    cr_assert_eq(fixture_quota(&f, 2).granted, 20);
    cr_assert_eq(totals[3].now.granted, 70);
    cr_assert_str_eq(fixture_cli(&f, "hget q:{1}:2:c:8 1:0"), "3145735");
    cr_assert_str_eq(fixture_cli(&f, "hget " KEY_T " q"), "2");
    cr_assert_str_eq(fixture_cli(&f, "hget q:{1}:2:t:8 q"), "1");
    cr_assert_str_eq(fixture_cli(&f, "zrange " KEY_X " 0 -1"), "7\n8");
}

/* Fills limit 1 with a lease that ends at NOW, for a period that ends at end_ms. */
static struct counter_totals fill_period(int64_t end_ms)
{
    struct counter_totals totals = totals_of(1, LEASE(1), 100);

    totals.lease_deadline_ms = NOW;
    totals.period_end_ms = end_ms;
    fixture_fill(&f, &totals, 1);
    cr_assert_eq(totals.took, TOTALS_TAKEN);
    return totals;
}

/* Creates limit 2 at a moment. */
static void fill_another_at(int64_t now_ms)
{
    struct counter_totals totals = totals_of(2, LEASE(1), 100);
    struct counter_fill filling = {.call = fixture_call(&f, COUNTER_FILL),
                                   .now_ms = now_ms,
                                   .totals_count = 1,
                                   .totals = &totals};

    fixture_run(&f, &filling.call);
    cr_assert_eq(totals.took, TOTALS_TAKEN);
}

static void forget_another(void)
{
    fixture_cli(&f, "hdel " KEY_T " 2:0");
    fixture_cli(&f, "hdel " KEY_C " 2:0");
    fixture_cli(&f, "hset " KEY_T " q 1");
}

Test(call_fill, a_quota_whose_period_is_over_is_forgotten)
{
    fill_period(NOW + 10);
    fill_another_at(NOW + 10 + PERIOD_IN_REDIS_MS);
    cr_assert(!fixture_quota(&f, 1).exists);
    cr_assert_str_eq(fixture_cli(&f, "hkeys " KEY_C), "2:0");
    cr_assert_str_eq(fixture_cli(&f, "hget " KEY_T " q"), "1");
    cr_assert_eq(fixture_quota(&f, 2).granted, 100);
    cr_assert_eq(fill_period(NOW + 10).now.granted, 100, "its lease may still be the database's");
}

Test(call_fill, a_quota_with_a_hold_or_a_lease_or_a_period_that_goes_on_is_kept)
{
    enum { LATER = PERIOD_IN_REDIS_MS };

    fill_period(NOW + 11);
    fill_another_at(NOW + 10);
    cr_assert(fixture_quota(&f, 1).exists, "the period goes on");
    forget_another();
    fill_another_at(NOW + 10 + LATER);
    cr_assert(fixture_quota(&f, 1).exists, "a database that has lost commits of it may not be compared yet");
    fixture_set_number(&f, 1, "E", NOW);
    fixture_set_number(&f, 1, "D", NOW + 11 + LATER);
    forget_another();
    fill_another_at(NOW + 10 + LATER);
    cr_assert(fixture_quota(&f, 1).exists, "the lease goes on");
    fixture_set_number(&f, 1, "D", NOW);
    fixture_set_number(&f, 1, "H", 1);
    forget_another();
    fill_another_at(NOW + 10 + LATER);
    cr_assert(fixture_quota(&f, 1).exists, "something is held");
}

Test(call_fill, a_key_that_vanished_is_remembered_for_ever)
{
    fill_period(NOW);
    fixture_cli(&f, "del " KEY_T);
    fill_another_at(INT64_C(1) << 50);
    cr_assert_eq(fill(LEASE(1), 100).took, TOTALS_VANISHED);
}

Test(call_fill, recall_takes_what_is_idle_and_a_late_grant_does_not_undo_it)
{
    struct counter_totals totals;
    struct counter_recall recall = {.call = fixture_call(&f, COUNTER_RECALL),
                                    .totals_count = 1,
                                    .totals = &totals};

    fill(LEASE(1), 100);
    fixture_admit(&f, "job", 30);
    totals = totals_of(1, LEASE(1), 150);
    totals.spent = 5;
    fixture_run(&f, &recall.call);
    cr_assert_eq(totals.took, TOTALS_TAKEN);
    cr_assert_eq(totals.now.returned, 115);
    cr_assert_eq(counter_available(&totals.now), 0);
    cr_assert_eq(totals.now.held, 30);
    fill(LEASE(1), 150);
    cr_assert_eq(counter_available(&(struct counter_quota[]){fixture_quota(&f, 1)}[0]), 0);
    fixture_run(&f, &recall.call);
    cr_assert_eq(totals.now.returned, 115);
}

Test(call_fill, recall_creates_a_key_whose_grant_is_still_on_its_way)
{
    struct counter_totals totals = totals_of(1, LEASE(1), 100);
    struct counter_recall recall = {.call = fixture_call(&f, COUNTER_RECALL),
                                    .totals_count = 1,
                                    .totals = &totals};

    fixture_run(&f, &recall.call);
    cr_assert_eq(totals.took, TOTALS_TAKEN);
    cr_assert_eq(totals.now.returned, 100);
    totals = fill(LEASE(1), 100);
    cr_assert_eq(counter_available(&totals.now), 0);
}

Test(call_fill, recall_refuses_vanished_and_older_leases)
{
    struct counter_totals totals = totals_of(1, LEASE(1), 100);
    struct counter_recall recall = {.call = fixture_call(&f, COUNTER_RECALL),
                                    .totals_count = 1,
                                    .totals = &totals};

    fill(LEASE(2), 100);
    fixture_run(&f, &recall.call);
    cr_assert_eq(totals.took, TOTALS_OLDER);
    cr_assert_eq(totals.now.returned, 0);
    fixture_cli(&f, "del " KEY_T);
    totals = totals_of(1, LEASE(2), 100);
    fixture_run(&f, &recall.call);
    cr_assert_eq(totals.took, TOTALS_VANISHED);
    cr_assert(!fixture_quota(&f, 1).exists);
}

/* How much goes back is asked as of NOW, where a lease lasts a minute at least. */
static struct counter_spare ebb(enum counter_recall_how how, struct counter_totals *totals,
                                int64_t room)
{
    struct counter_spare spare = {.how = how, .room = room};
    struct counter_recall recall = {.call = fixture_call(&f, COUNTER_RECALL),
                                    .now_ms = NOW,
                                    .lease_min_ms = 60000,
                                    .totals_count = 1,
                                    .totals = totals,
                                    .spares = &spare};

    fixture_run(&f, &recall.call);
    cr_assert_eq(totals->took, TOTALS_TAKEN);
    return spare;
}

static void hold_until(const char *job, int64_t units, int64_t deadline_ms)
{
    struct counter_reserve_item item = item_of(&f, job, units);

    item.deadline_ms = deadline_ms;
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_ADMITTED);
}

Test(call_fill, what_is_still_keeps_a_quarter_of_what_is_free_and_a_lease_of_a_minute)
{
    struct counter_totals totals = fill(LEASE(1), 100);
    struct counter_spare spare;

    fixture_admit(&f, "job", 20);
    spare = ebb(RECALL_STILL, &totals, 40);
    cr_assert_eq(totals.now.returned, 50, "80 are idle, 120 free");
    cr_assert_eq(spare.lowered_deadline_ms, DEADLINE, "that of the hold, a minute from now");
    cr_assert_eq(totals.now.lease_deadline_ms, DEADLINE);
    totals = totals_of(1, LEASE(1), 100);
    totals.returned = 50;
    totals.lease_deadline_ms = DEADLINE;
    cr_assert_eq(ebb(RECALL_STILL, &totals, 90).lowered_deadline_ms, 0);
    cr_assert_eq(totals.now.returned, 50, "it has settled");
}

Test(call_fill, a_long_hold_keeps_its_lease_and_nothing_beside_it)
{
    struct counter_totals totals = fill(LEASE(1), 100);

    hold_until("long", 20, NOW + 300000);
    hold_until("short", 30, NOW + 1000);
    cr_assert_eq(ebb(RECALL_STILL, &totals, 1000).lowered_deadline_ms, NOW + 300000);
    cr_assert_eq(counter_available(&totals.now), 0);
    cr_assert_eq(totals.now.held, 50);
    cr_assert_eq(totals.now.lease_deadline_ms, NOW + 300000);
}

Test(call_fill, a_hold_of_another_quota_keeps_no_lease)
{
    struct counter_totals totals[] = {totals_of(1, LEASE(1), 100), totals_of(2, LEASE(1), 100)};
    struct counter_reserve_item item = item_over(&f, "both", 2, 10);

    fixture_fill(&f, totals, 2);
    fixture_reserve(&f, &item, 1);
    hold_until("long", 20, NOW + 300000);
    cr_assert_eq(ebb(RECALL_STILL, &totals[1], 1000).lowered_deadline_ms, DEADLINE);
    cr_assert_eq(ebb(RECALL_STILL, &totals[0], 1000).lowered_deadline_ms, NOW + 300000);
}

Test(call_fill, a_lease_that_is_over_gives_all_back)
{
    struct counter_totals totals = totals_of(1, LEASE(1), 100);

    totals.lease_deadline_ms = NOW;
    cr_assert_eq(ebb(RECALL_STILL, &totals, 1000).lowered_deadline_ms, 0);
    cr_assert_eq(totals.now.returned, 100);
}

Test(call_fill, what_moves_gives_back_a_unit_if_its_lease_is_far_behind)
{
    struct counter_totals totals = fill(LEASE(1), 100);

    cr_assert_eq(ebb(RECALL_MOVING, &totals, 1000).lowered_deadline_ms, NOW + 120000);
    cr_assert_eq(totals.now.returned, 1);
    totals.returned = 1;
    totals.lease_deadline_ms = NOW + 120000;
    cr_assert_eq(ebb(RECALL_MOVING, &totals, 1000).lowered_deadline_ms, 0);
    cr_assert_eq(totals.now.returned, 1);
}

Test(call_fill, a_deadline_falls_only_with_something_that_goes_back)
{
    struct counter_totals totals = fill(LEASE(1), 100);

    fixture_admit(&f, "job", 100);
    cr_assert_eq(ebb(RECALL_STILL, &totals, 1000).lowered_deadline_ms, 0);
    cr_assert_eq(totals.now.lease_deadline_ms, LEASE_END);
    cr_assert_eq(totals.now.returned, 0);
}

/* The row is behind: it may be from before the deadline fell, and the root takes it back then. */
Test(call_fill, totals_of_before_do_not_raise_a_deadline_that_fell)
{
    struct counter_totals totals = fill(LEASE(1), 100);
    int64_t returned;

    (void)ebb(RECALL_STILL, &totals, 100);
    returned = totals.now.returned;
    cr_assert_eq(fill(LEASE(1), 200).now.lease_deadline_ms, DEADLINE);
    totals = totals_of(1, LEASE(1), 200);
    totals.spent = 5;
    fixture_notify(&f, "other", NULL, &totals, 1);
    cr_assert_eq(fixture_quota(&f, 1).lease_deadline_ms, DEADLINE);
    cr_assert_eq(fixture_quota(&f, 1).spent, 5);
    totals.returned = returned;
    fixture_fill(&f, &totals, 1);
    cr_assert_eq(totals.now.lease_deadline_ms, LEASE_END);
}

Test(call_fill, where_a_hold_is_lost_no_deadline_falls)
{
    struct counter_totals totals = fill(LEASE(1), 100);

    hold_until("long", 20, NOW + 300000);
    fixture_cli(&f, "hdel " KEY_T " 7=long");
    cr_assert_eq(ebb(RECALL_STILL, &totals, 0).lowered_deadline_ms, 0);
    cr_assert_eq(totals.now.lease_deadline_ms, LEASE_END);
    cr_assert_eq(totals.now.held, 20);
    cr_assert_eq(totals.now.returned, 60, "of 80, a quarter of which stays");
}

/* The last leaf of the index stays when its holds have gone (lua/index.lua). */
Test(call_fill, a_long_hold_is_found_behind_a_leaf_that_is_empty)
{
    struct counter_totals totals = fill(LEASE(1), 1000);
    char job[16];

    hold_until("long", 1, NOW + 200000);
    for (int i = 0; i < 80; i++) {
        snprintf(job, sizeof(job), "job%d", i);
        hold_until(job, 1, NOW + 300000 + i);
    }
    for (int i = 79; i >= 0; i--) {
        snprintf(job, sizeof(job), "job%d", i);
        fixture_notify(&f, job, NULL, NULL, 0);
    }
    cr_assert_eq(ebb(RECALL_STILL, &totals, 1000).lowered_deadline_ms, NOW + 200000);
}

Test(call_fill, of_very_many_long_holds_the_longest_are_looked_at)
{
    struct counter_totals totals[] = {totals_of(1, LEASE(1), 1000), totals_of(2, LEASE(1), 100)};
    struct counter_reserve_item item = item_over(&f, "both", 2, 1);
    char job[16];

    fixture_fill(&f, totals, 2);
    item.deadline_ms = NOW + 100000;
    fixture_reserve(&f, &item, 1);
    for (int i = 0; i < 300; i++) {
        snprintf(job, sizeof(job), "job%d", i);
        hold_until(job, 1, NOW + 200000 + i);
    }
    cr_assert_eq(ebb(RECALL_STILL, &totals[0], 1000).lowered_deadline_ms, NOW + 200299);
    cr_assert_eq(ebb(RECALL_STILL, &totals[1], 1000).lowered_deadline_ms, NOW + 200044,
                 "not later than the last of those");
}

Test(call_fill, a_fill_that_is_out_of_range_writes_nothing)
{
    struct counter_totals totals[] = {totals_of(1, LEASE(1), 10), totals_of(2, LEASE(1), -1)};
    struct counter_fill filling = {.call = fixture_call(&f, COUNTER_FILL),
                                   .totals_count = 2,
                                   .totals = totals};

    counter_add(f.counter, &filling.call);
    counter_run(f.counter);
    cr_assert_eq(filling.call.status, STATUS_INVALID);
    cr_assert_str_eq(fixture_cli(&f, "dbsize"), "1");
}

/* Redis lost its data: what was lent before is promised to holds that are not here. */
Test(call_fill, lease_of_an_earlier_epoch_is_neither_filled_nor_recalled)
{
    struct counter_totals totals = totals_of(1, (INT64_C(2) << 20) + 1, 100);
    struct counter_recall recall = {.call = fixture_call(&f, COUNTER_RECALL),
                                    .totals_count = 1,
                                    .totals = &totals};

    fixture_run(&f, &recall.call);
    cr_assert_eq(totals.took, TOTALS_OLDER);
    cr_assert(!fixture_quota(&f, 1).exists);
    totals = fill((INT64_C(2) << 20) + 1, 100);
    cr_assert_eq(totals.took, TOTALS_OLDER);
    cr_assert(!fixture_quota(&f, 1).exists);
}
