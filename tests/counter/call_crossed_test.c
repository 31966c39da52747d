#include "tests/counter/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* 90 of 100, and 110 at most: one is down again below 88, 98 and 108. */
static const struct stops hundred = {.soft = 90, .amount = 100, .cap = 110};
static const struct stops *const of_hundred[] = {&hundred};
static const struct stops twohundred = {.soft = 180, .amount = 200, .cap = 200};
static const struct stops *const of_twohundred[] = {&twohundred};

static struct fixture f;

static void set_up(void)
{
    struct counter_totals totals[] = {totals_of(1, LEASE(1), 1000), totals_of(2, LEASE(1), 1000)};

    fixture_set_up(&f);
    fixture_fill(&f, totals, 2);
}

static void tear_down(void)
{
    fixture_tear_down(&f);
}

TestSuite(call_crossed, .init = set_up, .fini = tear_down);

static struct counter_reserve_item reserve(const char *job, int64_t units,
                                           const struct stops *const *stops)
{
    struct counter_reserve_item item = item_of(&f, job, units);

    item.crossings = stops;
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_ADMITTED);
    return item;
}

static void release(const char *job, const struct counter_reserve_item *item)
{
    fixture_notify(&f, job, &item->attempt, NULL, 0);
}

/* Of limit 1; the number of what is pending. */
static size_t pending(struct reached ret[REACHED_MAX])
{
    struct counter_crossed crossed = {
        .call = fixture_call(&f, COUNTER_CROSSED), .max = 10, .cursor = "0"};

    fixture_run(&f, &crossed.call);
    cr_assert_leq(crossed.quotas_count, 1);
    if (crossed.quotas_count == 0)
        return 0;
    cr_assert_eq(crossed.quotas[0].tenant_id, TENANT);
    cr_assert_eq(crossed.quotas[0].shard, 17);
    cr_assert_eq(crossed.quotas[0].ref.limit_id, 1);
    for (size_t i = 0; i < crossed.quotas[0].reached_count; i++)
        ret[i] = crossed.quotas[0].reached[i];
    return crossed.quotas[0].reached_count;
}

/* "n:level:used+held ..." */
static const char *told(void)
{
    static char text[REACHED_MAX * 80];
    struct reached reached[REACHED_MAX];
    size_t count = pending(reached), len = 0;

    text[0] = '\0';
    for (size_t i = 0; i < count; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len,
                                "%s%" PRId64 ":%d:%" PRId64 "+%" PRId64, i ? " " : "",
                                reached[i].name.n, reached[i].level, reached[i].used,
                                reached[i].held);
    return text;
}

static void take_away(int64_t lease_id, int64_t n)
{
    struct counter_told_quota quota = {TENANT, {1, 0}, {lease_id, n}};
    struct counter_told call = {
        .call = fixture_call(&f, COUNTER_TOLD), .quotas_count = 1, .quotas = &quota};

    fixture_run(&f, &call.call);
}

Test(call_crossed, a_limit_without_them_has_nothing_more_in_redis)
{
    reserve("job", 95, NULL);
    cr_assert_str_eq(told(), "");
    cr_assert_str_eq(fixture_cli(&f, "exists q:{1}:2:p"), "0");
    cr_assert_str_eq(fixture_cli(&f, "hget " KEY_T " 1:0"),
                     "95 3145729 1000 0 0 1764072600000 0 0 0 0 0");
}

Test(call_crossed, up_and_down_with_hysteresis)
{
    struct counter_reserve_item small, big, top;
    struct reached reached[REACHED_MAX];

    small = reserve("small", 89, of_hundred);
    cr_assert_str_eq(told(), "1:0:0+89", "what it begins with");
    top = reserve("top", 1, of_hundred);
    big = reserve("big", 20, of_hundred);
    cr_assert_str_eq(told(), "1:0:0+89 2:1:0+90 3:7:0+110");
    release("top", &top);
    cr_assert_str_eq(told(), "1:0:0+89 2:1:0+90 3:7:0+110", "109 is not yet below the cap");
    release("big", &big);
    cr_assert_str_eq(told(), "1:0:0+89 2:1:0+90 3:7:0+110 4:1:0+89", "and 89 not below the stop");
    release("small", &small);
    cr_assert_eq(pending(reached), 5);
    cr_assert_eq(reached[4].level, 0);
    cr_assert_eq(reached[4].name.lease_id, LEASE(1));
    cr_assert_eq(reached[4].stops.amount, 100);
    cr_assert_eq(reached[4].stops.cap, 110);
}

