/* Group commit, against a real Postgres: once, all of it, and in order. */
#include "ledger/ledger.h"
#include "quota/threshold.h"
#include "tests/ledger/committing.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static struct arena arena;
static struct committer *committer;
static struct database *db;

static void start(void)
{
    arena_init(&arena, 1 << 16, 64 << 20);
    db = support_open();
    committer = committing_committer();
}

static void stop(void)
{
    committer_destroy(committer);
    database_destroy(db);
    arena_done(&arena);
}

TestSuite(committer, .init = start, .fini = stop);

static struct hold *live_hold(const struct support_tenant *tenant, int64_t seq, int64_t units)
{
    return support_hold(&arena, tenant, seq, units, support_now_ms() + 60000);
}

/* --- many at once ----------------------------------------------------------------------------- */

Test(committer, records_a_thousand_holds_from_eight_threads)
{
    struct support_tenant tenant = support_tenant_make("thousand", 10000, 10000, 3000);
    struct plan *plan = support_plan(&tenant);

    cr_assert_eq(committing_crowd(committer, &tenant, plan, 125, NULL), 1000);
    cr_assert_eq(support_ledger_rows(&tenant), 1000);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 3000);
    cr_assert_eq(support_of_quota(&tenant, "ledger_seq"), 1000);
    cr_assert_eq(support_of_quota(&tenant, "leased"), 0);
    cr_assert_eq(fixture_sql("SELECT count(DISTINCT counted[3]) FROM ledger WHERE tenant_id = %" PRId64,
                             tenant.tenant_id),
                 1000, "each entry has a number of its own");
    support_check_quotas(&tenant);
    support_check_events(&tenant);
    plan_unref(plan);
}

/* --- one job ---------------------------------------------------------------------------------- */

Test(committer, duplicates_at_once_make_one_record)
{
    struct support_tenant tenant = support_tenant_make("duplicates", 1000, 1000, 100);
    struct plan *plan = support_plan(&tenant);
    struct committer *other = committing_committer();
    struct hold *hold = live_hold(&tenant, 1, 10);
    static struct committing c[64];
    int first = 0;

    for (size_t i = 0; i < ARRAY_COUNT(c); i++) {
        committing_init(&c[i], &tenant, plan, SETTLE_COMMIT, "the-job", hold);
        committing_submit(&c[i], i % 2 ? other : committer);
    }
    for (size_t i = 0; i < ARRAY_COUNT(c); i++) {
        committing_wait(&c[i]);
        cr_assert_eq(c[i].item.status, STATUS_OK);
        cr_assert_eq(c[i].item.settle.outcome, SETTLE_COMMITTED);
        cr_assert_eq(c[i].item.settle.record->entries[0].counted[0].ledger_seq, 1);
        first += !c[i].item.settle.replayed;
        committing_done(&c[i]);
    }
    cr_assert_eq(first, 1);
    cr_assert_eq(support_ledger_rows(&tenant), 1);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 10);
    committer_destroy(other);
    plan_unref(plan);
}

