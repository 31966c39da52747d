#include "tests/counter/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fixture f;

static void set_up(void)
{
    struct counter_totals totals[3];

    fixture_set_up(&f);
    for (int64_t i = 0; i < 3; i++)
        totals[i] = totals_of(i + 1, LEASE(1), 100);
    fixture_fill(&f, totals, 3);
}

static void tear_down(void)
{
    fixture_tear_down(&f);
}

TestSuite(call_notify, .init = set_up, .fini = tear_down);

static struct counter_totals spent_of(int64_t limit_id, int64_t spent, int64_t seq)
{
    struct counter_totals totals = totals_of(limit_id, LEASE(1), 100);

    totals.spent = spent;
    totals.used = spent;
    totals.used_seq = seq;
    return totals;
}

Test(call_notify, a_commit_turns_the_hold_into_spending)
{
    struct counter_totals totals = spent_of(1, 25, 1);

    fixture_admit(&f, "job", 30);
    fixture_notify(&f, "job", NULL, &totals, 1);
    cr_assert_eq(totals.took, TOTALS_TAKEN);
    cr_assert_eq(totals.now.held, 0);
    cr_assert_eq(totals.now.spent, 25);
    cr_assert_eq(totals.now.used, 25);
    cr_assert_eq(counter_available(&totals.now), 75);
    cr_assert_eq(fixture_entry(&f, "job").len, 0);
    cr_assert_str_eq(fixture_cli(&f, "zcard " KEY_LEAF), "0");
    cr_assert_str_eq(fixture_cli(&f, "smembers " KEY_MARKS), "7=job");
}

Test(call_notify, notifies_twice_and_out_of_order_count_once)
{
    struct counter_totals late = spent_of(1, 10, 1);
    struct counter_totals early = spent_of(1, 25, 2);

    fixture_admit(&f, "first", 10);
    fixture_admit(&f, "second", 15);
    fixture_notify(&f, "second", NULL, &early, 1);
    fixture_notify(&f, "first", NULL, &late, 1);
    fixture_notify(&f, "first", NULL, &late, 1);
    cr_assert_eq(late.now.spent, 25);
    cr_assert_eq(late.now.used, 25);
    cr_assert_eq(late.now.used_seq, 2);
    cr_assert_eq(late.now.held, 0);
    cr_assert_eq(counter_available(&late.now), 75);
}

Test(call_notify, a_release_removes_exactly_its_attempt)
{
    struct counter_reserve_item item = fixture_admit(&f, "job", 30);
    struct attempt other = {item.attempt.epoch, item.attempt.seq + 1};

    fixture_notify(&f, "job", &other, NULL, 0);
    cr_assert_eq(fixture_quota(&f, 1).held, 30);
    other = (struct attempt){item.attempt.epoch - 1, item.attempt.seq};
    fixture_notify(&f, "job", &other, NULL, 0);
    cr_assert_eq(fixture_quota(&f, 1).held, 30);
    fixture_notify(&f, "job", &item.attempt, NULL, 0);
    cr_assert_eq(fixture_quota(&f, 1).held, 0);
    cr_assert_eq(fixture_entry(&f, "job").len, 0);

    /* The retry of the release must not hit the next attempt, and no FINAL mark was left. */
    fixture_admit(&f, "job", 20);
    fixture_notify(&f, "job", &item.attempt, NULL, 0);
    cr_assert_eq(fixture_quota(&f, 1).held, 20);
}

Test(call_notify, a_commit_removes_whatever_attempt_there_is)
{
    struct counter_reserve_item item = fixture_admit(&f, "job", 30);

    fixture_notify(&f, "job", &item.attempt, NULL, 0);
    fixture_admit(&f, "job", 20);
    fixture_notify(&f, "job", NULL, NULL, 0);
    cr_assert_eq(fixture_quota(&f, 1).held, 0);
    cr_assert_eq(fixture_entry(&f, "job").len, 0);
}

Test(call_notify, every_quota_of_the_entry_is_freed_though_not_named)
{
    struct counter_reserve_item item = item_over(&f, "job", 3, 7);
    struct counter_totals totals = spent_of(2, 7, 1);

    fixture_reserve(&f, &item, 1);
    fixture_notify(&f, "job", NULL, &totals, 1);
    for (int64_t limit = 1; limit <= 3; limit++)
        cr_assert_eq(fixture_quota(&f, limit).held, 0);
    cr_assert_eq(fixture_quota(&f, 2).spent, 7);
    cr_assert_eq(fixture_quota(&f, 1).spent, 0);
}

