/* Plans as one snapshot, and changes of which a server misses none. */
#include "tests/ledger/support.h"

#include "ledger/ledger.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>

static struct arena arena;
static struct database *db;

static const struct statement lock = {
    "test_lock", "SELECT tenant_id FROM tenant WHERE tenant_id = $1::bigint FOR NO KEY UPDATE"};
static const struct statement bump = {
    "test_bump", "UPDATE tenant SET config_version = config_version + 1,"
                 " config_position = config_position_next() WHERE tenant_id = $1::bigint"};

static void begin(void)
{
    arena_init(&arena, 4096, 1 << 24);
    db = support_open();
}

static void end(void)
{
    database_destroy(db);
    arena_done(&arena);
}

TestSuite(plans, .init = begin, .fini = end);

static void since(int64_t *position, struct ledger_version **ret, size_t *ret_count)
{
    cr_assert_eq(ledger_versions_since(db, &arena, position, ret, ret_count), STATUS_OK, "%s",
                 database_error(db));
}

/* How often the tenant is among the changes after the position. */
static int changes_of(int64_t *position, const struct support_tenant *tenant)
{
    struct ledger_version *versions;
    size_t count;
    int found = 0;

    since(position, &versions, &count);
    for (size_t i = 0; i < count; i++)
        found += versions[i].tenant_id == tenant->tenant_id &&
                 slice_equal_cstr(versions[i].tenant, tenant->name);
    return found;
}

static enum status change(struct database *on, struct arena *memory, int64_t tenant_id)
{
    struct sql_params params;
    enum status status;

    sql_params_begin(&params, memory);
    sql_add_i64(&params, tenant_id);
    status = database_run(on, &lock, &params, NULL);
    return status == STATUS_OK ? database_run(on, &bump, &params, NULL) : status;
}

Test(plans, has_the_tenant_with_its_limits_in_the_order_of_their_ids)
{
    struct support_tenant tenant = support_tenant_make("p-load", 1000, 1100, 0);
    struct plan *plan;

    fixture_sql_do("INSERT INTO limit_ (tenant_id, name, scope, meter, period_kind, unlimited,"
                   " amount, soft_percent, overage_kind, overage, cap, soft, max_ttl_ms, deleted_at)"
                   " SELECT tenant_id, n.name, 'org', 'seconds', 4, false, 10, 50, 0, 0, 10, 5, 7,"
                   " CASE n.name WHEN 'gone' THEN clock_timestamp() END FROM limit_,"
                   " (VALUES ('gone'), ('a')) AS n(name) WHERE tenant_id = %" PRId64,
                   tenant.tenant_id);
    fixture_sql_do("UPDATE tenant SET state = 'S', admit_unlimited_meters = true, config_version ="
                   " 9 WHERE tenant_id = %" PRId64, tenant.tenant_id);
    cr_assert_eq(ledger_plan_load(db, SLICE("p-load"), &plan), STATUS_OK);
    cr_assert_not_null(plan);
    cr_assert_eq(plan->tenant_id, tenant.tenant_id);
    cr_assert(slice_equal(plan->tenant, SLICE("p-load")));
    cr_assert(plan->suspended);
    cr_assert(plan->admit_unlimited_meters);
    cr_assert_eq(plan->config_version, 9);
    cr_assert_eq(plan->limits_count, 2);
    cr_assert_eq(plan->limits[0].limit_id, tenant.limit_id);
    cr_assert_eq(plan->limits[0].cap, 1100);
    cr_assert(slice_equal(plan->limits[1].name, SLICE("a")));
    cr_assert(slice_equal(plan->limits[1].scope, SLICE("org")));
    cr_assert_eq(plan->limits[1].period, PERIOD_DAY);
    cr_assert_eq(plan->limits[1].soft, 5);
    cr_assert_eq(plan->limits[1].soft_percent, 50);
    cr_assert_eq(plan->limits[1].max_ttl_ms, 7);
    cr_assert_eq(plan->limits[1].redis_away, REDIS_AWAY_POSTGRES, "a row that does not say");
    plan_unref(plan);
}

