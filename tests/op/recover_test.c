/* A shard that another server is making ready is waited for by those who have the time, and by no other. */
#include "op/recover.h"

#include "op/authority.h"
#include "quota/lease.h"
#include "tests/op/pretend.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { LOST = 1, FINE = 2, LATER = 3 };

static struct pretend *pretend;
static struct clock_manual clock_now;
static size_t pauses, asked, cleans;
static int64_t observed_epoch, above; /* what Redis shows; what the bump was to be above */
static int ready_after; /* so many looks at the row, or never: -1 */

static const char replid[] = "0123456789012345678901234567890123456789";

static void pause_some(int ms)
{
    pauses++;
    clock_manual_advance_us(&clock_now, ms * INT64_C(1000));
}

/* Another server has begun epoch 2 of the shard. */
static enum status read_row(struct database *db, const int *shards, size_t count,
                            struct shard_view *ret)
{
    (void)db;
    cr_assert_eq(count, 1);
    *ret = (struct shard_view){.shard = shards[0],
                               .epoch = 2,
                               .active = shards[0] == LATER || asked == (size_t)ready_after};
    snprintf(ret->replid, sizeof(ret->replid), "%s", replid);
    asked += shards[0] == LOST;
    return STATUS_OK;
}

static enum status lose_bump(struct database *db, const struct shard_view *from,
                             int64_t redis_epoch, const char *whose, const char *reason,
                             bool *ret_won, struct shard_view *ret)
{
    (void)db;
    above = redis_epoch;
    (void)whose;
    (void)reason;
    *ret_won = false;
    *ret = *from;
    return STATUS_OK;
}

static void renew(struct counter *counter)
{
    (void)counter;
}

static void answer(struct counter_call *call)
{
    call->observed = (struct counter_observed){.master = true, .epoch = observed_epoch};
    snprintf(call->observed.replid, sizeof(call->observed.replid), "%s", replid);
    if (call->kind == COUNTER_LOOKUP && call->view.shard != FINE && call->view.epoch == 1)
        call->guard = GUARD_LOST;
}

static const char *last_error(const struct counter *counter)
{
    (void)counter;
    return "BADCOUNT";
}

static void begin(void)
{
    pretend = pretend_begin();
    clock_manual_init(&clock_now, 1000000, 1000000);
    pretend->services.clock = &clock_now.clock;
    pretend->table.pause_ms = pause_some;
    pretend->table.authority_read = read_row;
    pretend->table.authority_bump = lose_bump;
    pretend->table.counter_renew = renew;
    pretend->table.counter_last_error = last_error;
    pretend->redis = answer;
    ready_after = -1;
    observed_epoch = 2;
    above = -1;
    cleans = 0;
}

static void end(void)
{
    pretend_end(pretend);
}

TestSuite(recover, .init = begin, .fini = end, .timeout = 30);

struct pair {
    struct counter_lookup lost, fine;
    enum recovery reason;
    bool all;
};

/* One call for each of the two shards, in one round trip. */
static struct pair run_pair(void)
{
    const struct counter_lookup look = {.call = {.kind = COUNTER_LOOKUP,
                                                 .arena = &pretend->stores->scratch}};
    struct pair pair = {.lost = look, .fine = look};
    struct counter_call *calls[] = {&pair.lost.call, &pair.fine.call};

    pair.lost.call.view.shard = LOST;
    pair.fine.call.view.shard = FINE;
    pair.all = stores_run(pretend->stores, calls, 2, &pair.reason);
    cr_assert(pair.fine.call.status == STATUS_OK && pair.fine.call.guard == GUARD_PASSED);
    return pair;
}

Test(recover, hurried_stores_do_not_wait_for_another_server)
{
    struct pair pair;

    pretend->stores->hurried = true;
    pair = run_pair();
    cr_assert_eq(pauses, 0, "%zu pauses, while calls of other shards are answered already", pauses);
    cr_assert_eq(asked, 1);
    cr_assert(!pair.all && pair.reason == RECOVERY_BUSY);
    cr_assert(stores_left_busy(pretend->stores, &pair.lost.call, pair.reason));
    cr_assert_not(stores_left_busy(pretend->stores, &pair.fine.call, pair.reason));
}

