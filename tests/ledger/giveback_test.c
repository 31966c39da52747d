/* Capacity on its way home: recalls, old leases, periods that are over. */
#include "tests/ledger/support.h"

#include "ledger/ledger.h"
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

TestSuite(giveback, .init = begin, .fini = end);

static struct ledger_return give(const struct support_tenant *tenant, int64_t lease_id,
                                 int64_t returned)
{
    struct ledger_return one = {
        .tenant_id = tenant->tenant_id,
        .ref = {tenant->limit_id, 0},
        .lease_id = lease_id,
        .returned = returned,
    };

    cr_assert_eq(ledger_return_run(db, &arena, &one, 1), STATUS_OK, "%s", database_error(db));
    return one;
}

static int64_t of_quota(const struct support_tenant *tenant, const char *what)
{
    return fixture_sql("SELECT %s FROM quota WHERE tenant_id = %" PRId64, what, tenant->tenant_id);
}

static void close_all(void)
{
    bool more = true;

    while (more)
        cr_assert_eq(ledger_close_leases(db, 10, &more), STATUS_OK, "%s", database_error(db));
    for (more = true; more;)
        cr_assert_eq(ledger_close_periods(db, 10, &more), STATUS_OK, "%s", database_error(db));
}

Test(giveback, returned_is_cumulative_so_repeats_and_stragglers_are_harmless)
{
    struct support_tenant tenant = support_tenant_make("b-cumulative", 1000, 1000, 300);

    cr_assert_eq(give(&tenant, tenant.lease_id, 100).quota.returned, 100);
    cr_assert_eq(give(&tenant, tenant.lease_id, 100).quota.returned, 100);
    cr_assert_eq(give(&tenant, tenant.lease_id, 40).quota.returned, 100);
    cr_assert_eq(of_quota(&tenant, "leased"), 200);
    cr_assert_eq(give(&tenant, tenant.lease_id, 900).quota.returned, 300, "never more than lent");
    cr_assert_eq(of_quota(&tenant, "leased"), 0);
    support_check_quotas(&tenant);
}

Test(giveback, what_another_lease_gave_back_does_not_count)
{
    struct support_tenant tenant = support_tenant_make("b-other", 1000, 1000, 300);

    cr_assert_eq(give(&tenant, tenant.lease_id - 1, 100).quota.leased, 300);
    cr_assert_eq(give(&tenant, tenant.lease_id + 1, 100).quota.leased, 300);
    support_check_quotas(&tenant);
}

Test(giveback, a_recall_is_over_once_there_is_room_again)
{
    struct support_tenant tenant = support_tenant_make("b-recall", 1000, 1000, 300);
    struct quota_row *recalls;
    size_t count, mine = 0;

    fixture_sql_do("UPDATE quota SET recall = true, cap_amount = 200, limit_amount = 200"
                   " WHERE tenant_id = %" PRId64, tenant.tenant_id);
    cr_assert_eq(ledger_recalls(db, &arena, 1000, &recalls, &count), STATUS_OK);
    for (size_t i = 0; i < count; i++) {
        if (recalls[i].tenant_id != tenant.tenant_id)
            continue;
        mine++;
        cr_assert_eq(recalls[i].granted, 300);
        cr_assert_eq(recalls[i].lease_id, tenant.lease_id);
        cr_assert_eq(recalls[i].shard, plan_shard(SLICE("b-recall")));
    }
    cr_assert_eq(mine, 1);
    cr_assert(give(&tenant, tenant.lease_id, 50).quota.recall, "still over the cap");
    cr_assert_not(give(&tenant, tenant.lease_id, 100).quota.recall);
    cr_assert_eq(ledger_recalls(db, &arena, 1000, &recalls, &count), STATUS_OK);
    for (size_t i = 0; i < count; i++)
        cr_assert_neq(recalls[i].tenant_id, tenant.tenant_id);
}

