/* Lending: what fits is lent and never more, whoever asks, in whatever order and epoch. */
#include "tests/ledger/support.h"

#include "ledger/ledger.h"
#include "quota/lease.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>

static struct arena arena;
static struct database *db;

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

TestSuite(grant, .init = begin, .fini = end);

static struct ledger_grant ask(const struct support_tenant *tenant, int64_t needed)
{
    return (struct ledger_grant){
        .tenant_id = tenant->tenant_id,
        .shard = plan_shard(slice_from_cstr(tenant->name)),
        .epoch = tenant->epoch,
        .ref = {tenant->limit_id, 0},
        .needed = needed,
        .deadline_ms = support_now_ms() + 60000,
    };
}

static int64_t grant(struct ledger_grant *grants, size_t count)
{
    int64_t now_ms = 0;

    cr_assert_eq(ledger_grant_run(db, &arena, grants, count, &now_ms), STATUS_OK, "%s",
                 database_error(db));
    cr_assert(now_ms > 0);
    return now_ms;
}

/* Of the tenant's only quota row. */
static int64_t of_quota(const struct support_tenant *tenant, const char *what)
{
    return fixture_sql("SELECT %s FROM quota WHERE tenant_id = %" PRId64, what, tenant->tenant_id);
}

static void drop_row(const struct support_tenant *tenant)
{
    fixture_sql_do("DELETE FROM quota WHERE tenant_id = %" PRId64, tenant->tenant_id);
}

static void bump_epoch(const struct support_tenant *tenant)
{
    fixture_sql_do("UPDATE shard_authority SET epoch = epoch + 1 WHERE shard = %d",
                   plan_shard(slice_from_cstr(tenant->name)));
}

Test(grant, lends_what_is_needed_and_up_to_the_leases_size_beyond)
{
    struct support_tenant tenant = support_tenant_make("g-size", 1000, 1000, 0);
    struct ledger_grant one = ask(&tenant, 5);

    one.outstanding = 40;
    grant(&one, 1);
    cr_assert_not(one.missing);
    cr_assert_not(one.epoch_changed);
    cr_assert_eq(one.granted_units, 80);
    cr_assert_eq(one.quota.granted, 80);
    cr_assert_eq(one.quota.lease_deadline_ms >= one.deadline_ms, true);
    cr_assert_eq(of_quota(&tenant, "leased"), 80);
    support_check_quotas(&tenant);
}

/* A row that is not there yet is made with its first lease: in one statement, and no second transaction. */
Test(grant, a_row_is_made_with_its_first_lease)
{
    struct support_tenant tenant = support_tenant_make("g-made", 1000, 1000, 0);
    struct ledger_grant both[2] = {ask(&tenant, 5), ask(&tenant, 7)};

    drop_row(&tenant);
    both[0].only_new = true;
    grant(both, 2);
    cr_assert(both[0].made && both[1].made);
    cr_assert_not(both[0].missing || both[0].epoch_changed);
    cr_assert_geq(both[0].granted_units, 5);
    cr_assert_geq(both[1].granted_units, 7);
    cr_assert_eq(of_quota(&tenant, "leased"), both[1].quota.leased);
    cr_assert_eq(of_quota(&tenant, "lease_id"), both[0].quota.lease_id);
    cr_assert_eq(of_quota(&tenant, "lease_deadline_ms"), both[0].quota.lease_deadline_ms);
    support_check_quotas(&tenant);
}

/* Whoever has not asked Redis yet takes nothing where a row tells that Redis may have it. */
Test(grant, only_a_new_row_lends_to_who_has_not_asked_redis)
{
    struct support_tenant tenant = support_tenant_make("g-only-new", 1000, 1000, 0);
    struct ledger_grant one = ask(&tenant, 5);
    int64_t leased, now_ms = 0;

    drop_row(&tenant);
    grant(&one, 1);
    cr_assert(one.made);
    leased = of_quota(&tenant, "leased");
    one.only_new = true;
    cr_assert_eq(ledger_grant_run(db, &arena, &one, 1, &now_ms), STATUS_OK);
    cr_assert_not(one.made);
    cr_assert_eq(one.granted_units, 0);
    cr_assert_eq(of_quota(&tenant, "leased"), leased);
    one.only_new = false;
    one.needed = 700;
    grant(&one, 1);
    cr_assert_not(one.made);
    cr_assert_geq(one.granted_units, 700);
    support_check_quotas(&tenant);
}

