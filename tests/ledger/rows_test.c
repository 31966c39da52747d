/* Rows under their locks: what is read is what stands there, and what is written comes back. */
#include "ledger/rows.h"

#include "tests/ledger/support.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static struct arena arena;
static struct database *db;

static void start(void)
{
    arena_init(&arena, 1 << 14, 1 << 22);
    db = support_open();
}

static void stop(void)
{
    database_destroy(db);
    arena_done(&arena);
}

TestSuite(rows, .init = start, .fini = stop);

static struct rows_ref ref_of(const struct support_tenant *tenant, int64_t period_start_ms)
{
    return (struct rows_ref){tenant->tenant_id, {tenant->limit_id, period_start_ms}};
}

static void lock(struct book *book, const struct rows_ref *refs, size_t count)
{
    *book = (struct book){.arena = &arena};
    cr_assert_eq(database_begin(db), STATUS_OK);
    cr_assert_eq(rows_lock(db, book, refs, count), STATUS_OK, "%s", database_error(db));
}

/* Another's wait for one row. */
struct waiting {
    struct rows_ref ref;
    enum status status;
    int64_t now_ms;
    size_t leases_count;
};

static void *wait_for_lock(void *user)
{
    struct waiting *waiting = user;
    struct database *own = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    struct arena memory;
    struct book book = {.arena = &memory};

    arena_init(&memory, 4096, 1 << 20);
    waiting->status = database_begin(own);
    if (waiting->status == STATUS_OK)
        waiting->status = rows_lock(own, &book, &waiting->ref, 1);
    waiting->now_ms = book.now_ms;
    waiting->leases_count = book.leases_count;
    database_destroy(own);
    arena_done(&memory);
    return NULL;
}

Test(rows, sorting_refs_removes_duplicates)
{
    struct rows_ref refs[] = {{2, {1, 0}}, {1, {2, 5}}, {2, {1, 0}}, {1, {2, 3}}, {1, {1, 9}}};

    cr_assert_eq(rows_refs_sort(refs, ARRAY_COUNT(refs)), 4);
    cr_assert(refs[0].tenant_id == 1 && refs[0].ref.limit_id == 1);
    cr_assert(refs[1].ref.period_start_ms == 3 && refs[2].ref.period_start_ms == 5);
    cr_assert_eq(refs[3].tenant_id, 2);
}

/* --- making ----------------------------------------------------------------------------------- */

static void *make_row(void *user)
{
    const struct rows_ref *ref = user;
    struct database *own = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    struct arena memory;
    size_t missing = 99;

    arena_init(&memory, 4096, 1 << 20);
    if (rows_make(own, &memory, ref, 1, &missing) != STATUS_OK)
        missing = 99;
    database_destroy(own);
    arena_done(&memory);
    return missing == 0 ? user : NULL;
}

Test(rows, many_make_one_row_and_one_event)
{
    enum { THREADS = 8 };
    struct support_tenant tenant = support_tenant_make("make", 1000, 1200, 0);
    struct rows_ref ref = ref_of(&tenant, 86400000);
    pthread_t threads[THREADS];

    fixture_sql_do("UPDATE limit_ SET period_kind = 4 WHERE tenant_id = %" PRId64, tenant.tenant_id);
    for (int i = 0; i < THREADS; i++)
        cr_assert(pthread_create(&threads[i], NULL, make_row, &ref) == 0);
    for (int i = 0; i < THREADS; i++) {
        void *made;

        pthread_join(threads[i], &made);
        cr_assert_not_null(made);
    }
    cr_assert_eq(support_of_quota(&tenant, "period_end_ms"), 2 * 86400000);
    cr_assert_eq(support_of_quota(&tenant, "limit_amount"), 1000);
    cr_assert_eq(support_of_quota(&tenant, "cap_amount"), 1200);
    cr_assert_eq(support_of_quota(&tenant, "soft_amount"), 900);
    cr_assert_eq(support_check_events(&tenant), 1);
    cr_assert_eq(fixture_sql("SELECT kind * 1000 + level FROM event WHERE tenant_id = %" PRId64,
                             tenant.tenant_id),
                 EVENT_PERIOD_STARTED * 1000 + 1);
}

