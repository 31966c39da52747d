/* Tenants with a row that somebody keeps locked: they wait alone, and nobody waits for them. */
#include "base/clock.h"
#include "tests/ledger/committing.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STUCK = 100, SAMPLES = 200 };

static struct arena arena;
static struct committer *committer;
static struct database *db;
static struct support_tenant stuck[STUCK];
static struct plan *stuck_plans[STUCK];
static struct committing waiting[STUCK];
static int64_t next_seq = 1;
static bool locked;

static void start(void)
{
    arena_init(&arena, 1 << 16, 64 << 20);
    db = support_open();
    committer = committing_committer();
}

static void stop(void)
{
    committer_destroy(committer);
    database_destroy(db);
    arena_done(&arena);
}

TestSuite(committer_stuck, .init = start, .fini = stop);

static void submit(struct committing *c, const struct support_tenant *tenant, struct plan *plan)
{
    char job_id[32];
    int64_t seq = next_seq++;

    snprintf(job_id, sizeof(job_id), "job-%lld", (long long)seq);
    committing_init(c, tenant, plan, SETTLE_COMMIT, job_id,
                    support_hold(&arena, tenant, seq, 2, support_now_ms() + 60000));
    committing_submit(c, committer);
}

/* Commits one job and waits for it; how long that took. */
static int64_t commit_one(const struct support_tenant *tenant, struct plan *plan)
{
    struct committing c;
    int64_t from_us = clock_mono_us(clock_real());

    submit(&c, tenant, plan);
    committing_wait(&c);
    cr_assert_eq(c.item.status, STATUS_OK, "%s", status_name(c.item.status));
    cr_assert_eq(c.item.settle.outcome, SETTLE_COMMITTED);
    committing_done(&c);
    return clock_mono_us(clock_real()) - from_us;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void lock_more(const struct support_tenant *tenant)
{
    static const struct statement lock = {
        "test_lock_more", "SELECT 1 FROM quota WHERE tenant_id = $1::bigint FOR UPDATE"};
    struct sql_params params;

    sql_params_begin(&params, &arena);
    sql_add_i64(&params, tenant->tenant_id);
    cr_assert_eq(database_run(db, &lock, &params, NULL), STATUS_OK);
}

/* The time that 99 of 100 Commits of the tenant stay under. */
static int64_t p99_us(const struct support_tenant *tenant, struct plan *plan)
{
    int64_t samples[SAMPLES];

    for (int i = 0; i < SAMPLES; i++) {
        samples[i] = commit_one(tenant, plan);
        if (locked && i % 20 == 0)
            lock_more(&stuck[0]); /* a transaction that idles for 2 s is ended */
    }
    qsort(samples, SAMPLES, sizeof(samples[0]), by_size);
    return samples[SAMPLES * 99 / 100 - 1];
}

static void make_stuck(int count)
{
    for (int i = 0; i < count; i++) {
        char name[32];

        snprintf(name, sizeof(name), "stuck-%d-%d", count, i);
        stuck[i] = support_tenant_make(name, 1000000, 1000000, 1000000);
        stuck_plans[i] = support_plan(&stuck[i]);
    }
}

static void lock_all(int count)
{
    cr_assert_eq(database_begin(db), STATUS_OK);
    for (int i = 0; i < count; i++)
        lock_more(&stuck[i]);
    locked = true;
}

static void drop_stuck(int count)
{
    for (int i = 0; i < count; i++)
        plan_unref(stuck_plans[i]);
}

Test(committer_stuck, many_stuck_tenants_cost_the_others_nothing)
{
    struct support_tenant tenant = support_tenant_make("beside-many", 1000000, 1000000, 1000000);
    struct plan *plan = support_plan(&tenant);
    int64_t quiet_us, beside_us;

    make_stuck(STUCK);
    (void)p99_us(&tenant, plan);
    quiet_us = p99_us(&tenant, plan);
    lock_all(STUCK);
    for (int i = 0; i < STUCK; i++)
        submit(&waiting[i], &stuck[i], stuck_plans[i]);
    (void)commit_one(&tenant, plan); /* by then it is known who is stuck, or will be in a moment */
    (void)commit_one(&tenant, plan);
    beside_us = p99_us(&tenant, plan);
    for (int i = 0; i < STUCK; i++)
        cr_assert_not(waiting[i].done, "tenant %d is locked", i);
    printf("p99 of a Commit: quiet %lld us, beside %d stuck tenants %lld us\n",
           (long long)quiet_us, STUCK, (long long)beside_us);
    cr_assert_leq(beside_us, 3 * (quiet_us > 5000 ? quiet_us : 5000));
    cr_assert_eq(database_commit(db), STATUS_OK);
    for (int i = 0; i < STUCK; i++) {
        committing_wait(&waiting[i]);
        cr_assert_eq(waiting[i].item.status, STATUS_OK);
        cr_assert_eq(waiting[i].item.settle.outcome, SETTLE_COMMITTED);
        cr_assert_eq(waiting[i].dones, 1);
        cr_assert_eq(support_of_quota(&stuck[i], "committed"), 2);
        committing_done(&waiting[i]);
    }
    drop_stuck(STUCK);
    plan_unref(plan);
}

/* Each is found by itself, while the first ones are known already. */
Test(committer_stuck, tenants_that_get_stuck_one_after_another_wait_alone_as_well)
{
    struct support_tenant tenant = support_tenant_make("beside-some", 1000000, 1000000, 1000000);
    struct plan *plan = support_plan(&tenant);

    make_stuck(10);
    lock_all(10);
    for (int i = 0; i < 10; i++) {
        submit(&waiting[i], &stuck[i], stuck_plans[i]);
        for (int k = 0; k < 5; k++)
            (void)commit_one(&tenant, plan);
    }
    for (int i = 0; i < 10; i++)
        cr_assert_not(waiting[i].done, "tenant %d is locked", i);
    cr_assert_eq(database_commit(db), STATUS_OK);
    for (int i = 0; i < 10; i++) {
        committing_wait(&waiting[i]);
        cr_assert_eq(waiting[i].item.status, STATUS_OK);
        committing_done(&waiting[i]);
    }
    drop_stuck(10);
    plan_unref(plan);
}

Test(committer_stuck, a_deadline_holds_behind_a_locked_row)
{
    struct support_tenant tenant = support_tenant_make("deadline", 1000, 1000, 1000);
    struct plan *plan = support_plan(&tenant);
    struct committing c;

    (void)commit_one(&tenant, plan);
    committing_lock_quota(db, &tenant);
    committing_init(&c, &tenant, plan, SETTLE_COMMIT, "late",
                    support_hold(&arena, &tenant, 1000000, 2, support_now_ms() + 60000));
    c.item.give_up_us = clock_mono_us(clock_real()) + 300 * 1000;
    committing_submit(&c, committer);
    committing_wait(&c);
    cr_assert_eq(c.item.status, STATUS_TIMEOUT);
    cr_assert_eq(c.dones, 1);
    cr_assert_eq(database_commit(db), STATUS_OK);
    cr_assert_eq(support_ledger_rows(&tenant), 1);
    committing_done(&c);
    plan_unref(plan);
}

/* The tenant is stuck, and one of its items is one that the database does not take. */
Test(committer_stuck, a_bad_item_of_a_stuck_tenant_fails_alone)
{
    struct support_tenant tenant = support_tenant_make("stuck-poison", 1000, 1000, 1000);
    struct support_tenant other = support_tenant_make("beside-poison", 1000, 1000, 1000);
    struct plan *plan = support_plan(&tenant), *other_plan = support_plan(&other);
    struct committing poison;
    char long_id[301];

    memset(long_id, 'x', sizeof(long_id) - 1);
    long_id[sizeof(long_id) - 1] = '\0';
    committing_lock_quota(db, &tenant);
    for (int i = 0; i < 9; i++)
        submit(&waiting[i], &tenant, plan);
    committing_init(&poison, &tenant, plan, SETTLE_COMMIT, long_id,
                    support_hold(&arena, &tenant, 1000000, 2, support_now_ms() + 60000));
    committing_submit(&poison, committer);
    for (int i = 0; i < 50; i++)
        (void)commit_one(&other, other_plan);
    cr_assert_eq(database_commit(db), STATUS_OK);
    committing_wait(&poison);
    cr_assert_eq(poison.item.status, STATUS_INVALID);
    for (int i = 0; i < 9; i++) {
        committing_wait(&waiting[i]);
        cr_assert_eq(waiting[i].item.status, STATUS_OK);
        committing_done(&waiting[i]);
    }
    committing_done(&poison);
    plan_unref(plan);
    plan_unref(other_plan);
}
