#include "quota/repair.h"

#include "quota/lease.h"
#include "quota/times.h"

#include <criterion/criterion.h>
#include <string.h>
#include <stdlib.h>

enum { EPOCH = 7, NOW_MS = 1000000 };
#define LEASE ((int64_t)EPOCH * LEASE_IDS_PER_EPOCH)

static struct quota_row row, seen_row;
static struct lease_row old;
static struct arena arena;
static struct book book;
static struct repair_seen seen;
static struct repaired repaired;

/* Committed 40 and 2 of debt in 7 entries; lent 10 now and 6 before; 5 held in Postgres; Redis knows all. */
static void agree(void)
{
    row = (struct quota_row){.tenant_id = 1,
                             .ref = {.limit_id = 2},
                             .committed = 40,
                             .debt = 2,
                             .pg_held = 5,
                             .leased = 16,
                             .lease_id = LEASE + 3,
                             .granted = 30,
                             .returned = 4,
                             .spent = 16,
                             .lease_deadline_ms = NOW_MS + 5000,
                             .ledger_seq = 7,
                             .epoch = EPOCH,
                             .state = QUOTA_OPEN,
                             .stops = {.amount = 5000, .cap = 5000, .soft = 4500}};
    old = (struct lease_row){.tenant_id = 1,
                             .ref = {.limit_id = 2},
                             .lease_id = LEASE + 1,
                             .granted = 9,
                             .spent = 3,
                             .deadline_ms = NOW_MS + 1000};
    arena_init(&arena, 4096, 1 << 20);
    book = (struct book){.arena = &arena,
                         .now_ms = NOW_MS,
                         .quotas = &row,
                         .quotas_count = 1,
                         .leases = &old,
                         .leases_count = 1};
    seen = (struct repair_seen){.sums = {.row = &seen_row,
                                         .holds_known = true,
                                         .holds = 5,
                                         .entries_known = true,
                                         .entries = 7,
                                         .amount = 40,
                                         .debt = 2,
                                         .redis = {.known = true,
                                                   .lease_id = LEASE + 3,
                                                   .granted = 30,
                                                   .returned = 4,
                                                   .spent = 16,
                                                   .used = 42,
                                                   .debt = 2,
                                                   .used_seq = 7}},
                                .whole = true,
                                .seal = SEAL_PROVES,
                                .unsealed_sound = true};
}

/* The row is as it was seen, but for what was committed in between. */
static void run(int64_t commits)
{
    seen_row = row;
    seen.sums.leases = row.granted - row.returned - row.spent + old.granted - old.spent;
    row.committed += commits;
    row.spent += commits;
    row.leased -= commits;
    row.ledger_seq += commits;
    repair_quota(&book, &row, &seen, &repaired);
}

static int64_t leases_now(void)
{
    int64_t sum = row.granted - row.returned - row.spent + old.granted - old.returned - old.spent;

    for (size_t i = 0; i < repaired.begun_count; i++)
        sum += repaired.begun[i].granted - repaired.begun[i].returned - repaired.begun[i].spent;
    return sum;
}

static void expect_done(enum drift_kind kind)
{
    cr_assert_eq(repaired.count, 1);
    cr_assert_eq(repaired.repairs[0].drift.kind, kind);
    cr_assert(repaired.repairs[0].done, "%s", repaired.repairs[0].what);
    cr_assert(row.dirty);
    cr_assert_eq(row.leased, leases_now());
}

static void expect_refused(enum drift_kind kind)
{
    struct quota_row before = seen_row;

    cr_assert_eq(repaired.count, 1);
    cr_assert_eq(repaired.repairs[0].drift.kind, kind);
    cr_assert_not(repaired.repairs[0].done, "%s", repaired.repairs[0].what);
    cr_assert_eq(repaired.begun_count, 0);
    cr_assert_not(row.dirty);
    cr_assert_eq(row.committed, before.committed);
    cr_assert_eq(row.leased, before.leased);
    cr_assert_eq(row.pg_held, before.pg_held);
    cr_assert_null(book.events);
}

Test(repair, nothing_is_done_where_all_agree, .init = agree)
{
    run(0);
    cr_assert_eq(repaired.count, 0);
    cr_assert_not(row.dirty);
}

Test(repair, leased_that_is_too_small_rises, .init = agree)
{
    row.leased -= 6;
    run(0);
    expect_done(DRIFT_LEASES);
    cr_assert_eq(row.leased, 16);
    cr_assert_eq(repaired.begun_count, 0);
}

Test(repair, spent_that_was_lowered_follows_redis, .init = agree)
{
    row.spent -= 6;
    run(0);
    cr_assert_eq(repaired.count, 2, "Redis has spent more, too");
    cr_assert(repaired.repairs[0].done && repaired.repairs[1].done);
    cr_assert_eq(row.spent, 16);
    cr_assert_eq(row.leased, 16);
    cr_assert_eq(repaired.begun_count, 0);
}

