#include "tests/counter/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

static struct fixture f;

static void set_up(void)
{
    struct counter_totals totals[2] = {totals_of(1, LEASE(1), 100), totals_of(2, LEASE(1), 100)};

    fixture_set_up(&f);
    fixture_fill(&f, totals, 2);
}

static void tear_down(void)
{
    fixture_tear_down(&f);
}

TestSuite(call_holds, .init = set_up, .fini = tear_down);

static struct counter_extend extend(const char *job, struct attempt attempt, int64_t now_ms,
                                    int64_t deadline_ms)
{
    struct counter_extend call = {.call = fixture_call(&f, COUNTER_EXTEND),
                                  .now_ms = now_ms,
                                  .tenant_id = TENANT,
                                  .job_id = slice_from_cstr(job),
                                  .attempt = attempt,
                                  .deadline_ms = deadline_ms,
                                  .lifetime_ms = 300000};

    fixture_run(&f, &call.call);
    return call;
}

static const struct attempt any;

Test(call_holds, extend_moves_the_deadline_and_nothing_else)
{
    struct counter_reserve_item item = fixture_admit(&f, "job", 30);
    struct counter_extend call = extend("job", item.attempt, NOW + 1, DEADLINE + 5000);

    cr_assert_eq(call.answer, EXTENDED_DONE);
    cr_assert(slice_equal_cstr(
        call.entry, "3:1:1764072065000:1764072000000|team/x|1|tokens=30|0:1:0:3145729:30"));
    cr_assert(slice_equal(fixture_entry(&f, "job"), call.entry));
    cr_assert_str_eq(fixture_cli(&f, "zscore " KEY_LEAF " 7=job"), "451602448640001");
    cr_assert_eq(fixture_quota(&f, 1).held, 30);
}

Test(call_holds, extend_never_shortens)
{
    struct counter_reserve_item item = fixture_admit(&f, "job", 30);
    struct counter_extend call = extend("job", any, NOW + 1, DEADLINE - 1);

    cr_assert_eq(call.answer, EXTENDED_DONE);
    cr_assert(slice_equal(call.entry, item.entry));
    cr_assert(slice_equal(fixture_entry(&f, "job"), item.entry));
}

Test(call_holds, extend_ends_at_the_longest_lifetime)
{
    fixture_admit(&f, "job", 30);
    cr_assert_eq(extend("job", any, NOW + 1, NOW + 900000).answer, EXTENDED_DONE);
    cr_assert_str_eq(fixture_cli(&f, "zscore " KEY_LEAF " 7=job"), "451602508800001");
}

Test(call_holds, extend_of_no_hold_or_another_attempt_is_absent)
{
    struct counter_reserve_item item = fixture_admit(&f, "job", 30);
    struct attempt other = {item.attempt.epoch, item.attempt.seq + 1};
    struct counter_extend call = extend("unknown", any, NOW, DEADLINE + 1);

    cr_assert_eq(call.answer, EXTENDED_ABSENT);
    cr_assert_eq(call.entry.len, 0);
    call = extend("job", other, NOW, DEADLINE + 1);
    cr_assert_eq(call.answer, EXTENDED_ABSENT);
    cr_assert(slice_equal(call.entry, item.entry));
}

Test(call_holds, extend_of_a_due_hold_changes_nothing)
{
    struct counter_reserve_item item = fixture_admit(&f, "job", 30);
    struct counter_extend call = extend("job", item.attempt, DEADLINE, DEADLINE + 1);

    cr_assert_eq(call.answer, EXTENDED_DUE);
    cr_assert(slice_equal(fixture_entry(&f, "job"), item.entry));
}

