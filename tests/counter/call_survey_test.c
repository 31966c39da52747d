#include "tests/counter/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

enum { MANY = 100 };

static struct fixture f;

static void set_up(void)
{
    fixture_set_up(&f);
}

static void tear_down(void)
{
    fixture_tear_down(&f);
}

TestSuite(call_survey, .init = set_up, .fini = tear_down);

/* A page from the cursor on, which it moves. */
static struct counter_survey page(char cursor[COUNTER_CURSOR_CHARS + 1], size_t max)
{
    struct counter_survey survey = {
        .call = fixture_call(&f, COUNTER_SURVEY), .max = max, .quotas_max = 1000};

    memcpy(survey.cursor, cursor, sizeof(survey.cursor));
    fixture_run(&f, &survey.call);
    memcpy(cursor, survey.cursor, sizeof(survey.cursor));
    return survey;
}

static struct counter_survey whole(void)
{
    char cursor[COUNTER_CURSOR_CHARS + 1] = "0";
    struct counter_survey survey = page(cursor, COUNTER_LIST_MAX);

    cr_assert_str_eq(cursor, "0");
    return survey;
}

Test(call_survey, an_empty_shard_shows_nothing)
{
    cr_assert_eq(whole().quotas_count, 0);
}

Test(call_survey, shows_each_quota_as_it_is)
{
    struct counter_totals totals[] = {totals_of(1, LEASE(1), 100), totals_of(2, LEASE(4), 50)};
    struct counter_survey survey;
    bool seen[2] = {false, false};

    fixture_fill(&f, totals, 2);
    fixture_admit(&f, "job", 30);
    totals[0].spent = 21;
    totals[0].used = 34;
    totals[0].used_seq = 5;
    fixture_notify(&f, "other", NULL, totals, 1);
    survey = whole();
    cr_assert_eq(survey.quotas_count, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct counter_surveyed *quota = &survey.quotas[i];

        cr_assert_eq(quota->tenant_id, TENANT);
        cr_assert_eq(quota->ref.period_start_ms, 0);
        seen[quota->ref.limit_id - 1] = true;
        cr_assert_eq(quota->now.lease_id, quota->ref.limit_id == 1 ? LEASE(1) : LEASE(4));
        cr_assert_eq(quota->now.granted, quota->ref.limit_id == 1 ? 100 : 50);
        cr_assert_eq(quota->now.spent, quota->ref.limit_id == 1 ? 21 : 0);
        cr_assert_eq(quota->now.used, quota->ref.limit_id == 1 ? 34 : 0);
        cr_assert_eq(quota->now.used_seq, quota->ref.limit_id == 1 ? 5 : 0);
        cr_assert_eq(quota->now.lease_deadline_ms, LEASE_END);
    }
    cr_assert(seen[0] && seen[1]);
}

/* Its text has more than numbers (levels.lua): one that was left out could lose without being noticed. */
Test(call_survey, shows_a_quota_whose_crossings_are_told)
{
    static const struct stops stops = {.soft = 20, .amount = 100, .cap = 110};
    static const struct stops *const of_limit[] = {&stops};
    struct counter_totals totals = totals_of(1, LEASE(1), 100);
    struct counter_reserve_item item;
    struct counter_survey survey;

    fixture_fill(&f, &totals, 1);
    item = item_of(&f, "job", 30);
    item.crossings = of_limit;
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_ADMITTED);
    survey = whole();
    cr_assert_eq(survey.quotas_count, 1);
    cr_assert_eq(survey.quotas[0].now.granted, 100);
    cr_assert_eq(survey.quotas[0].now.lease_id, LEASE(1));
}

Test(call_survey, in_pages_no_tenant_is_left_out)
{
    char cursor[COUNTER_CURSOR_CHARS + 1] = "0";
    int times[MANY] = {0}, pages = 0;

    for (int i = 0; i < MANY; i++) {
        struct counter_totals totals = totals_of(1, LEASE(1), 100);

        totals.tenant_id = 1000 + i;
        fixture_begin(&f, &f.view, totals);
    }
    do {
        struct counter_survey survey = page(cursor, 10);

        for (size_t i = 0; i < survey.quotas_count; i++)
            times[survey.quotas[i].tenant_id - 1000]++;
        cr_assert_lt(++pages, MANY);
    } while (strcmp(cursor, "0") != 0);
    cr_assert_gt(pages, 3, "a page is bounded");
    for (int i = 0; i < MANY; i++)
        cr_assert_geq(times[i], 1, "tenant %d", 1000 + i);
}

