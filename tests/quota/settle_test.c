#include "tests/quota/settle_scene.h"

#include "base/amount.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(settle, .init = set_up, .fini = tear_down);

Test(settle, commit_of_the_whole_hold_spends_it_from_the_lease)
{
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert(item.made_record && item.was_live && !item.replayed && !item.late);
    cr_assert_eq(item.record, facts.record);
    cr_assert_eq(item.subject, &hold);
    cr_assert_eq(quotas[0].committed, 10);
    cr_assert_eq(quotas[0].spent, 10);
    cr_assert_eq(quotas[0].leased, 30);
    cr_assert_eq(quotas[1].committed, 10);
    cr_assert_eq(quotas[2].committed, 1);
    cr_assert_eq(quotas[2].ledger_seq, 1);
    cr_assert(quotas[0].dirty && quotas[1].dirty && quotas[2].dirty);
    cr_assert_eq(item.record->entries_count, 2);
    cr_assert_not(item.record->entries[0].asked_given);
    cr_assert_eq(item.record->entries[0].asked, 10);
    cr_assert_eq(item.record->entries[0].amount, 10);
    cr_assert_eq(item.record->entries[0].counted_count, 2);
    cr_assert_eq(item.record->entries[0].counted[1].ref.limit_id, 3);
    cr_assert_eq(item.record->entries[0].counted[1].ledger_seq, 1);
    cr_assert_eq(item.record->entries[1].counted_count, 1);
    cr_assert(slice_equal_cstr(item.record->scope, "team-a"));
    cr_assert_eq(item.record->at_ms, NOW);
}

Test(settle, commit_of_less_leaves_the_rest_in_the_lease)
{
    cr_assert_eq(commit_actual(3, OVERRUN_RECORD), SETTLE_COMMITTED);
    cr_assert_eq(quotas[0].committed, 3);
    cr_assert_eq(quotas[0].leased, 37);
    cr_assert_eq(item.record->entries[0].held, 10);
    cr_assert(item.record->entries[0].asked_given);
}

Test(settle, commit_of_nothing_is_recorded_and_counted)
{
    cr_assert_eq(commit_actual(0, OVERRUN_RECORD), SETTLE_COMMITTED);
    cr_assert_eq(quotas[0].committed, 0);
    cr_assert_eq(quotas[0].ledger_seq, 1);
    cr_assert(quotas[0].dirty);
    cr_assert_eq(item.record->entries[0].amount, 0);
}

Test(settle, repeat_with_the_same_amounts_is_the_same_record)
{
    struct settle_record *record;

    decide();
    record = item.record;
    for (size_t i = 0; i < book.quotas_count; i++)
        quotas[i].dirty = false;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert(item.replayed && !item.made_record);
    cr_assert_eq(item.record, record);
    cr_assert_eq(commit_actual(10, OVERRUN_STRICT), SETTLE_COMMITTED);
    cr_assert(item.replayed);
    cr_assert_eq(quotas[0].committed, 10);
    cr_assert_not(quotas[0].dirty);
}

Test(settle, repeat_with_other_amounts_is_a_mismatch)
{
    decide();
    cr_assert_eq(commit_actual(9, OVERRUN_RECORD), SETTLE_MISMATCH);
    cr_assert_eq(item.record, facts.record);
    item.actual_count = 1;
    actual[0].units = 10;
    cr_assert_eq(decide(), SETTLE_MISMATCH);
    cr_assert_eq(quotas[0].committed, 10);
}

Test(settle, empty_repeat_means_what_was_held)
{
    cr_assert_eq(commit_actual(9, OVERRUN_RECORD), SETTLE_COMMITTED);
    item.actual_count = 0;
    cr_assert_eq(decide(), SETTLE_MISMATCH);
}

