/* Charge: use of a job that nobody has to hold. */
#include "tests/quota/settle_scene.h"

#include <criterion/criterion.h>

static struct hold charged; /* the hold of no units that op/charge.c makes */
static struct hold_meter none[2];
static struct hold_quota on[3];

static void begin(void)
{
    set_up();
    for (int i = 0; i < 2; i++)
        none[i] = (struct hold_meter){meters[i].meter, 0};
    for (int i = 0; i < 3; i++)
        on[i] = (struct hold_quota){held[i].meter, held[i].quota, 0, 0};
    charged = (struct hold){.attempt = {EPOCH, attempt_open_seq(NOW - 10, 7)},
                            .created_ms = NOW - 10, .deadline_ms = NOW + 1000000,
                            .scope = SLICE("team-a"), .meters_count = 2, .meters = none,
                            .quotas_count = 3, .quotas = on};
    item.kind = SETTLE_CHARGE;
    item.token = &charged;
    item.scope = SLICE("team-a");
    item.looked_up_ms = NOW;
}

TestSuite(settle_charge, .init = begin, .fini = tear_down);

Test(settle_charge, what_was_used_is_booked_at_the_root)
{
    cr_assert_eq(commit_actual(12, OVERRUN_RECORD), SETTLE_COMMITTED);
    cr_assert_not(item.late);
    cr_assert(item.made_record);
    cr_assert_eq(item.record->entries[0].amount, 12);
    cr_assert_eq(item.record->entries[0].held, 0);
    cr_assert_eq(quotas[0].committed, 12);
    cr_assert_eq(quotas[0].spent, 0);
    cr_assert_eq(quotas[0].leased, 40);
    cr_assert_eq(quotas[2].committed, 1);
}

Test(settle_charge, what_does_not_fit_goes_by_the_policy)
{
    item.recall_done = true;
    for (int i = 0; i < 3; i++)
        leave_room(&quotas[i], 3);
    cr_assert_eq(commit_actual(12, OVERRUN_STRICT), SETTLE_OVERRUN);
    cr_assert_eq(item.overrun_short_by, 9);
    cr_assert(nothing_changed());
    cr_assert_eq(commit_actual(12, OVERRUN_CAP), SETTLE_COMMITTED);
    cr_assert_eq(item.record->entries[0].amount, 3);
    cr_assert_eq(item.record->entries[0].debt, 0);
}

Test(settle_charge, idle_capacity_is_recalled_first)
{
    for (int i = 0; i < 3; i++)
        leave_room(&quotas[i], 0);
    cr_assert_eq(commit_actual(12, OVERRUN_RECORD), SETTLE_WANTS_RECALL);
    cr_assert(nothing_changed());
}

/* A limit that this server has not heard of may bind it by now. */
Test(settle_charge, quotas_of_an_old_plan_are_chosen_anew)
{
    item.plan_version = 4;
    for (int i = 0; i < 3; i++)
        quotas[i].config_version = 4;
    cr_assert_eq(commit_actual(1, OVERRUN_RECORD), SETTLE_COMMITTED);
    facts.record = NULL;
    for (int i = 0; i < 3; i++)
        quotas[i].config_version = 5;
    item.plan_wanted = 0; /* another Charge */
    cr_assert_eq(commit_actual(1, OVERRUN_RECORD), SETTLE_WANTS_PLAN);
    for (int i = 0; i < 3; i++)
        quotas[i].config_version = 6;
    cr_assert_eq(commit_actual(1, OVERRUN_RECORD), SETTLE_WANTS_PLAN);
    item.plan_version = 5;
    cr_assert_eq(commit_actual(1, OVERRUN_RECORD), SETTLE_COMMITTED, "what came since is beside it");
    facts.record = NULL;
    item.plan_version = 4;
    item.live = &hold;
    cr_assert_eq(commit_actual(4, OVERRUN_RECORD), SETTLE_COMMITTED, "a hold stays as it was chosen");
}

Test(settle_charge, a_live_hold_is_committed_instead)
{
    item.live = &hold;
    cr_assert_eq(commit_actual(4, OVERRUN_RECORD), SETTLE_COMMITTED);
    cr_assert_eq(item.subject, &hold);
    cr_assert_eq(quotas[0].spent, 4);
    cr_assert_eq(quotas[0].leased, 36);
}