/* What stands in the way of one is not forgotten over another that is ready. */
Test(recover, a_shard_that_is_adopted_later_does_not_hide_one_that_is_waited_for)
{
    const struct counter_lookup look = {.call = {.kind = COUNTER_LOOKUP,
                                                 .arena = &pretend->stores->scratch}};
    struct counter_lookup lost = look, later = look;
    struct counter_call *calls[] = {&lost.call, &later.call};
    enum recovery reason;

    lost.call.view.shard = LOST;
    later.call.view.shard = LATER;
    pretend->stores->hurried = true;
    cr_assert_not(stores_run(pretend->stores, calls, 2, &reason));
    cr_assert(later.call.guard == GUARD_PASSED);
    cr_assert(stores_left_busy(pretend->stores, &lost.call, reason));
}

/* The lock is that of another shard, too. */
Test(recover, hurried_stores_do_not_wait_for_another_thread)
{
    pthread_mutex_t *lock = authority_recovery_lock(pretend->services.authority, LOST);
    struct pair pair;

    pretend->stores->hurried = true;
    cr_assert_eq(pthread_mutex_lock(lock), 0);
    pair = run_pair();
    cr_assert_eq(pthread_mutex_unlock(lock), 0);
    cr_assert_eq(asked, 0);
    cr_assert(stores_left_busy(pretend->stores, &pair.lost.call, pair.reason));
}

/* The script failed on what was lost; when it is to be cleaned, another has, and has ended the epoch. */
static void fail_and_be_late(struct counter_call *call)
{
    bool believed = call->view.epoch == 1;

    answer(call);
    if (call->kind == COUNTER_LOOKUP && believed && cleans == 0)
        call->status = STATUS_CORRUPT;
    if (call->kind == COUNTER_CLEAN) {
        cleans++;
        call->guard = GUARD_LOST;
    }
}

Test(recover, who_comes_to_clean_after_another_goes_on_in_the_next_epoch)
{
    struct counter_lookup look = {.call = {.kind = COUNTER_LOOKUP,
                                           .view.shard = LATER,
                                           .arena = &pretend->stores->scratch},
                                  .tenant_id = 7};
    struct counter_call *call = &look.call;
    enum recovery reason;

    pretend->redis = fail_and_be_late;
    cr_assert(stores_run(pretend->stores, &call, 1, &reason));
    cr_assert_eq(cleans, 1);
    cr_assert_eq(look.call.view.epoch, 2);
}

Test(recover, who_has_the_time_waits_until_the_shard_is_ready)
{
    struct pair pair;

    ready_after = 3;
    pair = run_pair();
    cr_assert(pair.all && pair.lost.call.guard == GUARD_PASSED);
    cr_assert_eq(pauses, 3);
}

/* Its row is inactive again in the epoch that is believed: the beat finds that once, and does not again. */
Test(recover, that_the_database_went_back_is_waited_for_by_everybody)
{
    bool before_known[SHARDS] = {false}, known[SHARDS] = {false};
    static struct shard_view before[SHARDS], rows[SHARDS];
    struct shard_view view;

    cr_assert(authority_believed(pretend->services.authority, LOST, &before[LOST]));
    before_known[LOST] = known[LOST] = true;
    rows[LOST] = before[LOST];
    rows[LOST].active = false;
    ready_after = 3;
    pretend->stores->hurried = true;
    recover_all(pretend->stores, before, before_known, rows, known);
    cr_assert_eq(pauses, 3);
    cr_assert(authority_get(pretend->services.authority, LOST, &view) && view.epoch == 2);
}

Test(recover, and_not_for_ever)
{
    struct pair pair = run_pair();

    cr_assert(!pair.all && pair.reason == RECOVERY_BUSY);
    cr_assert(pauses >= 70 && pauses <= 80, "%zu pauses of 20 ms", pauses);
    cr_assert_not(stores_left_busy(pretend->stores, &pair.lost.call, pair.reason));
}

/* Ids of leases would end with it; the one that Redis has by a database that forgot some is passed. */
Test(recover, an_epoch_in_redis_that_no_database_can_have_forgotten_is_not_followed)
{
    observed_epoch = 2 + LEASE_EPOCHS_AHEAD;
    (void)run_pair();
    cr_assert_eq(above, 2 + LEASE_EPOCHS_AHEAD);
    observed_epoch = 3 + LEASE_EPOCHS_AHEAD;
    (void)run_pair();
    cr_assert_eq(above, 0);
}