Test(call_crossed, a_commit_crosses_nothing_that_was_held)
{
    struct counter_totals totals = totals_of(1, LEASE(1), 1000);

    reserve("job", 95, of_hundred);
    totals.spent = totals.used = 95;
    totals.used_seq = 1;
    fixture_notify(&f, "job", NULL, &totals, 1);
    cr_assert(totals.now.crossed);
    cr_assert_str_eq(told(), "1:1:0+95");
    totals.used = 50;
    totals.used_seq = 2;
    fixture_notify(&f, "other", NULL, &totals, 1);
    cr_assert_str_eq(told(), "1:1:0+95 2:0:50+0");
}

Test(call_crossed, what_is_told_goes_and_what_came_since_stays)
{
    struct counter_reserve_item item = reserve("a", 95, of_hundred);

    release("a", &item);
    take_away(LEASE(1), 1);
    cr_assert_str_eq(told(), "2:0:0+0");
    take_away(LEASE(1), 1);
    cr_assert_str_eq(told(), "2:0:0+0");
    take_away(LEASE(1), 2);
    cr_assert_str_eq(told(), "");
    cr_assert_str_eq(fixture_cli(&f, "exists q:{1}:2:p"), "0");
    reserve("b", 95, of_hundred);
    cr_assert_str_eq(told(), "3:1:0+95");
}

Test(call_crossed, too_many_are_counted)
{
    struct reached reached[REACHED_MAX];

    for (int i = 0; i < 10; i++) {
        struct counter_reserve_item item = reserve("a", 95, of_hundred);

        release("a", &item);
    }
    cr_assert_eq(pending(reached), REACHED_MAX);
    cr_assert_eq(reached[REACHED_MAX - 2].name.n, REACHED_MAX - 1);
    cr_assert_eq(reached[REACHED_MAX - 1].name.n, 20);
    cr_assert_eq(reached[REACHED_MAX - 1].level, 0);
}

Test(call_crossed, other_stops_count_with_the_next_reserve)
{
    reserve("a", 95, of_hundred);
    reserve("b", 0, of_twohundred);
    cr_assert_str_eq(told(), "1:1:0+95 2:0:0+95");
    reserve("c", 0, of_hundred);
    reserve("d", 0, NULL);
    cr_assert_str_eq(told(), "1:1:0+95 2:0:0+95 3:1:0+95 4:0:0+95", "nobody wants them any more");
}

/* Beside another quota that has them, so that the script looks. */
Test(call_crossed, who_wants_none_any_more_is_below_and_n_goes_on)
{
    const struct stops *const of_second[] = {NULL, &hundred};
    struct counter_reserve_item item = item_over(&f, "b", 2, 0);
    struct reached reached[REACHED_MAX];

    reserve("a", 95, of_hundred);
    take_away(LEASE(1), 1);
    item.crossings = of_second;
    fixture_reserve(&f, &item, 1);
    fixture_cli(&f, "hdel q:{1}:2:p '7 2:0'");
    cr_assert_eq(pending(reached), 1);
    cr_assert_eq(reached[0].name.n, 2);
    cr_assert_eq(reached[0].level, 0);
}

Test(call_crossed, another_lease_counts_anew_and_keeps_what_is_pending)
{
    struct counter_totals totals = totals_of(1, LEASE(2), 500);
    struct reached reached[REACHED_MAX];

    reserve("a", 95, of_hundred);
    fixture_fill(&f, &totals, 1);
    cr_assert_eq(pending(reached), 2);
    cr_assert_eq(reached[0].name.lease_id, LEASE(1));
    cr_assert_eq(reached[1].name.lease_id, LEASE(2));
    cr_assert_eq(reached[1].name.n, 1);
    cr_assert_eq(reached[1].level, 0, "what was held is set aside");
    take_away(LEASE(1), 1);
    cr_assert_eq(pending(reached), 1);
}

Test(call_crossed, a_lost_field_comes_back_with_the_next_change)
{
    struct counter_reserve_item item = reserve("a", 95, of_hundred);

    fixture_cli(&f, "del q:{1}:2:p");
    cr_assert_str_eq(told(), "");
    release("a", &item);
    cr_assert_str_eq(told(), "1:1:0+95 2:0:0+0");
}

