/* A period that is over is followed by the next one, once, without any traffic. */
#include "tests/ledger/support.h"

#include "base/fault.h"
#include "ledger/ledger.h"
#include "ledger/rows.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <unistd.h>

#define MINUTE_MS INT64_C(60000)

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

TestSuite(periods, .init = begin, .fini = end);

static int64_t add_limit(const struct support_tenant *tenant, enum period kind, int nth)
{
    return fixture_sql("INSERT INTO limit_ (tenant_id, name, scope, meter, period_kind, unlimited,"
                       " amount, soft_percent, overage_kind, overage, cap, soft) VALUES (%" PRId64
                       ", 'limit-%d', '', 'tokens', %d, false, 100, 90, 0, 0, 100, 90)"
                       " RETURNING limit_id", tenant->tenant_id, nth, (int)kind);
}

/* A period of a limit that began so many periods ago, in which so much was used. */
static void add_period(const struct support_tenant *tenant, int64_t limit_id, enum period kind,
                       int ago, int64_t used)
{
    int64_t start_ms = period_start_ms(kind, support_now_ms());
    int level = used >= 100 ? 7 : used >= 90 ? 1 : 0;

    for (int i = 0; i < ago; i++)
        start_ms = period_start_ms(kind, start_ms - 1);
    fixture_sql_do("INSERT INTO quota (tenant_id, limit_id, period_start_ms, period_end_ms,"
                   " limit_amount, cap_amount, soft_amount, unlimited, committed, ledger_seq, level)"
                   " VALUES (%" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64
                   ", 100, 100, 90, false, %" PRId64 ", %d, %d)", tenant->tenant_id, limit_id,
                   start_ms, period_end_ms(kind, start_ms), used, used > 0, level);
}

/* Away from the end of a minute, so that what is looked at stays one. */
static void settle_in_minute(void)
{
    while (support_now_ms() % MINUTE_MS > MINUTE_MS - 8000)
        usleep(100000);
}

static void follow_all(void)
{
    bool more = true;

    while (more)
        cr_assert_eq(ledger_periods_follow(db, &arena, 7, &more), STATUS_OK, "%s",
                     database_error(db));
}

static int64_t events_of(const struct support_tenant *tenant)
{
    return fixture_sql("SELECT count(*) FROM event WHERE tenant_id = %" PRId64 " AND kind = %d",
                       tenant->tenant_id, (int)EVENT_PERIOD_STARTED);
}

static int64_t left_of(const struct support_tenant *tenant)
{
    return fixture_sql("SELECT count(*) FROM quota WHERE tenant_id = %" PRId64
                       " AND NOT followed AND period_end_ms <= %" PRId64, tenant->tenant_id,
                       support_now_ms());
}

Test(periods, a_used_one_is_followed_by_the_current_one_and_says_its_level)
{
    struct support_tenant tenant = support_tenant_make("p-used", 1000, 1000, 0);
    int64_t minutely = add_limit(&tenant, PERIOD_MINUTE, 1);
    int64_t daily = add_limit(&tenant, PERIOD_DAY, 2);

    settle_in_minute();
    add_period(&tenant, minutely, PERIOD_MINUTE, 1, 100);
    add_period(&tenant, daily, PERIOD_DAY, 1, 20);
    follow_all();
    cr_assert_eq(events_of(&tenant), 2);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM event WHERE tenant_id = %" PRId64
                             " AND kind = %d AND level = 1 AND committed = 0 AND job_id = ''",
                             tenant.tenant_id, (int)EVENT_PERIOD_STARTED), 2);
    cr_assert_eq(fixture_sql("SELECT period_start_ms FROM event WHERE limit_id = %" PRId64,
                             minutely), period_start_ms(PERIOD_MINUTE, support_now_ms()));
    follow_all();
    cr_assert_eq(events_of(&tenant), 2, "once");
    cr_assert_eq(left_of(&tenant), 0);
    support_check_events(&tenant);
}

Test(periods, an_idle_one_is_followed_by_nothing)
{
    struct support_tenant tenant = support_tenant_make("p-idle", 1000, 1000, 0);
    int64_t limit_id = add_limit(&tenant, PERIOD_MINUTE, 1);

    settle_in_minute();
    add_period(&tenant, limit_id, PERIOD_MINUTE, 1, 0);
    follow_all();
    cr_assert_eq(events_of(&tenant), 0);
    cr_assert_eq(left_of(&tenant), 0, "and is looked at once");
    cr_assert_eq(fixture_sql("SELECT count(*) FROM quota WHERE limit_id = %" PRId64, limit_id), 1);
}