Test(settle, repeat_of_a_capped_commit_compares_what_was_asked)
{
    leave_room(&quotas[0], 2);
    item.recall_done = true;
    cr_assert_eq(commit_actual(15, OVERRUN_CAP), SETTLE_COMMITTED);
    cr_assert_eq(item.record->entries[0].amount, 12);
    cr_assert_eq(commit_actual(15, OVERRUN_CAP), SETTLE_COMMITTED);
    cr_assert(item.replayed);
    cr_assert_eq(commit_actual(12, OVERRUN_CAP), SETTLE_MISMATCH);
}

Test(settle, excess_that_fits_is_booked_at_the_root)
{
    cr_assert_eq(commit_actual(25, OVERRUN_STRICT), SETTLE_COMMITTED);
    cr_assert_eq(quotas[0].committed, 25);
    cr_assert_eq(quotas[0].debt, 0);
    cr_assert_eq(quotas[0].spent, 10);
    cr_assert_eq(quotas[0].leased, 30);
    cr_assert_not(quotas[0].recall);
}

Test(settle, excess_beside_lent_capacity_wants_a_recall_first)
{
    leave_room(&quotas[1], 3);
    for (enum overrun overrun = OVERRUN_RECORD; overrun <= OVERRUN_CAP; overrun++)
        cr_assert_eq(commit_actual(14, overrun), SETTLE_WANTS_RECALL);
    cr_assert(nothing_changed());
    cr_assert_eq(commit_actual(13, OVERRUN_STRICT), SETTLE_COMMITTED);
}

Test(settle, nothing_is_recalled_when_only_this_hold_is_lent)
{
    quotas[1].granted = quotas[1].leased = 10;
    leave_room(&quotas[1], 3);
    cr_assert_eq(commit_actual(14, OVERRUN_RECORD), SETTLE_COMMITTED);
    cr_assert_eq(quotas[1].debt, 1);
}

Test(settle, excess_that_does_not_fit_becomes_debt_of_that_quota_alone)
{
    leave_room(&quotas[1], 3);
    item.recall_done = true;
    cr_assert_eq(commit_actual(15, OVERRUN_RECORD), SETTLE_COMMITTED);
    cr_assert_eq(quotas[0].debt, 0);
    cr_assert_eq(quotas[1].debt, 2);
    cr_assert_eq(book_room(&quotas[1]), -2);
    cr_assert(quotas[1].recall && !quotas[0].recall);
    cr_assert_eq(item.record->entries[0].amount, 13);
    cr_assert_eq(item.record->entries[0].debt, 2);
    cr_assert_eq(item.record->entries[0].counted[0].amount, 15);
    cr_assert_eq(item.record->entries[0].counted[0].debt, 0);
    cr_assert_eq(item.record->entries[0].counted[1].amount, 13);
    cr_assert_eq(item.record->entries[0].counted[1].debt, 2);
}

Test(settle, strict_refuses_the_whole_commit_and_changes_nothing)
{
    leave_room(&quotas[1], 3);
    item.recall_done = true;
    cr_assert_eq(commit_actual(15, OVERRUN_STRICT), SETTLE_OVERRUN);
    cr_assert(slice_equal_cstr(item.overrun_meter, "tokens"));
    cr_assert_eq(item.overrun_short_by, 2);
    cr_assert(nothing_changed());
    cr_assert_eq(commit_actual(13, OVERRUN_STRICT), SETTLE_COMMITTED);
}

Test(settle, strict_in_the_last_meter_refuses_the_first_too)
{
    quotas[2].stops = (struct stops){.soft = 40, .amount = 40, .cap = 40};
    item.recall_done = true;
    actual[1].units = 2;
    actual[1].overrun = OVERRUN_STRICT;
    cr_assert_eq(commit_actual(15, OVERRUN_RECORD), SETTLE_OVERRUN);
    cr_assert(slice_equal_cstr(item.overrun_meter, "requests"));
    cr_assert(nothing_changed());
}