Test(repair, granted_that_was_lowered_follows_redis, .init = agree)
{
    row.granted -= 6;
    run(0);
    cr_assert_eq(repaired.count, 2);
    cr_assert(repaired.repairs[0].done && repaired.repairs[1].done);
    cr_assert_eq(row.granted, 30);
    cr_assert_eq(row.leased, 16);
    cr_assert_eq(repaired.begun_count, 0);
}

Test(repair, what_no_lease_accounts_for_is_set_aside_and_not_freed, .init = agree)
{
    row.leased += 50;
    run(0);
    expect_done(DRIFT_LEASES);
    cr_assert_eq(row.leased, 66, "all of it stays counted");
    cr_assert_eq(repaired.begun_count, 1);
    cr_assert_eq(repaired.begun[0].lease_id, LEASE + 3);
    cr_assert_eq(repaired.begun[0].granted, 80);
    cr_assert_eq(repaired.begun[0].deadline_ms, NOW_MS + LEASE_MAX_MS);
    cr_assert_eq(row.lease_id, LEASE + 4);
    cr_assert_eq(row.granted, 0);
}

Test(repair, so_is_what_a_row_without_a_lease_says, .init = agree)
{
    row.lease_id = row.granted = row.returned = row.spent = 0;
    row.leased = 56;
    seen.sums.redis.known = false;
    run(0);
    expect_done(DRIFT_LEASES);
    cr_assert_eq(row.leased, 56);
    cr_assert_eq(repaired.begun_count, 1);
    cr_assert_eq(repaired.begun[0].granted, 50);
}

Test(repair, what_redis_was_granted_counts_before_anything_else, .init = agree)
{
    seen.sums.redis.granted = 90;
    run(0);
    expect_done(DRIFT_REDIS);
    cr_assert_eq(row.leased, 76);
    cr_assert_eq(repaired.begun_count, 1);
    cr_assert_eq(repaired.begun[0].granted, 90);
    cr_assert_geq(repaired.begun[0].deadline_ms, NOW_MS + LEASE_MAX_MS);
}

Test(repair, spent_that_was_raised_in_redis_ends_its_lease, .init = agree)
{
    seen.sums.redis.spent = 20;
    run(3);
    expect_done(DRIFT_REDIS);
    cr_assert_eq(row.leased, 13);
    cr_assert_eq(repaired.begun_count, 1);
    cr_assert_eq(repaired.begun[0].spent, 19);
}

Test(repair, redis_that_has_heard_of_more_entries_is_refused, .init = agree)
{
    seen.sums.redis.used_seq = 9;
    seen.sums.redis.spent = 20;
    run(0);
    expect_refused(DRIFT_REDIS);
}

Test(repair, pg_held_that_is_too_small_rises, .init = agree)
{
    row.pg_held = 1;
    run(2);
    expect_done(DRIFT_HOLDS);
    cr_assert_eq(row.pg_held, 5);
    cr_assert_eq(repaired.begun_count, 0);
}

Test(repair, pg_held_that_no_hold_accounts_for_is_set_aside, .init = agree)
{
    row.pg_held = 25;
    run(0);
    expect_done(DRIFT_HOLDS);
    cr_assert_eq(row.pg_held, 5);
    cr_assert_eq(row.leased, 36);
    cr_assert_eq(repaired.begun_count, 2);
    cr_assert_eq(repaired.begun[1].granted, 20);
    cr_assert_eq(repaired.begun[1].deadline_ms, NOW_MS + LIFETIME_MAX_MS);
}

Test(repair, committed_becomes_what_the_entries_add_up_to, .init = agree)
{
    row.committed = 43;
    seen.sums.redis.known = false;
    run(4);
    expect_done(DRIFT_LEDGER);
    cr_assert_eq(row.committed, 44, "and what was committed in between stays");
    row.dirty = false;
    agree();
    row.debt = 0;
    seen.sums.redis.known = false;
    run(0);
    expect_done(DRIFT_LEDGER);
    cr_assert_eq(row.debt, 2);
}

Test(repair, crossings_that_it_causes_are_told, .init = agree)
{
    row.committed = 4800;
    row.level = 1;
    seen.sums.redis.known = false;
    run(0);
    expect_done(DRIFT_LEDGER);
    cr_assert_not_null(book.events);
}

Test(repair, redis_that_learned_the_wrong_use_begins_again, .init = agree)
{
    row.committed = 43;
    seen.sums.redis.used = 45;
    run(0);
    expect_done(DRIFT_LEDGER);
    cr_assert_eq(repaired.begun_count, 1);
    agree();
    row.committed = 43;
    run(0);
    cr_assert_eq(repaired.count, 2, "Redis shows the right use, which the row will have again");
    cr_assert(repaired.repairs[0].done && repaired.repairs[1].done);
    cr_assert_eq(repaired.begun_count, 0);
}