Test(giveback, a_deadline_falls_with_a_return_that_is_news)
{
    struct support_tenant tenant = support_tenant_make("b-ebb", 1000, 1000, 300);
    struct ledger_return one = {
        .tenant_id = tenant.tenant_id,
        .ref = {tenant.limit_id, 0},
        .lease_id = tenant.lease_id,
        .returned = 100,
        .deadline_ms = 5000,
        .still = true,
    };

    fixture_sql_do("UPDATE quota SET lease_deadline_ms = 9000, lease_target = 250"
                   " WHERE tenant_id = %" PRId64, tenant.tenant_id);
    cr_assert_eq(ledger_return_run(db, &arena, &one, 1), STATUS_OK);
    cr_assert_eq(of_quota(&tenant, "lease_deadline_ms"), 5000);
    cr_assert_eq(of_quota(&tenant, "lease_target"), 200);
    fixture_sql_do("UPDATE quota SET lease_deadline_ms = 9000 WHERE tenant_id = %" PRId64,
                   tenant.tenant_id);
    cr_assert_eq(ledger_return_run(db, &arena, &one, 1), STATUS_OK);
    cr_assert_eq(of_quota(&tenant, "lease_deadline_ms"), 9000, "the root has heard it before");
    support_check_quotas(&tenant);
}

/* Rows with something lent, page by page; `of`: of this tenant. */
static size_t count_lent(int64_t of, size_t page)
{
    struct ledger_key after = {0};
    bool more = true;
    size_t found = 0;

    while (more) {
        struct quota_row *rows;
        size_t count;

        cr_assert_eq(ledger_lent(db, &arena, &after, page, &rows, &count, &more), STATUS_OK, "%s",
                     database_error(db));
        for (size_t i = 0; i < count; i++) {
            found += rows[i].tenant_id == of;
            if (rows[i].tenant_id == of) {
                cr_assert_eq(rows[i].shard, plan_shard(SLICE("b-lent")));
                cr_assert_gt(rows[i].epoch, 0);
            }
        }
    }
    return found;
}

Test(giveback, rows_with_something_lent_come_in_pages_until_it_is_back)
{
    struct support_tenant tenant = support_tenant_make("b-lent", 1000, 1000, 300);

    fixture_sql_do("INSERT INTO quota (tenant_id, limit_id, period_start_ms, period_end_ms,"
                   " limit_amount, cap_amount, soft_amount, unlimited, lease_id, granted, leased)"
                   " SELECT %" PRId64 ", %" PRId64 ", n, 9223372036854775807, 1, 1, 1, false,"
                   " %" PRId64 ", 1, 1 FROM generate_series(1, 20) n",
                   tenant.tenant_id, tenant.limit_id, tenant.lease_id);
    cr_assert_eq(count_lent(tenant.tenant_id, 4), 21);
    cr_assert_eq(count_lent(tenant.tenant_id, 1000), 21);
    cr_assert_eq(give(&tenant, tenant.lease_id, 300).quota.leased, 0);
    cr_assert_eq(count_lent(tenant.tenant_id, 4), 20);
    fixture_sql_do("DELETE FROM quota WHERE tenant_id = %" PRId64 " AND period_start_ms > 0",
                   tenant.tenant_id);
}

