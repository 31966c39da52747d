#include "quota/drift.h"

#include <criterion/criterion.h>

static struct quota_row row;
static struct drift drifts[DRIFT_KINDS];

/* Committed 40 and 2 of debt in 7 entries, 10 lent, 5 held in Postgres; everybody agrees. */
static struct drift_sums agreeing(void)
{
    row = (struct quota_row){.committed = 40,
                             .debt = 2,
                             .pg_held = 5,
                             .leased = 10,
                             .lease_id = 3,
                             .granted = 30,
                             .returned = 4,
                             .spent = 16,
                             .ledger_seq = 7,
                             .stops = {.amount = 5000, .cap = 5000}};
    return (struct drift_sums){.row = &row,
                               .leases = 10,
                               .holds_known = true,
                               .holds = 5,
                               .entries_known = true,
                               .entries = 7,
                               .amount = 40,
                               .debt = 2,
                               .redis = {.known = true,
                                         .lease_id = 3,
                                         .granted = 30,
                                         .returned = 4,
                                         .spent = 16,
                                         .used = 42,
                                         .debt = 2,
                                         .used_seq = 7}};
}

static void expect(const struct drift_sums *sums, enum drift_kind kind, int64_t is, int64_t other,
                   int64_t units)
{
    cr_assert_eq(drift_find(sums, drifts), 1);
    cr_assert_eq(drifts[0].kind, kind);
    cr_assert_eq(drifts[0].is, is);
    cr_assert_eq(drifts[0].other, other);
    cr_assert_eq(drifts[0].units, units);
}

Test(drift, accounts_that_agree_have_none)
{
    struct drift_sums sums = agreeing();

    cr_assert_eq(drift_find(&sums, drifts), 0);
    cr_assert_not(drift_is_behind(&sums));
}

Test(drift, leases_and_holds_are_compared_with_the_row)
{
    struct drift_sums sums = agreeing();

    sums.leases = 12;
    expect(&sums, DRIFT_LEASES, 10, 12, 2);
    sums = agreeing();
    sums.holds = 0;
    expect(&sums, DRIFT_HOLDS, 5, 0, 5);
    sums.holds_known = false;
    cr_assert_eq(drift_find(&sums, drifts), 0);
}

Test(drift, a_sum_that_was_altered_is_of_the_ledger_and_a_row_that_is_gone_of_its_entries)
{
    struct drift_sums sums = agreeing();

    row.committed = 41;
    sums.redis.used = 43;
    expect(&sums, DRIFT_LEDGER, 41, 40, 1);
    sums = agreeing();
    sums.entries = 6;
    sums.amount = 30;
    expect(&sums, DRIFT_ENTRIES, 42, 32, 10);
    sums = agreeing();
    sums.entries = 9;
    expect(&sums, DRIFT_ENTRIES, 7, 9, 2);
    sums.entries_known = false;
    cr_assert_eq(drift_find(&sums, drifts), 0);
}

Test(drift, redis_may_be_behind_and_not_ahead)
{
    struct drift_sums sums = agreeing();

    sums.redis.spent = 15;
    sums.redis.used = 30;
    sums.redis.used_seq = 5;
    cr_assert_eq(drift_find(&sums, drifts), 0);
    cr_assert(drift_is_behind(&sums));
    sums = agreeing();
    sums.redis.spent = 17;
    expect(&sums, DRIFT_REDIS, 17, 16, 1);
    sums = agreeing();
    sums.redis.granted = 31;
    expect(&sums, DRIFT_REDIS, 31, 30, 1);
    sums = agreeing();
    sums.redis.used_seq = 8;
    expect(&sums, DRIFT_REDIS, 8, 7, 1);
    sums = agreeing();
    sums.redis.used = 41;
    expect(&sums, DRIFT_REDIS, 41, 42, 1);
}

Test(drift, a_row_that_contradicts_its_leases_tells_redis_nothing)
{
    struct drift_sums sums = agreeing();

    row.spent += 3;
    sums.leases -= 3;
    sums.redis.used_seq = 5;
    cr_assert_not(drift_is_behind(&sums));
}

Test(drift, what_redis_gave_back_it_knows_first)
{
    struct drift_sums sums = agreeing();

    sums.redis.returned = 9;
    cr_assert_eq(drift_find(&sums, drifts), 0);
}

/* Numbers of lost entries are given a second time; Redis hears of them with higher ones. */
Test(drift, after_an_accepted_loss_redis_is_compared_at_its_own_numbers)
{
    struct drift_sums sums = agreeing();

    row.seq_lost = 2;
    sums.redis.used_seq = 9;
    cr_assert_eq(drift_find(&sums, drifts), 0);
    cr_assert_not(drift_is_behind(&sums));
    sums.redis.used_seq = 8;
    sums.redis.used = 1;
    cr_assert_eq(drift_find(&sums, drifts), 0);
    cr_assert(drift_is_behind(&sums));
    sums.redis.used_seq = 10;
    expect(&sums, DRIFT_REDIS, 10, 9, 1);
}

Test(drift, another_lease_is_not_compared)
{
    struct drift_sums sums = agreeing();

    sums.redis.lease_id = 2;
    sums.redis.spent = 999;
    cr_assert_eq(drift_find(&sums, drifts), 0);
    sums.redis.spent = 0;
    cr_assert_not(drift_is_behind(&sums));
}

Test(drift, large_is_more_than_a_thousandth_of_the_cap)
{
    struct drift drift = {.units = 5};
    struct stops stops = {.cap = 5000};

    cr_assert_not(drift_is_large(&drift, &stops));
    drift.units = 6;
    cr_assert(drift_is_large(&drift, &stops));
    drift.units = 1;
    stops.unlimited = true;
    cr_assert(drift_is_large(&drift, &stops));
}

Test(drift, numbers_that_no_row_should_have_do_no_harm)
{
    struct drift_sums sums = agreeing();

    sums.leases = INT64_MIN;
    row.leased = INT64_MAX;
    expect(&sums, DRIFT_LEASES, INT64_MAX, INT64_MIN, INT64_MAX);
}