Test(rows, a_limit_that_is_gone_gets_no_row)
{
    struct support_tenant tenant = support_tenant_make("gone", 1000, 1000, 0);
    struct rows_ref refs[] = {ref_of(&tenant, 0), ref_of(&tenant, 86400000)};
    size_t missing;

    fixture_sql_do("UPDATE limit_ SET deleted_at = now() WHERE tenant_id = %" PRId64,
                   tenant.tenant_id);
    cr_assert_eq(rows_make(db, &arena, refs, 2, &missing), STATUS_OK);
    cr_assert_eq(missing, 1, "the row that exists stays");
}

/* A change of the limit takes limit_ first, then its quota rows: a row made meanwhile has the new one. */
Test(rows, a_row_that_is_made_beside_a_change_has_the_new_limit)
{
    static const struct statement change = {
        "test_change_limit", "UPDATE limit_ SET amount = 500, cap = 500 WHERE tenant_id = $1::bigint"};
    struct support_tenant tenant = support_tenant_make("change", 1000, 1000, 0);
    struct rows_ref ref = ref_of(&tenant, 86400000);
    struct sql_params params;
    pthread_t thread;
    void *made;

    fixture_sql_do("UPDATE limit_ SET period_kind = 4 WHERE tenant_id = %" PRId64, tenant.tenant_id);
    cr_assert_eq(database_begin(db), STATUS_OK);
    sql_params_begin(&params, &arena);
    sql_add_i64(&params, tenant.tenant_id);
    cr_assert_eq(database_run(db, &change, &params, NULL), STATUS_OK);
    cr_assert(pthread_create(&thread, NULL, make_row, &ref) == 0);
    while (fixture_sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND"
                       " query LIKE '%%FOR SHARE%%'") == 0)
        continue;
    cr_assert_eq(database_commit(db), STATUS_OK);
    pthread_join(thread, &made);
    cr_assert_not_null(made);
    cr_assert_eq(support_of_quota(&tenant, "cap_amount"), 500);
}

/* --- reading and writing ---------------------------------------------------------------------- */

Test(rows, locking_reads_rows_in_order_with_names_epoch_and_clock)
{
    struct support_tenant b = support_tenant_make("lock-b", 1000, 1100, 70);
    struct support_tenant a = support_tenant_make("lock-a", 500, 500, 0);
    struct rows_ref refs[] = {ref_of(&a, 0), ref_of(&b, 0), ref_of(&b, 77)};
    struct book book;
    int64_t before_ms = support_now_ms();

    lock(&book, refs, rows_refs_sort(refs, ARRAY_COUNT(refs)));
    cr_assert_eq(database_commit(db), STATUS_OK);
    cr_assert_eq(book.quotas_count, 2, "the row of period 77 does not exist");
    cr_assert_eq(book.quotas[0].tenant_id, b.tenant_id);
    cr_assert_eq(book.quotas[1].tenant_id, a.tenant_id);
    cr_assert_eq(book.quotas[0].leased, 70);
    cr_assert_eq(book.quotas[0].stops.amount, 1000);
    cr_assert_eq(book.quotas[0].stops.cap, 1100);
    cr_assert_eq(book.quotas[0].stops.soft, 900);
    cr_assert_eq(book.quotas[0].period, PERIOD_NEVER);
    cr_assert_eq(book.quotas[0].period_end_ms, PERIOD_END_NEVER);
    cr_assert_eq(book.quotas[0].lease_id, b.lease_id);
    cr_assert_eq(book.quotas[0].epoch, b.epoch);
    cr_assert_eq(book.quotas[1].epoch, a.epoch);
    cr_assert_eq(book.quotas[0].state, QUOTA_OPEN);
    cr_assert(slice_equal(book.quotas[0].limit_name, SLICE("main")));
    cr_assert(slice_equal(book.quotas[0].meter, SLICE("tokens")));
    cr_assert_eq(book.quotas[0].scope.len, 0);
    cr_assert(book.now_ms >= before_ms && book.now_ms < before_ms + 60000);
}

