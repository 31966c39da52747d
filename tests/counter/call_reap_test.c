#include "tests/counter/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

static struct fixture f;

static void set_up(void)
{
    struct counter_totals totals = totals_of(1, LEASE(1), 100);

    fixture_set_up(&f);
    fixture_fill(&f, &totals, 1);
}

static void tear_down(void)
{
    fixture_tear_down(&f);
}

TestSuite(call_reap, .init = set_up, .fini = tear_down);

static struct counter_due due_at(int64_t now_ms, int64_t tenant_id, size_t max)
{
    struct counter_due due = {.call = fixture_call(&f, COUNTER_DUE),
                              .now_ms = now_ms,
                              .tenant_id = tenant_id,
                              .max = max};

    fixture_run(&f, &due.call);
    return due;
}

static struct counter_reap reap_job(struct slice job, struct attempt attempt, bool committed,
                                    int64_t reaped_to_ms, struct counter_totals *totals)
{
    struct counter_settle_job named = {TENANT, job, committed, attempt};
    struct counter_reap reap = {.call = fixture_call(&f, COUNTER_REAP),
                                .now_ms = reaped_to_ms,
                                .tenant_id = TENANT,
                                .reaped_to_ms = reaped_to_ms,
                                .jobs_count = 1,
                                .jobs = &named,
                                .totals_count = totals ? 1 : 0,
                                .totals = totals};

    fixture_run(&f, &reap.call);
    return reap;
}

Test(call_reap, due_names_tenants_then_their_holds)
{
    struct counter_reserve_item first = fixture_admit(&f, "job-b", 1);
    struct counter_reserve_item later = item_of(&f, "job-a", 1);
    struct counter_due due;

    later.deadline_ms = DEADLINE + 1;
    fixture_reserve(&f, &later, 1);
    cr_assert_eq(due_at(DEADLINE - 1, 0, 10).tenants_count, 0);
    cr_assert_eq(due_at(DEADLINE - 1, TENANT, 10).holds_count, 0);
    due = due_at(DEADLINE, 0, 10);
    cr_assert_eq(due.tenants_count, 1);
    cr_assert_eq(due.tenants[0], TENANT);
    due = due_at(DEADLINE, TENANT, 10);
    cr_assert_eq(due.holds_count, 1);
    cr_assert(slice_equal_cstr(due.holds[0].job_id, "job-b"));
    cr_assert(slice_equal(due.holds[0].entry, first.entry));
    due = due_at(DEADLINE + 1, TENANT, 10);
    cr_assert_eq(due.holds_count, 2);
    cr_assert(slice_equal_cstr(due.holds[1].job_id, "job-a"));
    cr_assert_eq(due_at(DEADLINE + 1, TENANT, 1).holds_count, 1);
}

Test(call_reap, a_tenant_whose_score_is_too_early_comes_up_once)
{
    struct counter_reserve_item later = item_of(&f, "later", 1);

    fixture_admit(&f, "job", 1);
    later.deadline_ms = DEADLINE + 1000;
    fixture_reserve(&f, &later, 1);
    fixture_settle(&f, "job", NULL, NULL, 0);
    cr_assert_eq(due_at(DEADLINE, 0, 10).tenants_count, 0);
    cr_assert_str_eq(fixture_cli(&f, "zscore q:{s17}:x 7"), "1764072061000");
    fixture_settle(&f, "later", NULL, NULL, 0);
    cr_assert_eq(due_at(DEADLINE + 1000, 0, 10).tenants_count, 0);
    cr_assert_str_eq(fixture_cli(&f, "zcard q:{s17}:x"), "0");
}

Test(call_reap, stale_scores_do_not_hide_a_due_tenant)
{
    struct counter_due due;

    fixture_admit(&f, "job", 1);
    for (int64_t tenant = 100; tenant < 110; tenant++)
        fixture_cli(&f, "zadd q:{s17}:x 1 %" PRId64, tenant);
    due = due_at(DEADLINE, 0, 1);
    for (int tries = 0; due.tenants_count == 0 && tries < 5; tries++)
        due = due_at(DEADLINE, 0, 1);
    cr_assert_eq(due.tenants_count, 1);
    cr_assert_eq(due.tenants[0], TENANT);
}

