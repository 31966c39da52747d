#include "quota/settle.h"

#include "base/amount.h"
#include "quota/lease.h"

#include <criterion/criterion.h>
#include <signal.h>

/*
 * Fixture: tenant 1 with two limits on tokens (limit 2, 3) and one on requests (limit 4), each with a
 * lease of 40 of which the hold has 10 tokens and 1 request.
 */
enum { NOW = 100000, LATE_WINDOW = 50000, EPOCH = 5 };

#define LEASE (EPOCH * LEASE_IDS_PER_EPOCH)

static struct arena arena;
static struct settle_quota quotas[6];
static struct settle_lease leases[4];
static struct settle_book book;
static struct settle_facts facts;
static struct hold_meter meters[2];
static struct hold_quota held[3];
static struct hold hold;
static struct settle_item item;

static struct settle_quota row(int64_t limit_id, struct slice meter)
{
    return (struct settle_quota){
        .tenant_id = 1,
        .ref = {limit_id, 0},
        .meter = meter,
        .period = PERIOD_NEVER,
        .period_end_ms = PERIOD_END_NEVER,
        .stops = {.soft = 90, .amount = 100, .cap = 110},
        .leased = 40,
        .lease_id = LEASE,
        .granted = 40,
        .lease_target = 40,
        .state = QUOTA_OPEN,
        .epoch = EPOCH,
    };
}

static void set_up(void)
{
    arena_init(&arena, 1 << 14, 1 << 22);
    quotas[0] = row(2, SLICE("tokens"));
    quotas[1] = row(3, SLICE("tokens"));
    quotas[2] = row(4, SLICE("requests"));
    book = (struct settle_book){.arena = &arena, .now_ms = NOW, .late_window_ms = LATE_WINDOW,
                                .quotas = quotas, .quotas_count = 3, .leases = leases};
    facts = (struct settle_facts){0};
    meters[0] = (struct hold_meter){SLICE("tokens"), 10};
    meters[1] = (struct hold_meter){SLICE("requests"), 1};
    held[0] = (struct hold_quota){0, {2, 0}, LEASE, 10};
    held[1] = (struct hold_quota){0, {3, 0}, LEASE, 10};
    held[2] = (struct hold_quota){1, {4, 0}, LEASE, 1};
    hold = (struct hold){.attempt = {EPOCH, 1}, .deadline_ms = NOW + 1, .scope = SLICE("team-a"),
                         .meters_count = 2, .meters = meters, .quotas_count = 3,
                         .quotas = held};
    item = (struct settle_item){.kind = SETTLE_COMMIT, .tenant_id = 1, .job_id = SLICE("job"),
                                .token = &hold, .facts = &facts};
}

static void tear_down(void)
{
    arena_done(&arena);
}

TestSuite(settle, .init = set_up, .fini = tear_down);

static struct settle_actual actual[2] = {
    {{"tokens", 6}, 10, OVERRUN_RECORD},
    {{"requests", 8}, 1, OVERRUN_RECORD},
};

static enum settle_outcome decide(void)
{
    settle_decide(&book, &item);
    return item.outcome;
}

static enum settle_outcome commit_actual(int64_t tokens, enum overrun overrun)
{
    actual[0].units = tokens;
    actual[0].overrun = overrun;
    item.actual = actual;
    item.actual_count = 2;
    return decide();
}

static enum settle_outcome release_by(const struct hold *token, const struct hold *live)
{
    item.kind = SETTLE_RELEASE;
    item.token = token;
    item.live = live;
    return decide();
}

/* Leaves room x at the root of a quota by what is committed. */
static void leave_room(struct settle_quota *quota, int64_t room)
{
    quota->committed = quota->stops.cap - quota->leased - room;
}

static size_t events_count(void)
{
    size_t count = 0;

    for (struct settle_event *event = book.events; event; event = event->next)
        count++;
    return count;
}

static bool nothing_changed(void)
{
    for (size_t i = 0; i < book.quotas_count; i++)
        if (quotas[i].dirty || quotas[i].ledger_seq != 0)
            return false;
    return !book.events && !facts.record && facts.fences_count == 0;
}

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
    cr_assert_eq(settle_room(&quotas[1]), -2);
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
    cr_assert_eq(settle_room(&quotas[0]), 1);
    cr_assert_eq(settle_room(&quotas[1]), 0);
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
    struct settle_lease old;

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

Test(settle, commit_at_the_deadline_is_late_and_booked_at_the_root)
{
    hold.deadline_ms = NOW;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert(item.late && item.record->late && !item.was_live);
    cr_assert_eq(quotas[0].committed, 10);
    cr_assert_eq(quotas[0].spent, 0);
    cr_assert_eq(quotas[0].leased, 40);
    cr_assert_eq(events_count(), 1);
    cr_assert_eq(book.events->kind, EVENT_LATE_COMMIT);
    cr_assert(slice_equal_cstr(book.events->job_id, "job"));
    cr_assert_null(book.events->quota);
}

Test(settle, hold_is_late_once_any_of_its_quotas_was_reaped)
{
    quotas[2].reaped_to_ms = NOW + 1;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert(item.late);
    cr_assert_eq(quotas[0].spent, 0);
}

Test(settle, late_amounts_follow_the_overrun_policy)
{
    hold.deadline_ms = NOW - 5;
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

Test(settle, commit_later_than_the_window_is_expired)
{
    hold.deadline_ms = NOW - LATE_WINDOW;
    cr_assert_eq(commit_actual(3, OVERRUN_RECORD), SETTLE_COMMITTED);
    facts.record = NULL;
    hold.deadline_ms--;
    cr_assert_eq(commit_actual(3, OVERRUN_RECORD), SETTLE_EXPIRED);
    cr_assert_null(facts.record);
}

Test(settle, late_commit_of_a_closed_period_goes_to_the_current_one)
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

Test(settle, expired_hold_is_committed_late_by_its_job)
{
    facts.expired = &hold;
    hold.deadline_ms = NOW - 1;
    item.token = NULL;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert(item.late);
}

Test(settle, old_reservation_id_commits_the_extended_hold)
{
    struct hold extended = hold;

    hold.deadline_ms = NOW - 1;
    item.live = &extended;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert_eq(item.subject, &extended);
    cr_assert_not(item.late);
    cr_assert_eq(quotas[0].spent, 10);
}

Test(settle, reservation_id_within_its_deadline_is_the_subject_itself)
{
    struct hold other = hold;

    other.attempt.seq = 2;
    item.live = &other;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert_eq(item.subject, &hold);
}

Test(settle, late_reservation_id_does_not_mean_a_newer_attempt_that_was_released)
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
    cr_assert_eq(commit_actual(AMOUNT_MAX, OVERRUN_RECORD), SETTLE_OVERRUN);
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

Test(settle, row_that_contradicts_its_leases_aborts, .signal = SIGABRT)
{
    quotas[0].leased--;
    decide();
}

Test(settle, refill_tops_up_to_the_target_within_the_room)
{
    decide();
    settle_refill(&book, &quotas[0], 777);
    cr_assert_eq(quotas[0].granted, 50);
    cr_assert_eq(quotas[0].leased, 40);
    cr_assert_eq(quotas[0].lease_deadline_ms, 777);
    quotas[1].committed = 76;
    settle_refill(&book, &quotas[1], 777);
    cr_assert_eq(settle_room(&quotas[1]), 0);
    settle_refill(&book, &quotas[1], 776);
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
        settle_refill(&book, &quotas[i], 0);
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
