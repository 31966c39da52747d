#include "op/open.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { NOW = 1000000, TENANT = 7 };

static struct open *open;
static struct arena arena;
static struct limit limits[] = {
    {.limit_id = 1, .name = {"a", 1}, .meter = {"m", 1}, .period = PERIOD_NEVER,
     .redis_away = REDIS_AWAY_OPEN, .redis_away_units = 10},
    {.limit_id = 2, .name = {"b", 1}, .meter = {"m", 1}, .period = PERIOD_NEVER,
     .redis_away = REDIS_AWAY_OPEN, .redis_away_units = 25},
    {.limit_id = 3, .name = {"c", 1}, .meter = {"m", 1}, .period = PERIOD_NEVER,
     .redis_away = REDIS_AWAY_POSTGRES},
};
static struct plan plan = {
    .tenant_id = TENANT, .tenant = {"acme", 4}, .limits_count = 3, .limits = limits};

static void begin(void)
{
    open = open_create();
    arena_init(&arena, 1024, 1 << 20);
}

static void end(void)
{
    open_destroy(open);
    arena_done(&arena);
}

TestSuite(open, .init = begin, .fini = end);

/* A job's hold of so many units under these two limits. */
static bool admits(const char *job, int64_t units, int64_t first, int64_t second, int64_t episode,
                   int64_t now_ms)
{
    struct hold_meter meter = {SLICE("m"), units};
    struct hold_quota quotas[] = {{.quota = {first, 0}, .units = units},
                                  {.quota = {second, 0}, .units = units}};
    struct hold hold = {.attempt = {1, attempt_open_seq(now_ms, 3)},
                        .created_ms = now_ms,
                        .deadline_ms = now_ms + 1000,
                        .mode = 1,
                        .meters_count = 1,
                        .meters = &meter,
                        .quotas_count = second ? 2 : 1,
                        .quotas = quotas};

    return open_admit(open, episode, &plan, slice_from_cstr(job), &hold, now_ms);
}

static const struct hold *find(const char *job, int64_t now_ms)
{
    return open_find(open, &arena, TENANT, slice_from_cstr(job), now_ms);
}

Test(open, no_more_than_the_units_of_each_limit_in_one_absence)
{
    cr_assert(admits("j1", 6, 1, 2, 1, NOW));
    cr_assert_not(admits("j2", 5, 1, 2, 1, NOW), "11 of 10");
    cr_assert(admits("j3", 4, 1, 2, 1, NOW), "a refusal counted nothing");
    cr_assert_not(admits("j4", 1, 1, 0, 1, NOW));
    cr_assert(admits("j5", 15, 2, 0, 1, NOW));
    cr_assert_not(admits("j6", 1, 2, 0, 1, NOW));
    cr_assert(admits("j7", 10, 1, 0, 2, NOW), "the next absence");
}

Test(open, only_under_limits_that_are_open)
{
    cr_assert_not(admits("j", 1, 3, 0, 1, NOW));
    cr_assert_not(admits("j", 1, 2, 3, 1, NOW));
    cr_assert_not(admits("j", 1, 4, 0, 1, NOW), "no such limit");
    cr_assert_null(find("j", NOW));
}

Test(open, a_job_finds_its_hold_until_its_deadline)
{
    const struct hold *hold;

    cr_assert_null(find("j", NOW));
    cr_assert(admits("j", 6, 1, 2, 1, NOW));
    hold = find("j", NOW + 999);
    cr_assert_not_null(hold);
    cr_assert(attempt_is_open(hold->attempt));
    cr_assert_eq(hold->quotas[1].units, 6);
    cr_assert_null(find("j", NOW + 1000));
    cr_assert_null(find("k", NOW));
    cr_assert_null(open_find(open, &arena, TENANT + 1, SLICE("j"), NOW));
    open_forget(open, TENANT, SLICE("j"));
    cr_assert_null(find("j", NOW));
    cr_assert_not(admits("j", 5, 1, 0, 1, NOW), "what was counted stays counted");
}

Test(open, holds_past_their_deadline_make_place)
{
    char job[32];

    limits[1].redis_away_units = INT64_C(1) << 50;
    for (int i = 0; i < OPEN_HOLDS_MAX; i++) {
        snprintf(job, sizeof(job), "job-%d", i);
        cr_assert(admits(job, 1, 2, 0, 1, NOW), "%d", i);
    }
    cr_assert_not(admits("more", 1, 2, 0, 1, NOW));
    cr_assert(admits("later", 1, 2, 0, 1, NOW + 1000));
}

Test(open, attempts_are_of_no_other_place_and_below_2_to_the_53)
{
    const int64_t now_ms = INT64_C(1) << 41; /* the year 2039 */
    struct attempt attempt = {5, attempt_open_seq(now_ms, UINT64_MAX)};
    struct attempt redis = {5, 9}, postgres = {5, HOLD_SEQ_POSTGRES + now_ms};

    cr_assert(attempt_is_open(attempt) && !attempt_is_in_postgres(attempt));
    cr_assert(!attempt_is_in_redis(attempt) && attempt.seq < INT64_C(1) << 53);
    cr_assert(!attempts_share_place(attempt, redis) && !attempts_share_place(attempt, postgres));
    cr_assert(!attempts_share_place(redis, postgres));
}
