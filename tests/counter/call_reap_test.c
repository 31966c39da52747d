#include "tests/counter/fixture.h"

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
    struct counter_notify_job named = {TENANT, job, committed, attempt};
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
    fixture_notify(&f, "job", NULL, NULL, 0);
    cr_assert_eq(due_at(DEADLINE, 0, 10).tenants_count, 0);
    cr_assert_str_eq(fixture_cli(&f, "zscore " KEY_X " 7"), "1764072061000");
    fixture_notify(&f, "later", NULL, NULL, 0);
    cr_assert_eq(due_at(DEADLINE + 1000, 0, 10).tenants_count, 0);
    cr_assert_str_eq(fixture_cli(&f, "zscore " KEY_X " 7"), "inf");
}

Test(call_reap, stale_scores_do_not_hide_a_due_tenant)
{
    struct counter_due due;

    fixture_admit(&f, "job", 1);
    for (int64_t tenant = 100; tenant < 110; tenant++)
        fixture_cli(&f, "zadd " KEY_X " 1 %" PRId64, tenant);
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
    cr_assert_str_eq(fixture_cli(&f, "exists " KEY_LEAF " " KEY_MARKS), "0");
    cr_assert_str_eq(fixture_cli(&f, "zscore " KEY_X " 7"), "inf");
    cr_assert_eq(reap_job(item.job_id, item.attempt, false, DEADLINE, &totals).removed_count, 0);
    cr_assert_eq(totals.now.held, 0);
}

Test(call_reap, an_extended_hold_stays)
{
    struct counter_reserve_item item = fixture_admit(&f, "job", 30);

    cr_assert_eq(reap_job(item.job_id, item.attempt, false, DEADLINE - 1, NULL).removed_count, 0);
    cr_assert_eq(fixture_quota(&f, 1).held, 30);
    cr_assert_str_eq(fixture_cli(&f, "zscore " KEY_X " 7"), "1764072060000");
}

Test(call_reap, another_attempt_stays)
{
    struct counter_reserve_item item = fixture_admit(&f, "job", 30);
    struct attempt other = {item.attempt.epoch, item.attempt.seq + 1};

    cr_assert_eq(reap_job(item.job_id, other, true, DEADLINE, NULL).removed_count, 0);
    cr_assert_eq(fixture_quota(&f, 1).held, 30);
    cr_assert_str_eq(fixture_cli(&f, "smembers " KEY_MARKS), "7=job");
}

Test(call_reap, a_committed_job_is_marked_and_its_hold_goes)
{
    struct counter_reserve_item item = fixture_admit(&f, "job", 30);

    cr_assert_eq(reap_job(item.job_id, item.attempt, true, DEADLINE, NULL).removed_count, 1);
    cr_assert_eq(fixture_quota(&f, 1).held, 0);
    cr_assert_str_eq(fixture_cli(&f, "smembers " KEY_MARKS), "7=job");
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
    cr_assert_str_eq(fixture_cli(&f, "zscore " KEY_X " 7"), "1764072061000");
}

/* --- what nobody can read ------------------------------------------------------------------------------- */

/* What Redis has of a job, in its own form. */
static void spoil(const char *job, const char *text)
{
    fixture_cli(&f, "hset " KEY_T " %d=%s '%s'", TENANT, job, text);
}

/* The text of a hold of limit 1, as reserve writes it, with something else in place of a part of it. */
static const char *text_with(const char *job, const char *part, const char *instead)
{
    const char *text = fixture_cli(&f, "hget " KEY_T " %d=%s", TENANT, job);
    const char *at = strstr(text, part);

    cr_assert_not_null(at, "%s", text);
    return arena_printf(&f.arena, "%.*s%s%s", (int)(at - text), text, instead, at + strlen(part));
}

static struct counter_discard discard(const struct counter_due_hold *holds, size_t count)
{
    struct counter_discard discard = {.call = fixture_call(&f, COUNTER_DISCARD),
                                      .tenant_id = TENANT,
                                      .holds_count = count,
                                      .holds = holds};

    fixture_run(&f, &discard.call);
    return discard;
}

static struct counter_due due_packed(void)
{
    struct counter_due due = {.call = fixture_call(&f, COUNTER_DUE),
                              .now_ms = DEADLINE,
                              .tenant_id = TENANT,
                              .max = 10,
                              .keep_packed = true};

    fixture_run(&f, &due.call);
    return due;
}

Test(call_reap, a_due_hold_that_cannot_be_read_does_not_hide_the_others)
{
    struct counter_reserve_item good;
    struct counter_due due;

    fixture_admit(&f, "bad", 30);
    good = fixture_admit(&f, "good", 20);
    spoil("bad", "nonsense");
    due = due_packed();
    cr_assert_eq(due.holds_count, 2);
    cr_assert(slice_equal_cstr(due.holds[0].entry, "?"));
    cr_assert(slice_equal_cstr(due.holds[0].packed, "nonsense"));
    cr_assert(slice_equal(due.holds[1].entry, good.entry));
}

