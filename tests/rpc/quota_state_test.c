#include "rpc/quota_state.h"

#include "base/amount.h"

#include <criterion/criterion.h>

static struct arena arena;

static void set_up(void)
{
    arena_init(&arena, 4096, 1 << 20);
}

static void tear_down(void)
{
    arena_done(&arena);
}

TestSuite(quota_state, .init = set_up, .fini = tear_down);

static struct op_quota quota(void)
{
    return (struct op_quota){
        .limit_name = SLICE("tokens-month"),
        .scope = SLICE("team-a"),
        .meter = SLICE("tokens"),
        .period = PERIOD_MONTH,
        .period_start_ms = 1764547200000,
        .period_end_ms = 1767225600000,
        .stops = {.soft = 900, .amount = 1000, .cap = 1100},
        .committed = 940,
        .debt = 0,
        .held = 160,
        .ledger_seq = 12,
    };
}

Test(quota_state, shows_the_limit_its_use_and_what_is_left)
{
    struct op_quota from = quota();
    Holdfast__V1__QuotaState state;

    quota_state_fill(&arena, &from, &state);
    cr_assert_str_eq(state.limit_id, "tokens-month");
    cr_assert_str_eq(state.scope, "team-a");
    cr_assert_str_eq(state.meter, "tokens");
    cr_assert_eq(state.period, HOLDFAST__V1__PERIOD__PERIOD_MONTH);
    cr_assert_eq(state.period_start->seconds, 1764547200);
    cr_assert_eq(state.period_end->seconds, 1767225600);
    cr_assert_eq(state.bound_case, HOLDFAST__V1__QUOTA_STATE__BOUND_LIMIT);
    cr_assert_eq(state.limit, 1000);
    cr_assert_eq(state.hard_cap, 1100);
    cr_assert_eq(state.soft_stop, 900);
    cr_assert_eq(state.room_case, HOLDFAST__V1__QUOTA_STATE__ROOM_REMAINING);
    cr_assert_eq(state.remaining, 0);
    cr_assert_eq(state.level, HOLDFAST__V1__LEVEL__LEVEL_SOFT_STOP);
    cr_assert_eq(state.ledger_seq, 12);
}

Test(quota_state, remaining_falls_below_zero_with_debt)
{
    struct op_quota from = quota();
    Holdfast__V1__QuotaState state;

    from.committed = 1100;
    from.debt = 50;
    from.held = 0;
    quota_state_fill(&arena, &from, &state);
    cr_assert_eq(state.remaining, -50);
    cr_assert_eq(state.level, HOLDFAST__V1__LEVEL__LEVEL_HARD_CAP);
}

Test(quota_state, unlimited_is_a_flag_and_has_no_room)
{
    struct op_quota from = quota();
    Holdfast__V1__QuotaState state;

    from.stops = (struct stops){.unlimited = true, .amount = AMOUNT_MAX, .cap = AMOUNT_MAX};
    from.period = PERIOD_NEVER;
    quota_state_fill(&arena, &from, &state);
    cr_assert_eq(state.bound_case, HOLDFAST__V1__QUOTA_STATE__BOUND_UNLIMITED);
    cr_assert(state.unlimited);
    cr_assert_eq(state.hard_cap, 0);
    cr_assert_eq(state.soft_stop, 0);
    cr_assert_eq(state.room_case, HOLDFAST__V1__QUOTA_STATE__ROOM__NOT_SET);
    cr_assert_null(state.period_start);
    cr_assert_null(state.period_end);
    cr_assert_eq(state.level, HOLDFAST__V1__LEVEL__LEVEL_OK);
    cr_assert_str_eq(state.limit_id, "tokens-month");
}

Test(quota_state, stand_in_for_no_limit_has_no_name)
{
    struct op_quota from = quota();
    Holdfast__V1__QuotaState state;

    from.stops = (struct stops){.unlimited = true};
    from.scope = SLICE("");
    from.limit_name = SLICE("unlimited.tokens");
    quota_state_fill(&arena, &from, &state);
    cr_assert_str_eq(state.limit_id, "");
}

Test(quota_state, what_was_said_is_what_was_recorded_owed_and_dropped)
{
    struct settle_entry entries[] = {
        {.meter = SLICE("tokens"), .asked = 70, .amount = 60, .debt = 10, .held = 60},
        {.meter = SLICE("acu"), .asked = 5, .amount = 3, .held = 3},
        {.meter = SLICE("requests"), .asked = 1, .amount = 1, .held = 4},
    };
    struct settle_record record = {.entries_count = 3, .entries = entries};
    Holdfast__V1__CommittedAmount **messages = committed_messages(&arena, &record);

    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(messages[i]->actual,
                     messages[i]->committed + messages[i]->debt + messages[i]->dropped);
    cr_assert_eq(messages[0]->debt, 10);
    cr_assert_eq(messages[1]->dropped, 2);
    cr_assert_eq(messages[2]->freed, 3);
    cr_assert(record_is_over_limit(&record));
    record.late = true;
    cr_assert_eq(committed_messages(&arena, &record)[2]->freed, 0, "the expiry freed it");
}

Test(quota_state, reasons_name_their_limit_or_none)
{
    struct op_quota from = quota();
    struct op_reason reasons[] = {
        {.code = REASON_HARD_CAP, .quota = &from, .short_by = 60, .retry_after_ms = 40500,
         .message = "no room"},
        {.code = REASON_SUSPENDED, .retry_after_ms = -1, .message = "suspended"},
    };
    Holdfast__V1__Reason **messages = reason_messages(&arena, reasons, 2);

    cr_assert_eq(messages[0]->code, HOLDFAST__V1__REASON_CODE__REASON_CODE_HARD_CAP);
    cr_assert_str_eq(messages[0]->limit_id, "tokens-month");
    cr_assert_eq(messages[0]->retry_after->seconds, 40);
    cr_assert_eq(messages[0]->retry_after->nanos, 500000000);
    cr_assert_str_eq(messages[1]->limit_id, "");
    cr_assert_null(messages[1]->retry_after);
    cr_assert_null(reason_messages(&arena, NULL, 0));
}

Test(quota_state, decisions_have_their_names)
{
    cr_assert_str_eq(decision_name(DECISION_ALLOW), "ALLOW");
    cr_assert_str_eq(decision_name(DECISION_WARN), "WARN");
    cr_assert_str_eq(decision_name(DECISION_REJECT), "REJECT");
    cr_assert_str_eq(decision_name(DECISION_ALREADY_COMMITTED), "ALREADY_COMMITTED");
    cr_assert_str_eq(attempt_text(&arena, (struct attempt){3, 17}), "3.17");
}
