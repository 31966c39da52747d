#include "quota/place.h"
#include "tests/quota/settle_scene.h"

#include <criterion/criterion.h>

/*
 * The scene of settle, with nothing lent: a job that asks for 10 tokens (limits 2 and 3) and 1 request
 * (limit 4). Soft stop 90, limit 100, cap 110 of each.
 */
static struct place place;

static void begin(void)
{
    set_up();
    for (size_t i = 0; i < 3; i++) {
        quotas[i].granted = quotas[i].leased = 0;
        quotas[i].limit_name = SLICE("limit");
        held[i].lease_id = 0;
    }
    place = (struct place){.tenant_id = 1, .job_id = SLICE("job"), .wanted = &hold,
                           .ttl_ms = 1000, .facts = &facts};
}

TestSuite(place, .init = begin, .fini = tear_down);

static enum place_end take(void)
{
    place_decide(&book, &place);
    return place.end;
}

static int64_t all_held(void)
{
    return quotas[0].pg_held + quotas[1].pg_held + quotas[2].pg_held;
}

/* The job holds 10 tokens and 1 request in Postgres; `item` has its reservation id. */
static struct hold placed;
static struct hold_quota placed_quotas[3];

static void hold_it(void)
{
    cr_assert_eq(take(), PLACE_TAKEN);
    placed = *place.hold;
    for (size_t i = 0; i < 3; i++)
        placed_quotas[i] = place.hold->quotas[i];
    placed.quotas = placed_quotas;
    item.token = &placed;
    item.looked_up_ms = 0;
    item.redis_asked = false;
    for (size_t i = 0; i < 3; i++)
        quotas[i].dirty = false;
}

Test(place, what_is_taken_is_held_by_every_quota)
{
    cr_assert_eq(take(), PLACE_TAKEN);
    cr_assert_eq(quotas[0].pg_held, 10);
    cr_assert_eq(quotas[1].pg_held, 10);
    cr_assert_eq(quotas[2].pg_held, 1);
    cr_assert(quotas[0].dirty && quotas[2].dirty);
    cr_assert(attempt_is_in_postgres(place.hold->attempt));
    cr_assert_eq(place.hold->attempt.epoch, EPOCH);
    cr_assert_eq(place.hold->deadline_ms, NOW + 1000);
    cr_assert_eq(place.hold->created_ms, NOW);
    cr_assert_eq(place.hold->quotas[1].lease_id, 0);
    cr_assert_not(place.hold->warnings);
    cr_assert_eq(facts.placed, place.hold);
}

Test(place, all_quotas_or_none)
{
    quotas[1].committed = 101;
    cr_assert_eq(take(), PLACE_SHORT);
    cr_assert(place.certain);
    cr_assert_eq(all_held(), 0);
    cr_assert(nothing_changed());
}

Test(place, a_refusal_is_certain_only_without_what_is_lent)
{
    quotas[1].committed = 70;
    quotas[1].granted = quotas[1].leased = 31;
    cr_assert_eq(take(), PLACE_SHORT);
    cr_assert_not(place.certain);
    quotas[1].leased = quotas[1].granted = 30;
    cr_assert_eq(take(), PLACE_TAKEN);
    cr_assert_eq(book_room(&quotas[1]), 0);
}

Test(place, deferrable_ends_at_the_soft_stop)
{
    quotas[0].committed = 81;
    place.deferrable = true;
    cr_assert_eq(take(), PLACE_SHORT);
    cr_assert(place.certain);
    quotas[0].committed = 80;
    cr_assert_eq(take(), PLACE_TAKEN);
}

Test(place, why_it_warns_is_kept)
{
    quotas[1].committed = 75;
    quotas[1].granted = quotas[1].leased = 5;
    cr_assert_eq(take(), PLACE_TAKEN);
    cr_assert(place.hold->warnings);
    cr_assert_eq(place.hold->warnings[0].limit_name.len, 0);
    cr_assert_eq(place.hold->warnings[1].projected, 90);
    cr_assert_eq(place.hold->warnings[1].soft, 90);
}