Test(call_reap, what_an_unreadable_hold_was_held_in_vanishes_with_it)
{
    struct counter_totals second = totals_of(2, LEASE(1), 100);
    struct counter_check check = {
        .call = fixture_call(&f, COUNTER_CHECK), .now_ms = DEADLINE, .max = 10, .cursor = "0"};
    struct counter_reserve_item other = item_over(&f, "good", 2, 20);
    struct counter_due due;
    struct counter_discard done;

    fixture_fill(&f, &second, 1);
    fixture_reserve(&f, &other, 1);
    cr_assert_eq(other.answer, RESERVED_ADMITTED);
    fixture_admit(&f, "bad", 30);
    spoil("bad", text_with("bad", ";0:1:0:", ";0:x:y:"));
    due = due_packed();
    cr_assert_eq(due.holds_count, 2);
    done = discard(&due.holds[1], 1);
    cr_assert_eq(done.discarded_count, 1);
    cr_assert_eq(done.quotas_count, 1, "in the second only the other one holds");
    cr_assert_not(fixture_quota(&f, 1).exists);
    cr_assert_eq(fixture_quota(&f, 2).held, 20);
    cr_assert_eq(due_packed().holds_count, 1);
    fixture_run(&f, &check.call);
    cr_assert_eq(check.findings_count, 1, "the index is whole");
    cr_assert_eq(check.findings[0].kind, FINDING_LOST);
    cr_assert_eq(check.findings[0].quotas_count, 1);
    cr_assert_eq(check.findings[0].quotas[0].ref.limit_id, 1);
    cr_assert_eq(check.findings[0].quotas[0].lease_id, LEASE(1));
}

/* Whose deadline passes before anybody looks for what is lost. */
Test(call_reap, what_a_lost_hold_was_held_in_vanishes_when_it_is_due)
{
    struct counter_totals second = totals_of(2, LEASE(1), 100);
    struct counter_reserve_item other = item_over(&f, "good", 2, 20);
    struct counter_due due;

    fixture_fill(&f, &second, 1);
    fixture_reserve(&f, &other, 1);
    fixture_admit(&f, "gone", 30);
    fixture_cli(&f, "hdel " KEY_T " 7=gone");
    due = due_packed();
    cr_assert_eq(due.holds_count, 2);
    for (size_t i = 0; i < 2; i++) {
        bool gone = slice_equal_cstr(due.holds[i].job_id, "gone");

        cr_assert_eq(slice_equal_cstr(due.holds[i].entry, "?"), gone);
        if (gone)
            due.holds[0] = due.holds[i];
    }
    for (int again = 0; again < 2; again++) {
        struct counter_discard done = discard(due.holds, 1);

        cr_assert_eq(done.discarded_count, again ? 0 : 1);
        cr_assert_eq(done.quotas_count, again ? 0 : 1);
        cr_assert_not(fixture_quota(&f, 1).exists);
        cr_assert_eq(fixture_quota(&f, 2).held, 20);
        cr_assert_eq(due_packed().holds_count, 1);
    }
}

Test(call_reap, a_lost_hold_that_is_there_again_is_not_discarded)
{
    struct counter_due due;

    fixture_admit(&f, "job", 30);
    fixture_cli(&f, "hdel " KEY_T " 7=job");
    due = due_packed();
    cr_assert_eq(due.holds_count, 1);
    fixture_admit(&f, "job", 30);
    cr_assert_eq(discard(due.holds, 1).discarded_count, 0);
    cr_assert(fixture_quota(&f, 1).exists);
}

Test(call_reap, of_many_holds_every_quota_in_use_vanishes)
{
    struct counter_totals totals[] = {totals_of(1, LEASE(1), 1000), totals_of(2, LEASE(1), 100)};
    struct counter_due_hold bad = {.job_id = SLICE("bad"), .packed = SLICE("bad")};

    fixture_fill(&f, totals, 2);
    for (int i = 0; i < 300; i++)
        fixture_admit(&f, arena_printf(&f.arena, "job-%d", i), 1);
    spoil("bad", "bad");
    cr_assert_eq(discard(&bad, 1).quotas_count, 1);
    cr_assert_not(fixture_quota(&f, 1).exists);
    cr_assert(fixture_quota(&f, 2).exists, "nothing is held in it");
}

Test(call_reap, a_hold_that_is_another_by_now_is_not_discarded)
{
    struct counter_due_hold bad = {.job_id = SLICE("job"), .packed = SLICE("nonsense")};

    fixture_admit(&f, "job", 30);
    cr_assert_eq(discard(&bad, 1).discarded_count, 0);
    bad.job_id = SLICE("none");
    cr_assert_eq(discard(&bad, 1).discarded_count, 0);
    cr_assert_eq(fixture_quota(&f, 1).held, 30);
}