/* A trigger, a contradiction, a hand: whatever it is, it is one tenant's. */
Test(periods, what_is_refused_of_one_tenant_keeps_no_other_waiting)
{
    struct support_tenant odd = support_tenant_make("p-odd", 1000, 1000, 0);
    struct support_tenant bad = support_tenant_make("p-bad", 1000, 1000, 0);
    struct support_tenant good = support_tenant_make("p-good", 1000, 1000, 0);
    int64_t odd_id = add_limit(&odd, PERIOD_MINUTE, 1), bad_id = add_limit(&bad, PERIOD_MINUTE, 1);
    int64_t good_id = add_limit(&good, PERIOD_MINUTE, 1);

    settle_in_minute();
    add_period(&odd, odd_id, PERIOD_MINUTE, 1, 100);
    add_period(&bad, bad_id, PERIOD_MINUTE, 1, 100);
    add_period(&good, good_id, PERIOD_MINUTE, 1, 100);
    fixture_sql_do("UPDATE limit_ SET period_kind = 9 WHERE limit_id = %" PRId64, odd_id);
    fixture_sql_do("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
                   " 'BEGIN RAISE EXCEPTION ''no''; END'");
    fixture_sql_do("CREATE TRIGGER refuse BEFORE INSERT ON quota FOR EACH ROW"
                   " WHEN (NEW.limit_id = %" PRId64 ") EXECUTE FUNCTION refuse()", bad_id);
    follow_all();
    fixture_sql_do("DROP FUNCTION refuse CASCADE");
    fixture_sql_do("UPDATE limit_ SET period_kind = 2 WHERE limit_id = %" PRId64, odd_id);
    cr_assert_eq(events_of(&good), 1);
    cr_assert_eq(events_of(&bad), 0);
    cr_assert_eq(events_of(&odd), 0);
    cr_assert_eq(left_of(&good) + left_of(&bad) + left_of(&odd), 0, "and each is looked at once");
}

Test(periods, traffic_that_was_first_has_made_the_event)
{
    struct support_tenant tenant = support_tenant_make("p-traffic", 1000, 1000, 0);
    int64_t limit_id = add_limit(&tenant, PERIOD_MINUTE, 1);
    struct rows_ref ref = {tenant.tenant_id, {limit_id, 0}};

    settle_in_minute();
    add_period(&tenant, limit_id, PERIOD_MINUTE, 1, 50);
    ref.ref.period_start_ms = period_start_ms(PERIOD_MINUTE, support_now_ms());
    cr_assert_eq(rows_make(db, &arena, &ref, 1, NULL), STATUS_OK);
    follow_all();
    cr_assert_eq(events_of(&tenant), 1);
}

Test(periods, after_a_long_pause_of_all_servers_only_the_current_one_is_made)
{
    struct support_tenant tenant = support_tenant_make("p-pause", 1000, 1000, 0);
    int64_t limit_id = add_limit(&tenant, PERIOD_MINUTE, 1);

    settle_in_minute();
    for (int ago = 90; ago > 50; ago--)
        add_period(&tenant, limit_id, PERIOD_MINUTE, ago, 100);
    follow_all();
    cr_assert_eq(events_of(&tenant), 1);
    cr_assert_eq(left_of(&tenant), 0);
}

Test(periods, a_deleted_limit_begins_no_period)
{
    struct support_tenant tenant = support_tenant_make("p-deleted", 1000, 1000, 0);
    int64_t limit_id = add_limit(&tenant, PERIOD_MINUTE, 1);

    settle_in_minute();
    add_period(&tenant, limit_id, PERIOD_MINUTE, 1, 100);
    fixture_sql_do("UPDATE limit_ SET deleted_at = now() WHERE limit_id = %" PRId64, limit_id);
    follow_all();
    cr_assert_eq(events_of(&tenant), 0);
    cr_assert_eq(left_of(&tenant), 0);
}