Test(call_notify, a_hold_of_an_older_lease_frees_nothing_of_the_new_one)
{
    struct counter_totals next = totals_of(1, LEASE(2), 50);
    struct counter_totals old = spent_of(1, 30, 4);

    fixture_admit(&f, "old", 30);
    fixture_fill(&f, &next, 1);
    fixture_admit(&f, "new", 20);
    fixture_notify(&f, "old", NULL, &old, 1);
    cr_assert_eq(old.took, TOTALS_OLDER);
    cr_assert_eq(old.now.held, 20);
    cr_assert_eq(old.now.spent, 0, "spending belongs to the lease it names");
    cr_assert_eq(old.now.used, 30, "use does not");
    cr_assert_eq(fixture_entry(&f, "old").len, 0);
}

Test(call_notify, no_key_is_created)
{
    struct counter_totals totals = spent_of(4, 1, 1);

    fixture_notify(&f, "unknown", NULL, &totals, 1);
    cr_assert_eq(totals.took, TOTALS_ABSENT);
    cr_assert(!totals.now.exists);
    cr_assert_str_eq(fixture_cli(&f, "hexists " KEY_T " 4:0"), "0");
}

Test(call_notify, many_jobs_and_tenants_in_one_call)
{
    struct counter_totals other = totals_of(1, LEASE(9), 50);
    const struct counter_version version = {8, VERSION};
    struct counter_fill filling = {.call = fixture_call(&f, COUNTER_FILL),
                                   .totals_count = 1,
                                   .totals = &other,
                                   .versions_count = 1,
                                   .versions = &version};
    struct counter_reserve_item items[3];
    struct counter_notify_job jobs[4] = {
        {.tenant_id = TENANT, .job_id = SLICE("a"), .committed = true},
        {.tenant_id = 8, .job_id = SLICE("a")},
        {.tenant_id = TENANT, .job_id = SLICE("a"), .committed = true},
        {.tenant_id = TENANT, .job_id = SLICE("b"), .committed = true},
    };
    struct counter_totals totals[2] = {spent_of(1, 3, 2), totals_of(1, LEASE(9), 60)};
    struct counter_notify notify = {.call = fixture_call(&f, COUNTER_NOTIFY),
                                    .now_ms = NOW,
                                    .jobs_count = 4,
                                    .jobs = jobs,
                                    .totals_count = 2,
                                    .totals = totals};

    other.tenant_id = 8;
    totals[1].tenant_id = 8;
    fixture_run(&f, &filling.call);
    items[0] = item_of(&f, "a", 1);
    items[1] = item_of(&f, "b", 2);
    items[2] = item_of(&f, "a", 4);
    items[2].tenant_id = 8;
    fixture_reserve(&f, items, 3);
    jobs[1].attempt = items[2].attempt;
    fixture_run(&f, &notify.call);
    cr_assert_eq(totals[0].now.held, 0);
    cr_assert_eq(totals[0].now.spent, 3);
    cr_assert_eq(totals[1].now.held, 0);
    cr_assert_eq(totals[1].now.granted, 60);
    cr_assert_eq(fixture_entry(&f, "a").len, 0);
    cr_assert_eq(fixture_entry(&f, "b").len, 0);
    cr_assert_str_eq(fixture_cli(&f, "exists " KEY_LEAF " q:{1}:2:d:8:0"), "0");
}

/* Each release by its own attempt, whatever stands between them in the call. */
Test(call_notify, commits_and_releases_mixed_in_one_call)
{
    struct counter_notify_job jobs[6];
    struct counter_notify notify = {.call = fixture_call(&f, COUNTER_NOTIFY),
                                    .now_ms = NOW,
                                    .jobs_count = 6,
                                    .jobs = jobs};
    char name[6][8];

    for (int i = 0; i < 6; i++) {
        snprintf(name[i], sizeof(name[i]), "job-%d", i);
        jobs[i] = (struct counter_notify_job){
            .tenant_id = TENANT,
            .job_id = slice_from_cstr(name[i]),
            .committed = i % 2 == 0,
            .attempt = fixture_admit(&f, name[i], 1 << i).attempt,
        };
    }
    jobs[3].attempt = jobs[1].attempt;
    fixture_run(&f, &notify.call);
    cr_assert_eq(fixture_quota(&f, 1).held, 1 << 3);
    cr_assert_gt(fixture_entry(&f, "job-3").len, 0);
    cr_assert_str_eq(fixture_cli(&f, "zcard " KEY_LEAF), "1");
    cr_assert_str_eq(fixture_cli(&f, "scard " KEY_MARKS), "3");
}