/* Two attempts of a job in two periods share no lock; the ledger's key is what keeps them apart. */
Test(committer, attempts_without_a_common_quota_make_one_record)
{
    enum { JOBS = 60 };
    struct support_tenant tenant = support_tenant_make("no-common-lock", 1000, 1000, 500);
    struct plan *plan = support_plan(&tenant);
    struct committer *other = committing_committer();
    static struct committing first[JOBS], second[JOBS];

    fixture_sql_do("INSERT INTO quota (tenant_id, limit_id, period_start_ms, period_end_ms,"
                   " limit_amount, cap_amount, soft_amount, unlimited, leased, lease_id, granted)"
                   " SELECT tenant_id, limit_id, 1, period_end_ms, limit_amount, cap_amount,"
                   " soft_amount, unlimited, leased, lease_id, granted FROM quota WHERE tenant_id = %"
                   PRId64, tenant.tenant_id);
    for (int i = 0; i < JOBS; i++) {
        struct hold *hold = live_hold(&tenant, i + 1, 3);
        struct hold *later = live_hold(&tenant, 1000 + i, 3);
        char job_id[16];

        snprintf(job_id, sizeof(job_id), "job-%d", i);
        later->quotas[0].quota.period_start_ms = 1;
        committing_init(&first[i], &tenant, plan, SETTLE_COMMIT, job_id, hold);
        committing_init(&second[i], &tenant, plan, SETTLE_COMMIT, job_id, later);
        committing_submit(&first[i], committer);
        committing_submit(&second[i], other);
    }
    for (int i = 0; i < JOBS; i++) {
        committing_wait(&first[i]);
        committing_wait(&second[i]);
        cr_assert_eq(first[i].item.status, STATUS_OK);
        cr_assert_eq(second[i].item.status, STATUS_OK);
        cr_assert_eq(first[i].item.settle.outcome, SETTLE_COMMITTED);
        cr_assert_eq(second[i].item.settle.outcome, SETTLE_COMMITTED);
        cr_assert_neq(first[i].item.settle.replayed, second[i].item.settle.replayed);
        committing_done(&first[i]);
        committing_done(&second[i]);
    }
    cr_assert_eq(support_ledger_rows(&tenant), JOBS);
    cr_assert_eq(fixture_sql("SELECT sum(committed)::bigint FROM quota WHERE tenant_id = %" PRId64,
                             tenant.tenant_id),
                 3 * JOBS);
    support_check_quotas(&tenant);
    committer_destroy(other);
    plan_unref(plan);
}

Test(committer, of_commit_and_release_exactly_one_wins)
{
    enum { JOBS = 100 };
    struct support_tenant tenant = support_tenant_make("race", 1000, 1000, 1000);
    struct plan *plan = support_plan(&tenant);
    struct committer *other = committing_committer();
    static struct committing commits[JOBS], releases[JOBS];
    int won = 0;

    for (int i = 0; i < JOBS; i++) {
        struct hold *hold = live_hold(&tenant, i + 1, 5);
        char job_id[32];

        snprintf(job_id, sizeof(job_id), "job-%d", i);
        committing_init(&commits[i], &tenant, plan, SETTLE_COMMIT, job_id, hold);
        committing_init(&releases[i], &tenant, plan, SETTLE_RELEASE, job_id, hold);
        committing_submit(i % 2 ? &commits[i] : &releases[i], committer);
        committing_submit(i % 2 ? &releases[i] : &commits[i], other);
    }
    for (int i = 0; i < JOBS; i++) {
        bool committed;

        committing_wait(&commits[i]);
        committing_wait(&releases[i]);
        cr_assert_eq(commits[i].item.status, STATUS_OK);
        cr_assert_eq(releases[i].item.status, STATUS_OK);
        committed = commits[i].item.settle.outcome == SETTLE_COMMITTED;
        won += committed;
        cr_assert_eq(commits[i].item.settle.outcome,
                     committed ? SETTLE_COMMITTED : SETTLE_WAS_RELEASED);
        cr_assert_eq(releases[i].item.settle.outcome,
                     committed ? SETTLE_WAS_COMMITTED : SETTLE_RELEASED);
        committing_done(&commits[i]);
        committing_done(&releases[i]);
    }
    cr_assert_eq(support_ledger_rows(&tenant), won);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM job_fence WHERE tenant_id = %" PRId64,
                             tenant.tenant_id),
                 JOBS - won);
    cr_assert_eq(support_of_quota(&tenant, "committed"), won * 5);
    support_check_quotas(&tenant);
    committer_destroy(other);
    plan_unref(plan);
}

