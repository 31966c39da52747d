/* Holds past their deadline, and commits by a job's id: which hold is meant, and what is its own. */
#include "tests/quota/settle_scene.h"

#include <criterion/criterion.h>

TestSuite(settle_late, .init = set_up, .fini = tear_down);

Test(settle_late, commit_at_the_deadline_is_late_and_booked_against_its_own_units)
{
    hold.deadline_ms = NOW;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert(item.late && item.record->late && !item.was_live);
    cr_assert_eq(quotas[0].committed, 10);
    cr_assert_eq(quotas[0].spent, 10);
    cr_assert_eq(quotas[0].leased, 30);
    cr_assert_eq(events_count(), 1);
    cr_assert_eq(book.events->kind, EVENT_LATE_COMMIT);
    cr_assert(slice_equal_cstr(book.events->job_id, "job"));
    cr_assert_null(book.events->quota);
}

Test(settle_late, late_commit_that_no_reap_has_seen_is_no_debt)
{
    for (size_t i = 0; i < 3; i++)
        leave_room(&quotas[i], 0);
    hold.deadline_ms = NOW - 2;
    cr_assert_eq(commit_actual(10, OVERRUN_STRICT), SETTLE_COMMITTED);
    cr_assert(item.late);
    cr_assert_eq(item.record->entries[0].amount, 10);
    cr_assert_eq(item.record->entries[0].debt, 0);
    cr_assert_eq(quotas[0].debt, 0);
}

Test(settle_late, late_hold_of_a_lost_redis_is_spent_from_the_lease_that_was_set_aside)
{
    leases[0] = (struct lease_row){1, {2, 0}, LEASE - 1, 30, 0, 5, NOW + 9, false};
    book.leases_count = 1;
    quotas[0].leased += 25;
    held[0].lease_id = LEASE - 1;
    hold.deadline_ms = NOW - 2;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert(item.late);
    cr_assert_eq(leases[0].spent, 15);
    cr_assert_eq(quotas[0].spent, 0);
    cr_assert_eq(quotas[0].leased, 55);
}

Test(settle_late, late_hold_of_which_a_lease_is_closed_has_nothing_of_its_own)
{
    held[1].lease_id = LEASE - 1;
    hold.deadline_ms = NOW - 2;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert_eq(quotas[0].spent, 0);
    cr_assert_eq(quotas[0].leased, 40);
    cr_assert_eq(quotas[1].committed, 10);
}

Test(settle_late, late_hold_whose_lease_has_less_left_has_nothing_of_its_own)
{
    quotas[1].spent = 31;
    quotas[1].leased = 9;
    hold.deadline_ms = NOW - 2;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert_eq(quotas[0].spent, 0);
    cr_assert_eq(quotas[1].spent, 31);
}

Test(settle_late, reaped_excess_beside_lent_capacity_wants_a_reap_and_recall_first)
{
    for (size_t i = 0; i < 3; i++)
        leave_room(&quotas[i], 0);
    hold.deadline_ms = NOW - 2;
    quotas[0].reaped_to_ms = NOW - 2;
    cr_assert_eq(commit_actual(10, OVERRUN_RECORD), SETTLE_WANTS_RECALL);
    cr_assert_eq(commit_actual(10, OVERRUN_STRICT), SETTLE_WANTS_RECALL);
    cr_assert_eq(commit_actual(10, OVERRUN_CAP), SETTLE_WANTS_RECALL);
    cr_assert(nothing_changed());
}

/* All that is lent is what was set aside, and its deadline is past. */
static void set_aside_all(int64_t deadline_ms)
{
    for (int i = 0; i < 2; i++) {
        leases[i] = (struct lease_row){1, {2 + i, 0}, LEASE - 1, 30, 0, 5, deadline_ms, false};
        quotas[i].leased += 25;
        leave_room(&quotas[i], 0);
    }
    book.leases_count = 2;
}

Test(settle_late, an_old_lease_past_its_deadline_is_closed_before_an_excess_is_called_debt)
{
    set_aside_all(NOW - 1);
    cr_assert_eq(commit_actual(35, OVERRUN_RECORD), SETTLE_COMMITTED, "no recall is wanted");
    cr_assert_eq(item.record->entries[0].amount, 35);
    cr_assert_eq(item.record->entries[0].debt, 0);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(leases[i].returned, 25);
        cr_assert(leases[i].dirty);
        cr_assert_eq(quotas[i].leased, 30);
        cr_assert_eq(quotas[i].debt, 0);
        cr_assert_eq(quotas[i].reaped_to_ms, NOW);
    }
}