Test(call_holds, extend_past_a_lease_wants_it_pushed_first)
{
    struct counter_totals totals = totals_of(2, LEASE(1), 100);
    struct counter_reserve_item item = item_over(&f, "job", 2, 1);
    struct counter_extend call;

    fixture_set_number(&f, 2, "D", DEADLINE + 10);
    fixture_reserve(&f, &item, 1);
    item.entry = fixture_entry(&f, "job");
    call = extend("job", item.attempt, NOW, DEADLINE + 11);
    cr_assert_eq(call.answer, EXTENDED_SHORT);
    cr_assert(slice_equal(fixture_entry(&f, "job"), item.entry));
    fixture_fill(&f, &totals, 1);
    cr_assert_eq(extend("job", item.attempt, NOW, DEADLINE + 11).answer, EXTENDED_DONE);
}

Test(call_holds, extend_under_a_lease_that_is_not_current_is_refused)
{
    struct counter_totals totals = totals_of(2, LEASE(2), 100);
    struct counter_reserve_item item = item_over(&f, "job", 2, 1);

    fixture_reserve(&f, &item, 1);
    item.entry = fixture_entry(&f, "job");
    fixture_fill(&f, &totals, 1);
    cr_assert_eq(extend("job", item.attempt, NOW, DEADLINE + 1).answer, EXTENDED_OLD_LEASE);
    fixture_cli(&f, "hdel " KEY_T " 2:0");
    cr_assert_eq(extend("job", item.attempt, NOW, DEADLINE + 1).answer, EXTENDED_OLD_LEASE);
    cr_assert(slice_equal(fixture_entry(&f, "job"), item.entry));
}

Test(call_holds, extend_under_a_lease_of_an_earlier_epoch_is_refused)
{
    const int64_t old = (INT64_C(2) << 20) + 1;
    struct counter_reserve_item item = fixture_admit(&f, "job", 30);
    struct counter_extend call;

    fixture_set_number(&f, 1, "L", old);
    fixture_cli(&f, "hset " KEY_T " 7=job '2:1:%" PRId64 ":60000;0:1:0:1:1|x|1|m=1'", DEADLINE * 256);
    call = extend("job", (struct attempt){2, 1}, NOW, DEADLINE + 1);
    cr_assert_eq(call.answer, EXTENDED_OLD_LEASE);
    (void)item;
}

Test(call_holds, extend_under_leases_that_the_root_keeps_moves_the_deadline)
{
    struct counter_totals totals = totals_of(2, LEASE(2), 100);
    struct counter_reserve_item item = item_over(&f, "job", 2, 1);
    struct counter_extend call = {.call = fixture_call(&f, COUNTER_EXTEND),
                                  .now_ms = NOW,
                                  .tenant_id = TENANT,
                                  .job_id = SLICE("job"),
                                  .deadline_ms = DEADLINE + 1000,
                                  .lifetime_ms = 300000};
    struct hold *kept;

    fixture_reserve(&f, &item, 1);
    cr_assert(hold_parse(&f.arena, fixture_entry(&f, "job"), &kept));
    fixture_fill(&f, &totals, 1);
    call.kept = kept;
    kept->quotas[0].lease_id++;
    fixture_run(&f, &call.call);
    cr_assert_eq(call.answer, EXTENDED_OLD_LEASE, "its leases are others than the root keeps");
    kept->quotas[0].lease_id--;
    fixture_run(&f, &call.call);
    cr_assert_eq(call.answer, EXTENDED_DONE);
    cr_assert(hold_parse(&f.arena, call.entry, &kept));
    cr_assert_eq(kept->deadline_ms, DEADLINE + 1000);
    cr_assert_eq(kept->quotas[0].lease_id, LEASE(1));
    cr_assert_eq(fixture_quota(&f, 2).held, 0, "it is not held under the current lease");
}

