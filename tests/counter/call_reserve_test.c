#include "tests/counter/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static struct fixture f;

static void set_up(void)
{
    fixture_set_up(&f);
}

static void tear_down(void)
{
    fixture_tear_down(&f);
}

TestSuite(call_reserve, .init = set_up, .fini = tear_down);

static void fill(int64_t limit_id, int64_t granted)
{
    struct counter_totals totals = totals_of(limit_id, LEASE(1), granted);

    fixture_fill(&f, &totals, 1);
    cr_assert_eq(totals.took, TOTALS_TAKEN);
}

static void expect_text(struct slice text, const char *expected)
{
    cr_assert(slice_equal_cstr(text, expected), "'%.*s' is not '%s'", SLICE_ARGS(text), expected);
}

Test(call_reserve, an_admitted_hold_is_written_as_hold_h_says)
{
    struct counter_reserve_item item;

    fill(1, 100);
    item = fixture_admit(&f, "job-1", 30);
    expect_text(fixture_entry(&f, "job-1"),
                "3:1:1764072060000:1764072000000|team/x|1|tokens=30|0:1:0:3145729:30");
    cr_assert_null(item.projected);
    cr_assert_eq(item.attempt.epoch, EPOCH);
    cr_assert_eq(item.attempt.seq, 1);
    cr_assert_eq(item.states[0].held, 30);
    cr_assert_eq(counter_available(&item.states[0]), 70);
    cr_assert_eq(fixture_quota(&f, 1).held, 30);
    cr_assert_str_eq(fixture_cli(&f, "zscore " KEY_LEAF " 7=job-1"), "451602447360001");
    cr_assert_str_eq(fixture_cli(&f, "zscore " KEY_X " 7"), "1764072060000");
    cr_assert_str_eq(fixture_cli(&f, "hget " KEY_A " seq"), "1");
}

Test(call_reserve, all_quotas_or_none)
{
    struct counter_reserve_item item;

    fill(1, 100);
    fill(2, 5);
    fill(3, 100);
    item = item_over(&f, "job", 3, 6);
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_SHORT);
    cr_assert_eq(item.shortfalls[0], 0);
    cr_assert_eq(item.shortfalls[1], SHORT_UNITS);
    cr_assert_eq(item.shortfalls[2], 0);
    cr_assert_eq(item.states[1].granted, 5);
    cr_assert_eq(fixture_quota(&f, 1).held, 0);
    cr_assert_eq(fixture_entry(&f, "job").len, 0);
    cr_assert_str_eq(fixture_cli(&f, "exists " KEY_LEAF), "0");

    item = item_over(&f, "job", 3, 5);
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_ADMITTED);
    expect_text(fixture_entry(&f, "job"), "3:1:1764072060000:1764072000000|team/x|1|tokens=5|"
                                          "0:1:0:3145729:5;0:2:0:3145729:5;0:3:0:3145729:5");
    for (int64_t limit = 1; limit <= 3; limit++)
        cr_assert_eq(fixture_quota(&f, limit).held, 5);
}

Test(call_reserve, the_last_unit_and_no_unit_are_admitted)
{
    struct counter_reserve_item item;

    fill(1, 10);
    fixture_admit(&f, "nine", 9);
    item = item_of(&f, "two", 2);
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_SHORT);
    cr_assert_eq(item.shortfalls[0], SHORT_UNITS);
    fixture_admit(&f, "one", 1);
    fixture_admit(&f, "none", 0);
    cr_assert_eq(fixture_quota(&f, 1).held, 10);
}

Test(call_reserve, the_largest_amount_is_exact)
{
    struct counter_reserve_item item;

    fill(1, INT64_C(9007199254740991));
    item = fixture_admit(&f, "most", INT64_C(9007199254740990));
    cr_assert_eq(item.states[0].held, INT64_C(9007199254740990));
    cr_assert_eq(counter_available(&item.states[0]), 1);
    cr_assert_eq(fixture_quota(&f, 1).held, INT64_C(9007199254740990));
    expect_text(fixture_entry(&f, "most"),
                "3:1:1764072060000:1764072000000|team/x|1|tokens=9007199254740990|"
                "0:1:0:3145729:9007199254740990");
}

Test(call_reserve, a_deadline_past_the_lease_falls_short)
{
    struct counter_reserve_item item;

    fill(1, 10);
    item = item_of(&f, "job", 1);
    item.deadline_ms = LEASE_END + 1;
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_SHORT);
    cr_assert_eq(item.shortfalls[0], SHORT_DEADLINE);
    item.deadline_ms = LEASE_END;
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_ADMITTED);
}

