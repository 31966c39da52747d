/* What the record says of jobs, and the first half of a reap: who is expired, who is committed. */
#include "tests/ledger/committing.h"
#include "tests/ledger/support.h"

#include "ledger/ledger.h"
#include "quota/threshold.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

static struct arena arena;
static struct database *db;

static const struct statement lock_quota = {
    "test_lock_quota", "SELECT spent FROM quota WHERE tenant_id = $1::bigint FOR UPDATE"};
static const struct statement insert_record = {
    "test_insert_record",
    "INSERT INTO ledger (tenant_id, job_id, entry, hold_epoch, hold_seq, scope, meter, asked,"
    " amount, debt, held, late, counted, at) VALUES ($1::bigint, 'job-0', 0, 1, 1, 'team',"
    " 'tokens', 1, 0, 0, 10, false, '{}', clock_timestamp())"};
static const struct statement insert_fence = {
    "test_insert_reaped_fence",
    "INSERT INTO job_fence (tenant_id, job_id, epoch, hold_seq, purge_after)"
    " VALUES ($1::bigint, 'job-1', $2::bigint, 2, 'infinity')"};

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

TestSuite(reap, .init = begin, .fini = end);

/* Of the last run. */
static struct quota_row *rows;
static size_t rows_count;

static int64_t reap(const struct support_tenant *tenant, struct ledger_reap_job *jobs, size_t count)
{
    int64_t reaped_to_ms;

    for (size_t i = 0; i < count; i++)
        jobs[i].tenant_id = tenant->tenant_id;
    cr_assert_eq(ledger_reap_run(db, &arena, jobs, count, &reaped_to_ms, &rows,
                                 &rows_count),
                 STATUS_OK, "%s", database_error(db));
    return reaped_to_ms;
}

static struct ledger_reap_job job_of(const char *job_id, const struct hold *hold)
{
    struct ledger_reap_job job = {.job_id = slice_from_cstr(job_id), .hold = hold};

    job.text = slice_from_cstr(hold_text(&arena, hold));
    cr_assert_not_null(job.text.data);
    return job;
}

static void record(const struct support_tenant *tenant, const char *job_id)
{
    fixture_sql_do("INSERT INTO ledger (tenant_id, job_id, entry, hold_epoch, hold_seq, scope,"
                   " meter, asked, amount, debt, held, late, counted, at) VALUES (%" PRId64
                   ", '%s', 0, 1, 1, 'team', 'tokens', NULL, 4, 1, 5, true, ARRAY[%" PRId64
                   ", 0, 3, 4, 1], clock_timestamp())",
                   tenant->tenant_id, job_id, tenant->limit_id);
}

static void fence(const struct support_tenant *tenant, const char *job_id, int64_t seq)
{
    fixture_sql_do("INSERT INTO job_fence (tenant_id, job_id, epoch, hold_seq, purge_after) VALUES"
                   " (%" PRId64 ", '%s', %" PRId64 ", %" PRId64 ", 'infinity')",
                   tenant->tenant_id, job_id, tenant->epoch, seq);
}

static struct settle_facts facts_of(const struct support_tenant *tenant, const char *job_id)
{
    struct ledger_job job = {.tenant_id = tenant->tenant_id, .job_id = slice_from_cstr(job_id)};
    int64_t now_ms = 0;

    cr_assert_eq(ledger_facts_read(db, &arena, &job, 1, &now_ms), STATUS_OK);
    cr_assert(now_ms > 0);
    return job.facts;
}