Test(call_holds, a_hold_that_was_there_is_not_written_again_when_it_is_gone)
{
    struct counter_reserve_item item = fixture_admit(&f, "job", 30);
    struct counter_retake call = {.call = fixture_call(&f, COUNTER_RETAKE),
                                  .now_ms = NOW,
                                  .tenant_id = TENANT,
                                  .job_id = SLICE("job"),
                                  .was_there = true};
    struct hold *hold;

    cr_assert(hold_parse(&f.arena, item.entry, &hold));
    hold->deadline_ms += 1000;
    call.hold = hold;
    fixture_run(&f, &call.call);
    cr_assert_eq(call.answer, RETAKEN_DONE);
    fixture_cli(&f, "hdel " KEY_T " 7=job");
    fixture_run(&f, &call.call);
    cr_assert_eq(call.answer, RETAKEN_OTHER);
    cr_assert_eq(call.entry.len, 0);
    cr_assert_str_eq(fixture_cli(&f, "hexists " KEY_T " 7=job"), "0");
    call.was_there = false;
    fixture_run(&f, &call.call);
    cr_assert_eq(call.answer, RETAKEN_DONE);
}

Test(call_holds, lookup_answers_in_the_order_asked)
{
    struct counter_reserve_item item = fixture_admit(&f, "b", 1);
    const struct slice jobs[] = {SLICE("a"), SLICE("b"), SLICE(""), SLICE("b")};
    struct counter_lookup lookup = {.call = fixture_call(&f, COUNTER_LOOKUP),
                                    .tenant_id = TENANT,
                                    .jobs_count = 4,
                                    .jobs = jobs};

    fixture_run(&f, &lookup.call);
    cr_assert_eq(lookup.entries[0].len, 0);
    cr_assert(slice_equal(lookup.entries[1], item.entry));
    cr_assert_eq(lookup.entries[2].len, 0);
    cr_assert(slice_equal(lookup.entries[3], item.entry));
}

Test(call_holds, lookup_says_when_a_hold_was_lost_that_the_index_names)
{
    struct slice jobs[] = {SLICE("job")};
    struct counter_lookup lookup = {.call = fixture_call(&f, COUNTER_LOOKUP),
                                    .tenant_id = TENANT,
                                    .jobs_count = 1,
                                    .jobs = jobs};

    fixture_admit(&f, "job", 30);
    for (int i = 0; i < 2; i++) {
        fixture_cli(&f, "hdel " KEY_T " 7=job");
        jobs[0] = SLICE("job");
        fixture_run(&f, &lookup.call);
        cr_assert(lookup.lost[0]);
        jobs[0] = SLICE("never");
        fixture_run(&f, &lookup.call);
        cr_assert_not(lookup.lost[0]);
        if (i == 0) /* so many that the index has leaves */
            for (int k = 0; k < 100; k++)
                fixture_admit(&f, k ? arena_printf(&f.arena, "job-%d", k) : "job", 0);
    }
}

Test(call_holds, lookup_says_of_which_jobs_the_hold_was_lost)
{
    struct slice jobs[] = {SLICE("never"), SLICE("gone"), SLICE("job"), SLICE("nor this")};
    struct counter_lookup lookup = {.call = fixture_call(&f, COUNTER_LOOKUP),
                                    .tenant_id = TENANT,
                                    .jobs_count = 4,
                                    .jobs = jobs};

    fixture_admit(&f, "job", 30);
    fixture_admit(&f, "gone", 30);
    fixture_cli(&f, "hdel " KEY_T " 7=gone");
    fixture_run(&f, &lookup.call);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(lookup.lost[i], i == 1, "job %zu", i);
        cr_assert_eq(lookup.entries[i].len > 0, i == 2);
    }
}

