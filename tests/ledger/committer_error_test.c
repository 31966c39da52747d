/* COMMIT answers an error: whether it has landed is asked for, never guessed. */
#include "base/clock.h"
#include "base/fault.h"
#include "base/stop.h"
#include "tests/ledger/committing.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>

static struct arena arena;
static struct committer *committer;

static void start(void)
{
    arena_init(&arena, 1 << 16, 64 << 20);
    database_destroy(support_open());
    committer = committing_committer();
}

static void stop(void)
{
    committer_destroy(committer);
    fault_clear();
    arena_done(&arena);
}

TestSuite(committer_error, .init = start, .fini = stop);

static struct hold *live_hold(const struct support_tenant *tenant, int64_t seq, int64_t units)
{
    return support_hold(&arena, tenant, seq, units, support_now_ms() + 60000);
}

/* It has landed, and what came back was an error. */
Test(committer_error, a_commit_that_landed_beside_an_error_is_answered_as_done)
{
    struct support_tenant tenant = support_tenant_make("error-landed", 1000, 1000, 1000);
    struct plan *plan = support_plan(&tenant);
    struct committing commit, release;

    cr_assert(fault_set("commit.result_is_error=fail@1"));
    committing_init(&commit, &tenant, plan, SETTLE_COMMIT, "job", live_hold(&tenant, 1, 10));
    cr_assert_eq(committing_run(&commit, committer), SETTLE_COMMITTED);
    cr_assert_not(commit.item.settle.replayed, "it was this very call");
    cr_assert_eq(support_ledger_rows(&tenant), 1);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 10);
    cr_assert(fault_set("commit.result_is_error=fail@1"));
    committing_init(&release, &tenant, plan, SETTLE_RELEASE, "other", live_hold(&tenant, 2, 10));
    cr_assert_eq(committing_run(&release, committer), SETTLE_RELEASED);
    cr_assert_not(release.item.settle.replayed);
    support_check_quotas(&tenant);
    committing_done(&commit);
    committing_done(&release);
    plan_unref(plan);
}

/* A deferred constraint fails at COMMIT, which has not landed: said for good, with the SQLSTATE. */
Test(committer_error, a_commit_that_did_not_land_fails_for_good)
{
    struct support_tenant tenant = support_tenant_make("error-not", 1000, 1000, 1000);
    struct support_tenant other = support_tenant_make("error-other", 1000, 1000, 1000);
    struct plan *plan = support_plan(&tenant), *other_plan = support_plan(&other);
    struct committing commit, beside;

    fixture_sql_do("CREATE FUNCTION test_deferred() RETURNS trigger LANGUAGE plpgsql AS"
                   " 'BEGIN IF new.tenant_id = %" PRId64 " THEN RAISE ''planted''; END IF;"
                   " RETURN NULL; END'",
                   tenant.tenant_id);
    fixture_sql_do("CREATE CONSTRAINT TRIGGER test_deferred AFTER UPDATE ON quota"
                   " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION test_deferred()");
    committing_init(&commit, &tenant, plan, SETTLE_COMMIT, "job", live_hold(&tenant, 1, 10));
    committing_init(&beside, &other, other_plan, SETTLE_COMMIT, "job", live_hold(&other, 1, 10));
    committing_submit(&commit, committer);
    committing_submit(&beside, committer);
    committing_wait(&commit);
    committing_wait(&beside);
    fixture_sql_do("DROP TRIGGER test_deferred ON quota");
    fixture_sql_do("DROP FUNCTION test_deferred");
    cr_assert_eq(commit.item.status, STATUS_FAULT, "%s", status_name(commit.item.status));
    cr_assert_str_eq(commit.item.sqlstate, "P0001");
    cr_assert_eq(support_ledger_rows(&tenant), 0);
    cr_assert_eq(beside.item.status, STATUS_OK);
    cr_assert_eq(beside.item.settle.outcome, SETTLE_COMMITTED);
    cr_assert_eq(committing_run(&commit, committer), SETTLE_COMMITTED, "it may be tried again");
    support_check_quotas(&tenant);
    support_check_quotas(&other);
    committing_done(&commit);
    committing_done(&beside);
    plan_unref(plan);
    plan_unref(other_plan);
}

static bool is_waiting(void *user)
{
    (void)user;
    return fixture_sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND"
                       " query LIKE '%%FOR UPDATE OF q%%'") > 0;
}

/* A stopping server waits for nothing: what is under way and what is queued is answered at once. */
Test(committer_error, once_it_is_to_stop_everything_is_answered)
{
    struct support_tenant tenant = support_tenant_make("stop", 1000, 1000, 1000);
    struct plan *plan = support_plan(&tenant);
    struct database *db = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    struct committing first, second;
    int64_t start_us;

    committing_lock_quota(db, &tenant);
    committing_init(&first, &tenant, plan, SETTLE_COMMIT, "first", live_hold(&tenant, 1, 10));
    committing_init(&second, &tenant, plan, SETTLE_COMMIT, "second", live_hold(&tenant, 2, 10));
    committing_submit(&first, committer);
    cr_assert(fixture_until(5000, is_waiting, NULL));
    committing_submit(&second, committer);
    start_us = clock_mono_us(clock_real());
    stop_set(committing_stop(), start_us);
    committing_wait(&first);
    committing_wait(&second);
    cr_assert(clock_mono_us(clock_real()) < start_us + 1500000);
    cr_assert_eq(first.item.status, STATUS_UNAVAILABLE, "%s", status_name(first.item.status));
    cr_assert_eq(second.item.status, STATUS_UNAVAILABLE, "%s", status_name(second.item.status));
    database_rollback(db);
    database_destroy(db);
    cr_assert_eq(support_ledger_rows(&tenant), 0);
    committing_done(&first);
    committing_done(&second);
    plan_unref(plan);
}