Test(committer, a_repeat_is_answered_from_the_record_and_other_amounts_are_a_mismatch)
{
    struct support_tenant tenant = support_tenant_make("repeat", 1000, 1000, 100);
    struct plan *plan = support_plan(&tenant);
    struct hold *hold = live_hold(&tenant, 1, 10);
    struct committing c;

    committing_init(&c, &tenant, plan, SETTLE_COMMIT, "job", hold);
    committing_actual(&c, 7, OVERRUN_RECORD);
    cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
    cr_assert_not(c.item.settle.replayed);
    cr_assert_eq(c.item.quotas_count, 1);
    cr_assert_eq(c.item.quotas[0].committed, 7);
    cr_assert(slice_equal(c.item.quotas[0].meter, SLICE("tokens")));
    cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
    cr_assert(c.item.settle.replayed);
    cr_assert_eq(c.item.settle.record->entries_count, 1);
    cr_assert_eq(c.item.settle.record->entries[0].amount, 7);
    cr_assert_eq(c.item.settle.record->entries[0].held, 10);
    cr_assert(c.item.settle.record->entries[0].asked_given);
    cr_assert(slice_equal(c.item.settle.record->scope, SLICE("team")));
    committing_actual(&c, 8, OVERRUN_RECORD);
    cr_assert_eq(committing_run(&c, committer), SETTLE_MISMATCH);
    cr_assert_eq(c.item.settle.record->entries[0].amount, 7);
    c.item.settle.kind = SETTLE_RELEASE;
    cr_assert_eq(committing_run(&c, committer), SETTLE_WAS_COMMITTED);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 7);
    committing_done(&c);
    plan_unref(plan);
}

/* A second limit, of the meter "requests", and a hold of both meters. */
static struct hold *hold_of_two(const struct support_tenant *tenant)
{
    struct hold *hold = live_hold(tenant, 1, 10);
    int64_t limit_id = fixture_sql(
        "INSERT INTO limit_ (tenant_id, name, scope, meter, period_kind, unlimited, amount,"
        " soft_percent, overage_kind, overage, cap, soft) SELECT tenant_id, 'second', 'team',"
        " 'requests', 1, false, amount, 90, 0, 0, cap, soft FROM limit_ WHERE tenant_id = %" PRId64
        " RETURNING limit_id",
        tenant->tenant_id);

    fixture_sql_do("INSERT INTO quota SELECT tenant_id, %" PRId64 ", 0, period_end_ms, 1000, 1000, 900,"
                   " false, 0, 0, 0, leased, lease_id, granted, 0, 0, lease_deadline_ms FROM quota"
                   " WHERE tenant_id = %" PRId64,
                   limit_id, tenant->tenant_id);
    hold->meters = arena_array(&arena, 2, sizeof(*hold->meters));
    hold->quotas = arena_array(&arena, 2, sizeof(*hold->quotas));
    cr_assert(hold->meters && hold->quotas);
    hold->meters_count = hold->quotas_count = 2;
    hold->meters[0] = (struct hold_meter){SLICE("tokens"), 10};
    hold->meters[1] = (struct hold_meter){SLICE("requests"), 1};
    hold->quotas[0] =
        (struct hold_quota){0, {tenant->limit_id, 0}, tenant->lease_id, 10};
    hold->quotas[1] = (struct hold_quota){1, {limit_id, 0}, tenant->lease_id, 1};
    return hold;
}

Test(committer, a_job_of_two_meters_has_two_entries)
{
    struct support_tenant tenant = support_tenant_make("two-meters", 1000, 1000, 100);
    struct plan *plan = support_plan(&tenant);
    const struct settle_record *record;
    struct committing c;

    committing_init(&c, &tenant, plan, SETTLE_COMMIT, "job", hold_of_two(&tenant));
    cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
    cr_assert_eq(c.item.quotas_count, 2);
    cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
    cr_assert(c.item.settle.replayed);
    record = c.item.settle.record;
    cr_assert_eq(record->entries_count, 2);
    cr_assert(slice_equal(record->entries[0].meter, SLICE("tokens")));
    cr_assert(slice_equal(record->entries[1].meter, SLICE("requests")));
    cr_assert_eq(record->entries[1].amount, 1);
    cr_assert_not(record->entries[1].asked_given);
    cr_assert_eq(c.item.quotas_count, 2);
    cr_assert(slice_equal(c.item.quotas[1].limit_name, SLICE("second")), "not in the plan: copied");
    cr_assert(slice_equal(c.item.quotas[1].scope, SLICE("team")));
    cr_assert_eq(fixture_sql("SELECT sum(committed)::bigint FROM quota WHERE tenant_id = %" PRId64,
                             tenant.tenant_id),
                 11);
    support_check_quotas(&tenant);
    committing_done(&c);
    plan_unref(plan);
}

