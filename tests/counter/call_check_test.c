#include "tests/counter/fixture.h"

#include "quota/times.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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

TestSuite(call_check, .init = set_up, .fini = tear_down);

static struct counter_check check_at(int64_t now_ms)
{
    struct counter_check check = {
        .call = fixture_call(&f, COUNTER_CHECK), .now_ms = now_ms, .max = 10, .cursor = "0"};

    fixture_run(&f, &check.call);
    cr_assert_str_eq(check.cursor, "0");
    return check;
}

Test(call_check, what_is_whole_is_left_alone)
{
    fixture_admit(&f, "job", 30);
    cr_assert_eq(check_at(NOW).findings_count, 0);
    cr_assert_eq(check_at(NOW).tenants_count, 1);
    cr_assert_eq(fixture_quota(&f, 1).held, 30);
}

Test(call_check, a_lost_hash_is_told_with_the_leases_that_it_had)
{
    struct counter_check check;

    fixture_admit(&f, "job", 30);
    fixture_cli(&f, "del " KEY_T);
    check = check_at(NOW);
    cr_assert_eq(check.findings_count, 2, "the quotas, and an index over nothing");
    cr_assert_eq(check.findings[0].kind, FINDING_LOST);
    cr_assert_eq(check.findings[0].tenant_id, TENANT);
    cr_assert_eq(check.findings[0].quotas_count, 1);
    cr_assert_eq(check.findings[0].quotas[0].ref.limit_id, 1);
    cr_assert_eq(check.findings[0].quotas[0].lease_id, LEASE(1));
    cr_assert_eq(check.findings[1].kind, FINDING_DERIVED);
}

Test(call_check, a_quota_that_is_not_lent_any_more_is_forgotten)
{
    struct counter_lost lost = {{1, 0}, LEASE(2)};
    struct counter_forget forget = {.call = fixture_call(&f, COUNTER_FORGET),
                                    .tenant_id = TENANT,
                                    .quotas_count = 1,
                                    .quotas = &lost};

    fixture_cli(&f, "hdel " KEY_T " 1:0");
    fixture_run(&f, &forget.call);
    cr_assert_str_eq(fixture_cli(&f, "exists " KEY_C), "1", "filled with another lease since");
    lost.lease_id = LEASE(1);
    fixture_run(&f, &forget.call);
    cr_assert_str_eq(fixture_cli(&f, "exists " KEY_C), "0");
}

/* It would be in an answer that nobody can read, about all tenants of the page. */
Test(call_check, what_no_script_wrote_among_the_leases_is_told_of_its_tenant)
{
    static const char *const hands[] = {"hset " KEY_C " x 1", "hset " KEY_C " 99:0 x"};

    for (size_t i = 0; i < ARRAY_COUNT(hands); i++) {
        static const int64_t tenants[] = {TENANT};
        struct counter_clean clean = {
            .call = fixture_call(&f, COUNTER_CLEAN), .tenants_count = 1, .tenants = tenants};
        struct counter_check check;

        fixture_cli(&f, "%s", hands[i]);
        check = check_at(NOW);
        cr_assert_eq(check.findings_count, 1, "%s", hands[i]);
        cr_assert_eq(check.findings[0].kind, FINDING_UNREADABLE);
        fixture_run(&f, &clean.call);
        cr_assert_eq(clean.removed, 1);
        cr_assert_eq(check_at(NOW).findings_count, 0);
    }
}

Test(call_check, h_is_put_right_by_the_holds)
{
    struct counter_check check;

    fixture_admit(&f, "job", 30);
    fixture_admit(&f, "other", 12);
    fixture_set_number(&f, 1, "H", 77);
    check = check_at(NOW);
    cr_assert_eq(check.findings_count, 1);
    cr_assert_eq(check.findings[0].kind, FINDING_HELD);
    cr_assert_eq(fixture_quota(&f, 1).held, 42);
    cr_assert_eq(check_at(NOW).findings_count, 0);
}

Test(call_check, h_is_put_right_where_nothing_is_held)
{
    struct counter_check check;

    fixture_set_number(&f, 1, "H", 77);
    check = check_at(NOW);
    cr_assert_eq(check.findings_count, 1);
    cr_assert_eq(check.findings[0].kind, FINDING_HELD);
    cr_assert_eq(fixture_quota(&f, 1).held, 0);
}