Test(call_reap, a_reaped_hold_gives_its_units_back)
{
    struct counter_reserve_item item = fixture_admit(&f, "job", 30);
    struct counter_totals totals = totals_of(1, LEASE(1), 100);
    struct counter_reap reap;

    totals.spent = 8;
    reap = reap_job(item.job_id, item.attempt, false, DEADLINE, &totals);
    cr_assert_eq(reap.removed_count, 1);
    cr_assert_eq(totals.took, TOTALS_TAKEN);
    cr_assert_eq(totals.now.held, 0);
    cr_assert_eq(totals.now.spent, 8);
    cr_assert_eq(fixture_entry(&f, "job").len, 0);
    cr_assert_str_eq(fixture_cli(&f, "exists q:{s17}:x q:{s17}:x:7 q:{s17}:f:7:%" PRId64,
                                 DEADLINE / BUCKET_MS),
                     "0");
    cr_assert_eq(reap_job(item.job_id, item.attempt, false, DEADLINE, &totals).removed_count, 0);
    cr_assert_eq(totals.now.held, 0);
}

Test(call_reap, an_extended_hold_stays)
{
    struct counter_reserve_item item = fixture_admit(&f, "job", 30);

    cr_assert_eq(reap_job(item.job_id, item.attempt, false, DEADLINE - 1, NULL).removed_count, 0);
    cr_assert_eq(fixture_quota(&f, 1).held, 30);
    cr_assert_str_eq(fixture_cli(&f, "zscore q:{s17}:x 7"), "1764072060000");
}

Test(call_reap, another_attempt_stays)
{
    struct counter_reserve_item item = fixture_admit(&f, "job", 30);
    struct attempt other = {item.attempt.epoch, item.attempt.seq + 1};

    cr_assert_eq(reap_job(item.job_id, other, true, DEADLINE, NULL).removed_count, 0);
    cr_assert_eq(fixture_quota(&f, 1).held, 30);
    cr_assert_str_eq(fixture_cli(&f, "smembers q:{s17}:f:7:%" PRId64, DEADLINE / BUCKET_MS),
                     "job");
}

Test(call_reap, a_committed_job_is_marked_and_its_hold_goes)
{
    struct counter_reserve_item item = fixture_admit(&f, "job", 30);

    cr_assert_eq(reap_job(item.job_id, item.attempt, true, DEADLINE, NULL).removed_count, 1);
    cr_assert_eq(fixture_quota(&f, 1).held, 0);
    cr_assert_str_eq(fixture_cli(&f, "smembers q:{s17}:f:7:%" PRId64, DEADLINE / BUCKET_MS),
                     "job");
}

Test(call_reap, a_hold_of_an_older_lease_frees_nothing_of_the_new_one)
{
    struct counter_reserve_item item = fixture_admit(&f, "old", 30);
    struct counter_totals next = totals_of(1, LEASE(2), 50);

    fixture_fill(&f, &next, 1);
    fixture_admit(&f, "new", 20);
    cr_assert_eq(reap_job(item.job_id, item.attempt, false, DEADLINE, NULL).removed_count, 1);
    cr_assert_eq(fixture_quota(&f, 1).held, 20);
}

Test(call_reap, the_tenant_moves_to_its_next_deadline)
{
    struct counter_reserve_item item = fixture_admit(&f, "job", 1);
    struct counter_reserve_item later = item_of(&f, "later", 1);

    later.deadline_ms = DEADLINE + 1000;
    fixture_reserve(&f, &later, 1);
    reap_job(item.job_id, item.attempt, false, DEADLINE, NULL);
    cr_assert_str_eq(fixture_cli(&f, "zscore q:{s17}:x 7"), "1764072061000");
}