Test(committer, a_release_is_kept_and_a_later_attempt_commits)
{
    struct support_tenant tenant = support_tenant_make("released", 1000, 1000, 100);
    struct plan *plan = support_plan(&tenant);
    struct committing c;

    committing_init(&c, &tenant, plan, SETTLE_RELEASE, "job", live_hold(&tenant, 1, 10));
    cr_assert_eq(committing_run(&c, committer), SETTLE_RELEASED);
    cr_assert(c.item.settle.was_live);
    cr_assert_eq(committing_run(&c, committer), SETTLE_RELEASED);
    cr_assert(c.item.settle.replayed);
    c.item.settle.kind = SETTLE_COMMIT;
    cr_assert_eq(committing_run(&c, committer), SETTLE_WAS_RELEASED);
    c.item.settle.token = live_hold(&tenant, 2, 10);
    cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
    cr_assert(fixture_sql("SELECT (purge_after > now() + interval '1 day')::int FROM job_fence"
                          " WHERE tenant_id = %" PRId64,
                          tenant.tenant_id) == 1);
    committing_done(&c);
    plan_unref(plan);
}

/* --- late, and by job ------------------------------------------------------------------------- */

Test(committer, a_late_commit_is_booked_at_the_root_and_told)
{
    struct support_tenant tenant = support_tenant_make("late", 1000, 1000, 0);
    struct plan *plan = support_plan(&tenant);
    struct committing c;

    committing_init(&c, &tenant, plan, SETTLE_COMMIT, "job",
                    support_hold(&arena, &tenant, 1, 10, support_now_ms() - 1000));
    cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
    cr_assert(c.item.settle.late);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 10);
    cr_assert_eq(support_check_events(&tenant), 1);
    cr_assert_eq(fixture_sql("SELECT kind FROM event WHERE tenant_id = %" PRId64, tenant.tenant_id),
                 EVENT_LATE_COMMIT);
    cr_assert_str_eq(fixture_sql_text("SELECT job_id FROM event WHERE tenant_id = %" PRId64,
                                      tenant.tenant_id),
                     "job");
    c.item.settle.token = support_hold(&arena, &tenant, 2, 10, support_now_ms() - 2 * 3600 * 1000);
    c.item.settle.job_id = SLICE("too-late");
    cr_assert_eq(committing_run(&c, committer), SETTLE_EXPIRED);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 10);
    support_check_quotas(&tenant);
    committing_done(&c);
    plan_unref(plan);
}

/* A reap let go of it in Redis, and the database went back to before: its units are another's by now. */
Test(committer, a_late_commit_takes_nothing_from_its_lease_after_the_database_went_back)
{
    struct support_tenant tenant = support_tenant_make("went-back", 1000, 1000, 100);
    struct plan *plan = support_plan(&tenant);
    int64_t deadline_ms = support_now_ms() - 1000;
    struct committing c;

    committing_init(&c, &tenant, plan, SETTLE_COMMIT, "before",
                    support_hold(&arena, &tenant, 1, 10, deadline_ms));
    cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
    cr_assert_eq(support_of_quota(&tenant, "spent"), 10, "no reap has seen it");
    fixture_sql_do("UPDATE history SET timeline = timeline - 1");
    cr_assert_eq(ledger_history_compared(
                     db, &arena, fixture_sql("SELECT system FROM history"),
                     fixture_sql("SELECT timeline + 1 FROM history")),
                 STATUS_OK);
    c.item.settle.job_id = SLICE("after");
    c.item.settle.token = support_hold(&arena, &tenant, 2, 10, deadline_ms);
    cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
    cr_assert_eq(support_of_quota(&tenant, "spent"), 10);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 20);
    support_check_quotas(&tenant);
    committing_done(&c);
    plan_unref(plan);
}