Test(rows, what_is_dirty_is_written_and_nothing_else)
{
    struct support_tenant tenant = support_tenant_make("write", 1000, 1000, 100);
    struct support_tenant other = support_tenant_make("write-not", 1000, 1000, 100);
    struct rows_ref refs[] = {ref_of(&tenant, 0), ref_of(&other, 0)};
    struct book book;
    struct quota_row *q, written;

    lock(&book, refs, 2);
    q = &book.quotas[0];
    q->committed = 11;
    q->debt = 12;
    q->pg_held = 13;
    q->leased = 12; /* 15 - 1 - 2 */
    q->lease_id = tenant.lease_id + 1;
    q->granted = 15;
    q->returned = 1;
    q->spent = 2;
    q->lease_deadline_ms = 16;
    q->lease_target = 17;
    q->recall = true;
    q->reaped_to_ms = 18;
    q->ledger_seq = 19;
    q->level = 3;
    q->state = QUOTA_CLOSING;
    q->dirty = true;
    book.quotas[1].committed = 999;
    written = *q;
    cr_assert_eq(rows_write(db, &book), STATUS_OK, "%s", database_error(db));
    cr_assert_eq(database_commit(db), STATUS_OK);
    lock(&book, refs, 2);
    cr_assert_eq(database_commit(db), STATUS_OK);
    q = &book.quotas[0];
    q->dirty = true;
    q->limit_name = written.limit_name;
    q->scope = written.scope;
    q->meter = written.meter;
    cr_assert_eq(memcmp(q, &written, sizeof(written)), 0);
    cr_assert_eq(book.quotas[1].committed, 0);
}

/* What contradicts itself is not there to be changed; the other tenant is. */
Test(rows, a_tenant_whose_leases_do_not_add_up_has_no_rows)
{
    struct support_tenant tenant = support_tenant_make("adds-up-not", 1000, 1000, 100);
    struct support_tenant other = support_tenant_make("adds-up", 1000, 1000, 100);
    struct rows_ref refs[] = {ref_of(&tenant, 0), ref_of(&other, 0)};
    struct book book;

    fixture_sql_do("UPDATE quota SET leased = leased + 1 WHERE tenant_id = %" PRId64,
                   tenant.tenant_id);
    lock(&book, refs, 2);
    cr_assert_eq(book.quotas_count, 1);
    cr_assert_eq(book.quotas[0].tenant_id, other.tenant_id);
    cr_assert(book_is_bad(&book, tenant.tenant_id) && !book_is_bad(&book, other.tenant_id));
    cr_assert_eq(database_commit(db), STATUS_OK);
    book = (struct book){.arena = &arena};
    cr_assert_eq(database_begin(db), STATUS_OK);
    cr_assert_eq(rows_lock_tenant(db, &book, refs, 1), STATUS_CORRUPT);
    database_rollback(db);
}

Test(rows, several_dirty_rows_are_written_at_once)
{
    struct support_tenant tenants[] = {support_tenant_make("write-a", 1000, 1000, 100),
                                       support_tenant_make("write-b", 1000, 1000, 100),
                                       support_tenant_make("write-c", 1000, 1000, 100)};
    struct rows_ref refs[ARRAY_COUNT(tenants)];
    struct book book;

    for (size_t i = 0; i < ARRAY_COUNT(tenants); i++)
        refs[i] = ref_of(&tenants[i], 0);
    lock(&book, refs, ARRAY_COUNT(refs));
    for (size_t i = 0; i < ARRAY_COUNT(refs); i += 2) {
        book.quotas[i].committed = 10 + (int64_t)i;
        book.quotas[i].recall = i > 0;
        book.quotas[i].state = i > 0 ? QUOTA_CLOSING : QUOTA_OPEN;
        book.quotas[i].dirty = true;
    }
    cr_assert_eq(rows_write(db, &book), STATUS_OK, "%s", database_error(db));
    cr_assert_eq(database_commit(db), STATUS_OK);
    lock(&book, refs, ARRAY_COUNT(refs));
    cr_assert_eq(database_commit(db), STATUS_OK);
    cr_assert(book.quotas[0].committed == 10 && !book.quotas[0].recall);
    cr_assert_eq(book.quotas[0].state, QUOTA_OPEN);
    cr_assert_eq(book.quotas[1].committed, 0);
    cr_assert(book.quotas[2].committed == 12 && book.quotas[2].recall);
    cr_assert_eq(book.quotas[2].state, QUOTA_CLOSING);
}

