#include "op/plans.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

static struct clock_manual manual;

static void begin(void)
{
    clock_manual_init(&manual, 1000000, 1764000000000);
}

TestSuite(plans, .init = begin);

static struct plan *make(const char *tenant, int64_t version)
{
    struct plan plan = {
        .tenant_id = 7,
        .tenant = slice_from_cstr(tenant),
        .shard = plan_shard(slice_from_cstr(tenant)),
        .config_version = version,
    };

    return plan_create(&plan);
}

static void put(struct plans *plans, const char *tenant, int64_t version)
{
    struct plan *plan = make(tenant, version);

    plans_put(plans, plan);
    plan_unref(plan);
}

static int64_t version_of(struct plans *plans, const char *tenant)
{
    struct plan *plan = plans_get(plans, slice_from_cstr(tenant));
    int64_t version = plan ? plan->config_version : -1;

    plan_unref(plan);
    return version;
}

Test(plans, an_older_version_never_replaces_a_newer_one)
{
    struct plans *plans = plans_create(&manual.clock, 1 << 20);

    cr_assert_eq(version_of(plans, "acme"), -1);
    put(plans, "acme", 3);
    put(plans, "acme", 2);
    cr_assert_eq(version_of(plans, "acme"), 3);
    put(plans, "acme", 4);
    cr_assert_eq(version_of(plans, "acme"), 4);
    plans_destroy(plans);
}

Test(plans, one_is_forgotten_alone)
{
    struct plans *plans = plans_create(&manual.clock, 1 << 20);

    put(plans, "acme", 3);
    put(plans, "globex", 3);
    plans_forget(plans, slice_from_cstr("acme"));
    cr_assert_eq(version_of(plans, "acme"), -1);
    cr_assert_eq(version_of(plans, "globex"), 3);
    plans_forget(plans, slice_from_cstr("never-seen"));
    plans_destroy(plans);
}

Test(plans, every_tenant_is_found_after_the_table_has_grown)
{
    enum { TENANTS = 2000 };
    struct plans *plans = plans_create(&manual.clock, 1 << 20);
    char name[32];

    for (int i = 0; i < TENANTS; i++) {
        snprintf(name, sizeof(name), "tenant-%d", i);
        put(plans, name, i + 1);
    }
    for (int i = 0; i < TENANTS; i++) {
        snprintf(name, sizeof(name), "tenant-%d", i);
        cr_assert_eq(version_of(plans, name), i + 1, "%s", name);
    }
    plans_destroy(plans);
}

Test(plans, a_plan_outlives_the_table_while_it_is_referenced)
{
    struct plans *plans = plans_create(&manual.clock, 1 << 20);
    struct plan *plan;

    put(plans, "acme", 9);
    plan = plans_get(plans, slice_from_cstr("acme"));
    plans_destroy(plans);
    cr_assert_eq(plan->config_version, 9);
    cr_assert(slice_equal_cstr(plan->tenant, "acme"));
    plan_unref(plan);
}

/* --- bounds --------------------------------------------------------------------------------------- */

Test(plans, those_that_nobody_asks_for_make_room)
{
    enum { TENANTS = 20000 };
    const size_t bytes_max = 1 << 20;
    struct plans *plans = plans_create(&manual.clock, bytes_max);
    char name[32];
    int kept = 0;

    for (int i = 0; i < TENANTS; i++) {
        snprintf(name, sizeof(name), "tenant-%d", i);
        put(plans, name, 1);
        cr_assert_eq(version_of(plans, name), 1, "the last one is there");
        cr_assert_eq(version_of(plans, "tenant-0"), 1,
                     "and the one that is asked for all the time");
    }
    for (int i = 0; i < TENANTS; i++) {
        snprintf(name, sizeof(name), "tenant-%d", i);
        kept += version_of(plans, name) == 1;
    }
    cr_assert_lt(kept, TENANTS / 2);
    cr_assert_gt(kept, 1000);
    cr_assert_leq(plans_bytes(plans), 2 * bytes_max);
    plans_destroy(plans);
}

Test(plans, one_that_is_larger_than_the_bound_is_kept_alone)
{
    struct plans *plans = plans_create(&manual.clock, 64);

    put(plans, "acme", 1);
    put(plans, "globex", 1);
    cr_assert_eq(version_of(plans, "globex"), 1);
    cr_assert_eq(version_of(plans, "acme"), -1);
    plans_destroy(plans);
}

Test(plans, what_was_missed_ends_by_its_age)
{
    struct plans *plans = plans_create(&manual.clock, 1 << 20);

    put(plans, "acme", 1);
    clock_manual_advance_us(&manual, PLANS_LAST_MS * INT64_C(1000) - 1);
    cr_assert_eq(version_of(plans, "acme"), 1);
    clock_manual_advance_us(&manual, 1);
    cr_assert_eq(version_of(plans, "acme"), -1);
    put(plans, "acme", 1);
    cr_assert_eq(version_of(plans, "acme"), 1, "loaded anew, though of the same version");
    plans_destroy(plans);
}

Test(plans, only_a_young_one_refuses)
{
    struct plans *plans = plans_create(&manual.clock, 1 << 20);
    struct plan *plan;

    put(plans, "acme", 1);
    plan = plans_get(plans, slice_from_cstr("acme"));
    cr_assert(plans_may_refuse(plans, plan));
    clock_manual_advance_us(&manual, PLANS_REFUSE_MS * 1000);
    cr_assert_not(plans_may_refuse(plans, plan));
    cr_assert_eq(version_of(plans, "acme"), -1, "it is to be loaded anew");
    put(plans, "acme", 2);
    cr_assert_not(plans_may_refuse(plans, plan), "another one is there by now");
    cr_assert_eq(version_of(plans, "acme"), 2);
    plan_unref(plan);
    plans_destroy(plans);
}

struct churn {
    struct plans *plans;
    _Atomic int64_t highest;
};

static void *change(void *user)
{
    struct churn *churn = user;

    for (int64_t version = 1; version <= 5000; version++) {
        put(churn->plans, "acme", version);
        churn->highest = version;
    }
    return NULL;
}

Test(plans, a_reader_never_sees_a_version_older_than_one_put_before_it_looked)
{
    struct churn churn = {.plans = plans_create(&manual.clock, 1 << 20)};
    pthread_t writer;
    int64_t seen = 0;

    cr_assert_eq(pthread_create(&writer, NULL, change, &churn), 0);
    while (seen < 5000) {
        int64_t before = churn.highest;

        seen = version_of(churn.plans, "acme");
        cr_assert_geq(seen, before > 0 ? before : -1);
    }
    pthread_join(writer, NULL);
    plans_destroy(churn.plans);
}
