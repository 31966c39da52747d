/*
 * What a reserve and a settle cost Redis, in microseconds of its CPU; printed, with a loose bound.
 */
#include "tests/counter/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Blocks keep the number of holds that live at a time near what a server has in flight. */
enum { ITEMS = 64, CALLS = 20, BLOCKS = 15 };

static struct fixture f;

static void set_up(void)
{
    fixture_set_up(&f);
}

static void tear_down(void)
{
    fixture_tear_down(&f);
}

TestSuite(cost, .init = set_up, .fini = tear_down, .timeout = 120);

/* CPU of Redis so far, user and system. */
static double cpu_us(void)
{
    const char *info = fixture_cli(&f, "info cpu");
    const char *user = strstr(info, "used_cpu_user:");
    const char *sys = strstr(info, "used_cpu_sys:");

    cr_assert(user && sys);
    return 1e6 * (strtod(user + strlen("used_cpu_user:"), NULL) +
                  strtod(sys + strlen("used_cpu_sys:"), NULL));
}

static void name_jobs(struct counter_reserve_item *items, size_t count, size_t quotas, size_t call)
{
    char job[48];

    for (size_t i = 0; i < count; i++) {
        snprintf(job, sizeof(job), "2f1b6c1e-7f0a-4f0e-9d3e-%06zu%06zu", call, i);
        items[i] = item_over(&f, job, quotas, 1);
    }
}

/* Returns microseconds of CPU per hold. */
static double reserve_all(size_t count, size_t quotas, size_t calls)
{
    struct counter_reserve_item items[ITEMS];
    double before = cpu_us();

    for (size_t call = 0; call < calls; call++) {
        name_jobs(items, count, quotas, call);
        fixture_reserve(&f, items, count);
        for (size_t i = 0; i < count; i++)
            cr_assert_eq(items[i].answer, RESERVED_ADMITTED);
    }
    return (cpu_us() - before) / (double)(count * calls);
}

static double commit_all(size_t count, size_t quotas, size_t calls)
{
    struct counter_reserve_item items[ITEMS];
    struct counter_settle_job jobs[ITEMS];
    double before = cpu_us();

    for (size_t call = 0; call < calls; call++) {
        struct counter_settle settle = {.call = fixture_call(&f, COUNTER_SETTLE),
                                        .now_ms = NOW,
                                        .jobs_count = count,
                                        .jobs = jobs};

        name_jobs(items, count, quotas, call);
        for (size_t i = 0; i < count; i++)
            jobs[i] = (struct counter_settle_job){TENANT, items[i].job_id, true, {0, 0}};
        fixture_run(&f, &settle.call);
    }
    return (cpu_us() - before) / (double)(count * calls);
}

static void measure(size_t items, size_t quotas, size_t calls)
{
    struct counter_totals totals[8];
    double reserved = 0;
    double committed = 0;

    for (size_t q = 0; q < quotas; q++)
        totals[q] = totals_of((int64_t)q + 1, LEASE(1), 1 << 30);
    fixture_fill(&f, totals, quotas);
    for (int block = 0; block < BLOCKS; block++) {
        reserved += reserve_all(items, quotas, calls) / BLOCKS;
        committed += commit_all(items, quotas, calls) / BLOCKS;
        fixture_cli(&f, "del q:{s17}:f:%d:%" PRId64, TENANT, NOW / BUCKET_MS);
        arena_reset(&f.arena);
    }
    fprintf(stderr, "%2zu holds a call over %zu quotas: %5.2f us a reserve, %5.2f us a settle\n",
            items, quotas, reserved, committed);
    cr_assert_eq(fixture_quota(&f, 1).held, 0);
    cr_assert(reserved < 1000 && committed < 1000);
}

Test(cost, one_quota)
{
    measure(64, 1, CALLS);
}

Test(cost, two_quotas)
{
    measure(64, 2, CALLS);
}

Test(cost, four_quotas)
{
    measure(64, 4, CALLS);
}

Test(cost, one_item)
{
    measure(1, 2, 50);
}