Test(call_reserve, only_a_deferrable_hold_minds_the_soft_stop)
{
    struct counter_totals totals = totals_of(1, LEASE(1), 100);
    struct counter_reserve_item item;
    int64_t soft = 60;

    totals.used = 40;
    totals.used_seq = 2;
    fixture_fill(&f, &totals, 1);
    fixture_admit(&f, "plain", 10);
    item = item_of(&f, "deferrable", 11);
    item.deferrable = true;
    item.softs = &soft;
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_SHORT);
    cr_assert_eq(item.shortfalls[0], SHORT_SOFT);
    item = item_of(&f, "deferrable", 10);
    item.deferrable = true;
    item.softs = &soft;
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_ADMITTED);
    cr_assert_eq(item.states[0].used, 40);
    fixture_admit(&f, "plain-2", 11);
}

Test(call_reserve, a_hold_keeps_why_it_warned_and_still_gives_all_back)
{
    static const struct hold_warning warnings[] = {
        {.limit_name = {"l-1.a_b", 7}, .scope_len = 4, .soft = 30, .amount = 90, .cap = 100},
        {.limit_name = {"m", 1}, .soft = 31, .amount = 90, .cap = 100},
        {.soft = 0},
        {.limit_name = {"n", 1}, .soft = 0, .amount = 0, .cap = 100}};
    int64_t softs[] = {30, 31, 0, 0};
    struct counter_reserve_item item;
    struct attempt attempt;

    for (int limit = 1; limit <= 4; limit++)
        fill(limit, 100);
    item = item_over(&f, "job", 4, 30);
    item.softs = softs;
    item.warnings = warnings;
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_ADMITTED);
    expect_text(fixture_entry(&f, "job"), "3:1:1764072060000:1764072000000|team/x|1|tokens=30|"
                                          "0:1:0:3145729:30:30:30:90:100:l-1.a_b:4;0:2:0:3145729:30;"
                                          "0:3:0:3145729:30;0:4:0:3145729:30:30:0:0:100:n:0");
    cr_assert_eq(item.attempt.seq, 1);
    cr_assert(item.projected[0] == 30 && item.projected[1] == -1 && item.projected[2] == -1 &&
              item.projected[3] == 30);
    attempt = item.attempt;
    fixture_notify(&f, "job", &attempt, NULL, 0);
    for (int limit = 1; limit <= 4; limit++)
        cr_assert_eq(fixture_quota(&f, limit).held, 0, "limit %d", limit);
}

Test(call_reserve, every_shortfall_is_named)
{
    struct counter_totals totals[] = {totals_of(1, LEASE(1), 5), totals_of(2, LEASE(2), 5)};
    struct counter_reserve_item item;
    int64_t softs[] = {0, 0, 0};

    totals[1].lease_deadline_ms = DEADLINE - 1;
    fixture_fill(&f, totals, 2);
    item = item_over(&f, "job", 3, 6);
    item.deferrable = true;
    item.softs = softs;
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_SHORT);
    cr_assert_eq(item.shortfalls[0], SHORT_UNITS | SHORT_SOFT);
    cr_assert_eq(item.shortfalls[1], SHORT_UNITS | SHORT_SOFT | SHORT_DEADLINE);
    cr_assert_eq(item.shortfalls[2], SHORT_UNFILLED);
    cr_assert(!item.states[2].exists);
    cr_assert_eq(item.states[2].lease_id, 0);
}

Test(call_reserve, a_key_that_is_gone_is_told_from_one_never_filled)
{
    struct counter_reserve_item item;

    fill(1, 100);
    fixture_cli(&f, "hdel " KEY_T " 1:0");
    item = item_of(&f, "job", 1);
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_SHORT);
    cr_assert_eq(item.shortfalls[0], SHORT_VANISHED);
    cr_assert(!item.states[0].exists);
    cr_assert_eq(item.states[0].lease_id, LEASE(1));
}

Test(call_reserve, a_lease_of_an_earlier_epoch_admits_nothing)
{
    const int64_t old = (INT64_C(2) << 20) + 9;
    struct counter_reserve_item item;

    fill(1, 100);
    fixture_set_number(&f, 1, "L", old);
    fixture_cli(&f, "hset " KEY_C " 1:0 %" PRId64, old);
    item = item_of(&f, "job", 1);
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_SHORT);
    cr_assert_eq(item.shortfalls[0], SHORT_UNFILLED);
    fixture_cli(&f, "hdel " KEY_T " 1:0");
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.shortfalls[0], SHORT_UNFILLED);
}

