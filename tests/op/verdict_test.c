#include "op/verdict.h"

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

TestSuite(verdict, .init = set_up, .fini = tear_down);

/* limit 1000, soft 900, cap 1100, a month that ends at 2,000,000. */
static struct op_quota quota(int64_t committed, int64_t debt, int64_t held)
{
    return (struct op_quota){
        .limit_name = SLICE("tokens-month"),
        .meter = SLICE("tokens"),
        .period = PERIOD_MONTH,
        .period_end_ms = 2000000,
        .stops = {.soft = 900, .amount = 1000, .cap = 1100},
        .committed = committed,
        .debt = debt,
        .held = held,
    };
}

struct answer {
    struct op_reason *reasons;
    size_t count;
    int64_t retry_ms;
};

static struct answer reject(const struct op_quota *quotas, size_t count, int64_t units,
                            bool deferrable, int64_t earliest_ms, int64_t latest_ms)
{
    struct hold_quota wanted[4] = {{0}};
    struct answer answer;

    for (size_t i = 0; i < count; i++)
        wanted[i].units = units;
    verdict_rejected(&arena, quotas, wanted, count, deferrable, 1000000, earliest_ms, latest_ms,
                     &answer.reasons, &answer.count, &answer.retry_ms);
    return answer;
}

Test(verdict, warns_from_the_soft_stop_on_and_names_overage_above_the_limit)
{
    static const struct {
        int64_t held;
        enum decision decision;
        enum reason_code code;
    } cases[] = {
        {899, DECISION_ALLOW, 0},
        {900, DECISION_WARN, REASON_SOFT_STOP},
        {1000, DECISION_WARN, REASON_SOFT_STOP},
        {1001, DECISION_WARN, REASON_OVERAGE},
        {1100, DECISION_WARN, REASON_OVERAGE},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct op_quota quotas[] = {quota(0, 0, cases[i].held)};
        struct op_reason *reasons;
        size_t count;

        cr_assert_eq(verdict_admitted(&arena, quotas, &cases[i].held, 1, &reasons, &count),
                     cases[i].decision);
        cr_assert_eq(count, cases[i].decision == DECISION_WARN);
        if (count) {
            cr_assert_eq(reasons[0].code, cases[i].code);
            cr_assert_eq(reasons[0].short_by, 0);
            cr_assert_eq(reasons[0].retry_after_ms, -1);
        }
    }
}

Test(verdict, an_unlimited_quota_ends_where_numbers_do)
{
    struct op_quota quotas[] = {quota(AMOUNT_MAX - 5, 0, 0)};
    struct hold_quota wanted = {.units = 5};

    quotas[0].stops = (struct stops){.unlimited = true, .amount = AMOUNT_MAX, .cap = AMOUNT_MAX};
    cr_assert(verdict_fits(quotas, &wanted, 1, false));
    wanted.units = 6;
    cr_assert_not(verdict_fits(quotas, &wanted, 1, false));
}

Test(verdict, allows_everything_under_an_unlimited_quota)
{
    struct op_quota quotas[] = {quota(AMOUNT_MAX / 2, 0, 1)};
    struct hold_quota wanted = {.units = AMOUNT_MAX / 2};
    struct op_reason *reasons;
    size_t count;

    quotas[0].stops = (struct stops){.unlimited = true, .amount = AMOUNT_MAX, .cap = AMOUNT_MAX};
    cr_assert_eq(verdict_admitted(&arena, quotas, &quotas[0].held, 1, &reasons, &count),
                 DECISION_ALLOW);
    cr_assert_eq(count, 0);
    cr_assert(verdict_fits(quotas, &wanted, 1, true));
}

Test(verdict, says_in_words_what_is_used_held_and_asked_for)
{
    struct op_quota quotas[] = {quota(940, 0, 160)};
    struct answer answer = reject(quotas, 1, 60, false, 1040000, 1040000);

    cr_assert_eq(answer.count, 1);
    cr_assert_str_eq(answer.reasons[0].message, "tokens-month: 940 used + 160 held + 60 > 1100; "
                                                "160 held may free within 40 s");
    cr_assert_eq(answer.reasons[0].code, REASON_HARD_CAP);
    cr_assert_eq(answer.reasons[0].short_by, 60);
    cr_assert_eq(answer.reasons[0].retry_after_ms, 40000);
    cr_assert_eq(answer.retry_ms, 40000);
}