/* A release of a job that nobody knows locks no row, and has its time all the same. */
Test(rows, the_clock_is_read_without_any_row)
{
    struct book book;
    int64_t before_ms = support_now_ms();

    lock(&book, NULL, 0);
    cr_assert_eq(database_commit(db), STATUS_OK);
    cr_assert_eq(book.quotas_count, 0);
    cr_assert_eq(book.leases_count, 0);
    cr_assert(book.now_ms >= before_ms && book.now_ms < before_ms + 60000);
}

/* The wait for the lock must not be in the time that is read: a hold could have ended meanwhile. */
Test(rows, the_clock_and_the_leases_are_those_after_the_wait)
{
    struct support_tenant tenant = support_tenant_make("waited", 1000, 1000, 100);
    struct rows_ref ref = ref_of(&tenant, 0);
    struct database *first = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    struct lease_row lease = {
        .tenant_id = tenant.tenant_id, .ref = ref.ref, .lease_id = 7, .granted = 5};
    struct book held = {.arena = &arena};
    struct waiting waiting = {.ref = ref};
    int64_t freed_ms;
    pthread_t thread;

    cr_assert_eq(database_begin(first), STATUS_OK);
    cr_assert_eq(rows_lock(first, &held, &ref, 1), STATUS_OK);
    cr_assert(pthread_create(&thread, NULL, wait_for_lock, &waiting) == 0);
    while (fixture_sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND"
                       " query LIKE '%%FOR UPDATE OF q%%'") == 0)
        continue;
    cr_assert_eq(rows_leases_insert(first, &arena, &lease, 1), STATUS_OK);
    held.quotas[0].leased += 5;
    held.quotas[0].dirty = true;
    cr_assert_eq(rows_write(first, &held), STATUS_OK);
    freed_ms = support_now_ms();
    cr_assert_eq(database_commit(first), STATUS_OK);
    pthread_join(thread, NULL);
    database_destroy(first);
    cr_assert_eq(waiting.status, STATUS_OK);
    cr_assert_geq(waiting.now_ms, freed_ms);
    cr_assert_eq(waiting.leases_count, 1);
}

Test(rows, old_leases_come_and_go)
{
    struct support_tenant tenant = support_tenant_make("leases", 1000, 1000, 100);
    struct rows_ref ref = ref_of(&tenant, 0);
    struct lease_row leases[] = {
        {.tenant_id = tenant.tenant_id, .ref = ref.ref, .lease_id = 8, .granted = 9, .spent = 1},
        {.tenant_id = tenant.tenant_id, .ref = ref.ref, .lease_id = 7, .granted = 5, .returned = 2,
         .deadline_ms = 99},
    };
    struct book book;

    cr_assert_eq(rows_leases_insert(db, &arena, leases, 2), STATUS_OK);
    fixture_sql_do("UPDATE quota SET leased = leased + 11 WHERE tenant_id = %" PRId64,
                   tenant.tenant_id);
    lock(&book, &ref, 1);
    cr_assert_eq(book.leases_count, 2);
    cr_assert_eq(book.leases[0].lease_id, 7);
    cr_assert_eq(book.leases[0].returned, 2);
    cr_assert_eq(book.leases[0].deadline_ms, 99);
    cr_assert_eq(book.leases[1].lease_id, 8);
    book.leases[1].spent = 4;
    book.leases[1].dirty = true;
    cr_assert_eq(rows_write(db, &book), STATUS_OK);
    cr_assert_eq(rows_leases_delete(db, &arena, &book.leases[0], 1), STATUS_OK);
    cr_assert_eq(database_commit(db), STATUS_OK);
    cr_assert_eq(fixture_sql("SELECT sum(lease_id * 100 + spent)::bigint FROM old_lease WHERE"
                             " tenant_id = %" PRId64,
                             tenant.tenant_id),
                 804);
}