Test(settle, cap_books_the_least_that_fits_on_every_quota)
{
    leave_room(&quotas[0], 4);
    leave_room(&quotas[1], 3);
    item.recall_done = true;
    cr_assert_eq(commit_actual(20, OVERRUN_CAP), SETTLE_COMMITTED);
    cr_assert_eq(item.record->entries[0].asked, 20);
    cr_assert_eq(item.record->entries[0].amount, 13);
    cr_assert_eq(item.record->entries[0].debt, 0);
    cr_assert_eq(book_room(&quotas[0]), 1);
    cr_assert_eq(book_room(&quotas[1]), 0);
}

Test(settle, cap_over_a_cap_already_passed_still_spends_what_was_held)
{
    leave_room(&quotas[0], -30);
    item.recall_done = true;
    cr_assert_eq(commit_actual(20, OVERRUN_CAP), SETTLE_COMMITTED);
    cr_assert_eq(item.record->entries[0].amount, 10);
    cr_assert_eq(quotas[0].debt, 0);
}

Test(settle, hold_under_an_old_lease_is_spent_from_that_one)
{
    struct lease_row old;

    quotas[1].epoch = EPOCH + 1;
    lease_begin(&quotas[1], &old);
    old.dirty = false;
    leases[0] = old;
    book.leases_count = 1;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert_eq(quotas[1].spent, 0);
    cr_assert_eq(leases[0].spent, 10);
    cr_assert(leases[0].dirty);
    cr_assert_eq(quotas[1].leased, 30);
    cr_assert_eq(quotas[1].committed, 10);
}

Test(settle, hold_whose_lease_is_gone_is_still_committed_at_the_root)
{
    held[1].lease_id = LEASE - 1;
    cr_assert_eq(commit_actual(10, OVERRUN_STRICT), SETTLE_COMMITTED);
    cr_assert_eq(quotas[1].committed, 10);
    cr_assert_eq(quotas[1].leased, 40);
    cr_assert_eq(quotas[1].debt, 0);
}

Test(settle, promise_under_a_lost_lease_becomes_debt_rather_than_a_refusal)
{
    held[1].lease_id = LEASE - 1;
    leave_room(&quotas[1], 4);
    cr_assert_eq(commit_actual(10, OVERRUN_STRICT), SETTLE_WANTS_RECALL);
    item.recall_done = true;
    cr_assert_eq(commit_actual(10, OVERRUN_STRICT), SETTLE_COMMITTED);
    cr_assert_eq(quotas[1].debt, 6);
    cr_assert_eq(item.record->entries[0].amount, 4);
}

Test(settle, lease_that_cannot_cover_is_left_alone)
{
    quotas[1].granted = quotas[1].leased = 9;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert_eq(quotas[1].spent, 0);
    cr_assert_eq(quotas[1].leased, 9);
    cr_assert_eq(quotas[1].committed, 10);
}

Test(settle, meter_without_limits_is_recorded_and_counted_nowhere)
{
    hold.quotas_count = 2;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert_eq(item.record->entries[1].amount, 1);
    cr_assert_eq(item.record->entries[1].counted_count, 0);
    cr_assert_eq(quotas[2].committed, 0);
}

/* All that there is was held, and nobody has reaped it: nothing of it is debt. */
/* One of its leases is closed: the hold's units are gone as a whole, and the rest waits for the reap. */
/* A reap of others has raised reaped_to past it; its units still are in the lease. */
Test(settle, tenant_whose_rows_contradict_is_decided_nothing_for)
{
    char what[100];

    quotas[1].leased--;
    cr_assert(book_audit(&book, what, sizeof(what)));
    cr_assert(strstr(what, "limit_id=3"), "%s", what);
    cr_assert_eq(decide(), SETTLE_INCONSISTENT);
    cr_assert_eq(release_by(&hold, NULL), SETTLE_INCONSISTENT);
    cr_assert(!facts.record && facts.fences_count == 0);
    cr_assert_eq(book.quotas_count, 0);
    item.tenant_id = 2;
    item.kind = SETTLE_COMMIT;
    cr_assert_eq(decide(), SETTLE_COMMITTED, "another tenant goes on");
}