Test(place, the_second_of_a_job_gets_the_first_ones)
{
    const struct hold *first;

    take();
    first = place.hold;
    cr_assert_eq(take(), PLACE_STANDS);
    cr_assert_eq(place.hold, first);
    cr_assert_eq(quotas[0].pg_held, 10);
    book.now_ms = first->deadline_ms;
    cr_assert_eq(take(), PLACE_DUE);
}

Test(place, a_closed_or_absent_quota_is_gone)
{
    quotas[2].state = QUOTA_CLOSING;
    cr_assert_eq(take(), PLACE_GONE);
    quotas[2].state = QUOTA_OPEN;
    quotas[2].period_end_ms = NOW;
    cr_assert_eq(take(), PLACE_GONE);
    book.quotas_count = 2;
    cr_assert_eq(take(), PLACE_GONE);
    cr_assert_eq(all_held(), 0);
}

Test(place, a_new_attempt_is_above_all_earlier_ones)
{
    struct attempt fences[] = {{EPOCH, HOLD_SEQ_POSTGRES + NOW + 5}, {EPOCH, 7}};

    facts.fences = fences;
    facts.fences_count = 2;
    cr_assert_eq(take(), PLACE_TAKEN);
    cr_assert_eq(place.hold->attempt.seq, HOLD_SEQ_POSTGRES + NOW + 6);
}

Test(place, commit_moves_what_is_used_and_gives_the_rest_back)
{
    hold_it();
    cr_assert_eq(commit_actual(4, OVERRUN_RECORD), SETTLE_COMMITTED);
    cr_assert(item.was_live && !item.late);
    cr_assert_eq(item.dropped, place.hold);
    cr_assert_eq(quotas[0].committed, 4);
    cr_assert_eq(all_held(), 0);
    cr_assert_eq(quotas[0].spent, 0);
    cr_assert_eq(quotas[0].ledger_seq, 1);
    cr_assert_null(facts.placed);
}

Test(place, what_was_held_is_never_debt)
{
    hold_it();
    leave_room(&quotas[0], 0); /* a limit that was lowered: beside the hold there is nothing left */
    cr_assert_eq(commit_actual(10, OVERRUN_STRICT), SETTLE_COMMITTED);
    cr_assert_eq(item.record->entries[0].debt, 0);
    cr_assert_eq(all_held(), 0);
}

Test(place, an_excess_is_booked_at_the_root)
{
    hold_it();
    quotas[0].committed = 95; /* and 10 held: 5 are left */
    cr_assert_eq(commit_actual(17, OVERRUN_STRICT), SETTLE_OVERRUN);
    cr_assert_eq(item.overrun_short_by, 2);
    cr_assert_eq(quotas[0].pg_held, 10);
    cr_assert_eq(commit_actual(17, OVERRUN_RECORD), SETTLE_COMMITTED);
    cr_assert_eq(item.record->entries[0].debt, 2);
    cr_assert_eq(quotas[0].committed + quotas[0].debt, 112);
}

Test(place, by_its_job_it_is_found_without_redis)
{
    hold_it();
    item.token = NULL;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert_eq(item.subject, place.hold);
}

Test(place, by_its_job_without_redis_one_that_is_due_is_not_guessed)
{
    hold_it();
    item.token = NULL;
    book.now_ms = placed.deadline_ms;
    cr_assert_eq(decide(), SETTLE_WHICH_HOLD);
    item.redis_asked = true;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert(item.late);
}

Test(place, release_fences_it_and_gives_all_back)
{
    hold_it();
    cr_assert_eq(release_by(&placed, NULL), SETTLE_RELEASED);
    cr_assert(item.made_fence && item.was_live);
    cr_assert_eq(item.dropped, place.hold);
    cr_assert_eq(all_held(), 0);
    item.kind = SETTLE_COMMIT;
    cr_assert_eq(decide(), SETTLE_WAS_RELEASED);
    cr_assert_eq(release_by(&placed, NULL), SETTLE_RELEASED);
    cr_assert(item.replayed && !item.dropped);
}

