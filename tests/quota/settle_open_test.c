/* Holds that no store counts (op/open.h): what their token commits and releases. */
#include "tests/quota/settle_scene.h"

#include <criterion/criterion.h>

static void begin(void)
{
    set_up();
    hold.attempt.seq = attempt_open_seq(NOW - 10, 7);
    for (int i = 0; i < 3; i++)
        held[i].lease_id = 0;
}

TestSuite(settle_open, .init = begin, .fini = tear_down);

Test(settle_open, commit_before_the_deadline_is_not_late_and_is_booked_at_the_root)
{
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert_not(item.late);
    cr_assert_eq(item.record->entries[0].amount, 10);
    cr_assert_eq(quotas[0].committed, 10);
    cr_assert_eq(quotas[0].spent, 0, "no lease has its units");
    cr_assert_eq(quotas[0].leased, 40);
    cr_assert_eq(quotas[0].pg_held, 0);
    cr_assert_eq(events_count(), 0);
}

Test(settle_open, what_does_not_fit_is_debt_whatever_the_policy)
{
    const enum overrun policies[] = {OVERRUN_RECORD, OVERRUN_STRICT, OVERRUN_CAP};

    for (size_t i = 0; i < 3; i++) {
        begin();
        for (size_t k = 0; k < 3; k++)
            leave_room(&quotas[k], 3);
        item.recall_done = true;
        cr_assert_eq(commit_actual(12, policies[i]), SETTLE_COMMITTED);
        cr_assert_eq(item.record->entries[0].amount, 3);
        cr_assert_eq(item.record->entries[0].debt, 9);
        tear_down();
    }
    begin();
}

Test(settle_open, idle_capacity_is_recalled_before_anything_is_debt)
{
    for (size_t i = 0; i < 3; i++)
        leave_room(&quotas[i], 0);
    cr_assert_eq(decide(), SETTLE_WANTS_RECALL);
    cr_assert(nothing_changed());
}

Test(settle_open, commit_past_the_deadline_is_late_without_a_lookup)
{
    hold.deadline_ms = NOW - 2;
    item.looked_up_ms = 0;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert(item.late);
    cr_assert_eq(quotas[0].committed, 10);
}

Test(settle_open, a_released_one_never_commits)
{
    cr_assert_eq(release_by(&hold, NULL), SETTLE_RELEASED);
    cr_assert(item.made_fence);
    cr_assert_eq(quotas[0].leased, 40);
    item.kind = SETTLE_COMMIT;
    cr_assert_eq(decide(), SETTLE_WAS_RELEASED);
}

Test(settle_open, the_first_record_stands)
{
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    hold.attempt.seq++;
    cr_assert_eq(decide(), SETTLE_COMMITTED);
    cr_assert(item.replayed, "another server's attempt of the job");
    cr_assert_eq(quotas[0].committed, 10);
}