Test(giveback, old_leases_close_after_their_deadline_and_not_before)
{
    struct support_tenant tenant = support_tenant_make("b-close", 1000, 1000, 100);
    int64_t before_ms = support_now_ms();

    fixture_sql_do("INSERT INTO old_lease SELECT %" PRId64 ", %" PRId64 ", 0, n, 50, 10, 20,"
                   " CASE n WHEN 1 THEN 1 ELSE %" PRId64 " END FROM generate_series(1, 2) n",
                   tenant.tenant_id, tenant.limit_id, before_ms + 600000);
    fixture_sql_do("UPDATE quota SET leased = 140 WHERE tenant_id = %" PRId64, tenant.tenant_id);
    close_all();
    cr_assert_eq(of_quota(&tenant, "leased"), 120);
    cr_assert(of_quota(&tenant, "reaped_to_ms") >= before_ms);
    cr_assert_eq(fixture_sql("SELECT lease_id FROM old_lease WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 2);
    cr_assert_eq(of_quota(&tenant, "granted"), 100, "the current lease never closes by age");
}

/* Its leases are the oldest and fill the first turns; the others come home all the same. */
Test(giveback, leases_of_a_tenant_whose_rows_contradict_keep_no_others_out)
{
    enum { BAD_LEASES = 25, MAX = 10, TURNS = 10 };
    struct support_tenant bad = support_tenant_make("b-bad", 1000, 1000, 100);
    struct support_tenant good = support_tenant_make("b-good", 1000, 1000, 100);
    struct alarms *alarms = alarms_create(clock_real());
    const struct database_options options = {
        .conninfo = fixture_env("HOLDFAST_TEST_POSTGRES"), .clock = clock_real(), .alarms = alarms};
    struct database *closer = database_create(&options);
    bool more;

    fixture_sql_do("INSERT INTO old_lease SELECT %" PRId64 ", %" PRId64 ", 0, n, 50, 10, 20, 1"
                   " FROM generate_series(1, %d) n", bad.tenant_id, bad.limit_id, BAD_LEASES);
    fixture_sql_do("INSERT INTO old_lease VALUES (%" PRId64 ", %" PRId64 ", 0, 1, 50, 10, 20, 2)",
                   good.tenant_id, good.limit_id);
    fixture_sql_do("UPDATE quota SET leased = 120 WHERE tenant_id = %" PRId64, good.tenant_id);
    for (int i = 0; i < TURNS && of_quota(&good, "leased") != 100; i++)
        cr_assert_eq(ledger_close_leases(closer, MAX, &more), STATUS_OK, "%s", database_error(closer));
    cr_assert_eq(of_quota(&good, "leased"), 100);
    cr_assert(alarms_is_aside(alarms, bad.tenant_id));
    cr_assert_eq(fixture_sql("SELECT count(*) FROM old_lease WHERE tenant_id = %" PRId64,
                             bad.tenant_id), BAD_LEASES);
    fixture_sql_do("DELETE FROM old_lease WHERE tenant_id = %" PRId64, bad.tenant_id);
    database_destroy(closer);
    alarms_destroy(alarms);
}

Test(giveback, a_period_closes_when_nobody_can_commit_to_it_on_time_any_more)
{
    struct support_tenant tenant = support_tenant_make("b-period", 1000, 1000, 100);
    int64_t now_ms = support_now_ms();
    const int64_t day_ms = 86400000;

    fixture_sql_do("UPDATE quota SET period_start_ms = 60000, period_end_ms = %" PRId64
                   " WHERE tenant_id = %" PRId64, now_ms - day_ms, tenant.tenant_id);
    close_all();
    cr_assert_eq(of_quota(&tenant, "(state = 'O')::integer"), 1);
    fixture_sql_do("UPDATE quota SET period_end_ms = %" PRId64 ", recall = true, spent = 30,"
                   " committed = 30, leased = 110 WHERE tenant_id = %" PRId64,
                   now_ms - 2 * day_ms, tenant.tenant_id);
    fixture_sql_do("INSERT INTO old_lease VALUES (%" PRId64 ", %" PRId64 ", 60000, 1, 40, 0, 0, %"
                   PRId64 ")", tenant.tenant_id, tenant.limit_id, now_ms + day_ms);
    close_all();
    cr_assert_eq(fixture_sql("SELECT committed FROM quota WHERE tenant_id = %" PRId64
                             " AND state = 'X' AND leased = 0 AND granted = spent + returned"
                             " AND NOT recall AND reaped_to_ms >= %" PRId64,
                             tenant.tenant_id, now_ms), 30);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM old_lease WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 0);
}

Test(giveback, nothing_to_close_is_not_more)
{
    bool more = true;

    close_all();
    cr_assert_eq(ledger_close_leases(db, 10, &more), STATUS_OK);
    cr_assert_not(more);
    cr_assert_eq(ledger_close_periods(db, 10, &more), STATUS_OK);
    cr_assert_not(more);
}

/* Whether the tenant's row is among those to be recalled. */
static bool is_recalled(const struct support_tenant *tenant)
{
    struct quota_row *rows;
    bool found = false;
    size_t count;

    cr_assert_eq(ledger_recalls(db, &arena, 1000, &rows, &count), STATUS_OK);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].tenant_id != tenant->tenant_id)
            continue;
        found = true;
        cr_assert_eq(rows[i].epoch, tenant->epoch);
    }
    return found;
}

Test(giveback, a_recall_waits_for_a_current_lease_and_an_active_shard)
{
    struct support_tenant tenant = support_tenant_make("b-waits", 1000, 1000, 100);
    int shard = plan_shard(SLICE("b-waits"));

    cr_assert_not(is_recalled(&tenant));
    fixture_sql_do("UPDATE quota SET recall = true WHERE tenant_id = %" PRId64, tenant.tenant_id);
    fixture_sql_do("UPDATE shard_authority SET state = 'I' WHERE shard = %d", shard);
    cr_assert_not(is_recalled(&tenant));
    fixture_sql_do("UPDATE shard_authority SET state = 'A' WHERE shard = %d", shard);
    cr_assert(is_recalled(&tenant));
    fixture_sql_do("UPDATE shard_authority SET epoch = epoch + 1 WHERE shard = %d", shard);
    cr_assert_not(is_recalled(&tenant), "an earlier lease comes home by its deadline");
}