/* What the record and the fences say of the three jobs of the test below. */
static void check_facts(const struct rows_job jobs[3])
{
    const struct settle_record *record = jobs[0].facts.record;

    cr_assert_not_null(record);
    cr_assert(record->attempt.epoch == 3 && record->attempt.seq == 4 && record->late);
    cr_assert_eq(record->at_ms, 0);
    cr_assert_eq(record->entries_count, 2);
    cr_assert(slice_equal(record->entries[0].meter, SLICE("m0")));
    cr_assert(record->entries[0].asked_given && record->entries[0].asked == 7);
    cr_assert_eq(record->entries[0].counted_count, 2);
    cr_assert_eq(record->entries[0].counted[1].ref.limit_id, 6);
    cr_assert_eq(record->entries[0].counted[1].debt, 10);
    cr_assert(!record->entries[1].asked_given && record->entries[1].asked == 5);
    cr_assert_eq(jobs[1].facts.fences_count, 3);
    cr_assert_eq(jobs[1].facts.fences[2].seq, 3);
    cr_assert(!jobs[1].facts.record && jobs[0].facts.fences_count == 0);
    cr_assert(!jobs[2].facts.record && jobs[2].facts.fences_count == 0);
}

/* As the committer asks when all is of one tenant. */
static void find_in_part(int part, struct rows_job *jobs, size_t count)
{
    struct sql_params params;
    PGresult *result;

    for (size_t i = 0; i < count; i++)
        jobs[i].facts = (struct settle_facts){0};
    sql_params_begin(&params, &arena);
    rows_jobs_params(&params, jobs, count);
    cr_assert_eq(database_run(db, &rows_ledger_find[part], &params, &result), STATUS_OK, "%s",
                 database_error(db));
    cr_assert_eq(rows_ledger_find_read(result, &arena, jobs, count), STATUS_OK);
    cr_assert_eq(database_run(db, &rows_fence_find, &params, &result), STATUS_OK);
    cr_assert_eq(rows_fence_find_read(result, &arena, jobs, count), STATUS_OK);
}

Test(rows, facts_tell_what_is_known_of_each_job)
{
    struct support_tenant tenant = support_tenant_make("facts", 1000, 1000, 0);
    struct hold *hold = support_hold(&arena, &tenant, 6, 30, 100000);
    struct rows_job jobs[] = {{.tenant_id = tenant.tenant_id, .job_id = SLICE("a-recorded")},
                              {.tenant_id = tenant.tenant_id, .job_id = SLICE("b-fenced")},
                              {.tenant_id = tenant.tenant_id, .job_id = SLICE("c-unknown")}};

    fixture_sql_do("INSERT INTO ledger VALUES (%" PRId64 ", 'a-recorded', 1, 3, 4, 's', 'm1', NULL, 5,"
                   " 0, 5, true, '{}', 'epoch'), (%" PRId64 ", 'a-recorded', 0, 3, 4, 's', 'm0', 7, 6, 1,"
                   " 5, true, '{1,2,3,4,5,6,7,8,9,10}', 'epoch')",
                   tenant.tenant_id, tenant.tenant_id);
    fixture_sql_do("INSERT INTO job_fence SELECT %" PRId64 ", 'b-fenced', 2, n, now(), 'infinity' FROM"
                   " generate_series(1, 3) n", tenant.tenant_id);
    for (int seq = 5; seq <= 6; seq++) {
        hold->attempt.seq = seq;
        fixture_sql_do("INSERT INTO expired_hold VALUES (%" PRId64 ", 'b-fenced', 1, %d, '%s', 1000,"
                       " now(), 'infinity')",
                       tenant.tenant_id, seq, hold_text(&arena, hold));
    }
    cr_assert_eq(rows_facts(db, &arena, jobs, 3), STATUS_OK, "%s", database_error(db));
    check_facts(jobs);
    cr_assert_not_null(jobs[1].facts.expired);
    cr_assert_eq(jobs[1].facts.expired->attempt.seq, 6, "the newest");
    cr_assert(!jobs[0].facts.expired && !jobs[2].facts.expired);
    find_in_part(support_ledger_part(&tenant), jobs, 3);
    check_facts(jobs);
}