/* A lease that another database may have known is met by a new epoch; one that none can have is a hand's. */
Test(settle, audit_takes_out_a_lease_of_an_epoch_that_cannot_be)
{
    char what[100];
    int64_t epoch = quotas[0].epoch = quotas[1].epoch = quotas[2].epoch = lease_epoch(LEASE);

    quotas[1].lease_id = (epoch + LEASE_EPOCHS_AHEAD) * LEASE_IDS_PER_EPOCH;
    cr_assert(book_audit(&book, what, sizeof(what)));
    cr_assert_eq(book.bad_count, 0);
    quotas[1].lease_id += LEASE_IDS_PER_EPOCH;
    cr_assert(book_audit(&book, what, sizeof(what)));
    cr_assert_eq(book.bad_count, 1);
}

Test(settle, audit_takes_out_the_tenant_and_no_other)
{
    char what[100];

    quotas[1].tenant_id = 2;
    quotas[1].spent = -1;
    quotas[2].tenant_id = 3;
    leases[0] = (struct lease_row){2, {3, 0}, LEASE - 1, 30, 0, 5, NOW + 9, false};
    leases[1] = (struct lease_row){3, {4, 0}, LEASE - 1, 30, 0, 5, NOW + 9, false};
    quotas[2].leased += 25;
    book.leases_count = 2;
    cr_assert(book_audit(&book, what, sizeof(what)));
    cr_assert_eq(book.bad_count, 1);
    cr_assert(book_is_bad(&book, 2) && !book_is_bad(&book, 1) && !book_is_bad(&book, 3));
    cr_assert_eq(book.quotas_count, 2);
    cr_assert_eq(book.leases_count, 1);
    cr_assert_eq(book.leases[0].tenant_id, 3);
    cr_assert_not_null(book_find_quota(&book, 3, (struct quota_ref){4, 0}));
}

Test(settle, closing_period_still_takes_its_commits)
{
    quotas[0].state = QUOTA_CLOSING;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert_eq(quotas[0].spent, 10);
}

Test(settle, released_attempt_never_commits)
{
    cr_assert_eq(release_by(&hold, &hold), SETTLE_RELEASED);
    cr_assert(item.made_fence && item.was_live && !item.replayed);
    cr_assert_eq(facts.fences_count, 1);
    cr_assert_not(quotas[0].dirty);
    cr_assert_eq(release_by(&hold, NULL), SETTLE_RELEASED);
    cr_assert(item.replayed && !item.made_fence);
    item.kind = SETTLE_COMMIT;
    cr_assert_eq(decide(), SETTLE_WAS_RELEASED);
    hold.deadline_ms = NOW - 1;
    cr_assert_eq(decide(), SETTLE_WAS_RELEASED);
    cr_assert_null(facts.record);
}

/* The job holds in Redis, and by a later attempt in Postgres. */
static struct hold twice;

static void hold_twice(void)
{
    twice = hold;
    twice.attempt = (struct attempt){EPOCH, HOLD_SEQ_POSTGRES + NOW};
    twice.created_ms = hold.created_ms + 1;
    facts.placed = &twice;
    for (size_t i = 0; i < 3; i++)
        quotas[i].pg_held = hold.quotas[i].units;
}

Test(settle, release_by_job_fences_what_it_holds_in_either_place)
{
    hold_twice();
    cr_assert_eq(release_by(NULL, &hold), SETTLE_RELEASED);
    cr_assert(item.made_fence && !item.replayed);
    cr_assert_eq(item.fenced_count, 2);
    cr_assert_eq(item.dropped, &twice);
    cr_assert_null(facts.placed);
    cr_assert_eq(quotas[0].pg_held, 0);
    cr_assert(settle_is_fenced(&facts, hold.attempt) && settle_is_fenced(&facts, twice.attempt));
    item.kind = SETTLE_COMMIT;
    cr_assert_eq(decide(), SETTLE_WAS_RELEASED);
}

