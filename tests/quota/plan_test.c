#include "quota/plan.h"

#include <criterion/criterion.h>

static struct limit limits[] = {
    {.limit_id = 9, .name = {"t-month", 7}, .meter = {"tokens", 6}, .period = PERIOD_MONTH},
    {.limit_id = 2, .name = {"t-minute", 8}, .meter = {"tokens", 6}, .period = PERIOD_MINUTE},
    {.limit_id = 4, .name = {"a", 1}, .scope = {"team-a", 6}, .meter = {"tokens", 6},
     .period = PERIOD_NEVER},
    {.limit_id = 5, .name = {"a7", 2}, .scope = {"team-a/user-7", 13}, .meter = {"tokens", 6},
     .period = PERIOD_NEVER},
    {.limit_id = 7, .name = {"r", 1}, .meter = {"requests", 8}, .period = PERIOD_DAY},
};
static struct plan *plan;
static struct hold_quota quotas[HOLD_QUOTAS_MAX];
static size_t count, missing;

static void set_up(void)
{
    struct plan from = {.tenant_id = 3, .tenant = SLICE("acme"), .limits_count = 5,
                        .limits = limits};

    plan = plan_create(&from);
}

static void tear_down(void)
{
    plan_unref(plan);
}

TestSuite(plan, .init = set_up, .fini = tear_down);

static enum plan_selection select_scope(const char *scope, const char *meter)
{
    struct hold_meter meters[] = {{slice_from_cstr(meter), 12}};

    return plan_select(plan, slice_from_cstr(scope), meters, 1, 90061001, quotas, &count,
                       &missing);
}

Test(plan, copy_is_deep_sorted_and_counted)
{
    cr_assert_neq(plan->limits[0].name.data, limits[1].name.data);
    for (size_t i = 1; i < plan->limits_count; i++)
        cr_assert_lt(plan->limits[i - 1].limit_id, plan->limits[i].limit_id);
    cr_assert_eq(plan_ref(plan), plan);
    plan_unref(plan);
    cr_assert(slice_equal_cstr(plan->tenant, "acme"));
    plan_unref(NULL);
}

Test(plan, limit_is_found_by_its_number)
{
    cr_assert(slice_equal_cstr(plan_limit(plan, 5)->name, "a7"));
    cr_assert(slice_equal_cstr(plan_limit(plan, 9)->name, "t-month"));
    cr_assert_null(plan_limit(plan, 3));
    cr_assert_null(plan_limit(plan, 10));
}

Test(plan, the_strictest_limit_says_what_happens_while_redis_is_away)
{
    const enum redis_away of[] = {REDIS_AWAY_OPEN, REDIS_AWAY_OPEN, REDIS_AWAY_POSTGRES,
                                  REDIS_AWAY_CLOSED, 0};
    const struct hold_quota each[] = {
        {.quota = {2, 0}}, {.quota = {4, 0}}, {.quota = {5, 0}}, {.quota = {7, 0}}};

    for (size_t i = 0; i < 5; i++) /* sorted by number: 2, 4, 5, 7, 9 */
        plan->limits[i].redis_away = of[i];
    cr_assert_eq(plan_redis_away(plan, each, 1), REDIS_AWAY_OPEN);
    cr_assert_eq(plan_redis_away(plan, each, 2), REDIS_AWAY_OPEN);
    cr_assert_eq(plan_redis_away(plan, each, 3), REDIS_AWAY_POSTGRES);
    cr_assert_eq(plan_redis_away(plan, each, 4), REDIS_AWAY_CLOSED);
    cr_assert_eq(plan_redis_away(plan, each, 0), REDIS_AWAY_POSTGRES);
}

Test(plan, selects_the_scope_and_everything_above_it_in_the_order_of_locks)
{
    cr_assert_eq(select_scope("team-a/user-7", "tokens"), PLAN_SELECTED);
    cr_assert_eq(count, 4);
    cr_assert_eq(quotas[0].quota.limit_id, 2);
    cr_assert_eq(quotas[0].quota.period_start_ms, 90060000);
    cr_assert_eq(quotas[1].quota.limit_id, 4);
    cr_assert_eq(quotas[2].quota.limit_id, 5);
    cr_assert_eq(quotas[3].quota.limit_id, 9);
    cr_assert_eq(quotas[3].units, 12);
    cr_assert_eq(quotas[3].lease_id, 0);
}

