/* Quotas and events as read: exact at one point, in order, bounded, and forgotten in time. */
#include "tests/ledger/support.h"

#include "ledger/ledger.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

static struct arena arena;
static struct database *db;
static bool more;

static void begin(void)
{
    arena_init(&arena, 4096, 1 << 26);
    db = support_open();
}

static void end(void)
{
    database_destroy(db);
    arena_done(&arena);
}

TestSuite(usage, .init = begin, .fini = end);

static struct ledger_usage read_one(const struct support_tenant *tenant, int64_t *ret_event_seq)
{
    struct plan *plan = support_plan(tenant);
    struct ledger_usage *usage, one;
    int64_t config_version;

    cr_assert_eq(ledger_usage_read(db, &arena, plan, &tenant->limit_id, 1, support_now_ms(), &usage,
                                   ret_event_seq, &config_version),
                 STATUS_OK, "%s", database_error(db));
    one = usage[0];
    plan_unref(plan);
    return one;
}

Test(usage, the_clock_comes_with_the_answer)
{
    struct support_tenant tenant = support_tenant_make("u-clock", 1000, 1000, 100);
    struct estimate estimate;
    int64_t seq, before_ms = support_now_ms();

    estimate_init(&estimate);
    database_destroy(db);
    db = database_create(&(struct database_options){.conninfo = fixture_env("HOLDFAST_TEST_POSTGRES"),
                                                    .connect_timeout_ms = 5000,
                                                    .statement_timeout_ms = 5000,
                                                    .clock = clock_real(),
                                                    .estimate = &estimate});
    (void)read_one(&tenant, &seq);
    cr_assert_geq(estimate_now_ms(&estimate, clock_mono_us(clock_real())), before_ms);
    estimate_done(&estimate);
}

static void add_events(const struct support_tenant *tenant, int count)
{
    fixture_sql_do("WITH t AS (UPDATE tenant SET event_seq = event_seq + %d WHERE tenant_id = %"
                   PRId64 " RETURNING event_seq - %d AS before) INSERT INTO event (tenant_id, seq,"
                   " kind, job_id, at) SELECT %" PRId64 ", before + n, 6, 'j' || n,"
                   " clock_timestamp() FROM t, generate_series(1, %d) n",
                   count, tenant->tenant_id, count, tenant->tenant_id, count);
}

Test(usage, a_row_comes_with_what_is_lent_under_old_leases)
{
    struct support_tenant tenant = support_tenant_make("u-row", 1000, 1000, 100);
    struct ledger_usage usage;
    int64_t seq;

    fixture_sql_do("UPDATE quota SET committed = 40, debt = 2, leased = 130, ledger_seq = 5"
                   " WHERE tenant_id = %" PRId64, tenant.tenant_id);
    fixture_sql_do("INSERT INTO old_lease VALUES (%" PRId64 ", %" PRId64 ", 0, 1, 50, 5, 15, 1)",
                   tenant.tenant_id, tenant.limit_id);
    add_events(&tenant, 3);
    usage = read_one(&tenant, &seq);
    cr_assert_eq(seq, 3);
    cr_assert_eq(usage.quota.committed, 40);
    cr_assert_eq(usage.quota.debt, 2);
    cr_assert_eq(usage.quota.leased, 130);
    cr_assert_eq(usage.quota.ledger_seq, 5);
    cr_assert_eq(usage.old_deadline_ms, 1);
    cr_assert(slice_equal(usage.quota.limit_name, SLICE("main")));
}

Test(usage, a_period_that_nobody_touched_is_all_zeroes_with_the_limits_stops)
{
    struct support_tenant tenant = support_tenant_make("u-zero", 1000, 1000, 100);
    struct ledger_usage usage;
    int64_t seq;

    fixture_sql_do("DELETE FROM quota WHERE tenant_id = %" PRId64, tenant.tenant_id);
    usage = read_one(&tenant, &seq);
    cr_assert_eq(seq, 0);
    cr_assert_eq(usage.quota.committed, 0);
    cr_assert_eq(usage.quota.leased, 0);
    cr_assert_eq(usage.quota.stops.amount, 1000);
    cr_assert_eq(usage.quota.stops.soft, 900);
    cr_assert_eq(usage.quota.ref.limit_id, tenant.limit_id);
    cr_assert_eq(usage.quota.state, QUOTA_OPEN);
    cr_assert_eq(usage.old_deadline_ms, 0);
}

/* --- one point ---------------------------------------------------------------------------------------- */

struct writer {
    pthread_t thread;
    int64_t tenant_id;
    atomic_bool stop;
    enum status status;
};

/* Use and events move together, so that at every one point they are equal. */
static const struct statement both = {
    "test_both", "WITH q AS (UPDATE quota SET committed = committed + 1 WHERE tenant_id ="
                 " $1::bigint RETURNING tenant_id) UPDATE tenant t SET event_seq = event_seq + 1"
                 " FROM q WHERE t.tenant_id = q.tenant_id"};

