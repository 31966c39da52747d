/*
 * Statements are planned once per connection. Whatever was planned while a table had a row or none must not
 * read all of it when it has grown, until an ANALYZE comes by: rows are looked up by their keys.
 */
#include "tests/ledger/support.h"

#include "ledger/ledger.h"
#include "quota/lease.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>

enum { GROWN = 20000, ROWS_MAX = 100, TURN = 64 };
#define DAY_MS INT64_C(86400000)

static struct arena arena;
static struct database *db;
static struct support_tenant tenants[3];

static const struct statement flush = {"test_flush", "SELECT pg_stat_force_next_flush()::text"};

static void begin(void)
{
    arena_init(&arena, 4096, 1 << 26);
    db = support_open();
    fixture_sql_do("ALTER SYSTEM SET autovacuum = off");
    cr_assert_eq(fixture_sql("SELECT pg_reload_conf()::int"), 1);
}

static void end(void)
{
    fixture_sql_do("ALTER SYSTEM RESET autovacuum");
    cr_assert_eq(fixture_sql("SELECT pg_reload_conf()::int"), 1);
    database_destroy(db);
    arena_done(&arena);
}

TestSuite(plans_stay, .init = begin, .fini = end);

/* Entries of indexes and rows of tables that our connection has read so far. */
static int64_t touched(void)
{
    cr_assert_eq(database_run(db, &flush, NULL, NULL), STATUS_OK, "%s", database_error(db));
    /* The statistics of the statement itself come with the next one. */
    cr_assert_eq(database_run(db, &flush, NULL, NULL), STATUS_OK);
    return fixture_sql("SELECT (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes) +"
                       " (SELECT sum(seq_tup_read) FROM pg_stat_user_tables"
                       " WHERE relname NOT IN ('shard_authority', 'server', 'schema_migration'))");
}

static void retain(enum ledger_kept what)
{
    bool more;

    cr_assert_eq(ledger_retention(db, what, 7 * DAY_MS, TURN, &more), STATUS_OK, "%s",
                 database_error(db));
}

static void keep_events(void)
{
    retain(KEPT_EVENTS);
}

static void keep_fences(void)
{
    retain(KEPT_FENCES);
}

static void keep_expired(void)
{
    retain(KEPT_EXPIRED);
}

static void keep_periods(void)
{
    retain(KEPT_PERIODS);
}

static void close_leases(void)
{
    bool more;

    cr_assert_eq(ledger_close_leases(db, TURN, &more), STATUS_OK, "%s", database_error(db));
}

static void close_periods(void)
{
    bool more;

    cr_assert_eq(ledger_close_periods(db, TURN, &more), STATUS_OK, "%s", database_error(db));
}

static void follow(void)
{
    bool more;

    cr_assert_eq(ledger_periods_follow(db, &arena, TURN, &more), STATUS_OK, "%s",
                 database_error(db));
}

static void recalls(void)
{
    struct quota_row *rows;
    size_t count;

    cr_assert_eq(ledger_recalls(db, &arena, TURN, &rows, &count), STATUS_OK, "%s",
                 database_error(db));
}

static void grant(void)
{
    struct ledger_grant grants[3] = {0};
    int64_t now_ms;

    for (int i = 0; i < 3; i++)
        grants[i] = (struct ledger_grant){.tenant_id = tenants[i].tenant_id,
                                          .shard = plan_shard(slice_from_cstr(tenants[i].name)),
                                          .epoch = tenants[i].epoch,
                                          .ref = {tenants[i].limit_id, 0},
                                          .needed = 1,
                                          .deadline_ms = support_now_ms() + 60000};
    cr_assert_eq(ledger_grant_run(db, &arena, grants, 3, &now_ms), STATUS_OK, "%s",
                 database_error(db));
    cr_assert(grants[2].quota.granted > 0);
}

/* Jobs of all three tenants, each expired a moment ago: rows are locked, events written. */
static void reap(void)
{
    static int turn;
    struct ledger_reap_job jobs[3] = {0};
    struct quota_row *rows;
    size_t count;
    int64_t reaped_to_ms;

    turn++;
    for (int i = 0; i < 3; i++) {
        jobs[i] = (struct ledger_reap_job){.tenant_id = tenants[i].tenant_id,
                                           .job_id = slice_from_cstr("job"),
                                           .hold = support_hold(&arena, &tenants[i], turn, 1,
                                                                support_now_ms() - 1)};
        jobs[i].text = slice_from_cstr(hold_text(&arena, jobs[i].hold));
    }
    cr_assert_eq(ledger_reap_run(db, &arena, jobs, 3, &reaped_to_ms, &rows, &count), STATUS_OK,
                 "%s", database_error(db));
}

