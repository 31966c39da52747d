/* The committer while its database dies: what was answered is there, once. */
#include "base/clock.h"
#include "tests/ledger/committing.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <time.h>

static struct committer *committer;

static void start(void)
{
    database_destroy(support_open());
    committer = committing_committer();
}

static void stop(void)
{
    committer_destroy(committer);
}

TestSuite(committer_crash, .init = start, .fini = stop);

static void pause_ms(int ms)
{
    const struct timespec pause = {.tv_nsec = ms * 1000000L};

    nanosleep(&pause, NULL);
}

static void kill_sessions(void)
{
    for (int i = 0; i < 25; i++) {
        fixture_sql_do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <>"
                       " pg_backend_pid() AND application_name = 'holdfast'");
        pause_ms(20);
    }
}

Test(committer_crash, nothing_is_lost_or_doubled_while_connections_are_killed)
{
    struct support_tenant tenant = support_tenant_make("killed", 100000, 100000, 20000);
    struct plan *plan = support_plan(&tenant);

    cr_assert_eq(committing_crowd(committer, &tenant, plan, 250, kill_sessions), 2000);
    cr_assert_eq(support_ledger_rows(&tenant), 2000);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 6000);
    support_check_quotas(&tenant);
    support_check_events(&tenant);
    plan_unref(plan);
}

static void kill_postgres(void)
{
    for (int i = 0; i < 2; i++) {
        pause_ms(100);
        fixture_stores("restart-postgres", NULL);
    }
}

Test(committer_crash, nothing_is_lost_or_doubled_while_postgres_is_killed)
{
    struct support_tenant tenant = support_tenant_make("postgres", 100000, 100000, 48000);
    struct plan *plan = support_plan(&tenant);

    cr_assert_eq(committing_crowd(committer, &tenant, plan, 1000, kill_postgres), 8000);
    cr_assert_eq(support_ledger_rows(&tenant), 8000);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 24000);
    support_check_quotas(&tenant);
    support_check_events(&tenant);
    plan_unref(plan);
}

static bool is_down(void *user)
{
    return !committer_is_up(user);
}

Test(committer_crash, an_item_waits_for_the_database_as_long_as_its_caller_does)
{
    struct support_tenant tenant = support_tenant_make("away", 1000, 1000, 100);
    struct plan *plan = support_plan(&tenant);
    struct arena arena;
    struct hold *hold;
    struct committing c;

    arena_init(&arena, 4096, 1 << 20);
    hold = support_hold(&arena, &tenant, 1, 10, support_now_ms() + 300000);
    fixture_stores("kill-postgres", NULL);
    committing_init(&c, &tenant, plan, SETTLE_COMMIT, "job", hold);
    c.item.give_up_us = clock_mono_us(clock_real()) + 300 * 1000;
    committing_submit(&c, committer);
    committing_wait(&c);
    cr_assert_eq(c.item.status, STATUS_UNAVAILABLE);
    cr_assert(fixture_until(5000, is_down, committer));
    c.item.give_up_us += 60 * 1000 * 1000;
    committing_submit(&c, committer);
    fixture_stores("start-postgres", NULL);
    committing_wait(&c);
    cr_assert_eq(c.item.status, STATUS_OK);
    cr_assert_eq(c.item.settle.outcome, SETTLE_COMMITTED);
    cr_assert_eq(support_ledger_rows(&tenant), 1);
    committing_done(&c);
    plan_unref(plan);
    arena_done(&arena);
}