Test(grant, the_last_of_it_is_lent_even_if_less_than_needed)
{
    struct support_tenant tenant = support_tenant_make("g-last", 1000, 1010, 1000);
    struct ledger_grant one = ask(&tenant, 50);

    grant(&one, 1);
    cr_assert_eq(one.granted_units, 10);
    grant(&one, 1);
    cr_assert_eq(one.granted_units, 0);
    cr_assert_not(one.missing);
    cr_assert_eq(one.quota.leased, 1010);
    support_check_quotas(&tenant);
}

Test(grant, only_the_deadline_moves_when_nothing_is_needed)
{
    struct support_tenant tenant = support_tenant_make("g-deadline", 1000, 1000, 100);
    struct ledger_grant one = ask(&tenant, 0);

    one.deadline_ms = support_now_ms() + 1200000;
    grant(&one, 1);
    cr_assert_eq(one.granted_units, 0);
    cr_assert_eq(of_quota(&tenant, "lease_deadline_ms"), one.deadline_ms);
    cr_assert_eq(of_quota(&tenant, "granted"), 100);
    one.deadline_ms -= 500000;
    grant(&one, 1);
    cr_assert_eq(of_quota(&tenant, "lease_deadline_ms"), one.deadline_ms + 500000, "never back");
}

Test(grant, many_for_one_quota_are_served_in_order)
{
    struct support_tenant tenant = support_tenant_make("g-many", 100, 100, 0);
    struct ledger_grant grants[] = {ask(&tenant, 60), ask(&tenant, 30), ask(&tenant, 30)};

    grant(grants, 3);
    cr_assert_eq(grants[0].granted_units >= 60, true);
    cr_assert_eq(of_quota(&tenant, "granted"), 100);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(grants[i].quota.granted, 100, "each sees the row afterwards");
    support_check_quotas(&tenant);
}