Test(settle, a_repeated_release_by_job_fences_what_has_turned_up)
{
    hold_twice();
    cr_assert_eq(release_by(NULL, NULL), SETTLE_RELEASED);
    cr_assert_eq(item.fenced_count, 1);
    cr_assert_eq(release_by(NULL, &hold), SETTLE_RELEASED);
    cr_assert(item.made_fence);
    cr_assert_eq(item.fenced_count, 1);
    cr_assert(settle_is_fenced(&facts, hold.attempt));
    cr_assert_eq(release_by(NULL, &hold), SETTLE_RELEASED);
    cr_assert(item.replayed && !item.made_fence);
}

Test(settle, a_reservation_id_releases_its_attempt_alone)
{
    hold_twice();
    cr_assert_eq(release_by(&hold, &hold), SETTLE_RELEASED);
    cr_assert_eq(item.fenced_count, 1);
    cr_assert_eq(facts.placed, &twice);
}

Test(settle, commit_by_job_means_the_attempt_that_is_live)
{
    hold_twice();
    twice.deadline_ms = NOW - 1;
    item.token = NULL;
    item.live = &hold;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert(!item.late);
    cr_assert_eq(item.subject, &hold);
}

Test(settle, committed_job_is_not_released)
{
    decide();
    cr_assert_eq(release_by(&hold, NULL), SETTLE_WAS_COMMITTED);
    cr_assert_eq(item.record, facts.record);
    cr_assert_eq(facts.fences_count, 0);
}

Test(settle, release_works_on_an_expired_hold)
{
    facts.expired = &hold;
    hold.deadline_ms = NOW - 1;
    cr_assert_eq(release_by(NULL, NULL), SETTLE_RELEASED);
    cr_assert(item.made_fence && !item.was_live);
    item.kind = SETTLE_COMMIT;
    cr_assert_eq(decide(), SETTLE_WAS_RELEASED);
}

Test(settle, job_that_nobody_knows_is_unknown)
{
    item.token = NULL;
    cr_assert_eq(decide(), SETTLE_UNKNOWN_JOB);
    cr_assert_eq(release_by(NULL, NULL), SETTLE_UNKNOWN_JOB);
    cr_assert(nothing_changed());
}

Test(settle, release_by_job_after_its_hold_is_gone_is_a_replay)
{
    struct attempt fence = {EPOCH, 9};

    facts.fences = &fence;
    facts.fences_count = 1;
    cr_assert_eq(release_by(NULL, NULL), SETTLE_RELEASED);
    cr_assert(item.replayed && !item.made_fence);
    cr_assert_eq(item.released.seq, 9, "it says which attempt that was");
    item.kind = SETTLE_COMMIT;
    cr_assert_eq(decide(), SETTLE_WAS_RELEASED);
}

Test(settle, commit_by_job_means_the_newest_attempt)
{
    struct attempt fence = {EPOCH, 2};
    struct hold newer = hold;

    newer.attempt.seq = 3;
    hold.deadline_ms = NOW - 1;
    facts.expired = &hold;
    facts.fences = &fence;
    facts.fences_count = 1;
    item.token = NULL;
    cr_assert_eq(decide(), SETTLE_WAS_RELEASED, "attempt 2 is newer than the expired 1");
    item.live = &newer;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert_eq(item.subject, &newer);
    cr_assert_eq(item.record->attempt.seq, 3);
}

Test(settle, reservation_id_within_its_deadline_is_the_subject_itself)
{
    struct hold other = hold;

    other.attempt.seq = 2;
    item.live = &other;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert_eq(item.subject, &hold);
}

Test(settle, release_by_reservation_id_ends_that_attempt_and_no_other)
{
    struct hold newer = hold;

    newer.attempt.seq = 2;
    hold.deadline_ms = NOW - 1;
    cr_assert_eq(release_by(&hold, &newer), SETTLE_RELEASED);
    cr_assert_eq(facts.fences[0].seq, 1);
    cr_assert_not(item.was_live);
    item.kind = SETTLE_COMMIT;
    item.token = &newer;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
}

