/*
 * What a hold and an idle tenant cost Redis in memory, by used_memory; printed, with the bars that
 * src/counter/README.md states. Job ids have 36 bytes, a hold has one quota.
 */
#include "tests/counter/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ITEMS = 64, HOLD_BYTES_MAX = 250, IDLE_BYTES_MAX = 4096 };

static struct fixture f;

static void set_up(void)
{
    fixture_set_up(&f);
}

static void tear_down(void)
{
    fixture_tear_down(&f);
}

TestSuite(size, .init = set_up, .fini = tear_down, .timeout = 300);

/* Of the data: a connection's buffers go with it, and come again. */
static int64_t used_memory(void)
{
    const struct counter_options options = {
        .address = f.address, .connect_timeout_ms = 1000, .timeout_ms = 5000};
    const char *total;

    counter_destroy(f.counter);
    f.counter = counter_create(&options);
    total = strstr(fixture_cli(&f, "info memory"), "used_memory:");
    cr_assert(total);
    return strtoll(total + strlen("used_memory:"), NULL, 10);
}

static void fill_tenant(int64_t tenant_id)
{
    struct counter_totals totals = totals_of(1, LEASE(1), INT64_C(1) << 40);
    const struct counter_version version = {tenant_id, VERSION};
    struct counter_fill fill = {.call = fixture_call(&f, COUNTER_FILL),
                                .totals_count = 1,
                                .totals = &totals,
                                .versions_count = 1,
                                .versions = &version};

    totals.tenant_id = tenant_id;
    totals.ref = (struct quota_ref){1, INT64_C(1764072000000)};
    fixture_run(&f, &fill.call);
}

/* A server with many calls in flight: up to 64 in a script, all of one moment. */
static void hold(size_t tenants, size_t holds, int64_t first)
{
    struct hold_quota quotas[ITEMS];
    int64_t softs[ITEMS] = {0};
    struct counter_reserve_item items[ITEMS];
    char jobs[ITEMS][40];

    for (size_t at = 0; at < holds; at += ITEMS) {
        struct counter_reserve reserve = {.call = fixture_call(&f, COUNTER_RESERVE),
                                          .now_ms = NOW + (int64_t)at / 16,
                                          .items = items};

        for (size_t i = 0; i < ITEMS && at + i < holds; i++) {
            snprintf(jobs[i], sizeof(jobs[i]), "2f1b6c1e-7f0a-4f0e-9d3e-%012zu", at + i);
            quotas[i] = (struct hold_quota){
                .quota = {1, INT64_C(1764072000000)}, .units = 100 + (int64_t)i};
            items[i] = (struct counter_reserve_item){
                .tenant_id = first + (int64_t)((at + i) % tenants),
                .config_version = VERSION,
                .job_id = slice_from_cstr(jobs[i]),
                .identity = slice_from_cstr(arena_printf(
                    &f.arena, "team/research|1|tokens=%" PRId64, quotas[i].units)),
                .deadline_ms = reserve.now_ms + 300000,
                .quotas_count = 1,
                .quotas = &quotas[i],
                .softs = softs,
            };
            reserve.items_count++;
        }
        fixture_run(&f, &reserve.call);
        for (size_t i = 0; i < reserve.items_count; i++)
            cr_assert_eq(items[i].answer, RESERVED_ADMITTED);
        arena_reset(&f.arena);
    }
}

static void measure(size_t tenants, size_t holds)
{
    int64_t before;
    double each;

    fill_tenant(999);
    hold(1, ITEMS, 999);
    fixture_cli(&f, "del q:{1}:2:t:999");
    for (size_t t = 0; t < tenants; t++)
        fill_tenant(1000 + (int64_t)t);
    before = used_memory();
    hold(tenants, holds, 1000);
    each = (double)(used_memory() - before) / (double)holds;
    fprintf(stderr, "%zu holds of %zu tenants: %.1f bytes each\n", holds, tenants, each);
    cr_assert(each <= HOLD_BYTES_MAX, "%.1f bytes", each);
}