Test(place, a_late_commit_has_its_units_while_its_row_stands)
{
    hold_it();
    quotas[0].committed = 100;
    book.now_ms = placed.deadline_ms + 1;
    item.looked_up_ms = INT64_MAX;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert(item.late);
    cr_assert_eq(item.record->entries[0].debt, 0);
}

Test(place, a_late_commit_after_the_reap_is_booked_at_the_root)
{
    hold_it();
    book.now_ms = placed.deadline_ms;
    cr_assert(place_reap(&book, 1, &facts, placed.attempt));
    cr_assert_eq(all_held(), 0);
    cr_assert_not(place_reap(&book, 1, &facts, placed.attempt));
    quotas[0].committed = 105;
    item.looked_up_ms = INT64_MAX;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert(item.late);
    cr_assert_eq(item.record->entries[0].debt, 5);
    cr_assert_null(item.dropped);
}

Test(place, nothing_is_reaped_before_its_time)
{
    hold_it();
    cr_assert_not(place_reap(&book, 1, &facts, placed.attempt));
    cr_assert_eq(quotas[0].pg_held, 10);
}

Test(place, an_extend_moves_the_deadline_within_the_lifetime)
{
    struct place_move move = {.tenant_id = 1, .job_id = SLICE("job"), .ttl_ms = 5000,
                              .lifetime_ms = 3000, .facts = &facts};

    hold_it();
    move.attempt = placed.attempt;
    place_extend(&book, &move);
    cr_assert_eq(move.end, PLACE_MOVED);
    cr_assert_eq(move.hold->deadline_ms, NOW + 3000);
    move.ttl_ms = 1;
    place_extend(&book, &move);
    cr_assert_eq(move.hold->deadline_ms, NOW + 3000, "never an earlier one");
    move.attempt.seq++;
    place_extend(&book, &move);
    cr_assert_eq(move.end, PLACE_MOVE_NONE);
    move.attempt = (struct attempt){0};
    book.now_ms = NOW + 3000;
    place_extend(&book, &move);
    cr_assert_eq(move.end, PLACE_MOVE_DUE);
}

Test(place, the_later_one_of_two_places_is_meant)
{
    struct hold live = hold;

    hold_it();
    live.attempt = (struct attempt){EPOCH, 3};
    live.deadline_ms = NOW + 500;
    live.created_ms = NOW - 1;
    item.token = NULL;
    item.live = &live;
    item.redis_asked = true;
    cr_assert_eq(release_by(NULL, &live), SETTLE_RELEASED);
    cr_assert_eq(item.subject, place.hold);
}

Test(place, a_row_beside_a_commit_of_another_attempt_goes_with_it)
{
    struct hold live = hold;

    hold_it();
    live.attempt = (struct attempt){EPOCH, 3};
    live.deadline_ms = NOW + 500;
    live.created_ms = NOW - 1;
    for (size_t i = 0; i < 3; i++) {
        held[i].lease_id = LEASE;
        quotas[i].granted = quotas[i].leased = 10;
    }
    item.token = &live;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert_eq(item.subject, &live);
    cr_assert_eq(item.dropped, place.hold);
    cr_assert_eq(all_held(), 0);
    cr_assert_eq(quotas[0].spent, 10);
}

Test(place, a_commit_by_job_does_not_mean_one_that_expired_before_a_released_one)
{
    struct attempt fence = {EPOCH, HOLD_SEQ_POSTGRES + NOW};

    for (size_t i = 0; i < 3; i++)
        held[i].lease_id = LEASE;
    hold.deadline_ms = NOW - 5;
    hold.created_ms = NOW - 10;
    facts.expired = &hold;
    facts.fences = &fence;
    facts.fences_count = 1;
    item.token = NULL;
    item.kind = SETTLE_COMMIT;
    cr_assert_eq(decide(), SETTLE_WAS_RELEASED);
}