Test(plan, scope_that_only_begins_alike_is_another)
{
    cr_assert_eq(select_scope("team-ab", "tokens"), PLAN_SELECTED);
    cr_assert_eq(count, 2);
    cr_assert_eq(select_scope("team-a/user-70", "tokens"), PLAN_SELECTED);
    cr_assert_eq(count, 3);
    cr_assert_eq(select_scope("", "tokens"), PLAN_SELECTED);
    cr_assert_eq(count, 2);
}

Test(plan, several_meters_carry_their_index)
{
    struct hold_meter meters[] = {{SLICE("requests"), 1}, {SLICE("tokens"), 50}};

    cr_assert_eq(plan_select(plan, SLICE(""), meters, 2, 0, quotas, &count, &missing),
                 PLAN_SELECTED);
    cr_assert_eq(count, 3);
    cr_assert_eq(quotas[0].meter, 1);
    cr_assert_eq(quotas[1].meter, 0);
    cr_assert_eq(quotas[1].units, 1);
    cr_assert_eq(quotas[2].meter, 1);
}

Test(plan, meter_without_a_limit_is_named_also_where_the_tenant_admits_it)
{
    cr_assert_eq(select_scope("", "seats"), PLAN_NO_LIMIT);
    cr_assert_eq(missing, 0);
    plan->admit_unlimited_meters = true;
    cr_assert_eq(select_scope("", "seats"), PLAN_NO_LIMIT, "it needs a limit to be counted by");
}

Test(plan, more_quotas_than_a_hold_carries_are_refused)
{
    struct limit many[HOLD_QUOTAS_MAX + 1];
    struct plan from = {.limits_count = HOLD_QUOTAS_MAX + 1, .limits = many};
    struct hold_meter meters[] = {{SLICE("tokens"), 1}};
    struct plan *large;

    for (int i = 0; i <= HOLD_QUOTAS_MAX; i++)
        many[i] = (struct limit){.limit_id = i, .meter = SLICE("tokens"), .period = PERIOD_NEVER};
    large = plan_create(&from);
    cr_assert_eq(plan_select(large, SLICE(""), meters, 1, 0, quotas, &count, &missing),
                 PLAN_TOO_MANY);
    plan_unref(large);
}

/* What a walk over all limits finds, in the order of the plan. */
static size_t walk(const struct plan *all, struct slice scope, const struct hold_meter *meters,
                   size_t meters_count, int64_t *ids)
{
    size_t found = 0;

    for (size_t i = 0; i < all->limits_count; i++) {
        const struct limit *limit = &all->limits[i];
        bool over = limit->scope.len == 0 ||
                    (slice_starts_with(scope, limit->scope) &&
                     (scope.len == limit->scope.len || scope.data[limit->scope.len] == '/'));

        for (size_t meter = 0; meter < meters_count; meter++)
            if (over && slice_equal(limit->meter, meters[meter].meter))
                ids[found++] = limit->limit_id;
    }
    return found;
}