Test(grant, a_row_is_made_when_it_is_first_needed)
{
    struct support_tenant tenant = support_tenant_make("g-row", 1000, 1000, 0);
    struct ledger_grant one = ask(&tenant, 10);
    struct ledger_grant two = one;

    fixture_sql_do("DELETE FROM quota WHERE tenant_id = %" PRId64, tenant.tenant_id);
    fixture_sql_do("UPDATE limit_ SET period_kind = 4 WHERE tenant_id = %" PRId64,
                   tenant.tenant_id);
    one.ref.period_start_ms = period_start_ms(PERIOD_DAY, support_now_ms());
    grant(&one, 1);
    cr_assert_eq(one.quota.period_end_ms - one.quota.ref.period_start_ms, 86400000);
    cr_assert_eq(one.granted_units, 10);
    cr_assert_eq(fixture_sql("SELECT event_seq FROM tenant WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 0, "the first period does not start anew");
    two.ref.period_start_ms = one.quota.period_end_ms;
    grant(&two, 1);
    grant(&two, 1);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM event WHERE tenant_id = %" PRId64
                             " AND seq = 1 AND kind = 4 AND level = 1 AND committed = 0",
                             tenant.tenant_id), 1);
    cr_assert_eq(fixture_sql("SELECT event_seq FROM tenant WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 1);
}

Test(grant, nothing_is_lent_where_there_is_no_limit_or_the_period_is_over)
{
    struct support_tenant tenant = support_tenant_make("g-gone", 1000, 1000, 0);
    struct ledger_grant grants[] = {ask(&tenant, 10), ask(&tenant, 10), ask(&tenant, 10)};

    grants[0].ref.limit_id += 1000000;
    fixture_sql_do("INSERT INTO quota SELECT tenant_id, limit_id, 60000, 120000, limit_amount,"
                   " cap_amount, soft_amount, unlimited FROM quota WHERE tenant_id = %" PRId64,
                   tenant.tenant_id);
    grants[1].ref.period_start_ms = 60000;
    grant(grants, 3);
    cr_assert(grants[0].missing);
    cr_assert(grants[1].missing);
    cr_assert_eq(grants[1].granted_units, 0);
    cr_assert_not(grants[2].missing);
    cr_assert_eq(grants[2].granted_units, 10);
    fixture_sql_do("UPDATE quota SET state = 'X' WHERE tenant_id = %" PRId64, tenant.tenant_id);
    grant(&grants[2], 1);
    cr_assert(grants[2].missing);
}

Test(grant, an_unlimited_quota_lends_as_well)
{
    struct support_tenant tenant = support_tenant_make("g-unlimited", 1000, 1000, 0);
    struct ledger_grant one = ask(&tenant, INT64_C(1) << 41);

    fixture_sql_do("UPDATE quota SET unlimited = true, limit_amount = 9007199254740991, cap_amount ="
                   " 9007199254740991, soft_amount = 9007199254740991 WHERE tenant_id = %" PRId64,
                   tenant.tenant_id);
    grant(&one, 1);
    cr_assert_eq(one.granted_units, INT64_C(1) << 41);
    one.needed = 1;
    grant(&one, 1);
    cr_assert_eq(one.granted_units, INT64_C(1) << 40);
    cr_assert(one.quota.stops.unlimited);
    support_check_quotas(&tenant);
}

/* --- epochs ------------------------------------------------------------------------------------------- */

Test(grant, a_caller_with_another_epoch_gets_nothing)
{
    struct support_tenant tenant = support_tenant_make("g-epoch", 1000, 1000, 100);
    struct ledger_grant one = ask(&tenant, 10);

    bump_epoch(&tenant);
    grant(&one, 1);
    cr_assert(one.epoch_changed);
    cr_assert_eq(one.granted_units, 0);
    cr_assert_eq(one.quota.epoch, tenant.epoch + 1);
    cr_assert_eq(of_quota(&tenant, "lease_id"), tenant.lease_id);
    cr_assert_eq(of_quota(&tenant, "granted"), 100);
}

Test(grant, a_new_epoch_sets_the_old_lease_aside_until_its_deadline)
{
    struct support_tenant tenant = support_tenant_make("g-aside", 1000, 1000, 300);
    struct ledger_grant one = ask(&tenant, 650);
    int64_t now_ms;

    fixture_sql_do("UPDATE quota SET spent = 100, committed = 100, leased = 200 WHERE tenant_id = %"
                   PRId64, tenant.tenant_id);
    bump_epoch(&tenant);
    one.epoch++;
    grant(&one, 1);
    cr_assert_eq(one.granted_units, 650);
    cr_assert_eq(lease_epoch(one.quota.lease_id), tenant.epoch + 1);
    cr_assert_eq(one.old_leases_units, 200);
    cr_assert_eq(of_quota(&tenant, "leased"), 850);
    cr_assert_eq(fixture_sql("SELECT granted - returned - spent FROM old_lease WHERE tenant_id = %"
                             PRId64, tenant.tenant_id), 200);

    one.needed = 250;
    grant(&one, 1);
    cr_assert_eq(one.granted_units, 50, "what is set aside is not lent");

    fixture_sql_do("UPDATE old_lease SET deadline_ms = 1 WHERE tenant_id = %" PRId64,
                   tenant.tenant_id);
    now_ms = grant(&one, 1);
    cr_assert_eq(one.granted_units, 200);
    cr_assert_eq(one.old_leases_units, 0);
    cr_assert_eq(one.quota.reaped_to_ms, now_ms);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM old_lease WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 0);
    cr_assert_eq(of_quota(&tenant, "leased"), 900);
    cr_assert_eq(of_quota(&tenant, "reaped_to_ms"), now_ms);
}

Test(grant, a_vanished_lease_is_set_aside_once)
{
    struct support_tenant tenant = support_tenant_make("g-vanish", 1000, 1000, 100);
    struct ledger_grant one = ask(&tenant, 10), again;

    one.vanished_lease_id = tenant.lease_id;
    again = one;
    grant(&one, 1);
    cr_assert_eq(one.quota.lease_id, tenant.lease_id + 1);
    cr_assert_eq(one.old_leases_units, 100);
    grant(&again, 1);
    cr_assert_eq(again.quota.lease_id, tenant.lease_id + 1, "another server saw the same");
    cr_assert_eq(again.old_leases_units, 100);
    support_check_quotas(&tenant);
}

Test(grant, after_the_last_lease_of_an_epoch_another_epoch_is_wanted)
{
    struct support_tenant tenant = support_tenant_make("g-last-id", 1000, 1000, 100);
    struct ledger_grant one = ask(&tenant, 10);

    fixture_sql_do("UPDATE quota SET lease_id = %" PRId64 " WHERE tenant_id = %" PRId64,
                   (one.epoch + 1) * LEASE_IDS_PER_EPOCH - 1, tenant.tenant_id);
    one.vanished_lease_id = (one.epoch + 1) * LEASE_IDS_PER_EPOCH - 1;
    grant(&one, 1);
    cr_assert(one.epoch_changed);
    cr_assert_eq(one.granted_units, 0);
    cr_assert_eq(one.quota.lease_id, one.vanished_lease_id, "the row is as it was");
    bump_epoch(&tenant);
    one.epoch++;
    grant(&one, 1);
    cr_assert_not(one.epoch_changed);
    cr_assert_eq(one.quota.lease_id, one.epoch * LEASE_IDS_PER_EPOCH);
    support_check_quotas(&tenant);
}

Test(grant, a_lease_that_lent_nothing_leaves_nothing_behind)
{
    struct support_tenant tenant = support_tenant_make("g-empty", 1000, 1000, 0);
    struct ledger_grant one = ask(&tenant, 10);

    bump_epoch(&tenant);
    one.epoch++;
    grant(&one, 1);
    cr_assert_eq(one.old_leases_units, 0);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM old_lease WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 0);
}