Test(call_check, a_tenants_score_that_is_too_late_is_put_right)
{
    fixture_admit(&f, "job", 30);
    fixture_cli(&f, "zadd " KEY_X " inf 7");
    cr_assert_eq(check_at(NOW).findings_count, 0);
    cr_assert_str_eq(fixture_cli(&f, "zscore " KEY_X " 7"), "1764072060000");
}

Test(call_check, a_tenant_with_nothing_left_goes)
{
    fixture_set_number(&f, 1, "E", NOW);
    fixture_set_number(&f, 1, "D", NOW);
    cr_assert_eq(check_at(NOW + PERIOD_IN_REDIS_MS).findings_count, 0);
    cr_assert_str_eq(fixture_cli(&f, "exists " KEY_T " " KEY_C " " KEY_X), "0");
}

Test(call_check, marks_go_when_their_time_is_over)
{
    fixture_notify(&f, "job", NULL, NULL, 0);
    check_at(NOW + 600000);
    check_at(NOW + 600001);
    cr_assert_str_eq(fixture_cli(&f, "exists " KEY_MARKS), "1", "they count as those before");
    check_at(NOW + 1200002);
    cr_assert_str_eq(fixture_cli(&f, "exists " KEY_MARKS), "0");
}

/* --- layouts -------------------------------------------------------------------------------------- */

static struct counter_call init_now(int64_t epoch)
{
    struct counter_init init = {.call = fixture_call(&f, COUNTER_INIT)};

    init.call.view.epoch = epoch;
    counter_add(f.counter, &init.call);
    counter_run(f.counter);
    cr_assert_eq(init.call.status, STATUS_OK);
    return init.call;
}

Test(call_check, a_later_layout_is_neither_read_nor_begun_anew)
{
    struct counter_reserve_item item = item_of(&f, "job", 1);
    struct counter_reserve reserve = {
        .call = fixture_call(&f, COUNTER_RESERVE), .now_ms = NOW, .items_count = 1, .items = &item};
    struct counter_call init;

    fixture_cli(&f, "hset " KEY_A " l 3");
    counter_add(f.counter, &reserve.call);
    counter_run(f.counter);
    cr_assert_eq(reserve.call.guard, GUARD_LOST);
    cr_assert_eq(reserve.call.observed.layout, 3);
    cr_assert_eq(reserve.call.observed.epoch, 0, "what it says there may mean something else");
    init = init_now(EPOCH + 5);
    cr_assert_eq(init.guard, GUARD_LOST);
    cr_assert_eq(init.observed.layout, 3);
    cr_assert_str_eq(fixture_cli(&f, "hget " KEY_A " l"), "3");
}

Test(call_check, an_earlier_layout_gives_way_with_all_shards_of_the_tag)
{
    fixture_cli(&f, "hset " KEY_A " l 1 18 '9:other'");
    cr_assert_eq(init_now(EPOCH + 1).guard, GUARD_PASSED);
    cr_assert_str_eq(fixture_cli(&f, "hget " KEY_A " l"), "2");
    cr_assert_str_eq(fixture_cli(&f, "hexists " KEY_A " 18"), "0");
}

/* More holds end in one millisecond than it has places: a place is in one leaf, and none is lost. */
Test(call_check, holds_that_end_in_the_same_millisecond_are_all_in_the_index)
{
    enum { HOLDS = 2000, SOME = 50 };
    struct counter_totals totals = totals_of(1, LEASE(1), 10 * HOLDS);
    struct counter_due due = {.call = fixture_call(&f, COUNTER_DUE),
                              .tenant_id = TENANT,
                              .max = COUNTER_LIST_MAX};
    char jobs[SOME][32];

    fixture_fill(&f, &totals, 1);
    for (int first = 0; first < HOLDS; first += SOME) {
        struct counter_reserve_item items[SOME];

        for (int i = 0; i < SOME; i++) {
            snprintf(jobs[i], sizeof(jobs[i]), "job-%d", first + i);
            items[i] = item_of(&f, jobs[i], 1);
            items[i].deadline_ms = NOW + 60000 + (first + i) % 3;
        }
        fixture_reserve(&f, items, SOME);
        cr_assert_eq(items[SOME - 1].answer, RESERVED_ADMITTED);
    }
    cr_assert_eq(check_at(NOW).findings_count, 0);
    due.now_ms = NOW + 60002;
    fixture_run(&f, &due.call);
    cr_assert_eq(due.holds_count, HOLDS);
}