Test(plans, a_position_tells_what_changed_after_it_once)
{
    struct support_tenant tenant = support_tenant_make("p-since", 1000, 1000, 0);
    struct ledger_version *versions;
    int64_t position = 0;
    size_t count;

    since(&position, &versions, &count);
    cr_assert(position > 0);
    cr_assert_eq(count, 0, "there are no plans yet that could be old");
    cr_assert_eq(changes_of(&position, &tenant), 0);
    cr_assert_eq(database_begin(db), STATUS_OK);
    cr_assert_eq(change(db, &arena, tenant.tenant_id), STATUS_OK);
    cr_assert_eq(database_commit(db), STATUS_OK);
    since(&position, &versions, &count);
    cr_assert_eq(count, 1);
    cr_assert_eq(versions[0].tenant_id, tenant.tenant_id);
    cr_assert(slice_equal(versions[0].tenant, SLICE("p-since")));
    cr_assert_eq(versions[0].config_version, 2);
    cr_assert_eq(changes_of(&position, &tenant), 0);
}

Test(plans, so_many_changes_come_in_parts)
{
    enum { CHANGES = LEDGER_VERSIONS_MAX + 100 };
    struct ledger_version *versions;
    int64_t position = 0;
    size_t count;

    since(&position, &versions, &count);
    fixture_sql_do("INSERT INTO tenant (name, shard, config_position) SELECT 'p-parts-' || n, 0,"
                   " config_position_next() FROM generate_series(1, %d) n", (int)CHANGES);
    since(&position, &versions, &count);
    cr_assert_eq(count, LEDGER_VERSIONS_MAX);
    since(&position, &versions, &count);
    cr_assert_eq(count, CHANGES - LEDGER_VERSIONS_MAX);
    since(&position, &versions, &count);
    cr_assert_eq(count, 0);
}

struct changer {
    pthread_t thread;
    int64_t tenant_id;
    enum status status;
};

static void *change_one(void *user)
{
    struct changer *changer = user;
    struct database *own = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    struct arena memory;

    arena_init(&memory, 1024, 1 << 16);
    changer->status = database_begin(own);
    if (changer->status == STATUS_OK)
        changer->status = change(own, &memory, changer->tenant_id);
    if (changer->status == STATUS_OK)
        changer->status = database_commit(own);
    arena_done(&memory);
    database_destroy(own);
    return NULL;
}

static bool waits(void *user)
{
    (void)user;
    return fixture_sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                       " AND database = (SELECT oid FROM pg_database WHERE datname ="
                       " current_database())") > 0;
}

/*
 * One transaction took its position and is still open; a second one, which would get the next
 * position, must not become visible before it: a server that polls in between would go past the first.
 */
Test(plans, a_change_that_commits_later_is_not_overtaken)
{
    struct support_tenant slow = support_tenant_make("p-slow", 1000, 1000, 0);
    struct support_tenant fast = support_tenant_make("p-fast", 1000, 1000, 0);
    struct changer changer = {.tenant_id = fast.tenant_id};
    struct database *open = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    int64_t position = 0, before;

    cr_assert_eq(changes_of(&position, &slow), 0);
    before = position;
    cr_assert_eq(database_begin(open), STATUS_OK);
    cr_assert_eq(change(open, &arena, slow.tenant_id), STATUS_OK);
    cr_assert_eq(pthread_create(&changer.thread, NULL, change_one, &changer), 0);
    cr_assert(fixture_until(1500, waits, NULL), "the second waits for the first");
    cr_assert_eq(changes_of(&position, &fast), 0);
    cr_assert_eq(position, before);
    cr_assert_eq(database_commit(open), STATUS_OK);
    pthread_join(changer.thread, NULL);
    cr_assert_eq(changer.status, STATUS_OK);
    cr_assert_eq(changes_of(&before, &slow), 1);
    cr_assert_eq(changes_of(&position, &fast), 1);
    database_destroy(open);
}

enum { THREADS = 4, ROUNDS = 25 };