Test(call_holds, lookup_says_when_the_tenants_holds_were_lost)
{
    struct slice job = SLICE("job");
    struct counter_lookup lookup = {.call = fixture_call(&f, COUNTER_LOOKUP),
                                    .tenant_id = TENANT,
                                    .jobs_count = 1,
                                    .jobs = &job};
    const struct counter_version version = {TENANT, VERSION};
    struct counter_fill filling = {.call = fixture_call(&f, COUNTER_FILL),
                                   .versions_count = 1,
                                   .versions = &version};

    fixture_run(&f, &lookup.call);
    cr_assert(!lookup.lost[0]);
    fixture_admit(&f, "job", 5);
    fixture_cli(&f, "del " KEY_T);
    fixture_run(&f, &lookup.call);
    cr_assert(lookup.lost[0]);
    fixture_run(&f, &filling.call);
    fixture_run(&f, &lookup.call);
    cr_assert(lookup.lost[0], "a version is not all of it");
}

Test(call_holds, read_tells_missing_quotas_apart)
{
    const struct quota_ref refs[] = {{2, 0}, {1, 0}, {9, 0}};
    struct counter_read read = {.call = fixture_call(&f, COUNTER_READ),
                                .tenant_id = TENANT,
                                .refs_count = 3,
                                .refs = refs};

    fixture_admit(&f, "job", 5);
    fixture_cli(&f, "hdel " KEY_T " 2:0");
    fixture_run(&f, &read.call);
    cr_assert(!read.states[0].exists);
    cr_assert_eq(read.states[0].lease_id, LEASE(1));
    cr_assert(read.states[1].exists);
    cr_assert_eq(read.states[1].held, 5);
    cr_assert(!read.states[2].exists);
    cr_assert_eq(read.states[2].lease_id, 0);
}

/* Bytes above 0x7f and prefixes: the order must not be that of a language. */
static const char *const names[] = {"B", "a", "a-b", "aB", "ab", "b", "\xc3\xa4"};

Test(call_holds, pages_go_by_deadline_then_by_bytes_of_the_job)
{
    struct counter_holds page = {.call = fixture_call(&f, COUNTER_HOLDS),
                                 .tenant_id = TENANT,
                                 .now_ms = DEADLINE,
                                 .after_deadline_ms = -1,
                                 .max = 2};
    size_t seen = 0;
    struct counter_reserve_item late = item_of(&f, "0", 1);

    for (size_t i = ARRAY_COUNT(names); i-- > 0;)
        fixture_admit(&f, names[i], 1);
    late.deadline_ms = DEADLINE + 1;
    fixture_reserve(&f, &late, 1);
    do {
        struct counter_due_hold *last;

        fixture_run(&f, &page.call);
        cr_assert_eq(page.holds_total, 8);
        cr_assert_eq(page.holds_due, 7);
        cr_assert(page.holds_count <= 2);
        for (size_t i = 0; i < page.holds_count; i++, seen++) {
            cr_assert(slice_equal_cstr(page.holds[i].job_id, seen < 7 ? names[seen] : "0"),
                      "%zu: %.*s", seen, SLICE_ARGS(page.holds[i].job_id));
            cr_assert(page.holds[i].entry.len > 0);
        }
        if (page.holds_count == 0)
            break;
        last = &page.holds[page.holds_count - 1];
        page.after_job_id = last->job_id;
        page.after_deadline_ms = seen <= 7 ? DEADLINE : DEADLINE + 1;
    } while (page.holds_count == 2);
    cr_assert_eq(seen, 8);
}

Test(call_holds, a_cursor_whose_hold_is_gone_still_marks_its_place)
{
    struct counter_holds page = {.call = fixture_call(&f, COUNTER_HOLDS),
                                 .tenant_id = TENANT,
                                 .now_ms = NOW,
                                 .after_deadline_ms = DEADLINE,
                                 .after_job_id = SLICE("b"),
                                 .max = 10};

    fixture_admit(&f, "a", 1);
    fixture_admit(&f, "c", 1);
    fixture_run(&f, &page.call);
    cr_assert_eq(page.holds_count, 1);
    cr_assert(slice_equal_cstr(page.holds[0].job_id, "c"));
    page.max = 0;
    fixture_run(&f, &page.call);
    cr_assert_eq(page.holds_count, 0);
    cr_assert_eq(page.holds_total, 2);
}
