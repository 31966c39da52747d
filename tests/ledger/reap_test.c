/* What the record says of jobs, and the first half of a reap: who is expired, who is committed. */
#include "tests/ledger/support.h"

#include "ledger/ledger.h"
#include "quota/threshold.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>

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

TestSuite(reap, .init = begin, .fini = end);

/* Of the last run. */
static struct settle_quota *rows;
static size_t rows_count;

static int64_t reap(const struct support_tenant *tenant, struct ledger_reap_job *jobs, size_t count)
{
    int64_t reaped_to_ms;

    cr_assert_eq(ledger_reap_run(db, &arena, tenant->tenant_id, jobs, count, &reaped_to_ms, &rows,
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