Test(committer, a_job_without_hold_is_found_among_the_expired)
{
    struct support_tenant tenant = support_tenant_make("by-job", 1000, 1000, 0);
    struct plan *plan = support_plan(&tenant);
    struct hold *hold = support_hold(&arena, &tenant, 4, 25, support_now_ms() - 5000);
    struct committing c;

    committing_init(&c, &tenant, plan, SETTLE_COMMIT, "job", NULL);
    cr_assert_eq(committing_run(&c, committer), SETTLE_UNKNOWN_JOB);
    fixture_sql_do("INSERT INTO expired_hold (tenant_id, job_id, epoch, hold_seq, hold, deadline_ms,"
                   " purge_after) VALUES (%" PRId64 ", 'job', %" PRId64 ", 4, '%s', %" PRId64
                   ", 'infinity')",
                   tenant.tenant_id, hold->attempt.epoch, hold_text(&arena, hold),
                   hold->deadline_ms);
    cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
    cr_assert(c.item.settle.late);
    cr_assert_not_null(c.item.settle.subject);
    cr_assert_eq(c.item.settle.subject->attempt.seq, 4);
    cr_assert_eq(c.item.settle.subject->quotas[0].units, 25);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 25);
    committing_done(&c);
    plan_unref(plan);
}

Test(committer, a_late_commit_makes_the_row_of_the_current_period)
{
    struct support_tenant tenant = support_tenant_make("rolled-over", 1000, 1000, 0);
    struct plan *plan = support_plan(&tenant);
    struct hold *hold = support_hold(&arena, &tenant, 1, 10, support_now_ms() - 5000);
    struct committing c;

    plan->limits[0].period = PERIOD_DAY;
    fixture_sql_do("UPDATE limit_ SET period_kind = 4 WHERE tenant_id = %" PRId64, tenant.tenant_id);
    fixture_sql_do("UPDATE quota SET period_start_ms = 86400000, period_end_ms = 172800000,"
                   " state = 'X', lease_id = 0 WHERE tenant_id = %" PRId64,
                   tenant.tenant_id);
    hold->quotas[0].quota.period_start_ms = 86400000;
    committing_init(&c, &tenant, plan, SETTLE_COMMIT, "job", hold);
    cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM quota WHERE tenant_id = %" PRId64,
                             tenant.tenant_id),
                 2);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 10);
    cr_assert_eq(support_of_quota(&tenant, "period_end_ms - period_start_ms"), 86400000);
    cr_assert_eq(support_of_quota(&tenant, "cap_amount"), 1000);
    cr_assert_eq(c.item.quotas_count, 2, "the row of the hold and the one it counts against");
    cr_assert_eq(fixture_sql("SELECT count(*) FROM event WHERE tenant_id = %" PRId64 " AND kind = %d",
                             tenant.tenant_id, EVENT_PERIOD_STARTED),
                 1);
    cr_assert_eq(support_check_events(&tenant), 2);
    support_check_quotas(&tenant);
    committing_done(&c);
    plan_unref(plan);
}

/* --- a tenant whose event_seq went back -------------------------------------------------------- */

Test(committer, events_go_on_after_the_newest_where_event_seq_went_back)
{
    struct support_tenant tenant = support_tenant_make("seq-back", 100, 110, 110);
    struct plan *plan = support_plan(&tenant);

    for (int i = 0; i < 11; i++) {
        struct committing c;
        char job_id[16];

        if (i == 10) /* two events are there */
            fixture_sql_do("UPDATE tenant SET event_seq = 0 WHERE tenant_id = %" PRId64,
                           tenant.tenant_id);
        snprintf(job_id, sizeof(job_id), "job-%d", i);
        committing_init(&c, &tenant, plan, SETTLE_COMMIT, job_id, live_hold(&tenant, i + 1, 10));
        cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
        committing_done(&c);
    }
    cr_assert_eq(support_check_events(&tenant), 3);
    cr_assert_eq(fixture_sql("SELECT event_seq FROM tenant WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 3);
    plan_unref(plan);
}

/* --- quotas ----------------------------------------------------------------------------------- */

Test(committer, crossings_become_events_numbered_without_a_gap)
{
    struct support_tenant tenant = support_tenant_make("crossings", 100, 110, 110);
    struct plan *plan = support_plan(&tenant);
    int calls = committing_event_calls();

    for (int i = 0; i < 11; i++) {
        struct committing c;
        char job_id[16];

        snprintf(job_id, sizeof(job_id), "job-%d", i);
        committing_init(&c, &tenant, plan, SETTLE_COMMIT, job_id, live_hold(&tenant, i + 1, 10));
        cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
        committing_done(&c);
    }
    cr_assert_eq(support_check_events(&tenant), 3);
    cr_assert_str_eq(fixture_sql_text("SELECT string_agg(kind || ':' || direction || ':' || basis ||"
                                      " ':' || committed || ':' || level || ':' || job_id, ' '"
                                      " ORDER BY seq) FROM event WHERE tenant_id = %" PRId64,
                                      tenant.tenant_id),
                     "1:1:1:90:2:job-8 2:1:1:100:3:job-9 3:1:1:110:4:job-10");
    cr_assert(committing_event_calls() >= calls + 3);
    plan_unref(plan);
}

Test(committer, an_excess_wants_idle_capacity_back_before_it_becomes_debt)
{
    struct support_tenant tenant = support_tenant_make("recall", 100, 100, 100);
    struct plan *plan = support_plan(&tenant);
    struct committing c;

    committing_init(&c, &tenant, plan, SETTLE_COMMIT, "job", live_hold(&tenant, 1, 10));
    committing_actual(&c, 50, OVERRUN_RECORD);
    cr_assert_eq(committing_run(&c, committer), SETTLE_WANTS_RECALL);
    cr_assert_eq(support_ledger_rows(&tenant), 0);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 0);
    c.item.settle.recall_done = true;
    cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 10);
    cr_assert_eq(support_of_quota(&tenant, "debt"), 40);
    cr_assert_eq(support_of_quota(&tenant, "recall::int"), 1);
    support_check_quotas(&tenant);
    committing_done(&c);
    plan_unref(plan);
}