/* Fails unless the plan of the statement looks rows up by tenant and job and filters none. */
static void check_plan(const struct statement *find)
{
    char prepare[2048];
    const struct statement steps[] = {
        {"test_plan_prepare", prepare},
        {"test_plan_explain", "EXPLAIN (COSTS OFF) EXECUTE test_plan ('{1}', '{a}')"},
    };
    struct database *own = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    PGresult *result = NULL;
    int whole_keys = 0;

    snprintf(prepare, sizeof(prepare), "PREPARE test_plan AS %s", find->text);
    for (size_t i = 0; i < ARRAY_COUNT(steps); i++) {
        PQclear(result);
        cr_assert_eq(database_run(own, &steps[i], NULL, &result), STATUS_OK, "%s",
                     database_error(own));
    }
    for (int i = 0; i < PQntuples(result); i++) {
        const char *line = PQgetvalue(result, i, 0);

        cr_assert_null(strstr(line, "Filter:"), "%s: %s", find->name, line);
        whole_keys += strstr(line, "Index Cond:") && strstr(line, "job_id =");
    }
    cr_assert(whole_keys > 0, "%s", find->name);
    PQclear(result);
    database_destroy(own);
}

/* Planned while it is small, a table is not to be read from end to end when it is large. */
Test(rows, jobs_are_looked_up_by_their_key_in_a_table_that_was_empty)
{
    fixture_sql_do("VACUUM (ANALYZE) ledger");
    fixture_sql_do("VACUUM (ANALYZE) job_fence");
    for (size_t part = 0; part < ROWS_LEDGER_PARTS_COUNT; part++)
        check_plan(&rows_ledger_find[part]);
    check_plan(&rows_fence_find);
}

/* Entry 0 is what makes a job unique: a record without it is damaged, and not to be believed. */
Test(rows, a_record_with_a_gap_is_corrupt)
{
    struct support_tenant tenant = support_tenant_make("gap", 1000, 1000, 0);
    struct rows_job job = {.tenant_id = tenant.tenant_id, .job_id = SLICE("gap")};

    fixture_sql_do("INSERT INTO ledger VALUES (%" PRId64 ", 'gap', 1, 3, 4, 's', 'm1', NULL, 5, 0, 5,"
                   " true, '{}', 'epoch')",
                   tenant.tenant_id);
    cr_assert_eq(rows_facts(db, &arena, &job, 1), STATUS_CORRUPT);
}

/* --- the schema's own constraints ------------------------------------------------------------- */

static bool refused(const char *change, int64_t tenant_id)
{
    char text[256];
    struct statement statement = {.name = "test_refused", .text = text};
    struct database *own = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    enum status status;

    snprintf(text, sizeof(text), "UPDATE quota SET %s WHERE tenant_id = %" PRId64, change, tenant_id);
    status = database_run(own, &statement, NULL, NULL);
    database_destroy(own);
    return status == STATUS_INVALID;
}

Test(rows, the_database_refuses_what_cannot_be)
{
    static const char *const changes[] = {
        "committed = -1", "committed = 9007199254740992", "debt = -1", "leased = -1",
        "spent = granted + 1", "returned = granted, spent = 1", "leased = 99", "state = 'Z'",
        "lease_id = 0",
    };
    int64_t tenant_id = support_tenant_make("constraints", 1000, 1000, 100).tenant_id;

    for (size_t i = 0; i < ARRAY_COUNT(changes); i++)
        cr_assert(refused(changes[i], tenant_id), "%s", changes[i]);
}
