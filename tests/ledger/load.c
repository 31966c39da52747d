/*
 * How many commits a second one committer makes, and how long each takes:
 *
 *     tests/support/with_stores build/tests/ledger/ledger_load [in_flight [tenants [seconds]]]
 *
 * Holds are prepared, nothing else runs: what is measured is the committer and Postgres.
 */
#include "base/clock.h"
#include "base/histogram.h"
#include "quota/lease.h"
#include "tests/ledger/support.h"
#include "tests/support/fixture.h"

#include "ledger/committer.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct slot {
    struct commit_item item;
    struct arena arena;
    struct hold *hold;
    struct support_tenant *tenant;
    struct plan *plan;
    char job_id[40];
    int64_t began_us;
    int64_t nth;
    int number;
};

static struct committer *committer;
static struct histogram latencies;
static int64_t commits, failures;
static int64_t stop_at_us;
static _Atomic int running;

static int64_t now_us(void)
{
    return clock_mono_us(clock_real());
}

static void submit(struct slot *slot)
{
    arena_reset(&slot->arena);
    memset(&slot->item, 0, sizeof(slot->item));
    slot->nth++;
    snprintf(slot->job_id, sizeof(slot->job_id), "job-%d-%" PRId64, slot->number, slot->nth);
    slot->hold->attempt.seq = slot->number * INT64_C(10000000) + slot->nth;
    slot->item.plan = slot->plan;
    slot->item.arena = &slot->arena;
    slot->item.give_up_us = now_us() + 30000000;
    slot->item.settle.tenant_id = slot->tenant->tenant_id;
    slot->item.settle.job_id = slice_from_cstr(slot->job_id);
    slot->item.settle.token = slot->hold;
    slot->began_us = now_us();
    CHECK(committer_submit(committer, &slot->item));
}

static void done(struct commit_item *item)
{
    struct slot *slot = container_of(item, struct slot, item);

    if (item->status == STATUS_OK && item->settle.outcome == SETTLE_COMMITTED)
        commits++;
    else
        failures++;
    histogram_add(&latencies, now_us() - slot->began_us);
    if (now_us() < stop_at_us)
        submit(slot);
    else
        atomic_fetch_sub(&running, 1);
}

static void on_done(void *user, struct commit_item *const *items, size_t count)
{
    (void)user;
    for (size_t i = 0; i < count; i++)
        done(items[i]);
}

static void make_slots(struct slot *slots, int in_flight, int tenants)
{
    static struct arena arena;
    struct support_tenant *all = calloc((size_t)tenants, sizeof(*all));
    struct plan **plans = calloc((size_t)tenants, sizeof(struct plan *));

    arena_init(&arena, 1 << 16, 1 << 24);
    for (int i = 0; i < tenants; i++) {
        char name[32];

        snprintf(name, sizeof(name), "tenant-%d", i);
        all[i] = support_tenant_make(name, INT64_C(1) << 40, INT64_C(1) << 40, INT64_C(1) << 30);
        plans[i] = support_plan(&all[i]);
    }
    for (int i = 0; i < in_flight; i++) {
        slots[i].number = i;
        slots[i].tenant = &all[i % tenants];
        slots[i].plan = plans[i % tenants];
        slots[i].hold = support_hold(&arena, slots[i].tenant, 1, 1, support_now_ms() + 600000);
        arena_init(&slots[i].arena, 4096, 1 << 20);
    }
}

int main(int argc, char **argv)
{
    int in_flight = argc > 1 ? atoi(argv[1]) : 64;
    int tenants = argc > 2 ? atoi(argv[2]) : 100;
    int seconds = argc > 3 ? atoi(argv[3]) : 5;
    struct slot *slots = calloc((size_t)in_flight, sizeof(*slots));
    struct estimate estimate;
    struct committer_options options = {
        .conninfo = fixture_env("HOLDFAST_TEST_POSTGRES"),
        .clock = clock_real(),
        .estimate = &estimate,
        .late_window_ms = 3600 * 1000,
        .items_max = 100000,
        .batch_max = 256,
        .lease_ms = 60000,
        .done = on_done,
    };
    struct rusage used;
    char error[256];
    int64_t began_us;
    double took;

    estimate_init(&estimate);
    database_destroy(support_open());
    make_slots(slots, in_flight, tenants);
    committer = committer_create(&options, error, sizeof(error));
    CHECK(committer);
    atomic_store(&running, in_flight);
    began_us = now_us();
    stop_at_us = began_us + seconds * INT64_C(1000000);
    for (int i = 0; i < in_flight; i++)
        submit(&slots[i]);
    while (atomic_load(&running) > 0)
        usleep(1000);
    took = (double)(now_us() - began_us) / 1e6;
    getrusage(RUSAGE_SELF, &used);
    printf("in_flight=%d tenants=%d commits/s=%.0f failures=%" PRId64 " p50_us=%" PRId64
           " p99_us=%" PRId64 " max_us=%" PRId64 " own_cpu_us_per_commit=%.1f\n",
           in_flight, tenants, (double)commits / took, failures,
           histogram_percentile(&latencies, 50), histogram_percentile(&latencies, 99),
           latencies.max,
           ((double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 +
            (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec)) /
               (double)commits);
    committer_destroy(committer);
    return failures > 0;
}