Test(committer, a_commit_refills_the_lease_of_the_current_epoch_only)
{
    struct support_tenant tenant = support_tenant_make("refill", 1000, 1000, 100);
    struct plan *plan = support_plan(&tenant);
    int shard = plan_shard(slice_from_cstr("refill"));
    struct committing c;

    fixture_sql_do("UPDATE quota SET lease_target = 200, lease_deadline_ms = 1 WHERE tenant_id = %"
                   PRId64, tenant.tenant_id);
    committing_init(&c, &tenant, plan, SETTLE_COMMIT, "job-1", live_hold(&tenant, 1, 10));
    cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
    cr_assert_eq(support_of_quota(&tenant, "granted - returned - spent"), 200);
    cr_assert(support_of_quota(&tenant, "lease_deadline_ms") > support_now_ms() + 50000);
    cr_assert_eq(c.item.quotas[0].granted, 210);
    committing_done(&c);
    fixture_sql_do("UPDATE shard_authority SET epoch = epoch + 1 WHERE shard = %d", shard);
    fixture_sql_do("UPDATE quota SET lease_deadline_ms = 1 WHERE tenant_id = %" PRId64,
                   tenant.tenant_id);
    committing_init(&c, &tenant, plan, SETTLE_COMMIT, "job-2", live_hold(&tenant, 2, 10));
    cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
    cr_assert_eq(support_of_quota(&tenant, "granted - returned - spent"), 190);
    cr_assert_eq(support_of_quota(&tenant, "lease_deadline_ms"), 1);
    committing_done(&c);
    plan_unref(plan);
}

Test(committer, spends_from_the_old_lease_that_the_hold_names)
{
    struct support_tenant tenant = support_tenant_make("old-lease", 1000, 1000, 100);
    struct plan *plan = support_plan(&tenant);
    struct hold *hold = live_hold(&tenant, 1, 10);
    struct committing c;

    fixture_sql_do("INSERT INTO old_lease SELECT tenant_id, limit_id, period_start_ms, lease_id,"
                   " granted, returned, spent, lease_deadline_ms FROM quota WHERE tenant_id = %" PRId64,
                   tenant.tenant_id);
    fixture_sql_do("UPDATE quota SET lease_id = lease_id + 1, granted = 0 WHERE tenant_id = %" PRId64,
                   tenant.tenant_id);
    committing_init(&c, &tenant, plan, SETTLE_COMMIT, "job", hold);
    cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
    cr_assert_eq(fixture_sql("SELECT spent FROM old_lease WHERE tenant_id = %" PRId64,
                             tenant.tenant_id),
                 10);
    cr_assert_eq(support_of_quota(&tenant, "leased"), 90);
    support_check_quotas(&tenant);
    committing_done(&c);
    plan_unref(plan);
}