Test(call_crossed, a_period_that_is_over_stays_until_all_is_told)
{
    struct counter_totals totals = totals_of(1, LEASE(1), 1000);
    struct counter_check check = {.call = fixture_call(&f, COUNTER_CHECK),
                                  .now_ms = LEASE_END + 1,
                                  .max = 10,
                                  .cursor = "0"};
    struct counter_reserve_item item = reserve("a", 95, of_hundred);

    totals.period_end_ms = NOW;
    fixture_notify(&f, "a", &item.attempt, &totals, 1);
    fixture_run(&f, &check.call);
    cr_assert_str_eq(told(), "1:1:0+95 2:0:0+0");
    take_away(LEASE(1), 2);
    fixture_run(&f, &check.call);
    cr_assert_str_eq(fixture_cli(&f, "hexists " KEY_T " 1:0"), "0");
}

Test(call_crossed, held_that_is_put_right_crosses)
{
    struct counter_check check = {.call = fixture_call(&f, COUNTER_CHECK),
                                  .now_ms = NOW,
                                  .max = 10,
                                  .cursor = "0"};

    reserve("a", 50, of_hundred);
    take_away(LEASE(1), 1);
    fixture_cli(&f, "hset " KEY_T " 1:0 '99 3145729 1000 0 0 1764072600000 0 0 0 0 0 "
                    "|90 100 110 1 3145729 2 17'");
    fixture_run(&f, &check.call);
    cr_assert_str_eq(told(), "3:0:0+50");
}

Test(call_crossed, a_level_that_cannot_be_read_goes)
{
    struct counter_read read = {.call = fixture_call(&f, COUNTER_READ)};
    const struct quota_ref ref = {1, 0};
    const int64_t tenant = TENANT;
    struct counter_clean clean = {
        .call = fixture_call(&f, COUNTER_CLEAN), .tenants_count = 1, .tenants = &tenant};

    reserve("a", 95, of_hundred);
    fixture_run(&f, &clean.call);
    cr_assert_eq(clean.removed, 0, "it is what a script wrote");
    fixture_cli(&f, "hset " KEY_T " 1:0 '95 3145729 1000 0 0 1764072600000 0 0 0 0 0 |what 2;x'");
    fixture_run(&f, &clean.call);
    cr_assert_gt(clean.removed, 0);
    read.tenant_id = TENANT;
    read.refs_count = 1;
    read.refs = &ref;
    fixture_run(&f, &read.call);
    cr_assert_not(read.states[0].exists);
}

/* Nothing of it is told: each page shows others all the same, however Redis keeps the hash. */
static void check_pages(int quotas)
{
    struct counter_crossed crossed = {
        .call = fixture_call(&f, COUNTER_CROSSED), .max = 10, .cursor = "0"};
    static int times[2000];
    int pages = 0;

    memset(times, 0, sizeof(times));
    fixture_cli(&f, "eval \"for i = 1, %d do"
                    " redis.call('hset', KEYS[1], i .. ':0', '95 3145729 1000 0 0 1764072600000 0 0 0 0 0 "
                    "|90 100 110 1 3145729 1 17;3145729:1:1:90:100:110:0:0:0:95')"
                    " redis.call('hset', KEYS[2], '7 ' .. i .. ':0', '17') end\""
                    " 2 " KEY_T " q:{1}:2:p", quotas);
    fixture_cli(&f, "hset q:{1}:2:p what 17");
    do {
        fixture_run(&f, &crossed.call);
        cr_assert_leq(crossed.quotas_count, 10);
        for (size_t i = 0; i < crossed.quotas_count; i++)
            times[crossed.quotas[i].ref.limit_id]++;
        cr_assert_lt(++pages, 4 * quotas);
    } while (strcmp(crossed.cursor, "0") != 0 || crossed.after[0]);
    for (int i = 1; i <= quotas; i++)
        cr_assert_geq(times[i], 1, "limit %d", i);
    cr_assert_str_eq(fixture_cli(&f, "hexists q:{1}:2:p what"), "0");
}

Test(call_crossed, pages_show_all_of_a_small_hash)
{
    check_pages(100);
}

Test(call_crossed, pages_show_all_of_a_large_hash)
{
    check_pages(1500);
}