static void *change_often(void *user)
{
    struct changer *changer = user;

    for (int i = 0; i < ROUNDS && changer->status == STATUS_OK; i++)
        change_one(changer);
    return NULL;
}

Test(plans, a_poll_beside_many_writers_sees_the_last_version_of_each)
{
    struct support_tenant tenants[THREADS];
    struct changer changers[THREADS] = {0};
    int64_t seen[THREADS] = {0};
    int64_t position = 0, until_us;
    struct ledger_version *versions;
    size_t count;
    bool complete = false;

    for (int i = 0; i < THREADS; i++) {
        char name[16];

        snprintf(name, sizeof(name), "p-many-%d", i);
        tenants[i] = support_tenant_make(name, 1000, 1000, 0);
        changers[i].tenant_id = tenants[i].tenant_id;
    }
    since(&position, &versions, &count);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&changers[i].thread, NULL, change_often, &changers[i]), 0);
    until_us = fixture_now_us() + 30000000;
    while (!complete && fixture_now_us() < until_us) {
        since(&position, &versions, &count);
        for (size_t k = 0; k < count; k++)
            for (int i = 0; i < THREADS; i++)
                if (versions[k].tenant_id == tenants[i].tenant_id) {
                    cr_assert(versions[k].config_version > seen[i]);
                    seen[i] = versions[k].config_version;
                }
        complete = true;
        for (int i = 0; i < THREADS; i++)
            complete = complete && seen[i] == 1 + ROUNDS;
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(changers[i].thread, NULL);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(changers[i].status, STATUS_OK);
    cr_assert(complete, "a version was missed");
}

Test(plans, the_first_tenant_of_all_is_not_missed)
{
    struct support_tenant tenant;
    int64_t position = 0;

    fixture_sql_do("TRUNCATE tenant CASCADE");
    cr_assert_eq(changes_of(&position, &(struct support_tenant){0}), 0);
    tenant = support_tenant_make("p-first", 1000, 1000, 0);
    cr_assert_eq(changes_of(&position, &tenant), 1);
    cr_assert_eq(changes_of(&position, &tenant), 0);
}

/* Whoever is in a hurry learns of a tenant with many limits only that it is one. */
Test(plans, of_a_large_tenant_nothing_is_read_within_a_bound)
{
    struct support_tenant large = support_tenant_make("p-large", 1000, 1000, 0);
    struct support_tenant small = support_tenant_make("p-small", 1000, 1000, 0);
    const struct slice names[] = {slice_from_cstr(large.name), slice_from_cstr(small.name),
                                  SLICE("p-none"), slice_from_cstr(large.name)};
    struct plan *plans[4];
    bool is_large[4];

    fixture_sql_do("INSERT INTO limit_ (tenant_id, name, scope, meter, period_kind, unlimited, amount,"
                   " soft_percent, overage_kind, overage, cap, soft) SELECT %" PRId64 ", 'l-' || i,"
                   " '', 'calls', 1, false, 10, 90, 1, 0, 10, 9 FROM generate_series(1, 4) i",
                   large.tenant_id);
    cr_assert_eq(ledger_plans_load(db, names, 4, 4, plans, is_large), STATUS_OK);
    cr_assert(is_large[0] && !is_large[1] && !is_large[2] && is_large[3]);
    cr_assert(!plans[0] && plans[1] && !plans[2] && !plans[3]);
    cr_assert_eq(plans[1]->tenant_id, small.tenant_id);
    cr_assert_eq(plans[1]->ledger_part, support_ledger_part(&small));
    plan_unref(plans[1]);
    cr_assert_eq(ledger_plans_load(db, names, 4, 5, plans, is_large), STATUS_OK, "no more than that");
    for (int i = 0; i < 4; i++)
        cr_assert_not(is_large[i]);
    cr_assert_eq(plans[0]->limits_count, 5);
    cr_assert_eq(plans[3]->limits_count, 5);
    for (int i = 0; i < 4; i++)
        plan_unref(plans[i]);
}