Test(call_reserve, another_config_version_is_stale_before_all_else)
{
    struct counter_reserve_item item;

    item = item_of(&f, "job", 1);
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_STALE, "no version yet");
    cr_assert_eq(item.earliest_deadline_ms, -1);
    cr_assert_eq(item.latest_deadline_ms, -1);
    cr_assert_null(item.states);
    fill(1, 100);
    fixture_admit(&f, "job", 1);
    for (int64_t off = -1; off <= 1; off += 2) {
        item.config_version = VERSION + off;
        fixture_reserve(&f, &item, 1);
        cr_assert_eq(item.answer, RESERVED_STALE);
    }
}

Test(call_reserve, a_job_with_a_live_hold_is_known)
{
    struct counter_reserve_item again;

    fill(1, 100);
    fixture_admit(&f, "job", 30);
    again = item_of(&f, "job", 99);
    fixture_reserve(&f, &again, 1);
    cr_assert_eq(again.answer, RESERVED_KNOWN);
    cr_assert(slice_equal(again.entry, fixture_entry(&f, "job")));
    cr_assert_eq(again.states[0].held, 30);
    cr_assert_eq(fixture_quota(&f, 1).held, 30);
}

Test(call_reserve, a_hold_past_its_deadline_is_due_not_overwritten)
{
    struct counter_reserve_item items[2];
    struct counter_reserve reserve;

    fill(1, 100);
    fixture_admit(&f, "job", 30);
    for (int64_t late = -1; late <= 0; late++) {
        items[0] = item_of(&f, "job", 30);
        items[0].deadline_ms = DEADLINE + 60000;
        items[1] = item_of(&f, "too much", 71);
        reserve = (struct counter_reserve){.call = fixture_call(&f, COUNTER_RESERVE),
                                           .now_ms = DEADLINE + late,
                                           .items_count = 2,
                                           .items = items};
        fixture_run(&f, &reserve.call);
        cr_assert_eq(items[0].answer, late ? RESERVED_KNOWN : RESERVED_DUE);
        cr_assert_eq(items[1].answer, RESERVED_SHORT);
        cr_assert_eq(items[1].tenant_has_due, !late);
        cr_assert_eq(items[1].earliest_deadline_ms, DEADLINE);
        cr_assert_eq(items[1].latest_deadline_ms, DEADLINE);
        cr_assert(slice_equal(items[0].entry, fixture_entry(&f, "job")));
    }
}

Test(call_reserve, a_committed_job_is_final_for_ten_minutes)
{
    struct counter_reserve_item item;
    struct counter_reserve reserve;

    fill(1, 100);
    fixture_admit(&f, "job", 30);
    fixture_notify(&f, "job", NULL, NULL, 0);
    for (int64_t minute = 0; minute <= 9; minute++) {
        item = item_of(&f, "job", 1);
        item.deadline_ms = LEASE_END;
        reserve = (struct counter_reserve){.call = fixture_call(&f, COUNTER_RESERVE),
                                           .now_ms = NOW + minute * 60000,
                                           .items_count = 1,
                                           .items = &item};
        fixture_run(&f, &reserve.call);
        cr_assert_eq(item.answer, RESERVED_FINAL);
    }
}

Test(call_reserve, later_items_see_earlier_ones)
{
    struct counter_reserve_item items[5];

    fill(1, 100);
    items[0] = item_of(&f, "a", 60);
    items[1] = item_of(&f, "b", 60);
    items[2] = item_of(&f, "a", 60);
    items[3] = item_of(&f, "c", 40);
    items[4] = item_of(&f, "d", 1);
    fixture_reserve(&f, items, 5);
    cr_assert_eq(items[0].answer, RESERVED_ADMITTED);
    cr_assert_eq(items[1].answer, RESERVED_SHORT);
    cr_assert_eq(items[2].answer, RESERVED_KNOWN);
    cr_assert(slice_equal(items[2].entry, fixture_entry(&f, "a")));
    cr_assert_eq(items[3].answer, RESERVED_ADMITTED);
    cr_assert_eq(items[3].attempt.seq, 2);
    cr_assert_eq(items[4].answer, RESERVED_SHORT);
    cr_assert_eq(items[0].states[0].held, 100, "states are those after the script");
    cr_assert_eq(fixture_quota(&f, 1).held, 100);
}

