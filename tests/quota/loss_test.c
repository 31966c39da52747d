#include "quota/loss.h"

#include "base/amount.h"
#include "quota/lease.h"

#include <criterion/criterion.h>

enum { LEASE = 7 * LEASE_IDS_PER_EPOCH };

static struct arena arena;
static struct book book;
static struct quota_row quota;
static struct lease_row aside;
static struct loss_seen seen;
static struct loss loss;
static struct lease_row old;

/* The row has 3 entries and 30 units; Redis shows the same. */
static void set_up(void)
{
    arena_init(&arena, 1024, 65536);
    quota = (struct quota_row){
        .tenant_id = 1,
        .ref = {2, 0},
        .period_end_ms = PERIOD_END_NEVER,
        .stops = {.soft = 90, .amount = 100, .cap = 100},
        .committed = 30,
        .leased = 30,
        .lease_id = LEASE,
        .granted = 60,
        .spent = 30,
        .lease_deadline_ms = 1000,
        .ledger_seq = 3,
        .state = QUOTA_OPEN,
        .epoch = 7,
    };
    book = (struct book){.arena = &arena, .quotas = &quota, .quotas_count = 1};
    seen = (struct loss_seen){.tenant_id = 1,
                              .ref = {2, 0},
                              .lease_id = LEASE,
                              .granted = 60,
                              .spent = 30,
                              .lease_deadline_ms = 1000,
                              .used = 30,
                              .used_seq = 3};
}

static void tear_down(void)
{
    arena_done(&arena);
}

TestSuite(loss, .init = set_up, .fini = tear_down);

static bool proven(void)
{
    return loss_prove(&book, &quota, &seen, 0, &loss);
}

Test(loss, the_same_and_less_prove_nothing)
{
    cr_assert_not(loss_suspect(&quota, &seen));
    cr_assert_not(proven());
    seen.used_seq = 2; /* a notify is on its way, or Redis forgot */
    seen.used = 20;
    seen.spent = 20;
    cr_assert_not(loss_suspect(&quota, &seen));
    cr_assert_not(proven());
    seen.lease_id = LEASE - 1; /* a lease that the row has closed */
    seen.spent = 60;
    cr_assert_not(proven());
}

Test(loss, entries_that_the_row_does_not_count_are_lost_with_their_units)
{
    seen.used_seq = 5;
    seen.used = 47;
    seen.spent = 42;
    cr_assert(loss_suspect(&quota, &seen));
    cr_assert(proven());
    cr_assert_eq(loss.units, 17);
    cr_assert_eq(loss.spent, 12);
    cr_assert_eq(loss.lease_id, LEASE);
    cr_assert_eq(loss.seen_seq - loss.seq, 2);
}

Test(loss, what_was_accepted_is_not_found_again)
{
    seen.used_seq = 5;
    seen.used = 47;
    cr_assert_not(loss_prove(&book, &quota, &seen, 5, &loss));
    seen.used_seq = 6;
    cr_assert(loss_prove(&book, &quota, &seen, 5, &loss));
}

Test(loss, a_lease_that_is_set_aside_is_told_by_its_own_row)
{
    aside = (struct lease_row){
        .tenant_id = 1, .ref = {2, 0}, .lease_id = LEASE - 1, .granted = 20, .spent = 5};
    book.leases = &aside;
    book.leases_count = 1;
    quota.leased += 15;
    seen.lease_id = LEASE - 1;
    seen.granted = 20;
    seen.spent = 5;
    cr_assert_not(proven());
    seen.spent = 9;
    cr_assert(proven());
    cr_assert_eq(loss.spent, 4);
    cr_assert_eq(loss.lease_id, LEASE - 1);
}

Test(loss, numbers_that_cannot_be_prove_nothing)
{
    seen.used_seq = 5;
    seen.spent = 61; /* more than was granted */
    cr_assert_not(proven());
    cr_assert_not(loss_adopt(&quota, &seen, &old));
}

Test(loss, what_was_lent_and_forgotten_counts_again)
{
    seen.granted = 90;
    seen.returned = 10;
    seen.lease_deadline_ms = 2000;
    cr_assert(loss_adopt(&quota, &seen, &old));
    cr_assert_eq(old.lease_id, 0);
    cr_assert_eq(quota.granted, 90);
    cr_assert_eq(quota.returned, 10);
    cr_assert_eq(quota.spent, 30);
    cr_assert_eq(quota.leased, 50);
    cr_assert_eq(quota.lease_deadline_ms, 2000);
    cr_assert(book_balances(&book, &quota));
    cr_assert_not(loss_adopt(&quota, &seen, &old), "twice is once");
}