Test(settle_late, an_old_lease_that_is_due_makes_room_for_strict_and_cap)
{
    set_aside_all(NOW - 1);
    cr_assert_eq(commit_actual(36, OVERRUN_STRICT), SETTLE_WANTS_RECALL, "26 of 25");
    item.recall_done = true;
    cr_assert_eq(commit_actual(36, OVERRUN_STRICT), SETTLE_OVERRUN);
    cr_assert_eq(item.overrun_short_by, 1);
    cr_assert_eq(commit_actual(36, OVERRUN_CAP), SETTLE_COMMITTED);
    cr_assert_eq(item.record->entries[0].amount, 35);
}

Test(settle_late, an_old_lease_before_its_deadline_stays_set_aside)
{
    set_aside_all(NOW);
    item.recall_done = true;
    cr_assert_eq(commit_actual(35, OVERRUN_RECORD), SETTLE_COMMITTED);
    cr_assert_eq(item.record->entries[0].debt, 25);
    cr_assert_eq(leases[0].returned, 0);
    cr_assert_eq(quotas[0].leased, 55);
}

Test(settle_late, deadline_that_passed_unlooked_wants_a_lookup_once)
{
    item.looked_up_ms = 0;
    hold.deadline_ms = NOW;
    cr_assert_eq(decide(), SETTLE_WANTS_LOOKUP);
    cr_assert(nothing_changed());
    item.looked_up_ms = NOW - 1;
    cr_assert_eq(decide(), SETTLE_WANTS_LOOKUP, "it was live when Redis was asked");
    item.looked_up_ms = NOW;
    item.redis_asked = false;
    cr_assert_eq(decide(), SETTLE_COMMITTED, "Redis is away: what the token says holds");
    cr_assert(item.late);
}

Test(settle_late, hold_that_redis_named_and_that_expired_since_is_looked_up_again)
{
    item.token = NULL;
    item.live = &hold;
    item.looked_up_ms = NOW - 5;
    hold.deadline_ms = NOW - 2;
    cr_assert_eq(decide(), SETTLE_WANTS_LOOKUP);
    item.looked_up_ms = NOW;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
}

Test(settle_late, by_job_without_an_answer_from_redis_only_a_record_speaks)
{
    struct attempt fence = {EPOCH, 7};

    facts.expired = &hold;
    hold.deadline_ms = NOW - 1;
    item.token = NULL;
    item.redis_asked = false;
    cr_assert_eq(decide(), SETTLE_WHICH_HOLD);
    cr_assert_eq(release_by(NULL, NULL), SETTLE_WHICH_HOLD);
    facts.fences = &fence;
    facts.fences_count = 1;
    cr_assert_eq(release_by(NULL, NULL), SETTLE_WHICH_HOLD, "there may be an eighth attempt");
    item.kind = SETTLE_COMMIT;
    cr_assert_eq(decide(), SETTLE_WHICH_HOLD);
    cr_assert(!facts.record && !quotas[0].dirty);
    facts = (struct settle_facts){.expired = &hold};
    item.redis_asked = true;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    item.redis_asked = false;
    cr_assert_eq(decide(), SETTLE_COMMITTED, "the record says it");
    cr_assert(item.replayed);
    cr_assert_eq(release_by(NULL, NULL), SETTLE_WAS_COMMITTED);
}

Test(settle_late, by_job_the_expired_hold_of_a_redis_that_was_lost_is_not_taken_for_the_newest)
{
    facts.expired = &hold;
    hold.deadline_ms = NOW - 1;
    hold.attempt.epoch = EPOCH - 1;
    item.token = NULL;
    cr_assert_eq(decide(), SETTLE_WHICH_HOLD);
    item.token = &hold;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
}

Test(settle_late, hold_is_late_once_any_of_its_quotas_was_reaped)
{
    quotas[2].reaped_to_ms = NOW + 1;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert(item.late);
    cr_assert_eq(quotas[0].spent, 0);
}