Test(giveback, a_lowered_limit_is_recalled_until_what_is_out_fits)
{
    struct support_tenant tenant = support_tenant_make("b-lowered", 1000, 1000, 500);
    struct ledger_note note = {.actor = SLICE("test")};
    struct ledger_limit limit = {.tenant = SLICE("b-lowered"), .limit_name = SLICE("main"),
                                 .meter = SLICE("tokens"), .period = PERIOD_NEVER, .amount = 200};
    struct quota_row *rows;
    enum ledger_admin outcome;
    size_t count;
    bool created;

    cr_assert_eq(ledger_limit_put(db, &arena, &note, slice_of(NULL, 0), false, 10000, &limit,
                                  &created, &rows, &count, &outcome),
                 STATUS_OK);
    cr_assert_eq(outcome, ADMIN_DONE);
    cr_assert(is_recalled(&tenant));
    cr_assert(give(&tenant, tenant.lease_id, 250).quota.recall, "250 are still out");
    cr_assert(is_recalled(&tenant));
    cr_assert_not(give(&tenant, tenant.lease_id, 300).quota.recall);
    cr_assert_not(is_recalled(&tenant));
    support_check_quotas(&tenant);
}

static void *close_few(void *user)
{
    struct database *own = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    enum status *status = user;
    bool more = true;

    *status = STATUS_OK;
    while (more && *status == STATUS_OK)
        *status = ledger_close_leases(own, 3, &more);
    database_destroy(own);
    return NULL;
}

Test(giveback, what_four_close_at_once_comes_home_once)
{
    enum { CLOSERS = 4, LEASES = 20 };
    struct support_tenant tenant = support_tenant_make("b-once", 10000, 10000, 100);
    enum status statuses[CLOSERS];
    pthread_t threads[CLOSERS];

    fixture_sql_do("INSERT INTO old_lease SELECT %" PRId64 ", %" PRId64 ", 0, n, 10, 0, 0, n"
                   " FROM generate_series(1, %d) n", tenant.tenant_id, tenant.limit_id, LEASES);
    fixture_sql_do("UPDATE quota SET leased = 100 + 10 * %d WHERE tenant_id = %" PRId64, LEASES,
                   tenant.tenant_id);
    for (int i = 0; i < CLOSERS; i++)
        cr_assert(pthread_create(&threads[i], NULL, close_few, &statuses[i]) == 0);
    for (int i = 0; i < CLOSERS; i++) {
        pthread_join(threads[i], NULL);
        cr_assert_eq(statuses[i], STATUS_OK);
    }
    close_all();
    cr_assert_eq(fixture_sql("SELECT count(*) FROM old_lease WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 0);
    cr_assert_eq(of_quota(&tenant, "leased"), 100);
    support_check_quotas(&tenant);
}

static bool has_counted(void *user)
{
    (void)user;
    return fixture_sql("SELECT seq_scan + idx_scan FROM pg_stat_user_tables"
                       " WHERE relname = 'quota'") >= 3;
}

/* Every janitor asks each second: to go through the whole table, or a whole index, is too much. */
Test(giveback, only_due_rows_are_read)
{
    fixture_sql_do("INSERT INTO quota (tenant_id, limit_id, period_start_ms, period_end_ms,"
                   " limit_amount, cap_amount, soft_amount, unlimited) SELECT 1000000 + i, 1, 0,"
                   " 9223372036854775807, 1, 1, 1, false FROM generate_series(1, 5000) i");
    fixture_sql_do("ANALYZE quota");
    fixture_sql_do("SELECT pg_stat_reset_single_table_counters('quota'::regclass)");
    for (int i = 0; i < 3; i++)
        close_all();
    database_destroy(db); /* the numbers of a connection are complete when it has ended */
    db = support_open();
    cr_assert(fixture_until(10000, has_counted, NULL));
    cr_assert_lt(fixture_sql("SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables"
                             " WHERE relname = 'quota'"), 1000, "rows that are not due were read");
    fixture_sql_do("DELETE FROM quota WHERE tenant_id > 1000000");
}