Test(verdict, waits_for_the_last_hold_only_if_all_of_them_are_in_the_way)
{
    struct op_quota quotas[] = {quota(900, 0, 200)};

    cr_assert_eq(reject(quotas, 1, 200, false, 1010000, 1040000).retry_ms, 40000);
    cr_assert_eq(reject(quotas, 1, 100, false, 1010000, 1040000).retry_ms, 10000);
}

Test(verdict, waits_for_the_period_where_holds_cannot_help)
{
    struct op_quota quotas[] = {quota(1090, 0, 5)};
    struct answer answer = reject(quotas, 1, 60, false, 1010000, 1040000);

    cr_assert_eq(answer.retry_ms, 1000000);
    cr_assert(strstr(answer.reasons[0].message, "starts again in 17 min"));
    quotas[0].period = PERIOD_NEVER;
    quotas[0].period_end_ms = PERIOD_END_NEVER;
    cr_assert_eq(reject(quotas, 1, 60, false, 1010000, 1040000).retry_ms, -1);
}

Test(verdict, never_promises_a_wait_for_more_than_the_cap)
{
    struct op_quota quotas[] = {quota(0, 0, 100)};
    struct answer answer = reject(quotas, 1, 1101, false, 1010000, 1040000);

    cr_assert_eq(answer.reasons[0].code, REASON_NEVER_SATISFIABLE);
    cr_assert_eq(answer.reasons[0].short_by, 101);
    cr_assert_eq(answer.retry_ms, -1);
}

Test(verdict, blames_debt_only_if_the_amount_would_fit_without_it)
{
    struct op_quota quotas[] = {quota(1050, 100, 0)};

    cr_assert_eq(reject(quotas, 1, 50, false, -1, -1).reasons[0].code, REASON_DEBT);
    cr_assert_eq(reject(quotas, 1, 51, false, -1, -1).reasons[0].code, REASON_HARD_CAP);
}

Test(verdict, defers_work_above_the_soft_stop)
{
    struct op_quota quotas[] = {quota(800, 0, 50)};
    struct hold_quota wanted = {.units = 50};
    struct answer answer;

    cr_assert(verdict_fits(quotas, &wanted, 1, true), "up to the soft stop it is admitted");
    wanted.units = 51;
    cr_assert_not(verdict_fits(quotas, &wanted, 1, true));
    cr_assert(verdict_fits(quotas, &wanted, 1, false));
    answer = reject(quotas, 1, 51, true, 1010000, 1010000);
    cr_assert_eq(answer.reasons[0].code, REASON_DEFERRED);
    cr_assert_eq(answer.reasons[0].short_by, 1);
}

Test(verdict, gives_each_short_limit_its_reason_and_the_longest_wait)
{
    struct op_quota quotas[] = {quota(1090, 0, 0), quota(0, 0, 0), quota(1090, 0, 0)};
    struct answer answer;

    quotas[2].period_end_ms = 3000000;
    answer = reject(quotas, 3, 60, false, -1, -1);
    cr_assert_eq(answer.count, 2);
    cr_assert_eq(answer.reasons[0].quota, &quotas[0]);
    cr_assert_eq(answer.reasons[1].quota, &quotas[2]);
    cr_assert_eq(answer.retry_ms, 2000000);
}

Test(verdict, names_the_tightest_limit_when_the_numbers_have_moved_on)
{
    struct op_quota quotas[] = {quota(0, 0, 0), quota(500, 0, 0)};
    struct answer answer = reject(quotas, 2, 60, false, -1, -1);

    cr_assert_eq(answer.count, 1);
    cr_assert_eq(answer.reasons[0].code, REASON_HARD_CAP);
    cr_assert_eq(answer.reasons[0].quota, &quotas[1]);
    cr_assert_geq(answer.reasons[0].short_by, 1);
}
