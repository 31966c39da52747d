/*
 * A limit is exact: however many ask at once, as much is admitted as the limit says and not one unit
 * less, and nobody hears of the machinery behind it.
 */
#include "tests/integration/caller.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    NEVER = HOLDFAST__V1__PERIOD__PERIOD_NEVER,
    MINUTE = HOLDFAST__V1__PERIOD__PERIOD_MINUTE,
    MONTH = HOLDFAST__V1__PERIOD__PERIOD_MONTH,
};

enum { THREADS = 64, JOBS = 10000, LIMIT = 1000 };

struct rush {
    struct stub_channel *channels[2];
    int channels_count;
    struct ask ask; /* of every job, but for its name */
    atomic_int next, admitted, rejected, strange;
    char strange_text[200]; /* of the first */
};

static void rush_member(void *user, int index)
{
    struct rush *rush = user;
    struct answer answer;
    char job[32];
    int number;

    while ((number = atomic_fetch_add(&rush->next, 1)) < JOBS) {
        struct ask ask = rush->ask;

        snprintf(job, sizeof(job), "job-%d", number);
        ask.job = job;
        call_reserve(rush->channels[index % rush->channels_count], &ask, &answer);
        if (admitted(&answer))
            atomic_fetch_add(&rush->admitted, 1);
        else if (answer.code == STUB_OK && answer.decision == REJECT)
            atomic_fetch_add(&rush->rejected, 1);
        else if (atomic_fetch_add(&rush->strange, 1) == 0)
            snprintf(rush->strange_text, sizeof(rush->strange_text), "%s %s: %.100s",
                     stub_code_name(answer.code), answer.reason, answer.text);
    }
}

static void rush_run(struct rush *rush, int expected)
{
    int64_t start_us = fixture_now_us();

    atomic_store(&rush->next, 0);
    atomic_store(&rush->admitted, 0);
    atomic_store(&rush->rejected, 0);
    crowd(THREADS, rush_member, rush);
    cr_log_info("%s: %d admitted, %d rejected in %" PRId64 " ms", rush->ask.tenant,
                (int)rush->admitted, (int)rush->rejected, (fixture_now_us() - start_us) / 1000);
    cr_assert(rush->strange == 0, "%d others, such as %s", (int)rush->strange, rush->strange_text);
    cr_assert(rush->admitted == expected, "%s: %d admitted", rush->ask.tenant, (int)rush->admitted);
    cr_assert(rush->rejected == JOBS - expected);
}

/* One server, or two that share the stores. */
struct scene {
    struct fixture_server servers[2];
    struct rush rush;
};

static void scene_open(struct scene *scene, int servers)
{
    struct stub_channel_options options = {.connections = 4};

    memset(scene, 0, sizeof(*scene));
    for (int i = 0; i < servers; i++) {
        fixture_server_start(&scene->servers[i], NULL);
        scene->rush.channels[i] = fixture_channel(scene->servers[i].listen, &options);
    }
    scene->rush.channels_count = servers;
}

static void scene_close(struct scene *scene)
{
    for (int i = 0; i < scene->rush.channels_count; i++) {
        stub_channel_destroy(scene->rush.channels[i]);
        fixture_server_stop(&scene->servers[i]);
    }
}

static void one_meter(int servers, const char *prefix, int count)
{
    struct scene scene;
    char tenant[40];

    scene_open(&scene, servers);
    for (int i = 0; i < count; i++) {
        snprintf(tenant, sizeof(tenant), "%s-%d", prefix, i);
        plan_tenant(scene.rush.channels[0], tenant);
        plan_limit(scene.rush.channels[0], tenant, "calls", "", "calls", NEVER, LIMIT);
        scene.rush.ask = (struct ask){.tenant = tenant,
                                      .meters_count = 1,
                                      .meters = {"calls"},
                                      .units = {1},
                                      .ttl_ms = 300000};
        rush_run(&scene.rush, LIMIT);
        cr_assert(books_held(tenant) == LIMIT);
        books_balance(tenant);
    }
    scene_close(&scene);
}

Test(exact, one_server_admits_the_limit_and_no_more)
{
    one_meter(1, "exact-one", rounds(5, 50));
}

Test(exact, two_servers_together_admit_the_limit_and_no_more)
{
    one_meter(2, "exact-two", rounds(5, 50));
}

/* Three meters at the tenant and at a scope below; only one of the six limits is short. */
static void plan_six(struct stub_channel *channel, const char *tenant, int short_one)
{
    static const char *const meters[] = {"calls", "seconds", "tokens"};
    char limit[40];

    plan_tenant(channel, tenant);
    for (int i = 0; i < 6; i++) {
        snprintf(limit, sizeof(limit), "%s-%d", meters[i % 3], i / 3);
        plan_limit(channel, tenant, limit, i < 3 ? "" : "team", meters[i % 3], NEVER,
                   i == short_one ? LIMIT : 1000 * LIMIT);
    }
}

Test(exact, of_many_meters_and_scopes_all_are_held_or_none)
{
    struct scene scene;
    char tenant[40];

    scene_open(&scene, 2);
    for (int i = 0; i < rounds(2, 12); i++) {
        snprintf(tenant, sizeof(tenant), "exact-six-%d", i);
        plan_six(scene.rush.channels[0], tenant, i % 6);
        scene.rush.ask = (struct ask){.tenant = tenant,
                                      .scope = "team/user",
                                      .meters_count = 3,
                                      .meters = {"calls", "seconds", "tokens"},
                                      .units = {1, 1, 1},
                                      .ttl_ms = 300000};
        rush_run(&scene.rush, LIMIT);
        cr_assert(books_held(tenant) == 6 * LIMIT, "the rejected hold %" PRId64,
                  books_held(tenant) - 6 * LIMIT);
        cr_assert(books_holds(tenant) == LIMIT);
        cr_assert(fixture_sql("SELECT coalesce(sum(pg_held), 0) FROM quota WHERE tenant_id = %" PRId64,
                              tenant_number(tenant)) == 0);
        books_balance(tenant);
    }
    scene_close(&scene);
}

static bool minute_is_young(void *user)
{
    (void)user;
    return time(NULL) % 60 < 35;
}

Test(exact, the_shortest_of_two_periods_counts)
{
    struct scene scene;
    char tenant[40];

    scene_open(&scene, 1);
    for (int i = 0; i < rounds(2, 10); i++) {
        snprintf(tenant, sizeof(tenant), "exact-periods-%d", i);
        plan_tenant(scene.rush.channels[0], tenant);
        plan_limit(scene.rush.channels[0], tenant, "minute", "", "calls", MINUTE, 10);
        plan_limit(scene.rush.channels[0], tenant, "month", "", "calls", MONTH, LIMIT);
        scene.rush.ask = (struct ask){.tenant = tenant,
                                      .meters_count = 1,
                                      .meters = {"calls"},
                                      .units = {1},
                                      .ttl_ms = 300000};
        cr_assert(fixture_until(60000, minute_is_young, NULL));
        rush_run(&scene.rush, 10);
        cr_assert(books_held(tenant) == 20);
        books_balance(tenant);
    }
    scene_close(&scene);
}