static const struct story {
    const char *name;
    void (*run)(void);
    int64_t reads_max; /* 0: the usual bound */
} stories[] = {
    {"grant", grant, 0},
    {"reap", reap, 0},
    {"recalls", recalls, 4 * GROWN / 2 + ROWS_MAX}, /* all that are flagged take part in the draw */
    {"retention of events", keep_events, 0},
    {"retention of fences", keep_fences, 0},
    {"retention of expired holds", keep_expired, 0},
    {"close of leases", close_leases, 0},
    {"follow-up of periods", follow, 0},
    {"close of periods", close_periods, 0},
    {"retention of periods", keep_periods, 0},
};

/* Rows of a tenant that nothing here is about, past their time in every table. */
static void grow(int64_t tenant)
{
    fixture_sql_do("INSERT INTO limit_ (tenant_id, limit_id, name, scope, meter, period_kind,"
                   " unlimited, amount, soft_percent, overage_kind, overage, cap, soft)"
                   " OVERRIDING SYSTEM VALUE SELECT %" PRId64 ", 1000000 + n, 'l-' || n, '',"
                   " 'm-' || n, 2, false, 10, 90, 0, 0, 10, 9 FROM generate_series(1, %d) n",
                   tenant, GROWN);
    fixture_sql_do("INSERT INTO quota (tenant_id, limit_id, period_start_ms, period_end_ms,"
                   " limit_amount, cap_amount, soft_amount, unlimited, recall, leased, lease_id,"
                   " granted, lease_deadline_ms) SELECT %" PRId64 ", 1000000 + n, 60000 * n,"
                   " 60000 * n + 60000, 10, 10, 9, false, n %% 2 = 0, 2, 1048577, 1, 1"
                   " FROM generate_series(1, %d) n",
                   tenant, GROWN);
    fixture_sql_do("INSERT INTO old_lease (tenant_id, limit_id, period_start_ms, lease_id, granted,"
                   " returned, spent, deadline_ms) SELECT %" PRId64 ", 1000000 + n, 60000 * n,"
                   " 1048576, 1, 0, 0, n FROM generate_series(1, %d) n",
                   tenant, GROWN);
    fixture_sql_do("INSERT INTO event (tenant_id, seq, kind, at) SELECT %" PRId64
                   ", n, 6, clock_timestamp() - interval '8 days' FROM generate_series(1, %d) n",
                   tenant + 1000, GROWN);
    fixture_sql_do("INSERT INTO job_fence (tenant_id, job_id, epoch, hold_seq, purge_after) SELECT"
                   " %" PRId64 ", 'f-' || n, 1, n, clock_timestamp() FROM generate_series(1, %d) n",
                   tenant, GROWN);
    fixture_sql_do("INSERT INTO expired_hold (tenant_id, job_id, epoch, hold_seq, hold, deadline_ms,"
                   " purge_after) SELECT %" PRId64 ", 'e-' || n, 1, n, 'x', 1, clock_timestamp()"
                   " FROM generate_series(1, %d) n",
                   tenant, GROWN);
    fixture_sql_do("INSERT INTO tenant (name, shard, config_position) SELECT 'grown-' || n, 1,"
                   " config_position_next() FROM generate_series(1, %d) n",
                   GROWN);
}

Test(plans_stay, what_small_tables_were_planned_for_is_not_read_as_a_whole, .timeout = 100)
{
    int64_t before;

    for (int i = 0; i < 3; i++) {
        char name[16];

        snprintf(name, sizeof(name), "stay-%d", i);
        tenants[i] = support_tenant_make(name, 1000000, 1000000, 1000);
    }
    fixture_sql_do("VACUUM ANALYZE");
    for (size_t i = 0; i < ARRAY_COUNT(stories); i++)
        stories[i].run();
    /* Planned anew, for what there is now. */
    fixture_sql_do("VACUUM ANALYZE");
    for (size_t i = 0; i < ARRAY_COUNT(stories); i++)
        stories[i].run();
    grow(tenants[0].tenant_id);
    for (size_t i = 0; i < ARRAY_COUNT(stories); i++) {
        before = touched();
        stories[i].run();
        before = touched() - before;
        cr_log_info("%s: %" PRId64 " read", stories[i].name, before);
        cr_expect(before <= (stories[i].reads_max > 0 ? stories[i].reads_max : ROWS_MAX * TURN),
                  "%s: %" PRId64 " read for %d", stories[i].name, before, TURN);
    }
}