static void *write_both(void *user)
{
    struct writer *writer = user;
    struct database *own = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));

    while (!atomic_load(&writer->stop) && writer->status == STATUS_OK) {
        struct sql_params params;
        struct arena memory;

        arena_init(&memory, 1024, 1 << 16);
        sql_params_begin(&params, &memory);
        sql_add_i64(&params, writer->tenant_id);
        writer->status = database_run(own, &both, &params, NULL);
        arena_done(&memory);
    }
    database_destroy(own);
    return NULL;
}

Test(usage, the_event_seq_is_exact_at_the_point_of_the_rows)
{
    struct support_tenant tenant = support_tenant_make("u-point", 1000, 1000, 100);
    struct writer writer = {.tenant_id = tenant.tenant_id};
    int64_t first = -1, last = -1;

    cr_assert_eq(pthread_create(&writer.thread, NULL, write_both, &writer), 0);
    for (int i = 0; i < 2000 && last < first + 50; i++) {
        int64_t seq;
        struct ledger_usage usage = read_one(&tenant, &seq);

        cr_assert_eq(usage.quota.committed, seq);
        last = seq;
        first = first < 0 ? seq : first;
    }
    atomic_store(&writer.stop, true);
    pthread_join(writer.thread, NULL);
    cr_assert_eq(writer.status, STATUS_OK);
    cr_assert(last >= first + 50, "the writer made no progress");
}

/* --- events ------------------------------------------------------------------------------------------- */

Test(usage, events_come_in_order_after_each_cursor_and_bounded)
{
    struct support_tenant one = support_tenant_make("u-ev-one", 1000, 1000, 0);
    struct support_tenant two = support_tenant_make("u-ev-two", 1000, 1000, 0);
    struct ledger_cursor cursors[] = {{.tenant_id = two.tenant_id, .after_seq = 0, .max = 100},
                                      {.tenant_id = one.tenant_id, .after_seq = 2, .max = 100}};
    struct ledger_event *events;

    add_events(&one, 5);
    add_events(&two, 2);
    cr_assert_eq(ledger_events_read(db, &arena, cursors, 2, &events), STATUS_OK);
    cr_assert(cursors[0].count == 2 && cursors[1].count == 3);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(events[cursors[1].first + i].tenant_id, one.tenant_id);
        cr_assert_eq(events[cursors[1].first + i].seq, 3 + (int64_t)i);
    }
    cr_assert_eq(events[cursors[0].first].tenant_id, two.tenant_id);
    cr_assert_eq(events[cursors[0].first].seq, 1);
    cr_assert(slice_equal(events[cursors[0].first + 1].job_id, SLICE("j2")));
    cr_assert_not(events[cursors[0].first].has_quota);
    cr_assert(events[cursors[0].first].at_ms > support_now_ms() - 60000);
    cursors[0].max = 1;
    cursors[1].max = 2;
    cr_assert_eq(ledger_events_read(db, &arena, cursors, 2, &events), STATUS_OK);
    cr_assert(cursors[0].count == 1 && cursors[1].count == 2, "each tenant has a bound of its own");
    cr_assert_eq(events[cursors[1].first + 1].seq, 4);
    cr_assert_eq(ledger_events_read(db, &arena, cursors, 0, &events), STATUS_OK);
}

Test(usage, the_newest_event_of_each_tenant_is_known_and_that_of_none_is_not)
{
    struct support_tenant one = support_tenant_make("u-newest", 1000, 1000, 0);
    const int64_t tenants[] = {INT64_C(1) << 40, one.tenant_id};
    int64_t newest[2];

    add_events(&one, 7);
    cr_assert_eq(ledger_events_newest(db, &arena, tenants, 2, newest), STATUS_OK);
    cr_assert(newest[0] == -1 && newest[1] == 7);
}

Test(usage, the_span_of_no_events_begins_after_the_newest)
{
    struct support_tenant tenant = support_tenant_make("u-span", 1000, 1000, 0);
    int64_t oldest, newest;

    cr_assert_eq(ledger_events_span(db, tenant.tenant_id, &oldest, &newest), STATUS_OK);
    cr_assert_eq(oldest, 1);
    cr_assert_eq(newest, 0);
    add_events(&tenant, 4);
    cr_assert_eq(ledger_events_span(db, tenant.tenant_id, &oldest, &newest), STATUS_OK);
    cr_assert_eq(oldest, 1);
    cr_assert_eq(newest, 4);
    fixture_sql_do("DELETE FROM event WHERE tenant_id = %" PRId64, tenant.tenant_id);
    cr_assert_eq(ledger_events_span(db, tenant.tenant_id, &oldest, &newest), STATUS_OK);
    cr_assert_eq(oldest, 5);
    cr_assert_eq(newest, 4);
}