/* Each script that comes by such a hold goes on, for the sake of all others in it. */
Test(call_reap, a_text_without_an_attempt_stops_no_script)
{
    struct counter_reserve_item items[2];
    struct counter_check check = {
        .call = fixture_call(&f, COUNTER_CHECK), .now_ms = NOW, .max = 10, .cursor = "0"};
    struct counter_rebuild rebuild = {.call = fixture_call(&f, COUNTER_REBUILD),
                                      .tenant_id = TENANT,
                                      .max = 10,
                                      .cursor = "0"};
    struct counter_extend extend = {.call = fixture_call(&f, COUNTER_EXTEND),
                                    .now_ms = NOW,
                                    .tenant_id = TENANT,
                                    .job_id = SLICE("bad"),
                                    .deadline_ms = DEADLINE + 1,
                                    .lifetime_ms = 1000000};

    fixture_admit(&f, "bad", 30);
    spoil("bad", "nonsense");
    items[0] = item_of(&f, "bad", 1);
    items[1] = item_of(&f, "good", 1);
    fixture_reserve(&f, items, 2);
    cr_assert_eq(items[0].answer, RESERVED_DUE);
    cr_assert(slice_equal_cstr(items[0].entry, "?"));
    cr_assert_eq(items[1].answer, RESERVED_ADMITTED);
    fixture_run(&f, &extend.call);
    cr_assert_eq(extend.answer, EXTENDED_DUE);
    fixture_run(&f, &check.call);
    cr_assert_eq(check.findings_count, 0, "H is not put right by what can be read of it");
    cr_assert_eq(fixture_quota(&f, 1).held, 31);
    fixture_run(&f, &rebuild.call);
    cr_assert_eq(due_at(NOW, TENANT, 10).holds_count, 1, "it comes up at once");
    fixture_notify(&f, "bad", NULL, NULL, 0);
    fixture_notify(&f, "good", NULL, NULL, 0);
    cr_assert_eq(fixture_quota(&f, 1).held, 30, "nobody knows what of it to give back");
    cr_assert_eq(due_at(DEADLINE, TENANT, 10).holds_count, 1);
}

static int64_t sent_by_redis(void)
{
    const char *stats = strstr(fixture_cli(&f, "info stats"), "total_net_output_bytes:");
    int64_t bytes = 0;

    cr_assert(stats && sscanf(stats, "total_net_output_bytes:%" SCNd64, &bytes) == 1);
    return bytes;
}

/* A text longer than any hold would keep whoever looks at it, and everyone behind, waiting for it. */
Test(call_reap, what_is_too_long_for_a_hold_never_leaves_redis)
{
    struct counter_reserve_item item;
    struct slice job = SLICE("bad");
    struct counter_lookup lookup = {
        .call = fixture_call(&f, COUNTER_LOOKUP), .tenant_id = TENANT, .jobs_count = 1, .jobs = &job};
    struct counter_holds holds = {.call = fixture_call(&f, COUNTER_HOLDS),
                                  .now_ms = NOW,
                                  .tenant_id = TENANT,
                                  .max = 10,
                                  .after_deadline_ms = -1};
    struct counter_extend extend = {.call = fixture_call(&f, COUNTER_EXTEND),
                                    .now_ms = NOW,
                                    .tenant_id = TENANT,
                                    .job_id = job,
                                    .deadline_ms = DEADLINE + 1,
                                    .lifetime_ms = 1000000};
    struct counter_due due;
    int64_t before;

    fixture_admit(&f, "bad", 30);
    fixture_cli(&f, "eval \"return redis.call('hset', KEYS[1], ARGV[1], redis.call('hget', KEYS[1], ARGV[1])"
                    " .. string.rep('1', 1000000))\" 1 " KEY_T " %d=bad", TENANT);
    before = sent_by_redis();
    item = item_of(&f, "bad", 1);
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_DUE);
    fixture_run(&f, &lookup.call);
    cr_assert(slice_equal_cstr(lookup.entries[0], "?"));
    fixture_run(&f, &holds.call);
    cr_assert_eq(holds.holds_count, 1);
    fixture_run(&f, &extend.call);
    cr_assert_eq(extend.answer, EXTENDED_DUE);
    due = due_packed();
    cr_assert_eq(due.holds_count, 1);
    cr_assert_lt(sent_by_redis() - before, 100000);
    cr_assert_eq(discard(due.holds, 1).discarded_count, 1);
    cr_assert_eq(due_packed().holds_count, 0);
    cr_assert_lt(sent_by_redis() - before, 100000);
}

Test(call_reap, of_a_text_that_breaks_off_nothing_is_given_back)
{
    struct counter_totals second = totals_of(2, LEASE(1), 100);
    struct counter_reserve_item both = item_over(&f, "bad", 2, 20);

    fixture_fill(&f, &second, 1);
    fixture_reserve(&f, &both, 1);
    cr_assert_eq(both.answer, RESERVED_ADMITTED);
    spoil("bad", text_with("bad", ";0:2:0:", ";0:2:"));
    fixture_notify(&f, "bad", NULL, NULL, 0);
    cr_assert_eq(fixture_quota(&f, 1).held, 20);
    cr_assert_eq(fixture_quota(&f, 2).held, 20);
}