Test(settle_late, late_amounts_follow_the_overrun_policy)
{
    hold.deadline_ms = NOW - 5;
    quotas[2].reaped_to_ms = NOW - 5;
    item.recall_done = true;
    leave_room(&quotas[0], 4);
    cr_assert_eq(commit_actual(10, OVERRUN_STRICT), SETTLE_OVERRUN);
    cr_assert_eq(item.overrun_short_by, 6);
    cr_assert(nothing_changed());
    cr_assert_eq(commit_actual(10, OVERRUN_CAP), SETTLE_COMMITTED);
    cr_assert_eq(item.record->entries[0].amount, 4);
    facts.record = NULL;
    cr_assert_eq(commit_actual(10, OVERRUN_RECORD), SETTLE_COMMITTED);
    cr_assert_eq(quotas[0].debt, 10);
}

Test(settle_late, commit_later_than_the_window_is_expired)
{
    hold.deadline_ms = NOW - LATE_WINDOW;
    cr_assert_eq(commit_actual(3, OVERRUN_RECORD), SETTLE_COMMITTED);
    facts.record = NULL;
    hold.deadline_ms--;
    cr_assert_eq(commit_actual(3, OVERRUN_RECORD), SETTLE_EXPIRED);
    cr_assert_null(facts.record);
}

Test(settle_late, late_commit_of_a_closed_period_goes_to_the_current_one)
{
    for (size_t i = 0; i < 3; i++) {
        quotas[2 * i + 1] = row((int64_t)i + 2, SLICE("x"));
        quotas[2 * i + 1].ref.period_start_ms = NOW - 100;
        quotas[2 * i] = row((int64_t)i + 2, SLICE("x"));
        quotas[2 * i].state = QUOTA_CLOSED;
    }
    quotas[5].ref.period_start_ms = NOW + 100; /* has not begun: not counted there */
    book.quotas_count = 6;
    hold.deadline_ms = NOW - 1000;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert_eq(quotas[0].committed, 0);
    cr_assert_eq(quotas[1].committed, 10);
    cr_assert_eq(item.record->entries[0].counted[0].ref.period_start_ms, NOW - 100);
    cr_assert_eq(quotas[5].committed, 0);
    cr_assert_eq(item.record->entries[1].counted_count, 0);
    cr_assert_eq(item.record->entries[1].amount, 1);
}

Test(settle_late, expired_hold_is_committed_late_by_its_job)
{
    facts.expired = &hold;
    hold.deadline_ms = NOW - 1;
    item.token = NULL;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert(item.late);
}

Test(settle_late, old_reservation_id_commits_the_extended_hold)
{
    struct hold extended = hold;

    hold.deadline_ms = NOW - 1;
    item.live = &extended;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert_eq(item.subject, &extended);
    cr_assert_not(item.late);
    cr_assert_eq(quotas[0].spent, 10);
}

Test(settle_late, late_reservation_id_does_not_mean_a_newer_attempt_that_was_released)
{
    struct hold newer = hold;

    newer.attempt.seq = 2;
    facts.fences = &newer.attempt;
    facts.fences_count = 1;
    hold.deadline_ms = NOW - 1;
    item.live = &newer;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert_eq(item.subject, &hold);
    cr_assert(item.late);
}

Test(settle_late, the_reservation_id_of_a_released_attempt_never_commits_a_newer_one)
{
    struct hold newer = hold;
    struct attempt fences[] = {{EPOCH, 1}, {EPOCH, 2}};

    newer.attempt.seq = 3;
    hold.deadline_ms = NOW - 1;
    item.live = &newer;
    facts.fences = fences;
    facts.fences_count = 2;
    cr_assert_eq(decide(), SETTLE_WAS_RELEASED);
    cr_assert_eq(item.subject, &hold);
    cr_assert(!facts.record && !quotas[0].dirty);
    item.looked_up_ms = 0;
    cr_assert_eq(decide(), SETTLE_WAS_RELEASED, "whatever Redis might say of the job");
    hold.attempt.seq = 0;
    item.looked_up_ms = INT64_MAX;
    cr_assert_eq(decide(), SETTLE_COMMITTED, "one that only expired goes on to mean the job");
    cr_assert_eq(item.subject, &newer);
}