/* --- at once ------------------------------------------------------------------------------------------ */

enum { THREADS = 4, ROUNDS = 60 };

struct taker {
    pthread_t thread;
    const struct support_tenant *tenants;
    size_t count;
    bool backwards;
    int64_t deadline_ms;
    int failures;
};

static void *take(void *user)
{
    struct taker *taker = user;
    struct database *own = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));

    for (int round = 0; round < ROUNDS; round++) {
        struct ledger_grant grants[8] = {0};
        struct arena memory;
        int64_t now_ms;

        arena_init(&memory, 4096, 1 << 20);
        for (size_t i = 0; i < taker->count; i++) {
            size_t at = taker->backwards ? taker->count - 1 - i : i;

            grants[i].tenant_id = taker->tenants[at].tenant_id;
            grants[i].epoch = taker->tenants[at].epoch;
            grants[i].ref.limit_id = taker->tenants[at].limit_id;
            grants[i].needed = 7;
            grants[i].deadline_ms = taker->deadline_ms;
        }
        if (ledger_grant_run(own, &memory, grants, taker->count, &now_ms) != STATUS_OK)
            taker->failures++;
        arena_done(&memory);
    }
    database_destroy(own);
    return NULL;
}

static void take_all(const struct support_tenant *tenants, size_t count)
{
    int64_t deadline_ms = support_now_ms() + 60000;
    struct taker takers[THREADS] = {0};

    for (int i = 0; i < THREADS; i++) {
        takers[i].tenants = tenants;
        takers[i].count = count;
        takers[i].backwards = i % 2;
        takers[i].deadline_ms = deadline_ms;
        cr_assert_eq(pthread_create(&takers[i].thread, NULL, take, &takers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(takers[i].thread, NULL);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(takers[i].failures, 0);
}

Test(grant, four_threads_on_a_limit_of_a_thousand_get_exactly_a_thousand)
{
    struct support_tenant tenant = support_tenant_make("g-threads", 1000, 1000, 0);

    take_all(&tenant, 1);
    cr_assert_eq(of_quota(&tenant, "granted"), 1000);
    cr_assert_eq(of_quota(&tenant, "leased"), 1000);
    support_check_quotas(&tenant);
}

/* Backends report what they met when they end; by then only the test's own is left. */
static bool others_are_gone(void *user)
{
    (void)user;
    return fixture_sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holdfast'")
           <= 1;
}

static int64_t deadlocks(void)
{
    cr_assert(fixture_until(10000, others_are_gone, NULL));
    return fixture_sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()");
}

Test(grant, batches_in_opposite_order_do_not_deadlock)
{
    static const char *const names[] = {"g-order-a", "g-order-b", "g-order-c", "g-order-d"};
    int64_t before = deadlocks();
    struct support_tenant tenants[4];

    for (int i = 0; i < 4; i++)
        tenants[i] = support_tenant_make(names[i], 1000, 1000, 0);
    take_all(tenants, 4);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(of_quota(&tenants[i], "granted"), 1000);
        support_check_quotas(&tenants[i]);
    }
    cr_assert_eq(deadlocks(), before);
}

Test(grant, nothing_is_left_over_of_a_lease_that_was_set_aside)
{
    struct support_tenant tenant = support_tenant_make("g-left-over", 1000, 1000, 0);
    struct ledger_grant two[2] = {ask(&tenant, 10), ask(&tenant, 10)};

    two[0].outstanding = 50;
    two[1].vanished_lease_id = tenant.lease_id;
    grant(two, 2);
    cr_assert_eq(two[1].quota.lease_id, tenant.lease_id + 1);
    cr_assert_eq(two[1].old_leases_units, 100);
    cr_assert_geq(two[1].granted_units, 10);
    cr_assert_geq(two[1].quota.granted, 10, "what was left over is not in this lease");
    support_check_quotas(&tenant);
}
