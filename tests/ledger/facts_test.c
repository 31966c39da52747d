/* What the record says of a job: all of it, of no other job, in the order asked. */
#include "tests/ledger/support.h"

#include "ledger/ledger.h"
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

TestSuite(facts, .init = begin, .fini = end);

static void read_facts(struct ledger_job *jobs, size_t count)
{
    int64_t before_ms = support_now_ms(), now_ms = 0;

    cr_assert_eq(ledger_facts_read(db, &arena, jobs, count, &now_ms), STATUS_OK, "%s",
                 database_error(db));
    cr_assert(count == 0 || now_ms >= before_ms);
}

static struct ledger_job job_of(const struct support_tenant *tenant, const char *job_id)
{
    return (struct ledger_job){.tenant_id = tenant->tenant_id,
                               .job_id = slice_from_cstr(job_id)};
}

/* One meter of a record, committed by attempt 3.7. */
static void record(const struct support_tenant *tenant, const char *job_id, int entry,
                   const char *meter, const char *asked, int amount)
{
    fixture_sql_do("INSERT INTO ledger (tenant_id, job_id, entry, hold_epoch, hold_seq, scope,"
                   " meter, asked, amount, debt, held, late, counted, at) VALUES (%" PRId64
                   ", '%s', %d, 3, 7, 'team', '%s', %s, %d, 2, 50, true, '{11,0,5,%d,2,12,60000,9,%d,"
                   "0}', to_timestamp(1700000000.5))",
                   tenant->tenant_id, job_id, entry, meter, asked, amount, amount, amount);
}

static void fence(const struct support_tenant *tenant, const char *job_id, int epoch, int seq)
{
    fixture_sql_do("INSERT INTO job_fence (tenant_id, job_id, epoch, hold_seq, purge_after) VALUES"
                   " (%" PRId64 ", '%s', %d, %d, 'infinity')",
                   tenant->tenant_id, job_id, epoch, seq);
}

/* The text is one that the reap would have written. */
static void expired(const struct support_tenant *tenant, const char *job_id, int64_t seq,
                    int64_t units)
{
    struct hold *hold = support_hold(&arena, tenant, seq, units, 1700000000000);

    fixture_sql_do("INSERT INTO expired_hold (tenant_id, job_id, epoch, hold_seq, hold, deadline_ms,"
                   " purge_after) VALUES (%" PRId64 ", '%s', %" PRId64 ", %" PRId64 ", '%s', %" PRId64
                   ", 'infinity')",
                   tenant->tenant_id, job_id, hold->attempt.epoch, hold->attempt.seq,
                   hold_text(&arena, hold), hold->deadline_ms);
}

Test(facts, of_an_unknown_job_are_none)
{
    struct support_tenant tenant = support_tenant_make("f-unknown", 1000, 1000, 0);
    struct ledger_job job = job_of(&tenant, "never-heard-of");

    read_facts(&job, 1);
    cr_assert_null(job.facts.record);
    cr_assert_null(job.facts.expired);
    cr_assert_eq(job.facts.fences_count, 0);
    read_facts(NULL, 0);
}

Test(facts, a_record_has_all_its_meters_and_quotas)
{
    struct support_tenant tenant = support_tenant_make("f-record", 1000, 1000, 0);
    struct ledger_job job = job_of(&tenant, "job");
    const struct settle_record *found;

    record(&tenant, "job", 1, "tokens", "NULL", 48);
    record(&tenant, "job", 0, "seconds", "33", 31);
    read_facts(&job, 1);
    found = job.facts.record;
    cr_assert_not_null(found);
    cr_assert_eq(found->attempt.epoch, 3);
    cr_assert_eq(found->attempt.seq, 7);
    cr_assert(slice_equal_cstr(found->scope, "team"));
    cr_assert(found->late);
    cr_assert_eq(found->at_ms, 1700000000500);
    cr_assert_eq(found->entries_count, 2);
    cr_assert(slice_equal_cstr(found->entries[0].meter, "seconds"));
    cr_assert(found->entries[0].asked_given);
    cr_assert_eq(found->entries[0].asked, 33);
    cr_assert(!found->entries[1].asked_given);
    cr_assert_eq(found->entries[1].asked, 50, "the whole hold");
    cr_assert_eq(found->entries[1].amount, 48);
    cr_assert_eq(found->entries[1].debt, 2);
    cr_assert_eq(found->entries[1].held, 50);
    cr_assert_eq(found->entries[1].counted_count, 2);
    cr_assert_eq(found->entries[1].counted[1].ref.limit_id, 12);
    cr_assert_eq(found->entries[1].counted[1].ref.period_start_ms, 60000);
    cr_assert_eq(found->entries[1].counted[1].ledger_seq, 9);
    cr_assert_eq(found->entries[1].counted[1].amount, 48);
    cr_assert_eq(found->entries[1].counted[0].debt, 2);
}

