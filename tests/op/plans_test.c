#include "op/plans.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

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
    struct plans *plans = plans_create();

    cr_assert_eq(version_of(plans, "acme"), -1);
    put(plans, "acme", 3);
    put(plans, "acme", 2);
    cr_assert_eq(version_of(plans, "acme"), 3);
    put(plans, "acme", 4);
    cr_assert_eq(version_of(plans, "acme"), 4);
    plans_destroy(plans);
}

Test(plans, forgetting_by_version_spares_what_is_new_enough)
{
    struct plans *plans = plans_create();

    put(plans, "acme", 3);
    put(plans, "globex", 3);
    plans_forget_older(plans, slice_from_cstr("acme"), 3);
    cr_assert_eq(version_of(plans, "acme"), 3);
    plans_forget_older(plans, slice_from_cstr("acme"), 4);
    cr_assert_eq(version_of(plans, "acme"), -1);
    plans_forget(plans, slice_from_cstr("globex"));
    cr_assert_eq(version_of(plans, "globex"), -1);
    plans_forget(plans, slice_from_cstr("never-seen"));
    plans_destroy(plans);
}

Test(plans, every_tenant_is_found_after_the_table_has_grown)
{
    enum { TENANTS = 2000 };
    struct plans *plans = plans_create();
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
    struct plans *plans = plans_create();
    struct plan *plan;

    put(plans, "acme", 9);
    plan = plans_get(plans, slice_from_cstr("acme"));
    plans_destroy(plans);
    cr_assert_eq(plan->config_version, 9);
    cr_assert(slice_equal_cstr(plan->tenant, "acme"));
    plan_unref(plan);
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
    struct churn churn = {.plans = plans_create()};
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
