/* What is past its time goes, a bounded number of rows at a time; nothing else does. */
#include "tests/ledger/support.h"

#include "ledger/ledger.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>

#define HOUR_MS INT64_C(3600000)
#define DAY_MS (24 * HOUR_MS)

static struct database *db;

static void begin(void)
{
    db = support_open();
}

static void end(void)
{
    database_destroy(db);
}

TestSuite(retention, .init = begin, .fini = end);

static void retain(int64_t events_keep_ms, size_t max)
{
    bool more;

    for (enum ledger_kept what = 0; what < KEPT_COUNT; what++)
        cr_assert_eq(ledger_retention(db, what, events_keep_ms, max, &more), STATUS_OK, "%s",
                     database_error(db));
}

static int64_t count(const struct support_tenant *tenant, const char *table)
{
    return fixture_sql("SELECT count(*) FROM %s WHERE tenant_id = %" PRId64, table,
                       tenant->tenant_id);
}

/* Events 1 to n; the first `old` of them are three days old. */
static void add_events(const struct support_tenant *tenant, int n, int old)
{
    fixture_sql_do("INSERT INTO event (tenant_id, seq, kind, at) SELECT %" PRId64 ", n, 6,"
                   " clock_timestamp() - CASE WHEN n <= %d THEN interval '3 days' - n * interval"
                   " '1 second' ELSE interval '0' END FROM generate_series(1, %d) n",
                   tenant->tenant_id, old, n);
    fixture_sql_do("UPDATE tenant SET event_seq = %d WHERE tenant_id = %" PRId64, n,
                   tenant->tenant_id);
}

Test(retention, old_events_go_and_what_is_left_has_no_gap)
{
    struct support_tenant tenant = support_tenant_make("r-events", 1000, 1000, 0);
    struct support_tenant other = support_tenant_make("r-events-other", 1000, 1000, 0);
    int64_t oldest, newest;

    add_events(&tenant, 10, 6);
    add_events(&other, 4, 0);
    retain(4 * DAY_MS, 1000);
    cr_assert_eq(count(&tenant, "event"), 10, "they are kept for four days");
    retain(DAY_MS, 1000);
    cr_assert_eq(ledger_events_span(db, tenant.tenant_id, &oldest, &newest), STATUS_OK);
    cr_assert_eq(oldest, 7);
    cr_assert_eq(newest, 10);
    cr_assert_eq(count(&tenant, "event"), 4);
    cr_assert_eq(count(&other, "event"), 4);
}

Test(retention, the_number_of_the_newest_event_outlives_it)
{
    struct support_tenant tenant = support_tenant_make("r-newest", 1000, 1000, 0);
    int64_t oldest, newest;

    add_events(&tenant, 5, 5);
    retain(DAY_MS, 1000);
    cr_assert_eq(count(&tenant, "event"), 0);
    cr_assert_eq(ledger_events_span(db, tenant.tenant_id, &oldest, &newest), STATUS_OK);
    cr_assert_eq(oldest, 6);
    cr_assert_eq(newest, 5);
}