Test(settle, release_of_an_extended_hold_with_the_old_id_frees_a_live_one)
{
    struct hold extended = hold;

    hold.deadline_ms = NOW - 1;
    cr_assert_eq(release_by(&hold, &extended), SETTLE_RELEASED);
    cr_assert(item.was_live);
}

Test(settle, actual_must_name_every_held_meter_once)
{
    struct settle_actual named[3] = {{SLICE("tokens"), 1, OVERRUN_RECORD},
                                     {SLICE("seats"), 1, OVERRUN_RECORD},
                                     {SLICE("tokens"), 1, OVERRUN_RECORD}};

    item.actual = named;
    item.actual_count = 2;
    cr_assert_eq(decide(), SETTLE_BAD_METERS);
    cr_assert_eq(item.bad_actual, 1);
    named[1].meter = SLICE("requests");
    item.actual_count = 3;
    cr_assert_eq(decide(), SETTLE_BAD_METERS);
    cr_assert_eq(item.bad_actual, 2);
    item.actual_count = 1;
    cr_assert_eq(decide(), SETTLE_BAD_METERS);
    cr_assert_eq(item.bad_actual, 1);
    cr_assert(slice_equal_cstr(item.bad_meter, "requests"));
    cr_assert(nothing_changed());
}

Test(settle, debt_that_no_amount_can_hold_refuses_its_item_alone)
{
    item.recall_done = true;
    cr_assert_eq(commit_actual(AMOUNT_MAX, OVERRUN_RECORD), SETTLE_TOO_LARGE);
    cr_assert(slice_equal_cstr(item.overrun_meter, "tokens"));
    cr_assert(nothing_changed());
    cr_assert_eq(commit_actual(AMOUNT_MAX - 30, OVERRUN_RECORD), SETTLE_COMMITTED);
    cr_assert_eq(quotas[0].committed + quotas[0].debt, AMOUNT_MAX - 30);
    cr_assert_eq(quotas[0].committed, 80, "what fits beside the 30 still lent");
}

Test(settle, unlimited_quota_books_at_the_root_up_to_the_largest_amount)
{
    for (size_t i = 0; i < 3; i++)
        quotas[i].stops = (struct stops){AMOUNT_MAX, AMOUNT_MAX, AMOUNT_MAX, true};
    cr_assert_eq(commit_actual(AMOUNT_MAX - 30, OVERRUN_STRICT), SETTLE_COMMITTED);
    cr_assert_eq(quotas[0].debt, 0);
    cr_assert_eq(events_count(), 0);
}

Test(settle, unlimited_quota_past_the_largest_amount_names_the_bound)
{
    for (size_t i = 0; i < 3; i++)
        quotas[i].stops = (struct stops){AMOUNT_MAX, AMOUNT_MAX, AMOUNT_MAX, true};
    item.recall_done = true;
    cr_assert_eq(commit_actual(AMOUNT_MAX - 29, OVERRUN_STRICT), SETTLE_TOO_LARGE);
    cr_assert_eq(commit_actual(AMOUNT_MAX - 29, OVERRUN_RECORD), SETTLE_TOO_LARGE);
    cr_assert(nothing_changed());
    cr_assert_eq(commit_actual(AMOUNT_MAX - 29, OVERRUN_CAP), SETTLE_COMMITTED);
    cr_assert_eq(item.record->entries[0].amount, AMOUNT_MAX - 30);
}

Test(settle, crossings_are_those_of_use_with_debt)
{
    leave_room(&quotas[1], 0); /* committed 70 of 100, cap 110 */
    item.recall_done = true;
    cr_assert_eq(commit_actual(60, OVERRUN_RECORD), SETTLE_COMMITTED);
    cr_assert_eq(quotas[1].committed, 80);
    cr_assert_eq(quotas[1].debt, 50);
    cr_assert_eq(events_count(), 3);
    cr_assert_eq(book.events->kind, EVENT_SOFT_STOP);
    cr_assert_eq(book.events->direction, 1);
    cr_assert_eq(book.events->quota, &quotas[1]);
    cr_assert_eq(book.events->committed, 80);
    cr_assert_eq(book.events->debt, 50);
    cr_assert_eq(book.events->ledger_seq, 1);
    cr_assert_eq(book.events->level, 4);
    cr_assert_eq(book.events->attempt.seq, 1);
    cr_assert_eq(book.events->next->next->kind, EVENT_HARD_CAP);
}