Test(size, a_thousand_holds_of_one_tenant)
{
    measure(1, 1000);
}

Test(size, a_hundred_thousand_holds_of_one_tenant)
{
    measure(1, 100000);
}

Test(size, a_thousand_holds_of_a_hundred_tenants)
{
    measure(100, 1000);
}

Test(size, a_hundred_thousand_holds_of_a_hundred_tenants)
{
    measure(100, 100000);
}

static void check_at(int64_t now_ms)
{
    struct counter_check check = {
        .call = fixture_call(&f, COUNTER_CHECK), .now_ms = now_ms, .max = 10, .cursor = "0"};

    fixture_run(&f, &check.call);
    cr_assert_eq(check.findings_count, 0);
}

/* Limits of a MINUTE and of a MONTH, used every minute for three hours, then never again. */
Test(size, an_idle_tenant_after_many_minutes)
{
    enum { MINUTES = 180, MINUTE_MS = 60000 };
    int64_t bytes;

    for (int64_t minute = 0; minute < MINUTES; minute++) {
        const int64_t now_ms = NOW + minute * MINUTE_MS;
        const struct counter_version version = {TENANT, VERSION};
        struct counter_totals totals[2] = {totals_of(1, LEASE(minute), 1000), totals_of(2, LEASE(1), 9000)};
        struct counter_fill fill = {.call = fixture_call(&f, COUNTER_FILL),
                                    .now_ms = now_ms,
                                    .totals_count = 2,
                                    .totals = totals,
                                    .versions_count = 1,
                                    .versions = &version};
        struct counter_reserve_item item = item_over(&f, "job", 2, 1);
        struct hold_quota quotas[2] = {{.quota = {1, now_ms}, .units = 1}, {.quota = {2, NOW}, .units = 1}};
        struct counter_reserve reserve = {.call = fixture_call(&f, COUNTER_RESERVE),
                                          .now_ms = now_ms,
                                          .items_count = 1,
                                          .items = &item};
        struct counter_notify_job job = {0};
        struct counter_notify notify = {.call = fixture_call(&f, COUNTER_NOTIFY),
                                        .now_ms = now_ms,
                                        .jobs_count = 1,
                                        .jobs = &job};

        totals[0].ref.period_start_ms = now_ms;
        totals[0].period_end_ms = now_ms + MINUTE_MS;
        totals[1].ref.period_start_ms = NOW;
        totals[1].period_end_ms = NOW + 30 * 1440 * INT64_C(60000);
        totals[0].lease_deadline_ms = totals[1].lease_deadline_ms = now_ms + 2 * MINUTE_MS;
        fixture_run(&f, &fill.call);
        item.quotas = quotas;
        item.job_id = slice_from_cstr(arena_printf(&f.arena, "2f1b6c1e-7f0a-4f0e-9d3e-%012d", (int)minute));
        item.deadline_ms = now_ms + MINUTE_MS;
        fixture_run(&f, &reserve.call);
        cr_assert_eq(item.answer, RESERVED_ADMITTED);
        job = (struct counter_notify_job){TENANT, item.job_id, true, item.attempt};
        fixture_run(&f, &notify.call);
    }
    check_at(NOW + (MINUTES + 20) * MINUTE_MS);
    check_at(NOW + (MINUTES + 40) * MINUTE_MS);
    bytes = strtoll(fixture_cli(&f, "--raw eval \"local s=0 for _,k in ipairs(redis.call('KEYS','q:*')) do "
                                    "if k~='q:{1}:a' then s=s+redis.call('MEMORY','USAGE',k,'SAMPLES',0) "
                                    "end end return s\" 0"),
                    NULL, 10);
    fprintf(stderr, "an idle tenant: %" PRId64 " bytes, %s fields\n", bytes,
            fixture_cli(&f, "hlen " KEY_T));
    cr_assert(bytes > 0 && bytes <= IDLE_BYTES_MAX, "%" PRId64, bytes);
}