Test(reap, events_go_on_after_the_newest_where_event_seq_went_back)
{
    struct support_tenant tenant = support_tenant_make("r-seq-back", 1000, 1000, 100);
    int64_t oldest, newest, id = tenant.tenant_id;

    for (int i = 0; i < 3; i++) {
        struct hold *hold = support_hold(&arena, &tenant, 7 + i, 10, support_now_ms() - 1000);
        char name[16];
        struct ledger_reap_job job;

        if (i == 2)
            fixture_sql_do("UPDATE tenant SET event_seq = 1 WHERE tenant_id = %" PRId64, id);
        cr_assert_eq(ledger_events_span(db, id, &oldest, &newest), STATUS_OK);
        cr_assert_eq(newest, i, "what is there, also before event_seq has caught up");
        cr_assert_eq(ledger_events_newest(db, &arena, &id, 1, &newest), STATUS_OK);
        cr_assert_eq(newest, i);
        snprintf(name, sizeof(name), "job-%d", i);
        job = job_of(name, hold);
        reap(&tenant, &job, 1);
    }
    cr_assert_eq(support_check_events(&tenant), 3);
}

Test(reap, writes_down_what_expired_and_nobody_finished)
{
    struct support_tenant tenant = support_tenant_make("r-expired", 1000, 1000, 100);
    struct hold *hold = support_hold(&arena, &tenant, 7, 10, support_now_ms() - 1000);
    struct ledger_reap_job job = job_of("job", hold);
    int64_t reaped_to_ms = reap(&tenant, &job, 1);
    struct settle_facts facts = facts_of(&tenant, "job");

    cr_assert_not(job.committed);
    cr_assert_eq(rows_count, 1);
    cr_assert_eq(rows[0].reaped_to_ms, reaped_to_ms);
    cr_assert_eq(rows[0].leased, 100, "Redis gives it back, not the root");
    cr_assert_eq(fixture_sql("SELECT reaped_to_ms FROM quota WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), reaped_to_ms);
    cr_assert_not_null(facts.expired);
    cr_assert_eq(facts.expired->attempt.seq, 7);
    cr_assert_eq(facts.expired->quotas[0].units, 10);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM event WHERE tenant_id = %" PRId64
                             " AND kind = %d AND job_id = 'job' AND hold_seq = 7 AND limit_id IS"
                             " NULL", tenant.tenant_id, EVENT_HOLD_EXPIRED), 1);
    reap(&tenant, &job, 1);
    cr_assert_eq(fixture_sql("SELECT event_seq FROM tenant WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 1, "told once");
}

Test(reap, tells_committed_released_and_live_holds_apart)
{
    struct support_tenant tenant = support_tenant_make("r-apart", 1000, 1000, 100);
    int64_t now_ms = support_now_ms();
    struct ledger_reap_job jobs[] = {
        job_of("released", support_hold(&arena, &tenant, 2, 10, now_ms - 1000)),
        job_of("committed", support_hold(&arena, &tenant, 1, 10, now_ms - 1000)),
        job_of("extended", support_hold(&arena, &tenant, 3, 10, now_ms + 60000)),
        job_of("again", support_hold(&arena, &tenant, 9, 10, now_ms - 1000)),
    };

    record(&tenant, "committed");
    fence(&tenant, "released", 2);
    fence(&tenant, "again", 8);
    reap(&tenant, jobs, 4);
    cr_assert_not(jobs[0].committed);
    cr_assert(jobs[1].committed);
    cr_assert_not(jobs[2].committed);
    cr_assert_null(facts_of(&tenant, "released").expired);
    cr_assert_null(facts_of(&tenant, "committed").expired);
    cr_assert_null(facts_of(&tenant, "extended").expired);
    cr_assert_not_null(facts_of(&tenant, "again").expired, "another attempt was released");
    cr_assert_eq(fixture_sql("SELECT count(*) FROM expired_hold WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 1);
}

Test(reap, reaped_to_never_goes_back)
{
    struct support_tenant tenant = support_tenant_make("r-back", 1000, 1000, 100);
    struct hold *hold = support_hold(&arena, &tenant, 1, 10, support_now_ms() - 1000);
    struct ledger_reap_job job = job_of("job", hold);
    int64_t ahead_ms = support_now_ms() + 3600000;

    fixture_sql_do("UPDATE quota SET reaped_to_ms = %" PRId64 " WHERE tenant_id = %" PRId64,
                   ahead_ms, tenant.tenant_id);
    reap(&tenant, &job, 1);
    cr_assert_eq(rows[0].reaped_to_ms, ahead_ms);
}

Test(reap, facts_are_of_each_job_of_each_tenant)
{
    struct support_tenant one = support_tenant_make("r-one", 1000, 1000, 0);
    struct support_tenant other = support_tenant_make("r-other", 1000, 1000, 0);
    struct ledger_job jobs[] = {
        {.tenant_id = other.tenant_id, .job_id = SLICE("same")},
        {.tenant_id = one.tenant_id, .job_id = SLICE("same")},
        {.tenant_id = one.tenant_id, .job_id = SLICE("fenced")},
        {.tenant_id = one.tenant_id, .job_id = SLICE("same")},
    };
    const struct settle_record *found;
    int64_t now_ms;

    record(&one, "same");
    fence(&one, "fenced", 3);
    fence(&one, "fenced", 4);
    cr_assert_eq(ledger_facts_read(db, &arena, jobs, 4, &now_ms), STATUS_OK);
    cr_assert_null(jobs[0].facts.record);
    cr_assert_not_null(jobs[1].facts.record);
    cr_assert_eq(jobs[2].facts.fences_count, 2);
    cr_assert_null(jobs[2].facts.record);
    found = jobs[3].facts.record;
    cr_assert_not_null(found);
    cr_assert(found->late);
    cr_assert_eq(found->entries_count, 1);
    cr_assert(slice_equal(found->entries[0].meter, SLICE("tokens")));
    cr_assert_not(found->entries[0].asked_given);
    cr_assert_eq(found->entries[0].asked, 5, "the whole hold");
    cr_assert_eq(found->entries[0].amount, 4);
    cr_assert_eq(found->entries[0].debt, 1);
    cr_assert_eq(found->entries[0].counted_count, 1);
    cr_assert_eq(found->entries[0].counted[0].ref.limit_id, one.limit_id);
    cr_assert_eq(found->entries[0].counted[0].ledger_seq, 3);
}

Test(reap, the_newest_expired_attempt_counts)
{
    struct support_tenant tenant = support_tenant_make("r-newest", 1000, 1000, 100);
    int64_t past_ms = support_now_ms() - 1000;
    struct ledger_reap_job jobs[] = {
        job_of("job", support_hold(&arena, &tenant, 12, 10, past_ms)),
        job_of("job", support_hold(&arena, &tenant, 2, 20, past_ms)),
    };

    reap(&tenant, jobs, 2);
    cr_assert_eq(facts_of(&tenant, "job").expired->attempt.seq, 12);
    cr_assert_eq(fixture_sql("SELECT event_seq FROM tenant WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 2);
}

/* --- many at once -------------------------------------------------------------------------------- */

enum { JOBS = 60, REAPERS = 2, JOB_UNITS = 10, STEP_MS = 10 };

/* One server's reaps: the same jobs again and again. */
struct reaper {
    pthread_t thread;
    struct ledger_reap_job jobs[JOBS];
    _Atomic int rounds;
    _Atomic bool stop;
    _Atomic enum status status;
};

static void *reap_all(void *user)
{
    struct reaper *reaper = user;
    struct database *own = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    struct quota_row *quotas;
    struct arena memory;
    int64_t reaped_to_ms;
    size_t count;

    arena_init(&memory, 65536, 16 << 20);
    while (reaper->status == STATUS_OK && !atomic_load(&reaper->stop)) {
        arena_reset(&memory);
        reaper->status = ledger_reap_run(own, &memory, reaper->jobs, JOBS,
                                         &reaped_to_ms, &quotas, &count);
        atomic_fetch_add(&reaper->rounds, 1);
    }
    arena_done(&memory);
    database_destroy(own);
    return NULL;
}

static bool have_reaped(void *user)
{
    struct reaper *reapers = user;
    bool all = true;

    for (int i = 0; i < REAPERS; i++)
        all &= atomic_load(&reapers[i].rounds) >= 2 || reapers[i].status != STATUS_OK;
    return all;
}

static void start_reapers(struct reaper *reapers, const struct support_tenant *tenant,
                          char names[JOBS][16], struct hold *const *holds)
{
    for (int i = 0; i < REAPERS; i++) {
        for (int k = 0; k < JOBS; k++) {
            reapers[i].jobs[k] = job_of(names[k], holds[k]);
            reapers[i].jobs[k].tenant_id = tenant->tenant_id;
        }
        cr_assert(pthread_create(&reapers[i].thread, NULL, reap_all, &reapers[i]) == 0);
    }
    cr_assert(fixture_until(20000, have_reaped, reapers));
}

static void stop_reapers(struct reaper *reapers)
{
    for (int i = 0; i < REAPERS; i++)
        atomic_store(&reapers[i].stop, true);
    for (int i = 0; i < REAPERS; i++) {
        pthread_join(reapers[i].thread, NULL);
        cr_assert_eq(reapers[i].status, STATUS_OK);
    }
}

/* Jobs whose deadlines come one after another, from this moment on. */
static void make_holds(const struct support_tenant *tenant, char names[JOBS][16],
                       struct hold **holds, int64_t first_ms)
{
    for (int i = 0; i < JOBS; i++) {
        snprintf(names[i], sizeof(names[i]), "job-%d", i);
        holds[i] = support_hold(&arena, tenant, i + 1, JOB_UNITS, first_ms + i * STEP_MS);
    }
}

static int64_t count_of(const struct support_tenant *tenant, const char *what)
{
    return fixture_sql("SELECT count(*) FROM %s AND tenant_id = %" PRId64, what,
                       tenant->tenant_id);
}

Test(reap, what_two_reap_at_once_is_written_down_once)
{
    struct support_tenant tenant = support_tenant_make("r-two", 1000, 1000, 1000);
    struct reaper reapers[REAPERS] = {0};
    struct hold *holds[JOBS];
    char names[JOBS][16];

    make_holds(&tenant, names, holds, support_now_ms() - (JOBS + 1) * STEP_MS);
    start_reapers(reapers, &tenant, names, holds);
    stop_reapers(reapers);
    cr_assert_eq(count_of(&tenant, "expired_hold WHERE true"), JOBS);
    cr_assert_eq(count_of(&tenant, "event WHERE kind = 6"), JOBS);
    cr_assert_eq(fixture_sql("SELECT count(DISTINCT job_id) FROM event WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), JOBS);
}

static enum status run_for(const struct support_tenant *tenant, const struct statement *statement,
                           bool with_epoch)
{
    struct sql_params params;

    sql_params_begin(&params, &arena);
    sql_add_i64(&params, tenant->tenant_id);
    if (with_epoch)
        sql_add_i64(&params, tenant->epoch);
    return database_run(db, statement, &params, NULL);
}

static bool somebody_waits(void *user)
{
    (void)user;
    return fixture_sql("SELECT count(*) FROM pg_locks WHERE NOT granted") > 0;
}

static bool is_past(void *user)
{
    return support_now_ms() > *(const int64_t *)user;
}

/* What was committed or released while it waited for the lock it sees; and it reads the clock then. */
Test(reap, what_happened_while_it_waited_counts)
{
    struct support_tenant tenant = support_tenant_make("r-waits", 1000, 1000, 100);
    struct reaper reaper = {0};
    int64_t now_ms = support_now_ms(), end_ms = now_ms + 600;
    struct hold *holds[JOBS];
    char names[JOBS][16];

    make_holds(&tenant, names, holds, now_ms - 2 * JOBS * STEP_MS);
    holds[2]->deadline_ms = end_ms;
    for (int i = 0; i < JOBS; i++) {
        reaper.jobs[i] = job_of(names[i], holds[i]);
        reaper.jobs[i].tenant_id = tenant.tenant_id;
    }
    cr_assert_eq(database_begin(db), STATUS_OK);
    cr_assert_eq(run_for(&tenant, &lock_quota, false), STATUS_OK);
    cr_assert(pthread_create(&reaper.thread, NULL, reap_all, &reaper) == 0);
    cr_assert(fixture_until(2000, somebody_waits, NULL));
    atomic_store(&reaper.stop, true); /* after this round */
    cr_assert_eq(run_for(&tenant, &insert_record, false), STATUS_OK);
    cr_assert_eq(run_for(&tenant, &insert_fence, true), STATUS_OK);
    cr_assert(fixture_until(2000, is_past, &end_ms));
    cr_assert_eq(database_commit(db), STATUS_OK);
    pthread_join(reaper.thread, NULL);
    cr_assert_eq(reaper.status, STATUS_OK);
    cr_assert(reaper.jobs[0].committed);
    cr_assert_eq(count_of(&tenant, "expired_hold WHERE job_id = 'job-0'"), 0, "was committed");
    cr_assert_eq(count_of(&tenant, "expired_hold WHERE job_id = 'job-1'"), 0, "was released");
    cr_assert_eq(count_of(&tenant, "expired_hold WHERE job_id = 'job-2'"), 1, "is due by now");
    cr_assert_eq(count_of(&tenant, "expired_hold WHERE true"), JOBS - 2);
    cr_assert_geq(fixture_sql("SELECT reaped_to_ms FROM quota WHERE tenant_id = %" PRId64,
                              tenant.tenant_id), end_ms);
}

/*
 * Whichever comes first under the quota's lock decides, and the other one sees it: a hold that was
 * reaped is only ever committed late, and one that was committed in time is never reaped.
 */
Test(reap, a_commit_beside_it_is_either_in_time_or_late_and_never_both)
{
    struct support_tenant tenant = support_tenant_make("r-race", 100000, 100000, 1000);
    struct committer *committer = committing_committer();
    struct plan *plan = support_plan(&tenant);
    struct reaper reapers[REAPERS] = {0};
    struct hold *holds[JOBS];
    char names[JOBS][16];
    int64_t first_ms = support_now_ms();

    make_holds(&tenant, names, holds, first_ms);
    holds[0]->deadline_ms = first_ms - 1000;          /* certainly late */
    holds[JOBS - 1]->deadline_ms = first_ms + 600000; /* certainly in time */
    start_reapers(reapers, &tenant, names, holds);
    for (int i = 0; i < JOBS; i++) {
        struct committing one;

        committing_init(&one, &tenant, plan, SETTLE_COMMIT, names[i], holds[i]);
        cr_assert_eq(committing_run(&one, committer), SETTLE_COMMITTED, "%s", names[i]);
        committing_done(&one);
    }
    stop_reapers(reapers);
    committer_destroy(committer);
    plan_unref(plan);
    cr_assert_eq(count_of(&tenant, "ledger WHERE true"), JOBS);
    cr_assert_eq(count_of(&tenant, "ledger WHERE late AND job_id = 'job-0'"), 1);
    cr_assert_eq(count_of(&tenant, "ledger WHERE NOT late AND job_id = 'job-59'"), 1);
    cr_assert_eq(count_of(&tenant, "ledger l WHERE NOT late AND EXISTS (SELECT FROM expired_hold e"
                                   " WHERE e.tenant_id = l.tenant_id AND e.job_id = l.job_id)"), 0,
                 "committed in time, and reaped");
    cr_assert_eq(count_of(&tenant, "event WHERE kind = 6"),
                 count_of(&tenant, "expired_hold WHERE true"));
    /* One that is late spends its own units as long as no reap has given them back. */
    cr_assert_eq(fixture_sql("SELECT spent FROM quota WHERE tenant_id = %" PRId64, tenant.tenant_id),
                 JOB_UNITS * count_of(&tenant, "ledger l WHERE NOT EXISTS (SELECT FROM expired_hold"
                                               " e WHERE e.tenant_id = l.tenant_id"
                                               " AND e.job_id = l.job_id)"));
    cr_assert_eq(fixture_sql("SELECT committed FROM quota WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), JOB_UNITS * JOBS);
    support_check_quotas(&tenant);
}