Test(settle, refill_tops_up_to_the_target_within_the_room)
{
    decide();
    book_refill(&book, &quotas[0], 777);
    cr_assert_eq(quotas[0].granted, 50);
    cr_assert_eq(quotas[0].leased, 40);
    cr_assert_eq(quotas[0].lease_deadline_ms, 777);
    quotas[1].committed = 76;
    book_refill(&book, &quotas[1], 777);
    cr_assert_eq(book_room(&quotas[1]), 0);
    book_refill(&book, &quotas[1], 776);
    cr_assert_eq(quotas[1].granted, 44);
    cr_assert_eq(quotas[1].lease_deadline_ms, 777);
}

Test(settle, refill_leaves_old_closed_and_recalled_leases_alone)
{
    for (size_t i = 0; i < 3; i++)
        quotas[i].lease_target = 60;
    quotas[0].epoch++;
    quotas[1].period_end_ms = NOW;
    quotas[2].recall = true;
    for (size_t i = 0; i < 3; i++) {
        book_refill(&book, &quotas[i], 0);
        cr_assert_eq(quotas[i].granted, 40);
    }
    cr_assert(nothing_changed());
}

Test(settle, locks_are_those_of_the_holds_and_of_the_current_period)
{
    struct limit limits[] = {{.limit_id = 2, .period = PERIOD_MINUTE},
                             {.limit_id = 4, .period = PERIOD_NEVER}};
    struct plan plan = {.limits_count = 2, .limits = limits};
    struct quota_ref refs[4 * HOLD_QUOTAS_MAX];

    held[0].quota.period_start_ms = 60000;
    facts.expired = &hold;
    item.live = &hold;
    cr_assert_eq(settle_locks(&item, &plan, 180001, refs, ARRAY_COUNT(refs)), 4);
    cr_assert(quota_ref_equal(refs[0], (struct quota_ref){2, 60000}));
    cr_assert(quota_ref_equal(refs[1], (struct quota_ref){2, 180000}));
    cr_assert(quota_ref_equal(refs[2], (struct quota_ref){3, 0}));
    cr_assert(quota_ref_equal(refs[3], (struct quota_ref){4, 0}));
    hold.deadline_ms = 300000;
    cr_assert_eq(settle_locks(&item, &plan, 180001, refs, ARRAY_COUNT(refs)), 3);
    item.token = item.live = NULL;
    cr_assert_eq(settle_locks(&item, NULL, 900000, refs, ARRAY_COUNT(refs)), 3);
    item.facts = NULL;
    cr_assert_eq(settle_locks(&item, NULL, 900000, refs, ARRAY_COUNT(refs)), 0);
}

/* No parser lets these through; nothing here may depend on it. */
Test(settle, hold_that_names_a_quota_twice_is_refused)
{
    held[1].quota = held[0].quota;
    cr_assert_eq(decide(), SETTLE_INCONSISTENT);
    cr_assert(nothing_changed());
    held[1].quota.period_start_ms = 60000;
    cr_assert_eq(decide(), SETTLE_INCONSISTENT,
                 "two periods of one limit may both end up in a third");
    cr_assert(nothing_changed());
}

Test(settle, hold_out_of_its_own_bounds_is_refused)
{
    held[2].meter = 2;
    cr_assert_eq(decide(), SETTLE_INCONSISTENT);
    held[2].meter = 1;
    meters[1].meter = meters[0].meter;
    cr_assert_eq(decide(), SETTLE_INCONSISTENT);
    set_up();
    hold.meters_count = 0;
    hold.quotas_count = 0;
    cr_assert_eq(decide(), SETTLE_INCONSISTENT,
                 "a record of nothing has no row that could be its key");
    cr_assert(nothing_changed());
}