Test(plan, finds_by_its_index_what_a_walk_over_all_limits_finds)
{
    static const char *const scopes[] = {"",    "a",     "a-b",     "a/b", "a/b/c", "a/b/c/d",
                                         "a.b", "a/b-c", "a/b-c/d", "b",   "a/bb",  "a/b/cc"};
    enum { SCOPES = sizeof(scopes) / sizeof(scopes[0]), LIMITS = 300 };
    static const char *const names[] = {"tokens", "token", "requests", "seats"};
    struct hold_meter meters[] = {{SLICE("requests"), 1}, {SLICE("tokens"), 1}};
    struct limit some_limits[LIMITS];
    struct plan from = {.limits = some_limits};
    int64_t ids[LIMITS];
    unsigned int seed = 7;

    for (from.limits_count = 0; from.limits_count < LIMITS; from.limits_count += 23) {
        struct plan *some;

        for (size_t i = 0; i < from.limits_count; i++)
            some_limits[i] = (struct limit){
                .limit_id = (int64_t)(i * 7919 % LIMITS),
                .scope = slice_from_cstr(scopes[(size_t)rand_r(&seed) % SCOPES]),
                .meter = slice_from_cstr(names[(size_t)rand_r(&seed) % 4]),
                .period = PERIOD_NEVER};
        some = plan_create(&from);
        for (size_t s = 0; s < SCOPES; s++) {
            struct slice scope = slice_from_cstr(scopes[s]);
            size_t expected = walk(some, scope, meters, 2, ids);
            enum plan_selection answer =
                plan_select(some, scope, meters, 2, 0, quotas, &count, &missing);

            if (expected > HOLD_QUOTAS_MAX)
                cr_assert_eq(answer, PLAN_TOO_MANY);
            if (answer != PLAN_SELECTED)
                continue;
            cr_assert_eq(count, expected, "%zu limits, scope %s", from.limits_count, scopes[s]);
            for (size_t i = 0; i < count; i++)
                cr_assert_eq(quotas[i].quota.limit_id, ids[i]);
        }
        plan_unref(some);
    }
}

Test(plan, takes_as_many_quotas_as_a_hold_carries)
{
    struct limit many[HOLD_QUOTAS_MAX];
    struct plan from = {.limits_count = HOLD_QUOTAS_MAX, .limits = many};
    struct hold_meter meters[] = {{SLICE("tokens"), 1}};
    struct plan *large;

    cr_assert_geq(HOLD_QUOTAS_MAX, 128);
    for (int i = 0; i < HOLD_QUOTAS_MAX; i++)
        many[i] = (struct limit){.limit_id = i, .meter = SLICE("tokens"), .period = PERIOD_NEVER};
    large = plan_create(&from);
    cr_assert_eq(plan_select(large, SLICE("a/b/c/d"), meters, 1, 0, quotas, &count, &missing),
                 PLAN_SELECTED);
    cr_assert_eq(count, HOLD_QUOTAS_MAX);
    plan_unref(large);
}

/* A tenant whose shard changed would lose its counters. */
Test(plan, shard_of_a_name_never_changes)
{
    cr_assert_eq(plan_shard(SLICE("acme")), 225);
    for (int i = 0; i < 100; i++) {
        char name[] = {'t', (char)('0' + i / 10), (char)('0' + i % 10)};
        int shard = plan_shard(slice_of(name, 3));

        cr_assert(shard >= 0 && shard < SHARDS);
    }
}

Test(plan, keeps_the_calendars_of_its_limits_and_selects_by_them)
{
    struct calendar calendars[] = {{3, {1000, 2000, 3000}}, {3, {1500, 2500, 3500}}};
    struct limit zoned[] = {
        {.limit_id = 2, .meter = SLICE("m"), .period = PERIOD_DAY, .calendar = &calendars[0]},
        {.limit_id = 3, .meter = SLICE("m"), .period = PERIOD_MINUTE},
        {.limit_id = 1, .meter = SLICE("m"), .period = PERIOD_DAY, .calendar = &calendars[1]}};
    struct plan *own = plan_create(&(struct plan){.limits = zoned, .limits_count = 3});
    struct hold_meter meter = {.meter = SLICE("m"), .units = 1};
    struct hold_quota found[HOLD_QUOTAS_MAX];
    size_t found_count = 0, lacking;

    memset(calendars, 0, sizeof(calendars));
    cr_assert_eq(plan_select(own, SLICE(""), &meter, 1, 2200, found, &found_count,
                             &lacking), PLAN_SELECTED);
    cr_assert_eq(found_count, 3);
    cr_assert_eq(found[0].quota.period_start_ms, 1500);
    cr_assert_eq(found[1].quota.period_start_ms, 2000);
    cr_assert_eq(found[2].quota.period_start_ms, 0);
    cr_assert_eq(limit_end_ms(plan_limit(own, 1), 1500), 2500);
    plan_unref(own);
}