/* --- retention ---------------------------------------------------------------------------------------- */

Test(usage, old_events_go_without_leaving_a_gap)
{
    struct support_tenant tenant = support_tenant_make("u-keep", 1000, 1000, 0);
    int64_t oldest, newest;

    add_events(&tenant, 6);
    /* The times of neighbours may be the other way round. */
    fixture_sql_do("UPDATE event SET at = clock_timestamp() - interval '2 days' WHERE tenant_id = %"
                   PRId64 " AND seq IN (1, 2, 4)", tenant.tenant_id);
    cr_assert_eq(ledger_retention(db, KEPT_EVENTS, 86400000, 1000, &more), STATUS_OK, "%s",
                 database_error(db));
    cr_assert_eq(ledger_events_span(db, tenant.tenant_id, &oldest, &newest), STATUS_OK);
    cr_assert_eq(newest, 6);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM event WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), newest - oldest + 1);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM event WHERE tenant_id = %" PRId64
                             " AND at < clock_timestamp() - interval '1 day'",
                             tenant.tenant_id), 0);
    cr_assert(oldest <= 5);
}

Test(usage, a_bounded_retention_leaves_no_gap_either)
{
    struct support_tenant tenant = support_tenant_make("u-bound", 1000, 1000, 0);
    int64_t oldest = 0, newest, before;

    add_events(&tenant, 9);
    fixture_sql_do("UPDATE event SET at = clock_timestamp() - interval '3 days' + seq %% 3 * interval"
                   " '1 second' WHERE tenant_id = %" PRId64, tenant.tenant_id);
    do {
        before = oldest;
        cr_assert_eq(ledger_retention(db, KEPT_EVENTS, 86400000, 2, &more), STATUS_OK);
        cr_assert_eq(ledger_events_span(db, tenant.tenant_id, &oldest, &newest), STATUS_OK);
        cr_assert_eq(fixture_sql("SELECT count(*) FROM event WHERE tenant_id = %" PRId64,
                                 tenant.tenant_id), newest - oldest + 1);
        cr_assert(oldest > before);
    } while (oldest <= newest);
    cr_assert_eq(newest, 9);
}

Test(usage, fences_expired_holds_and_short_periods_go_when_their_time_is_over)
{
    struct support_tenant tenant = support_tenant_make("u-purge", 1000, 1000, 0);
    const int64_t week_ms = 7 * INT64_C(86400000), hour_ms = 3600000;
    int64_t old_ms = (support_now_ms() - week_ms) / hour_ms * hour_ms - 3 * hour_ms;

    fixture_sql_do("INSERT INTO job_fence (tenant_id, job_id, epoch, hold_seq, purge_after) SELECT %"
                   PRId64 ", 'job', 1, n, clock_timestamp() + (n - 2) * interval '1 hour' + interval"
                   " '1 minute' FROM generate_series(1, 3) n", tenant.tenant_id);
    fixture_sql_do("INSERT INTO expired_hold (tenant_id, job_id, epoch, hold_seq, hold, deadline_ms,"
                   " purge_after) SELECT tenant_id, job_id, epoch, hold_seq, '', 1, purge_after"
                   " FROM job_fence WHERE tenant_id = %" PRId64, tenant.tenant_id);
    fixture_sql_do("INSERT INTO quota (tenant_id, limit_id, period_start_ms, period_end_ms,"
                   " limit_amount, cap_amount, soft_amount, unlimited, state) SELECT %" PRId64
                   ", %" PRId64 ", start, start + len, 1, 1, 1, false, state::\"char\" FROM (VALUES"
                   " (%" PRId64 ", %" PRId64 ", 'X'), (%" PRId64 " + 1, %" PRId64 ", 'O'), (%" PRId64
                   " + 2, 86400000, 'X'), (%" PRId64 " + 86400000, %" PRId64 ", 'X'))"
                   " AS v(start, len, state)",
                   tenant.tenant_id, tenant.limit_id, old_ms, hour_ms, old_ms, hour_ms, old_ms,
                   old_ms, hour_ms);
    for (enum ledger_kept what = 0; what < KEPT_COUNT; what++)
        cr_assert_eq(ledger_retention(db, what, 86400000, 1000, &more), STATUS_OK);
    cr_assert_eq(fixture_sql("SELECT min(hold_seq) FROM job_fence WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 2);
    cr_assert_eq(fixture_sql("SELECT min(hold_seq) FROM expired_hold WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 2);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM quota WHERE tenant_id = %" PRId64
                             " AND period_start_ms = %" PRId64, tenant.tenant_id, old_ms), 0);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM quota WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 4, "the open, the day, the fresh and the endless");
}