Test(call_reserve, tenants_and_versions_are_kept_apart)
{
    struct counter_totals other = totals_of(1, LEASE(4), 7);
    const struct counter_version version = {8, 2};
    struct counter_fill filling = {.call = fixture_call(&f, COUNTER_FILL),
                                   .totals_count = 1,
                                   .totals = &other,
                                   .versions_count = 1,
                                   .versions = &version};
    struct counter_reserve_item items[5];

    fill(1, 100);
    other.tenant_id = 8;
    fixture_run(&f, &filling.call);
    for (size_t i = 0; i < 5; i++)
        items[i] = item_of(&f, "same", 7);
    items[1].tenant_id = 8;
    items[1].config_version = 2;
    items[2].config_version = 2;
    items[3].tenant_id = 8;
    items[3].config_version = 2;
    items[3].job_id = SLICE("other");
    items[4].job_id = SLICE("more");
    fixture_reserve(&f, items, 5);
    cr_assert_eq(items[0].answer, RESERVED_ADMITTED);
    cr_assert_eq(items[1].answer, RESERVED_ADMITTED);
    cr_assert_eq(items[2].answer, RESERVED_STALE);
    cr_assert_eq(items[3].answer, RESERVED_SHORT);
    cr_assert_eq(items[4].answer, RESERVED_ADMITTED);
    cr_assert_eq(items[0].states[0].held, 14);
    cr_assert_eq(items[1].states[0].lease_id, LEASE(4));
    cr_assert_eq(items[1].states[0].held, 7);
}

Test(call_reserve, a_refusal_says_when_holds_end_as_before_the_call)
{
    struct counter_reserve_item items[2];

    fill(1, 100);
    items[0] = item_of(&f, "too much", 101);
    fixture_reserve(&f, items, 1);
    cr_assert_eq(items[0].earliest_deadline_ms, -1);
    cr_assert_eq(items[0].latest_deadline_ms, -1);
    cr_assert(!items[0].tenant_has_due);
    fixture_admit(&f, "one", 1);
    items[0] = item_of(&f, "two", 1);
    items[0].deadline_ms = DEADLINE + 5;
    fixture_reserve(&f, items, 1);
    items[0] = item_of(&f, "three", 1);
    items[0].deadline_ms = DEADLINE - 5;
    items[1] = item_of(&f, "too much", 101);
    fixture_reserve(&f, items, 2);
    cr_assert_eq(items[0].answer, RESERVED_ADMITTED);
    cr_assert_eq(items[1].answer, RESERVED_SHORT);
    cr_assert_eq(items[1].earliest_deadline_ms, DEADLINE);
    cr_assert_eq(items[1].latest_deadline_ms, DEADLINE + 5);
}

Test(call_reserve, the_tenants_earliest_deadline_only_moves_earlier)
{
    struct counter_reserve_item item;

    fill(1, 100);
    fixture_admit(&f, "first", 1);
    item = item_of(&f, "later", 1);
    item.deadline_ms = DEADLINE + 5;
    fixture_reserve(&f, &item, 1);
    cr_assert_str_eq(fixture_cli(&f, "zscore " KEY_X " 7"), "1764072060000");
    item = item_of(&f, "earlier", 1);
    item.deadline_ms = DEADLINE - 5;
    fixture_reserve(&f, &item, 1);
    cr_assert_str_eq(fixture_cli(&f, "zscore " KEY_X " 7"), "1764072059995");
}

Test(call_reserve, sixty_four_items_in_one_call_are_exact)
{
    struct counter_reserve_item items[64];
    char job[16];

    fill(1, 40);
    fill(2, 100);
    for (int i = 0; i < 64; i++) {
        snprintf(job, sizeof(job), "job-%d", i);
        items[i] = item_over(&f, job, 2, 1);
    }
    fixture_reserve(&f, items, 64);
    for (int i = 0; i < 64; i++)
        cr_assert_eq(items[i].answer, i < 40 ? RESERVED_ADMITTED : RESERVED_SHORT);
    cr_assert_eq(items[63].shortfalls[0], SHORT_UNITS);
    cr_assert_eq(items[63].shortfalls[1], 0);
    cr_assert_eq(fixture_quota(&f, 1).held, 40);
    cr_assert_eq(fixture_quota(&f, 2).held, 40);
    cr_assert_str_eq(fixture_cli(&f, "hlen " KEY_T), "45", "v, q, x, two quotas, and the holds");
}