/* A tenant may have any number of quotas: a call shows some of them, and the others are not forgotten. */
Test(call_survey, a_page_is_bounded_by_quotas)
{
    enum { QUOTAS = 3000, ROOM = 200 };
    struct counter_rest rests[COUNTER_LIST_MAX];
    size_t rests_count = 0;
    char cursor[COUNTER_CURSOR_CHARS + 1] = "0";
    static int times[QUOTAS + 1];
    int calls = 0, small = 0;
    struct counter_totals other = totals_of(1, LEASE(1), 70);

    other.tenant_id = 8;
    fixture_begin(&f, &f.view, other);
    for (int i = 1; i <= QUOTAS; i += 100) {
        struct counter_totals totals[100];

        for (int k = 0; k < 100; k++)
            totals[k] = totals_of(i + k, LEASE(1), 10);
        fixture_fill(&f, totals, 100);
    }
    do {
        struct counter_survey survey = {.call = fixture_call(&f, COUNTER_SURVEY),
                                        .max = COUNTER_LIST_MAX,
                                        .quotas_max = ROOM,
                                        .rests = rests,
                                        .rests_count = rests_count};

        memcpy(survey.cursor, cursor, sizeof(cursor));
        fixture_run(&f, &survey.call);
        memcpy(cursor, survey.cursor, sizeof(cursor));
        cr_assert_leq(survey.quotas_count, 2 * ROOM);
        for (size_t i = 0; i < survey.quotas_count; i++)
            if (survey.quotas[i].tenant_id == TENANT)
                times[survey.quotas[i].ref.limit_id]++;
            else
                small++;
        rests_count = survey.rests_count;
        cr_assert_leq(rests_count, 2);
        if (rests_count > 0)
            memcpy(rests, survey.rests, rests_count * sizeof(*rests));
        cr_assert_lt(++calls, QUOTAS);
    } while (rests_count > 0 || strcmp(cursor, "0") != 0);
    cr_assert_geq(small, 1);
    for (int i = 1; i <= QUOTAS; i++)
        cr_assert_geq(times[i], 1, "limit %d", i);
}

/* What a hand did to one quota, or one tenant, hides no other. */
Test(call_survey, what_cannot_be_read_is_left_out)
{
    struct counter_totals totals[] = {totals_of(1, LEASE(1), 100), totals_of(2, LEASE(1), 50)};
    struct counter_totals other = totals_of(1, LEASE(1), 70);

    fixture_fill(&f, totals, 2);
    other.tenant_id = 8;
    fixture_begin(&f, &f.view, other);
    fixture_cli(&f, "hset " KEY_T " 1:0 x");
    cr_assert_eq(whole().quotas_count, 2);
    fixture_cli(&f, "hset " KEY_C " x 1");
    cr_assert_eq(whole().quotas_count, 2);
    fixture_cli(&f, "del " KEY_T);
    fixture_cli(&f, "set " KEY_T " x");
    cr_assert_eq(whole().quotas_count, 1);
    cr_assert_eq(whole().quotas[0].tenant_id, 8);
    fixture_cli(&f, "zadd " KEY_X " 1 x");
    cr_assert_eq(whole().quotas_count, 1);
}

Test(call_survey, another_incarnation_is_told_by_the_guard)
{
    struct counter_survey survey = {
        .call = fixture_call(&f, COUNTER_SURVEY), .max = 1, .quotas_max = 1, .cursor = "0"};

    survey.call.view.epoch++;
    counter_add(f.counter, &survey.call);
    counter_run(f.counter);
    cr_assert_eq(survey.call.status, STATUS_OK);
    cr_assert_eq(survey.call.guard, GUARD_LOST);
}
