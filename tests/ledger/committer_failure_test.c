/* The committer when something goes wrong: items that are refused, rows that stay locked, cuts. */
#include "base/clock.h"
#include "base/fault.h"
#include "tests/ledger/committing.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static struct arena arena;
static struct committer *committer;
static struct database *db;

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

TestSuite(committer_failure, .init = start, .fini = stop);

static struct hold *live_hold(const struct support_tenant *tenant, int64_t seq, int64_t units)
{
    return support_hold(&arena, tenant, seq, units, support_now_ms() + 60000);
}

Test(committer_failure, an_item_that_the_database_refuses_fails_alone)
{
    enum { OTHERS = 63 };
    struct support_tenant tenant = support_tenant_make("poison", 1000, 1000, 1000);
    struct plan *plan = support_plan(&tenant);
    static struct committing others[OTHERS], poison;
    char long_id[301];

    memset(long_id, 'x', sizeof(long_id) - 1);
    long_id[sizeof(long_id) - 1] = '\0';
    /* All of them are to be in one batch: the first one waits for this lock. */
    committing_lock_quota(db, &tenant);
    for (int i = 0; i < OTHERS; i++) {
        char job_id[16];

        snprintf(job_id, sizeof(job_id), "job-%d", i);
        committing_init(&others[i], &tenant, plan, SETTLE_COMMIT, job_id,
                        live_hold(&tenant, i + 1, 2));
        committing_submit(&others[i], committer);
        if (i == OTHERS / 2) {
            committing_init(&poison, &tenant, plan, SETTLE_COMMIT, long_id,
                            live_hold(&tenant, 1000, 2));
            committing_submit(&poison, committer);
        }
    }
    cr_assert_eq(database_commit(db), STATUS_OK);
    committing_wait(&poison);
    cr_assert_eq(poison.item.status, STATUS_INVALID);
    for (int i = 0; i < OTHERS; i++) {
        committing_wait(&others[i]);
        cr_assert_eq(others[i].item.status, STATUS_OK, "%d: %s", i,
                     status_name(others[i].item.status));
        cr_assert_eq(others[i].item.settle.outcome, SETTLE_COMMITTED);
        committing_done(&others[i]);
    }
    cr_assert_eq(support_of_quota(&tenant, "committed"), OTHERS * 2);
    support_check_quotas(&tenant);
    committing_done(&poison);
    plan_unref(plan);
}

/* In one batch with it are others that only their expired holds can decide: none of them runs again. */
Test(committer_failure, an_expired_hold_that_nobody_can_read_is_its_own_jobs_affair)
{
    enum { JOBS = 16, BAD = 5 };
    struct support_tenant tenant = support_tenant_make("unreadable", 1000, 1000, 1000);
    struct plan *plan = support_plan(&tenant);
    static struct committing jobs[JOBS];

    for (int i = 0; i < JOBS; i++) {
        struct hold *hold = support_hold(&arena, &tenant, i + 1, 2, support_now_ms() - 5000);

        fixture_sql_do("INSERT INTO expired_hold (tenant_id, job_id, epoch, hold_seq, hold,"
                       " deadline_ms, purge_after) VALUES (%" PRId64 ", 'job-%d', %" PRId64
                       ", %d, '%s', %" PRId64 ", 'infinity')",
                       tenant.tenant_id, i, hold->attempt.epoch, i + 1,
                       i == BAD ? "no hold" : hold_text(&arena, hold), hold->deadline_ms);
    }
    for (int i = 0; i < JOBS; i++) {
        char job_id[16];

        snprintf(job_id, sizeof(job_id), "job-%d", i);
        committing_init(&jobs[i], &tenant, plan, SETTLE_COMMIT, job_id, NULL);
        committing_submit(&jobs[i], committer);
    }
    for (int i = 0; i < JOBS; i++) {
        committing_wait(&jobs[i]);
        cr_assert_eq(jobs[i].item.status, i == BAD ? STATUS_CORRUPT : STATUS_OK, "%d: %s", i,
                     status_name(jobs[i].item.status));
        cr_assert(i == BAD || jobs[i].item.settle.outcome == SETTLE_COMMITTED);
        cr_assert_not(jobs[i].item.came_back, "%d ran again", i);
        committing_done(&jobs[i]);
    }
    cr_assert_eq(support_of_quota(&tenant, "committed"), (JOBS - 1) * 2);
    support_check_quotas(&tenant);
    plan_unref(plan);
}