/* A hold was extended to there; without its lease it would lose its units when Redis is lost next. */
Test(loss, a_later_deadline_is_that_of_a_push_which_was_forgotten)
{
    seen.lease_deadline_ms = 2000;
    cr_assert(loss_suspect(&quota, &seen));
    cr_assert_not(proven(), "nobody was told of it");
    cr_assert(loss_adopt(&quota, &seen, &old));
    cr_assert_eq(quota.lease_deadline_ms, 2000);
    cr_assert_eq(quota.granted, 60);
    cr_assert_eq(quota.leased, 30);
    cr_assert_not(loss_suspect(&quota, &seen));
}

Test(loss, a_deadline_of_before_something_came_back_stays_as_the_row_has_it)
{
    quota.returned = 5;
    quota.leased -= 5;
    seen.lease_deadline_ms = 2000;
    cr_assert_not(loss_suspect(&quota, &seen));
    cr_assert_not(loss_adopt(&quota, &seen, &old));
}

Test(loss, what_waits_grows_by_what_is_new_and_by_nothing_else)
{
    const struct loss before = {.tenant_id = 1, .ref = {2, 0}, .lease_id = LEASE, .spent = 12,
                                .units = 17, .seq = 3, .seen_seq = 5};

    loss = before;
    cr_assert_not(loss_grown(&before, &loss), "the same");
    loss.seen_seq = 7; /* the row went back behind the acceptance, and what followed it */
    loss.units = 25;
    loss.spent = 20;
    cr_assert(loss_grown(&before, &loss));
    cr_assert_eq(loss.units, 25);
    cr_assert_eq(loss.spent, 20);
    cr_assert_eq(loss.seen_seq, 7);
    loss = (struct loss){.tenant_id = 1, .ref = {2, 0}, .units = 2, .seq = 4, .seen_seq = 6};
    cr_assert(loss_grown(&before, &loss));
    cr_assert_eq(loss.units, 17, "never less than before");
    cr_assert_eq(loss.spent, 12);
    cr_assert_eq(loss.lease_id, LEASE);
    cr_assert_eq(loss.seq, 3);
}

Test(loss, a_later_lease_takes_the_place_of_the_row_s)
{
    seen.lease_id = LEASE + 1;
    seen.granted = 40;
    seen.spent = 8;
    seen.returned = 2;
    cr_assert(loss_adopt(&quota, &seen, &old));
    cr_assert_eq(old.lease_id, LEASE);
    cr_assert_eq(old.granted - old.returned - old.spent, 30);
    cr_assert_eq(quota.lease_id, LEASE + 1);
    cr_assert_eq(quota.spent, 0);
    cr_assert_eq(quota.leased, 30 + 38);
    book.leases = &old;
    book.leases_count = 1;
    cr_assert(book_balances(&book, &quota));
}

Test(loss, accepted_units_come_from_their_lease_and_the_rest_is_debt_where_it_does_not_fit)
{
    struct booking booking;

    loss = (struct loss){.tenant_id = 1, .ref = {2, 0}, .lease_id = LEASE, .spent = 12, .units = 60};
    booking = loss_book(&book, &quota, &loss);
    cr_assert_eq(booking.spend, 12);
    cr_assert_eq(booking.forced, 48);
    cr_assert_eq(booking.debt, 8); /* 100 - 30 committed - 30 leased = 40 fit */
    book_apply(&booking);
    cr_assert_eq(quota.committed, 30 + 52);
    cr_assert_eq(quota.debt, 8);
    cr_assert_eq(quota.leased, 18);
    cr_assert_eq(quota.ledger_seq, 4);
    cr_assert(book_balances(&book, &quota));
    cr_assert_leq(quota.committed + quota.leased, quota.stops.cap);
}

Test(loss, a_lease_that_is_gone_gives_nothing)
{
    struct booking booking;

    loss = (struct loss){.tenant_id = 1, .ref = {2, 0}, .lease_id = LEASE - 1, .spent = 12, .units = 12};
    booking = loss_book(&book, &quota, &loss);
    cr_assert_eq(booking.spend, 0);
    cr_assert_eq(booking.forced, 12);
    cr_assert_eq(booking.debt, 0);
    book_apply(&booking);
    cr_assert(book_balances(&book, &quota));
}