Test(retention, what_was_deleted_in_part_has_no_gap_either)
{
    struct support_tenant tenant = support_tenant_make("r-part", 1000, 1000, 0);

    add_events(&tenant, 20, 15);
    for (int left = 20; left > 5; left = (int)count(&tenant, "event")) {
        cr_assert_eq(fixture_sql("SELECT max(seq) - min(seq) + 1 FROM event WHERE tenant_id = %"
                                 PRId64, tenant.tenant_id), left);
        retain(DAY_MS, 4);
        cr_assert_lt(count(&tenant, "event"), left);
    }
    cr_assert_eq(fixture_sql("SELECT min(seq) FROM event WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 16);
}

Test(retention, fences_and_expired_holds_go_when_they_may_be_purged)
{
    struct support_tenant tenant = support_tenant_make("r-purge", 1000, 1000, 0);

    fixture_sql_do("INSERT INTO job_fence (tenant_id, job_id, epoch, hold_seq, purge_after) SELECT"
                   " %" PRId64 ", 'job', 1, n, clock_timestamp() + (n - 4) * interval '1 hour'"
                   " + interval '1 minute' FROM generate_series(1, 6) n", tenant.tenant_id);
    fixture_sql_do("INSERT INTO expired_hold (tenant_id, job_id, epoch, hold_seq, hold, deadline_ms,"
                   " purge_after) SELECT tenant_id, job_id, epoch, hold_seq, 'x', 1, purge_after"
                   " FROM job_fence WHERE tenant_id = %" PRId64, tenant.tenant_id);
    retain(DAY_MS, 2);
    cr_assert_eq(count(&tenant, "job_fence"), 4, "two at a time");
    cr_assert_eq(count(&tenant, "expired_hold"), 4);
    retain(DAY_MS, 2);
    retain(DAY_MS, 2);
    cr_assert_eq(fixture_sql("SELECT min(hold_seq) FROM job_fence WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 4);
    cr_assert_eq(count(&tenant, "job_fence"), 3);
    cr_assert_eq(fixture_sql("SELECT min(hold_seq) FROM expired_hold WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 4);
    cr_assert_eq(count(&tenant, "expired_hold"), 3);
}

/* A quota row whose period of that kind and length ended some time ago. */
static void add_quota(const struct support_tenant *tenant, enum period kind, int64_t length_ms,
                      int64_t ended_ago_ms, char state)
{
    int64_t end_ms = support_now_ms() - ended_ago_ms;
    int64_t limit_id = fixture_sql(
        "INSERT INTO limit_ (tenant_id, name, scope, meter, period_kind, unlimited, amount,"
        " soft_percent, overage_kind, overage, cap, soft) SELECT %" PRId64 ", 'limit-' || count(*),"
        " '', 'tokens', %d, false, 10, 90, 0, 0, 10, 9 FROM limit_ WHERE tenant_id = %" PRId64
        " RETURNING limit_id", tenant->tenant_id, (int)kind, tenant->tenant_id);

    fixture_sql_do("INSERT INTO quota (tenant_id, limit_id, period_start_ms, period_end_ms,"
                   " limit_amount, cap_amount, soft_amount, unlimited, state) VALUES (%" PRId64
                   ", %" PRId64 ", %" PRId64 ", %" PRId64 ", 10, 10, 9, false, '%c')",
                   tenant->tenant_id, limit_id, end_ms - length_ms, end_ms, state);
}

static int64_t quotas_of(const struct support_tenant *tenant, enum period kind)
{
    return fixture_sql("SELECT count(*) FROM quota q JOIN limit_ l USING (tenant_id, limit_id)"
                       " WHERE q.tenant_id = %" PRId64 " AND l.period_kind = %d",
                       tenant->tenant_id, (int)kind);
}

Test(retention, closed_minutes_and_hours_go_after_a_week)
{
    struct support_tenant tenant = support_tenant_make("r-quotas", 1000, 1000, 0);

    add_quota(&tenant, PERIOD_MINUTE, 60000, 7 * DAY_MS + HOUR_MS, 'X');
    add_quota(&tenant, PERIOD_MINUTE, 60000, 6 * DAY_MS, 'X');
    add_quota(&tenant, PERIOD_MINUTE, 60000, 8 * DAY_MS, 'O');
    add_quota(&tenant, PERIOD_HOUR, HOUR_MS, 8 * DAY_MS, 'X');
    add_quota(&tenant, PERIOD_DAY, DAY_MS, 30 * DAY_MS, 'X');
    add_quota(&tenant, PERIOD_MONTH, 31 * DAY_MS, 400 * DAY_MS, 'X');
    retain(DAY_MS, 1000);
    cr_assert_eq(quotas_of(&tenant, PERIOD_MINUTE), 2, "not after six days, nor what is open");
    cr_assert_eq(quotas_of(&tenant, PERIOD_HOUR), 0);
    cr_assert_eq(quotas_of(&tenant, PERIOD_DAY), 1, "days and months are kept");
    cr_assert_eq(quotas_of(&tenant, PERIOD_MONTH), 1);
    cr_assert_eq(quotas_of(&tenant, PERIOD_NEVER), 1);
}

Test(retention, the_record_and_the_audit_are_kept)
{
    struct support_tenant tenant = support_tenant_make("r-kept", 1000, 1000, 0);

    fixture_sql_do("INSERT INTO ledger (tenant_id, job_id, entry, hold_epoch, hold_seq, scope,"
                   " meter, asked, amount, debt, held, late, counted, at) VALUES (%" PRId64
                   ", 'job', 0, 1, 1, '', 'tokens', 1, 1, 0, 1, false, '{}',"
                   " clock_timestamp() - interval '10 years')", tenant.tenant_id);
    fixture_sql_do("INSERT INTO audit (tenant_id, at, actor, action, object) VALUES (%" PRId64
                   ", clock_timestamp() - interval '10 years', 'a', 'b', 'c')", tenant.tenant_id);
    retain(0, 1000);
    cr_assert_eq(count(&tenant, "ledger"), 1);
    cr_assert_eq(count(&tenant, "audit"), 1);
}