Test(facts, all_fences_and_the_newest_expired_hold_are_told)
{
    struct support_tenant tenant = support_tenant_make("f-fences", 1000, 1000, 0);
    struct ledger_job job = job_of(&tenant, "job");

    fence(&tenant, "job", 2, 1);
    fence(&tenant, "job", 1, 9);
    fence(&tenant, "job", 1, 4);
    expired(&tenant, "job", 5, 10);
    expired(&tenant, "job", 12, 30);
    expired(&tenant, "job", 8, 20);
    read_facts(&job, 1);
    cr_assert_eq(job.facts.fences_count, 3);
    cr_assert_eq(job.facts.fences[0].seq, 4);
    cr_assert_eq(job.facts.fences[1].seq, 9);
    cr_assert_eq(job.facts.fences[2].epoch, 2);
    cr_assert_not_null(job.facts.expired);
    cr_assert_eq(job.facts.expired->attempt.seq, 12);
    cr_assert_eq(job.facts.expired->quotas[0].units, 30);
    cr_assert_eq(job.facts.expired->quotas[0].lease_id, tenant.lease_id);
    cr_assert_null(job.facts.record);
}

Test(facts, are_told_in_the_order_asked_and_twice_if_asked_twice)
{
    struct support_tenant one = support_tenant_make("f-order-1", 1000, 1000, 0);
    struct support_tenant two = support_tenant_make("f-order-2", 1000, 1000, 0);
    struct ledger_job jobs[5] = {job_of(&two, "b"), job_of(&one, "a"), job_of(&one, "b"),
                                 job_of(&two, "b"), job_of(&two, "a")};

    record(&two, "b", 0, "tokens", "1", 1);
    fence(&one, "a", 1, 1);
    expired(&one, "b", 4, 10);
    read_facts(jobs, 5);
    cr_assert(jobs[0].facts.record && jobs[3].facts.record);
    cr_assert_eq(jobs[0].facts.record->entries[0].amount, 1);
    cr_assert(!jobs[1].facts.record && !jobs[2].facts.record && !jobs[4].facts.record,
              "another tenant's job of the same name");
    cr_assert_eq(jobs[1].facts.fences_count, 1);
    cr_assert_eq(jobs[2].facts.fences_count + jobs[4].facts.fences_count, 0);
    cr_assert(jobs[2].facts.expired && !jobs[0].facts.expired && !jobs[4].facts.expired);
}

Test(facts, a_text_that_is_no_hold_is_told_of_its_job_alone_and_not_guessed)
{
    struct support_tenant tenant = support_tenant_make("f-corrupt", 1000, 1000, 0);
    struct ledger_job jobs[2] = {job_of(&tenant, "job"), job_of(&tenant, "beside")};

    expired(&tenant, "job", 1, 10);
    expired(&tenant, "beside", 4, 10);
    fixture_sql_do("INSERT INTO expired_hold (tenant_id, job_id, epoch, hold_seq, hold, deadline_ms,"
                   " purge_after) VALUES (%" PRId64 ", 'job', 9, 1, 'no hold', 1, 'infinity')",
                   tenant.tenant_id);
    read_facts(jobs, 2);
    cr_assert(jobs[0].facts.expired_unreadable);
    cr_assert_null(jobs[0].facts.expired, "the older one is not taken for it");
    cr_assert_not(jobs[1].facts.expired_unreadable);
    cr_assert_eq(jobs[1].facts.expired->attempt.seq, 4);
}