Test(periods, one_that_dies_after_making_it_leaves_nothing_to_make)
{
    struct support_tenant tenant = support_tenant_make("p-dies", 1000, 1000, 0);
    int64_t limit_id = add_limit(&tenant, PERIOD_MINUTE, 1);
    bool more;

    settle_in_minute();
    add_period(&tenant, limit_id, PERIOD_MINUTE, 1, 100);
    cr_assert(fault_set("periods.made=fail@1"));
    cr_assert_eq(ledger_periods_follow(db, &arena, 100, &more), STATUS_UNAVAILABLE);
    cr_assert_eq(left_of(&tenant), 1);
    follow_all();
    cr_assert_eq(left_of(&tenant), 0);
    cr_assert_eq(events_of(&tenant), 1);
}

static void *follow_beside(void *user)
{
    struct database *own = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    enum status *status = user;
    struct arena memory;
    bool more = true;

    arena_init(&memory, 4096, 1 << 24);
    for (*status = STATUS_OK; more && *status == STATUS_OK; arena_reset(&memory))
        *status = ledger_periods_follow(own, &memory, 16, &more);
    arena_done(&memory);
    database_destroy(own);
    return NULL;
}

Test(periods, of_three_servers_at_once_each_period_has_one_event)
{
    enum { SERVERS = 3, LIMITS = 100 };
    struct support_tenant tenant = support_tenant_make("p-three", 1000, 1000, 0);
    enum status statuses[SERVERS];
    pthread_t threads[SERVERS];

    settle_in_minute();
    for (int i = 0; i < LIMITS; i++)
        add_period(&tenant, add_limit(&tenant, PERIOD_MINUTE, i), PERIOD_MINUTE, 1, 95);
    for (int i = 0; i < SERVERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, follow_beside, &statuses[i]), 0);
    for (int i = 0; i < SERVERS; i++) {
        pthread_join(threads[i], NULL);
        cr_assert_eq(statuses[i], STATUS_OK);
    }
    follow_all();
    cr_assert_eq(events_of(&tenant), LIMITS);
    cr_assert_eq(fixture_sql("SELECT count(DISTINCT limit_id) FROM event WHERE tenant_id = %"
                             PRId64, tenant.tenant_id), LIMITS);
    cr_assert_eq(left_of(&tenant), 0);
}

/* Holds a row of the tenant locked while the others go on. */
static void follow_beside_lock(const char *lock, const struct support_tenant *stuck,
                               const struct support_tenant *free_one)
{
    struct database *holder = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    struct statement statement = {"test_lock", lock};
    struct sql_params params;
    int64_t before_us = clock_mono_us(clock_real());

    sql_params_begin(&params, &arena);
    sql_add_i64(&params, stuck->tenant_id);
    cr_assert_eq(database_begin(holder), STATUS_OK);
    cr_assert_eq(database_run(holder, &statement, &params, NULL), STATUS_OK);
    follow_all();
    cr_assert_eq(events_of(free_one), 1);
    cr_assert_eq(events_of(stuck), 0);
    cr_assert_lt(clock_mono_us(clock_real()) - before_us, 1500000, "nobody waits for the lock");
    database_destroy(holder);
    for (int i = 0; i < 100 && events_of(stuck) == 0; i++) {
        follow_all();
        usleep(20000);
    }
    cr_assert_eq(events_of(stuck), 1);
}

Test(periods, a_tenant_that_is_locked_waits_alone)
{
    static const char *const locks[] = {
        "SELECT FROM tenant WHERE tenant_id = $1::bigint FOR UPDATE",
        "SELECT FROM limit_ WHERE tenant_id = $1::bigint FOR UPDATE",
        "SELECT FROM quota WHERE tenant_id = $1::bigint FOR UPDATE",
    };

    settle_in_minute();
    for (int i = 0; i < 3; i++) {
        char name[] = {'p', '-', 's', 't', (char)('0' + i), '\0'};
        char other[] = {'p', '-', 'f', 'r', (char)('0' + i), '\0'};
        struct support_tenant stuck = support_tenant_make(name, 1000, 1000, 0);
        struct support_tenant free_one = support_tenant_make(other, 1000, 1000, 0);

        add_period(&stuck, add_limit(&stuck, PERIOD_MINUTE, 1), PERIOD_MINUTE, 1, 100);
        add_period(&free_one, add_limit(&free_one, PERIOD_MINUTE, 1), PERIOD_MINUTE, 1, 100);
        follow_beside_lock(locks[i], &stuck, &free_one);
    }
}