/* Terms are sent once for all items that have the same; every part of them makes the difference. */
Test(call_reserve, items_of_the_same_and_of_other_terms_in_one_call)
{
    enum { ITEMS = 64 };
    struct counter_reserve_item items[ITEMS];
    struct hold_quota quotas[ITEMS];
    int64_t softs[ITEMS];
    struct hold *hold;
    char job[16];

    fill(1, 10000);
    fill(2, 10000);
    for (int i = 0; i < ITEMS; i++) {
        snprintf(job, sizeof(job), "job-%d", i);
        items[i] = item_of(&f, job, 1 + i);
        items[i].identity = SLICE("team/x|1|tokens=1,calls=1");
        items[i].deadline_ms += i / 16;
        items[i].deferrable = i / 4 % 2;
        quotas[i] = (struct hold_quota){(uint32_t)(i % 2), {1 + i / 2 % 2, 0}, 0, 1 + i};
        softs[i] = i / 8 % 2 ? 0 : 10000;
        items[i].quotas = &quotas[i];
        items[i].softs = &softs[i];
    }
    fixture_reserve(&f, items, ITEMS);
    for (int i = 0; i < ITEMS; i++) {
        if (items[i].deferrable && softs[i] == 0) {
            cr_assert_eq(items[i].answer, RESERVED_SHORT, "%d", i);
            cr_assert_eq(items[i].shortfalls[0], SHORT_SOFT);
            continue;
        }
        cr_assert_eq(items[i].answer, RESERVED_ADMITTED, "%d", i);
        snprintf(job, sizeof(job), "job-%d", i);
        cr_assert(hold_parse(&f.arena, fixture_entry(&f, job), &hold));
        cr_assert_eq(hold->deadline_ms, items[i].deadline_ms);
        cr_assert_eq(hold->quotas[0].meter, quotas[i].meter);
        cr_assert_eq(hold->quotas[0].quota.limit_id, quotas[i].quota.limit_id);
        cr_assert_eq(hold->quotas[0].units, 1 + i);
    }
}

/* What is the same as before is not sent again; each hold still keeps its own warnings. */
Test(call_reserve, items_of_the_same_amounts_warn_each_by_itself)
{
    enum { ITEMS = 5 };
    static const struct hold_warning warnings[] = {
        {.limit_name = {"a", 1}, .soft = 20, .amount = 90, .cap = 100},
        {.limit_name = {"b", 1}, .soft = 30, .amount = 90, .cap = 100}};
    static const char *const quotas[ITEMS] = {
        "0:1:0:3145729:10;0:2:0:3145729:10",
        "0:1:0:3145729:10:20:20:90:100:a:0;0:2:0:3145729:10",
        "0:1:0:3145729:10:30:20:90:100:a:0;0:2:0:3145729:10:30:30:90:100:b:0",
        "0:1:0:3145729:9:39:20:90:100:a:0;0:2:0:3145729:9:39:30:90:100:b:0",
        "0:1:0:3145729:10:49:20:90:100:a:0;0:2:0:3145729:10:49:30:90:100:b:0"};
    const int64_t softs[] = {20, 30};
    struct counter_reserve_item items[ITEMS];
    char job[16];

    fill(1, 100);
    fill(2, 100);
    for (int i = 0; i < ITEMS; i++) {
        snprintf(job, sizeof(job), "job-%d", i);
        items[i] = item_over(&f, job, 2, i == 3 ? 9 : 10);
        items[i].softs = softs;
        items[i].warnings = warnings;
    }
    fixture_reserve(&f, items, ITEMS);
    for (int i = 0; i < ITEMS; i++) {
        snprintf(job, sizeof(job), "job-%d", i);
        cr_assert_eq(items[i].answer, RESERVED_ADMITTED);
        expect_text(fixture_entry(&f, job),
                    arena_printf(&f.arena, "3:%d:1764072060000:1764072000000|team/x|1|tokens=%d|%s",
                                 i + 1, i == 3 ? 9 : 10, quotas[i]));
    }
}

Test(call_reserve, an_amount_out_of_range_writes_nothing)
{
    struct counter_reserve_item items[2];
    struct counter_reserve reserve = {.call = fixture_call(&f, COUNTER_RESERVE),
                                      .now_ms = NOW,
                                      .items_count = 2,
                                      .items = items};
    const int64_t wrong[] = {-1, INT64_C(9007199254740993), INT64_MIN, INT64_MAX};

    fill(1, 100);
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        items[0] = item_of(&f, "good", 1);
        items[1] = item_of(&f, "bad", wrong[i]);
        counter_add(f.counter, &reserve.call);
        counter_run(f.counter);
        cr_assert_eq(reserve.call.status, STATUS_INVALID, "%s", counter_last_error(f.counter));
        cr_assert_eq(fixture_quota(&f, 1).held, 0);
        cr_assert_eq(fixture_entry(&f, "good").len, 0);
    }
}