/* An accepted loss: Redis has higher numbers (book.h). One that waits: to accept it is the repair. */
Test(repair, redis_after_a_loss_is_compared_at_its_own_numbers, .init = agree)
{
    row.seq_lost = 3;
    seen.sums.redis.used_seq = 10;
    run(0);
    cr_assert_eq(repaired.count, 0);
    agree();
    row.seq_lost = 3;
    row.committed = 43;
    seen.sums.redis.used_seq = 10;
    seen.sums.redis.used = 45;
    run(0);
    expect_done(DRIFT_LEDGER);
    cr_assert_eq(repaired.begun_count, 1, "Redis has learned the wrong use");
    agree();
    seen.sums.redis.used_seq = 9;
    seen.sums.loss_waits = true;
    run(0);
    cr_assert_eq(repaired.count, 1);
    cr_assert_not(repaired.repairs[0].done);
    cr_assert_not_null(strstr(repaired.repairs[0].what, "AcceptLoss"));
}

static void take_seal(enum repair_seal seal, int64_t committed)
{
    agree();
    row.committed = committed;
    seen.sums.redis.known = false;
    seen.seal = seal;
    run(0);
}

Test(repair, committed_falls_only_if_the_seal_proves_it)
{
    take_seal(SEAL_ABSENT, 43);
    expect_refused(DRIFT_LEDGER);
    take_seal(SEAL_ABSENT, 37);
    expect_done(DRIFT_LEDGER);
    take_seal(SEAL_REFUTES, 43);
    expect_refused(DRIFT_LEDGER);
    take_seal(SEAL_REFUTES, 37);
    expect_refused(DRIFT_LEDGER);
}

Test(repair, entries_that_contradict_themselves_prove_nothing, .init = agree)
{
    row.committed = 43;
    seen.sums.redis.known = false;
    seen.unsealed = 2;
    seen.unsealed_sound = false;
    run(0);
    expect_refused(DRIFT_LEDGER);
}

Test(repair, entries_that_are_missing_are_refused, .init = agree)
{
    seen.sums.redis.known = false;
    seen.sums.entries = 6;
    seen.sums.amount = 33;
    run(0);
    expect_refused(DRIFT_ENTRIES);
    agree();
    seen.sums.redis.known = false;
    seen.sums.entries = 9;
    seen.whole = false;
    run(0);
    expect_refused(DRIFT_ENTRIES);
}

Test(repair, a_row_that_numbered_too_few_entries_follows_them, .init = agree)
{
    row.ledger_seq = 5;
    row.committed = 20;
    seen.sums.redis.known = false;
    run(0);
    expect_done(DRIFT_ENTRIES);
    cr_assert_eq(row.ledger_seq, 7);
    cr_assert_eq(row.committed, 40);
}

Test(repair, a_shard_without_leases_is_refused, .init = agree)
{
    row.leased += 50;
    row.epoch = 0;
    run(0);
    expect_refused(DRIFT_LEASES);
}

Test(repair, numbers_that_would_leave_the_range_are_refused, .init = agree)
{
    seen.sums.holds = INT64_C(9007199254740991);
    run(0);
    expect_refused(DRIFT_HOLDS);
}

Test(repair, nothing_is_put_upon_leases_that_cannot_be, .init = agree)
{
    old.granted = -50;
    row.pg_held = 1;
    run(0);
    cr_assert_eq(repaired.count, 2);
    cr_assert_not(repaired.repairs[0].done || repaired.repairs[1].done);
    cr_assert_not(row.dirty);
}

/* Whatever was done to the numbers: afterwards the row is the sum of its leases, and nothing was freed. */
Test(repair, any_damage)
{
    srand(7);
    for (int i = 0; i < 20000; i++) {
        int64_t *numbers[] = {&row.leased,  &row.granted, &row.spent,
                              &row.pg_held, &old.granted, &seen.sums.redis.granted,
                              &seen.sums.redis.spent};
        int64_t held;

        agree();
        for (int n = rand() % 3; n >= 0; n--)
            *numbers[rand() % 7] += rand() % 21 - 5;
        if (row.spent + row.returned > row.granted || old.spent > old.granted || row.leased < 0 ||
            row.pg_held < 0)
            continue;
        held = row.leased + row.pg_held;
        run(0);
        for (size_t k = 0; k < repaired.count; k++)
            cr_assert(repaired.repairs[k].done, "%s", repaired.repairs[k].what);
        cr_assert_eq(row.leased, leases_now());
        cr_assert_eq(row.pg_held, 5);
        cr_assert_geq(row.leased + row.pg_held, held, "freed: %ld of %ld",
                      (long)(held - row.leased - row.pg_held), (long)held);
    }
}