Test(committer_failure, a_tenant_with_a_locked_row_keeps_nobody_waiting)
{
    enum { OTHERS = 40 };
    struct support_tenant stuck = support_tenant_make("stuck", 1000, 1000, 1000);
    struct support_tenant tenant = support_tenant_make("not-stuck", 1000, 1000, 1000);
    struct plan *stuck_plan = support_plan(&stuck);
    struct plan *plan = support_plan(&tenant);
    static struct committing waiting[4], others[OTHERS];
    char job_id[16];

    committing_lock_quota(db, &stuck);
    for (int i = 0; i < OTHERS; i++) {
        snprintf(job_id, sizeof(job_id), "job-%d", i);
        if (i % 10 == 0) {
            committing_init(&waiting[i / 10], &stuck, stuck_plan, SETTLE_COMMIT, job_id,
                            live_hold(&stuck, i + 1, 2));
            committing_submit(&waiting[i / 10], committer);
        }
        committing_init(&others[i], &tenant, plan, SETTLE_COMMIT, job_id,
                        live_hold(&tenant, i + 1, 2));
        committing_submit(&others[i], committer);
    }
    for (int i = 0; i < OTHERS; i++) {
        committing_wait(&others[i]);
        cr_assert_eq(others[i].item.status, STATUS_OK);
        committing_done(&others[i]);
    }
    for (int i = 0; i < 4; i++)
        cr_assert_not(waiting[i].done, "the row is still locked");
    cr_assert_eq(database_commit(db), STATUS_OK);
    for (int i = 0; i < 4; i++) {
        committing_wait(&waiting[i]);
        cr_assert_eq(waiting[i].item.status, STATUS_OK);
        cr_assert_eq(waiting[i].item.settle.outcome, SETTLE_COMMITTED);
        committing_done(&waiting[i]);
    }
    plan_unref(plan);
    plan_unref(stuck_plan);
}

static bool is_up(void *user)
{
    return committer_is_up(user);
}

Test(committer_failure, gives_an_item_back_when_its_time_is_over)
{
    struct support_tenant tenant = support_tenant_make("gives-up", 1000, 1000, 100);
    struct plan *plan = support_plan(&tenant);
    struct hold *hold = live_hold(&tenant, 1, 10);
    struct committing c;

    cr_assert(fixture_until(5000, is_up, committer));
    committing_init(&c, &tenant, plan, SETTLE_COMMIT, "job", hold);
    c.item.give_up_us = clock_mono_us(clock_real()) - 1;
    committing_submit(&c, committer);
    committing_wait(&c);
    cr_assert_eq(c.item.status, STATUS_TIMEOUT);
    cr_assert_eq(c.dones, 1);
    cr_assert_eq(support_ledger_rows(&tenant), 0);
    c.item.give_up_us += 30 * 1000 * 1000;
    cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
    cr_assert_not(c.item.settle.replayed);
    committing_done(&c);
    plan_unref(plan);
}

#if FAULTS_COMPILED_IN

/* A cut at the point, once: the item still answers as done for the first time, and is there once. */
static void cut_at(const char *point, const char *name)
{
    struct support_tenant tenant = support_tenant_make(name, 1000, 1000, 100);
    struct plan *plan = support_plan(&tenant);
    struct committing c;
    char setting[64];

    snprintf(setting, sizeof(setting), "%s=fail@1", point);
    cr_assert(fault_set(setting));
    committing_init(&c, &tenant, plan, SETTLE_COMMIT, "job", live_hold(&tenant, 1, 10));
    cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
    cr_assert_eq(fault_passages(point), 2);
    cr_assert_not(c.item.settle.replayed);
    cr_assert_eq(c.dones, 1);
    cr_assert_eq(support_ledger_rows(&tenant), 1);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 10);
    support_check_quotas(&tenant);
    fault_clear();
    committing_done(&c);
    plan_unref(plan);
}

Test(committer_failure, cut_before_commit_runs_again)
{
    cut_at("commit.before_commit", "cut-before");
}

Test(committer_failure, cut_after_commit_was_sent_finds_out)
{
    cut_at("commit.after_commit_sent", "cut-sent");
}

Test(committer_failure, cut_after_the_result_finds_its_record)
{
    cut_at("commit.after_commit", "cut-after");
}

Test(committer_failure, an_outcome_that_cannot_be_found_out_is_unknown)
{
    struct support_tenant tenant = support_tenant_make("unknown", 1000, 1000, 100);
    struct plan *plan = support_plan(&tenant);
    int64_t from_us = clock_mono_us(clock_real());
    struct committing c;

    cr_assert(fault_set("commit.after_commit=fail"));
    committing_init(&c, &tenant, plan, SETTLE_COMMIT, "job", live_hold(&tenant, 1, 10));
    c.item.give_up_us = clock_mono_us(clock_real()) + 500 * 1000;
    committing_submit(&c, committer);
    committing_wait(&c);
    cr_assert_eq(c.item.status, STATUS_UNKNOWN);
    cr_assert_lt(clock_mono_us(clock_real()) - from_us, 10 * 1000 * 1000, "its deadline is half a second");
    fault_clear();
    c.item.give_up_us += 30 * 1000 * 1000;
    cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
    cr_assert(c.item.settle.replayed);
    cr_assert_eq(support_ledger_rows(&tenant), 1);
    committing_done(&c);
    plan_unref(plan);
}

#endif
