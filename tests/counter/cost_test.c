/*
 * What a reserve and a notify cost Redis, in microseconds of its CPU; printed, with a loose bound. For
 * counts of instructions that no other program on the machine disturbs, put a redis-server into PATH that
 * starts the real one under callgrind.
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
        struct counter_reserve reserve = {.call = fixture_call(&f, COUNTER_RESERVE),
                                          .now_ms = NOW + (int64_t)call,
                                          .items_count = count,
                                          .items = items};

        name_jobs(items, count, quotas, call);
        for (size_t i = 0; i < count; i++)
            items[i].deadline_ms += (int64_t)call;
        fixture_run(&f, &reserve.call);
        for (size_t i = 0; i < count; i++)
            cr_assert_eq(items[i].answer, RESERVED_ADMITTED);
    }
    return (cpu_us() - before) / (double)(count * calls);
}

static double commit_all(size_t count, size_t quotas, size_t calls)
{
    struct counter_reserve_item items[ITEMS];
    struct counter_notify_job jobs[ITEMS];
    double before = cpu_us();

    for (size_t call = 0; call < calls; call++) {
        struct counter_notify notify = {.call = fixture_call(&f, COUNTER_NOTIFY),
                                        .now_ms = NOW,
                                        .jobs_count = count,
                                        .jobs = jobs};

        name_jobs(items, count, quotas, call);
        for (size_t i = 0; i < count; i++)
            jobs[i] = (struct counter_notify_job){TENANT, items[i].job_id, true, {0, 0}};
        fixture_run(&f, &notify.call);
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
        fixture_cli(&f, "hdel " KEY_A " f; redis-cli -s %s del " KEY_MARKS, f.socket);
        arena_reset(&f.arena);
    }
    fprintf(stderr, "%2zu holds a call over %zu quotas: %5.2f us a reserve, %5.2f us a notify\n",
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

/* Tenants 1 to 16, each of a shard of its own; begins the shards and fills a quota of each tenant. */
static void begin_tag(struct shard_view views[COUNTER_TAG_SHARDS])
{
    for (int i = 0; i < COUNTER_TAG_SHARDS; i++) {
        struct counter_totals totals = totals_of(1, LEASE(1), 1 << 30);

        totals.tenant_id = i + 1;
        views[i] = f.view;
        views[i].shard = COUNTER_TAG_SHARDS + i;
        fixture_begin(&f, &views[i], totals);
    }
}

/* The items from first to last in one call, and then their commits. */
static void reserve_and_commit(struct shard_view views[COUNTER_TAG_SHARDS], size_t first,
                               size_t last, const char *job)
{
    struct counter_reserve_item items[COUNTER_TAG_SHARDS];
    struct counter_notify_job jobs[COUNTER_TAG_SHARDS];
    struct counter_reserve reserve = {
        .call = fixture_call(&f, COUNTER_RESERVE), .now_ms = NOW, .items = items};
    struct counter_notify notify = {
        .call = fixture_call(&f, COUNTER_NOTIFY), .now_ms = NOW, .jobs = jobs};

    for (size_t i = first; i <= last; i++) {
        items[i - first] = item_of(&f, job, 1);
        items[i - first].tenant_id = (int64_t)i + 1;
        items[i - first].view = i - first;
        jobs[i - first] = (struct counter_notify_job){
            (int64_t)i + 1, items[i - first].job_id, true, {0, 0}};
    }
    reserve.call.view = notify.call.view = views[first];
    reserve.call.views = notify.call.views = &views[first + 1];
    reserve.call.views_count = notify.call.views_count = last - first;
    reserve.items_count = notify.jobs_count = last - first + 1;
    fixture_run(&f, &reserve.call);
    for (size_t i = 0; i < reserve.items_count; i++)
        cr_assert_eq(items[i].answer, RESERVED_ADMITTED);
    fixture_run(&f, &notify.call);
}

static double measure_tag(struct shard_view views[COUNTER_TAG_SHARDS], size_t in_a_call)
{
    enum { ROUNDS = 50 };
    double before = cpu_us();
    char job[48];

    for (size_t round = 0; round < ROUNDS; round++) {
        snprintf(job, sizeof(job), "2f1b6c1e-7f0a-4f0e-9d3e-%06zu%06zu", in_a_call, round);
        for (size_t i = 0; i < COUNTER_TAG_SHARDS; i += in_a_call)
            reserve_and_commit(views, i, i + in_a_call - 1, job);
        arena_reset(&f.arena);
    }
    return (cpu_us() - before) / (ROUNDS * COUNTER_TAG_SHARDS);
}

Test(cost, sixteen_tenants)
{
    struct shard_view views[COUNTER_TAG_SHARDS];
    double each, at_once;

    begin_tag(views);
    each = measure_tag(views, 1);
    at_once = measure_tag(views, COUNTER_TAG_SHARDS);
    fprintf(stderr, "16 tenants of a tag, a reserve and a notify: %5.2f us in calls of their own, "
                    "%5.2f us at once\n",
            each, at_once);
    cr_assert(each < 1000 && at_once < 1000);
}