/* A generation takes marks for ten minutes, then the next; it and the one before count. */
Test(call_notify, final_marks_go_by_generations)
{
    for (int64_t minute = 0; minute <= 30; minute += 6) {
        struct counter_notify_job job = {.tenant_id = TENANT, .committed = true};
        struct counter_notify notify = {.call = fixture_call(&f, COUNTER_NOTIFY),
                                        .now_ms = NOW + minute * 60000,
                                        .jobs_count = 1,
                                        .jobs = &job};
        char name[16];

        snprintf(name, sizeof(name), "job-%d", (int)minute);
        job.job_id = slice_from_cstr(name);
        fixture_run(&f, &notify.call);
    }
    cr_assert_str_eq(fixture_cli(&f, "exists " KEY_MARKS), "0", "the first has gone");
    cr_assert_str_eq(fixture_cli(&f, "smembers q:{1}:2:f:2 | sort"), "7=job-12\n7=job-18");
    cr_assert_str_eq(fixture_cli(&f, "smembers q:{1}:2:f:3 | sort"), "7=job-24\n7=job-30");
}

/* However many are committed, what Redis remembers of them has a bound. */
Test(call_notify, final_marks_have_a_bound)
{
    enum { CALLS = 60, JOBS = 2000, MARKS_MAX = 2 * 32768 };
    static struct counter_notify_job jobs[JOBS];
    static char names[JOBS][16];
    struct counter_notify notify = {.call = fixture_call(&f, COUNTER_NOTIFY),
                                    .now_ms = NOW,
                                    .jobs_count = JOBS,
                                    .jobs = jobs};
    struct counter_reserve_item item;
    int marks;

    for (int call = 0; call < CALLS; call++) {
        for (int i = 0; i < JOBS; i++) {
            snprintf(names[i], sizeof(names[i]), "%d", call * JOBS + i);
            jobs[i] = (struct counter_notify_job){.tenant_id = TENANT,
                                                  .job_id = slice_from_cstr(names[i]),
                                                  .committed = true};
        }
        fixture_run(&f, &notify.call);
    }
    marks = atoi(fixture_cli(&f, "scard q:{1}:2:f:3")) + atoi(fixture_cli(&f, "scard q:{1}:2:f:4"));
    cr_assert(marks > MARKS_MAX / 2 && marks <= MARKS_MAX, "%d", marks);
    cr_assert_str_eq(fixture_cli(&f, "exists " KEY_MARKS " q:{1}:2:f:2 q:{1}:2:f:5"), "0");
    item = item_of(&f, "119999", 1);
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_FINAL, "the newest are remembered");
    item = item_of(&f, "0", 1);
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_ADMITTED, "the oldest are the ledger's");
}

Test(call_notify, nothing_in_redis_has_a_time_to_live)
{
    struct counter_totals totals = spent_of(1, 25, 1);

    fixture_admit(&f, "job", 30);
    fixture_admit(&f, "other", 30);
    fixture_notify(&f, "job", NULL, &totals, 1);
    cr_assert(strstr(fixture_cli(&f, "info keyspace"), "expires=0"));
}

Test(call_notify, held_units_below_zero_are_reported)
{
    struct counter_notify_job job = {.tenant_id = TENANT, .job_id = SLICE("job"),
                                     .committed = true};
    struct counter_notify notify = {.call = fixture_call(&f, COUNTER_NOTIFY),
                                    .now_ms = NOW,
                                    .jobs_count = 1,
                                    .jobs = &job};

    fixture_admit(&f, "job", 30);
    fixture_set_number(&f, 1, "H", 29);
    counter_add(f.counter, &notify.call);
    counter_run(f.counter);
    cr_assert_eq(notify.call.status, STATUS_OK);
    cr_assert(slice_equal_cstr(notify.call.below_zero, KEY_T " 1:0"));
    cr_assert_eq(fixture_quota(&f, 1).held, 0);
}

Test(call_notify, memory_is_freed_when_redis_is_full)
{
    struct counter_reserve_item item = item_of(&f, "more", 1);
    struct counter_reserve reserve = {.call = fixture_call(&f, COUNTER_RESERVE),
                                      .now_ms = NOW,
                                      .items_count = 1,
                                      .items = &item};

    fixture_admit(&f, "job", 30);
    fixture_cli(&f, "config set maxmemory 1");
    counter_add(f.counter, &reserve.call);
    counter_run(f.counter);
    cr_assert_eq(reserve.call.status, STATUS_UNAVAILABLE, "%s", counter_last_error(f.counter));
    cr_assert_eq(fixture_quota(&f, 1).held, 30);
    fixture_notify(&f, "job", NULL, NULL, 0);
    cr_assert_eq(fixture_quota(&f, 1).held, 0);
    fixture_cli(&f, "config set maxmemory 0");
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_ADMITTED);
}