/* Held in Redis, and again in Postgres while Redis was away; whichever of them is over. */
Test(settle_charge, of_two_places_the_live_hold_is_committed)
{
    struct hold placed = hold;
    struct hold_quota in_postgres[3];

    memcpy(in_postgres, held, sizeof(in_postgres));
    for (int i = 0; i < 3; i++)
        in_postgres[i].lease_id = 0;
    placed.quotas = in_postgres;
    placed.attempt.seq = HOLD_SEQ_POSTGRES + NOW;
    placed.created_ms = hold.created_ms + 1;
    placed.deadline_ms = NOW - 1;
    facts.placed = &placed;
    for (int i = 0; i < 3; i++)
        quotas[i].pg_held = 10;
    item.live = &hold;
    cr_assert_eq(commit_actual(4, OVERRUN_RECORD), SETTLE_COMMITTED);
    cr_assert_eq(item.subject, &hold, "the later one is over");
    cr_assert_eq(item.record->entries[0].held, 10);
}

Test(settle_charge, a_hold_that_may_have_been_extended_is_asked_for_again)
{
    hold.deadline_ms = NOW - 1;
    item.live = &hold;
    item.looked_up_ms = NOW - 5;
    cr_assert_eq(commit_actual(4, OVERRUN_RECORD), SETTLE_WANTS_LOOKUP);
    item.looked_up_ms = NOW;
    cr_assert_eq(commit_actual(4, OVERRUN_RECORD), SETTLE_COMMITTED);
    cr_assert_eq(item.subject, &charged);
    cr_assert_not(item.late);
}

Test(settle_charge, another_scope_is_another_job)
{
    item.live = &hold;
    item.scope = SLICE("team-b");
    cr_assert_eq(commit_actual(4, OVERRUN_RECORD), SETTLE_OTHER_SCOPE);
    cr_assert(nothing_changed());
    item.scope = SLICE("team-a");
    cr_assert_eq(commit_actual(4, OVERRUN_RECORD), SETTLE_COMMITTED);
    item.scope = SLICE("team-b");
    cr_assert_eq(commit_actual(4, OVERRUN_RECORD), SETTLE_OTHER_SCOPE);
}

Test(settle_charge, a_repeat_needs_no_quotas_and_no_redis)
{
    cr_assert_eq(commit_actual(4, OVERRUN_RECORD), SETTLE_COMMITTED);
    item.token = NULL;
    item.redis_asked = false;
    cr_assert_eq(commit_actual(4, OVERRUN_RECORD), SETTLE_COMMITTED);
    cr_assert(item.replayed);
    cr_assert_eq(commit_actual(5, OVERRUN_RECORD), SETTLE_MISMATCH);
    cr_assert_eq(quotas[0].committed, 4);
}

Test(settle_charge, without_quotas_a_new_one_is_nothing)
{
    item.token = NULL;
    cr_assert_eq(commit_actual(4, OVERRUN_RECORD), SETTLE_UNKNOWN_JOB);
    facts.expired = &hold;
    cr_assert_eq(commit_actual(4, OVERRUN_RECORD), SETTLE_UNKNOWN_JOB, "an expired hold is no use");
    cr_assert(nothing_changed());
}

Test(settle_charge, a_released_job_can_be_charged)
{
    cr_assert_eq(release_by(&hold, NULL), SETTLE_RELEASED);
    item.kind = SETTLE_CHARGE;
    item.token = &charged;
    item.live = &hold; /* Redis has not heard of it */
    cr_assert_eq(commit_actual(4, OVERRUN_RECORD), SETTLE_COMMITTED);
    cr_assert_eq(item.subject, &charged);
}

Test(settle_charge, beside_what_redis_may_hold_only_record_goes_past_the_room)
{
    item.recall_done = true;
    item.redis_asked = false;
    for (int i = 0; i < 3; i++)
        leave_room(&quotas[i], 3);
    cr_assert_eq(commit_actual(12, OVERRUN_STRICT), SETTLE_WHICH_HOLD);
    cr_assert_eq(commit_actual(12, OVERRUN_CAP), SETTLE_WHICH_HOLD);
    cr_assert(nothing_changed());
    cr_assert_eq(commit_actual(12, OVERRUN_RECORD), SETTLE_COMMITTED);
    cr_assert_eq(item.record->entries[0].debt, 9);
}
