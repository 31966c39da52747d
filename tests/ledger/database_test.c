/* The blocking connection: migrations, statuses, and what a broken connection means. */
#include "tests/ledger/support.h"

#include "base/clock.h"
#include "base/fault.h"
#include "ledger/migrations.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

static const struct statement insert_fence = {
    "test_insert_fence", "INSERT INTO job_fence (tenant_id, job_id, epoch, hold_seq, purge_after)"
                         " VALUES ($1::bigint, $2::text, 1, 1, 'infinity')"};
static const struct statement no_table = {"test_no_table", "SELECT 1 FROM no_such_table"};
static const struct statement own_end = {"test_own_end",
                                         "SELECT pg_terminate_backend(pg_backend_pid())"};
static const struct statement lock_tenant = {
    "test_lock_tenant", "SELECT tenant_id FROM tenant WHERE tenant_id = $1::bigint FOR UPDATE"};

static struct arena arena;

static void open_arena(void)
{
    arena_init(&arena, 4096, 1 << 20);
}

static void close_arena(void)
{
    arena_done(&arena);
}

TestSuite(database, .init = open_arena, .fini = close_arena);

static enum status insert(struct database *db, int64_t tenant_id, const char *job_id)
{
    struct sql_params params;

    sql_params_begin(&params, &arena);
    sql_add_i64(&params, tenant_id);
    sql_add_text(&params, slice_from_cstr(job_id));
    return database_run(db, &insert_fence, &params, NULL);
}

static enum status lock(struct database *db, int64_t tenant_id)
{
    struct sql_params params;

    sql_params_begin(&params, &arena);
    sql_add_i64(&params, tenant_id);
    return database_run(db, &lock_tenant, &params, NULL);
}

static void *migrate(void *user)
{
    struct database *db = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    char error[256];
    enum status *status = user;

    *status = database_migrate(db, error, sizeof(error));
    database_destroy(db);
    return NULL;
}

Test(database, migrates_once_however_many_ask)
{
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    enum status statuses[THREADS];

    for (int i = 0; i < THREADS; i++)
        cr_assert(pthread_create(&threads[i], NULL, migrate, &statuses[i]) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(statuses[i], STATUS_OK);
    (void)migrate(&statuses[0]);
    cr_assert_eq(statuses[0], STATUS_OK);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM schema_migration"), (int64_t)migrations_count);
}

Test(database, tells_bad_data_from_a_missing_table)
{
    struct database *db = support_open();
    char long_id[300];

    memset(long_id, 'x', sizeof(long_id) - 1);
    long_id[sizeof(long_id) - 1] = '\0';
    cr_assert_eq(insert(db, 1, long_id), STATUS_INVALID);
    cr_assert_eq(insert(db, 1, "unique"), STATUS_OK);
    cr_assert_eq(insert(db, 1, "unique"), STATUS_INVALID);
    cr_assert_str_eq(database_sqlstate(db), "23505");
    cr_assert_eq(database_run(db, &no_table, NULL, NULL), STATUS_FAULT);
    cr_assert(strstr(database_error(db), "no_such_table"), "%s", database_error(db));
    cr_assert_str_eq(database_sqlstate(db), "42P01");
    cr_assert_eq(database_ping(db), STATUS_OK);
    database_destroy(db);
}

/* What was answered before says nothing of a connection that is lost. */
Test(database, a_failure_without_an_answer_has_no_sqlstate)
{
    struct stop stop;
    const struct database_options options = {.conninfo = fixture_env("HOLDFAST_TEST_POSTGRES"),
                                             .clock = clock_real(),
                                             .stop = &stop};
    struct database *db = database_create(&options);

    stop_init(&stop);
    cr_assert_eq(database_run(db, &no_table, NULL, NULL), STATUS_FAULT);
    cr_assert_str_eq(database_sqlstate(db), "42P01");
    stop_set(&stop, 0);
    cr_assert_eq(database_ping(db), STATUS_UNAVAILABLE);
    cr_assert_str_eq(database_sqlstate(db), "");
    cr_assert_eq(database_begin(db), STATUS_UNAVAILABLE);
    database_destroy(db);
}

/* An error that COMMIT answers says nothing of what has landed. */
Test(database, an_error_of_commit_leaves_its_effect_unknown)
{
    struct database *db = support_open();

    cr_assert(fault_set("database.commit_error=fail@1"));
    cr_assert_eq(database_begin(db), STATUS_OK);
    cr_assert_eq(insert(db, 1, "commit-error"), STATUS_OK);
    cr_assert_eq(database_commit(db), STATUS_UNKNOWN);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM job_fence WHERE job_id = 'commit-error'"), 1);
    fault_clear();
    fixture_sql_do("CREATE FUNCTION test_deferred() RETURNS trigger LANGUAGE plpgsql AS"
                   " 'BEGIN RAISE ''planted''; END'");
    fixture_sql_do("CREATE CONSTRAINT TRIGGER test_deferred AFTER INSERT ON job_fence"
                   " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION test_deferred()");
    cr_assert_eq(database_begin(db), STATUS_OK);
    cr_assert_eq(insert(db, 1, "commit-deferred"), STATUS_OK);
    cr_assert_eq(database_commit(db), STATUS_UNKNOWN);
    cr_assert_str_eq(database_sqlstate(db), "P0001");
    fixture_sql_do("DROP TRIGGER test_deferred ON job_fence");
    fixture_sql_do("DROP FUNCTION test_deferred");
    cr_assert_eq(database_ping(db), STATUS_OK);
    database_destroy(db);
}

Test(database, is_unavailable_where_nobody_listens)
{
    struct database *db = support_connect("host=127.0.0.1 port=1 dbname=x");

    cr_assert_eq(database_ping(db), STATUS_UNAVAILABLE);
    cr_assert(database_error(db)[0] != '\0');
    database_destroy(db);
}

Test(database, refuses_a_database_that_is_not_there)
{
    struct database *db;
    char conninfo[512];

    snprintf(conninfo, sizeof(conninfo), "%s_absent", fixture_env("HOLDFAST_TEST_POSTGRES"));
    db = support_connect(conninfo);
    cr_assert_neq(database_ping(db), STATUS_OK);
    cr_assert(strstr(database_error(db), "does not exist"), "%s", database_error(db));
    database_destroy(db);
}

Test(database, a_session_that_ends_before_commit_did_nothing)
{
    struct database *db = support_open();

    cr_assert_eq(database_begin(db), STATUS_OK);
    cr_assert_eq(insert(db, 1, "before-commit"), STATUS_OK);
    cr_assert_eq(database_run(db, &own_end, NULL, NULL), STATUS_UNAVAILABLE);
    cr_assert_eq(insert(db, 1, "outside-of-it"), STATUS_UNAVAILABLE);
    database_rollback(db);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM job_fence WHERE job_id IN ('before-commit',"
                             " 'outside-of-it')"),
                 0);
    cr_assert_eq(database_begin(db), STATUS_OK, "connects anew: %s", database_error(db));
    cr_assert_eq(insert(db, 1, "afterwards"), STATUS_OK);
    cr_assert_eq(database_commit(db), STATUS_OK);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM job_fence WHERE job_id = 'afterwards'"), 1);
    database_destroy(db);
}

Test(database, a_session_that_ends_at_commit_leaves_it_unknown)
{
    struct database *db = support_open();

    cr_assert_eq(database_begin(db), STATUS_OK);
    cr_assert_eq(insert(db, 1, "at-commit"), STATUS_OK);
    support_terminate_backends("%test_insert_fence%");
    support_terminate_backends("%INSERT INTO job_fence%");
    cr_assert_eq(fixture_sql("SELECT 1"), 1);
    cr_assert_eq(database_commit(db), STATUS_UNKNOWN);
    database_rollback(db);
    database_destroy(db);
}

static enum status body(struct database *db, void *user)
{
    int *runs = user;

    if (++*runs < 3)
        return STATUS_CONFLICT;
    return insert(db, 1, "third-time");
}

Test(database, runs_a_transaction_again_after_a_conflict)
{
    struct database *db = support_open();
    int runs = 0;

    cr_assert_eq(database_transact(db, body, &runs), STATUS_OK);
    cr_assert_eq(runs, 3);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM job_fence WHERE job_id = 'third-time'"), 1);
    database_destroy(db);
}

struct waiting {
    struct database *db;
    int64_t first, second;
    pthread_barrier_t *both;
    enum status status;
};

static void *lock_two(void *user)
{
    struct waiting *waiting = user;
    struct arena memory;
    struct sql_params params;

    arena_init(&memory, 1024, 1 << 16);
    sql_params_begin(&params, &memory);
    sql_add_i64(&params, waiting->first);
    waiting->status = database_begin(waiting->db);
    if (waiting->status == STATUS_OK)
        waiting->status = database_run(waiting->db, &lock_tenant, &params, NULL);
    pthread_barrier_wait(waiting->both);
    sql_params_begin(&params, &memory);
    sql_add_i64(&params, waiting->second);
    if (waiting->status == STATUS_OK)
        waiting->status = database_run(waiting->db, &lock_tenant, &params, NULL);
    database_rollback(waiting->db);
    arena_done(&memory);
    return NULL;
}

Test(database, a_deadlock_is_a_conflict_for_one_of_two)
{
    struct waiting waiting[2];
    pthread_barrier_t both;
    pthread_t threads[2];
    int64_t tenants[2];

    for (int i = 0; i < 2; i++)
        waiting[i].db = support_open();
    tenants[0] = support_tenant_make("deadlock-a", 1000, 1000, 0).tenant_id;
    tenants[1] = support_tenant_make("deadlock-b", 1000, 1000, 0).tenant_id;
    pthread_barrier_init(&both, NULL, 2);
    for (int i = 0; i < 2; i++) {
        waiting[i].first = tenants[i];
        waiting[i].second = tenants[1 - i];
        waiting[i].both = &both;
        cr_assert(pthread_create(&threads[i], NULL, lock_two, &waiting[i]) == 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    cr_assert((waiting[0].status == STATUS_CONFLICT) != (waiting[1].status == STATUS_CONFLICT),
              "%s %s", status_name(waiting[0].status), status_name(waiting[1].status));
    for (int i = 0; i < 2; i++)
        database_destroy(waiting[i].db);
    pthread_barrier_destroy(&both);
}

Test(database, a_lock_that_does_not_come_is_a_conflict)
{
    struct database *holder = support_open();
    const struct database_options options = {
        .conninfo = fixture_env("HOLDFAST_TEST_POSTGRES"),
        .connect_timeout_ms = 5000,
        .statement_timeout_ms = 400,
        .clock = clock_real(),
    };
    struct database *waiter = database_create(&options);
    int64_t tenant_id = support_tenant_make("lock-timeout", 1000, 1000, 0).tenant_id;

    cr_assert_eq(database_begin(holder), STATUS_OK);
    cr_assert_eq(lock(holder, tenant_id), STATUS_OK);
    cr_assert_eq(database_begin(waiter), STATUS_OK);
    cr_assert_eq(lock(waiter, tenant_id), STATUS_CONFLICT);
    database_rollback(waiter);
    cr_assert_eq(database_commit(holder), STATUS_OK);
    database_destroy(holder);
    database_destroy(waiter);
}

Test(database, tells_the_estimate_what_time_it_is)
{
    struct estimate estimate;
    struct database_options options = {
        .conninfo = fixture_env("HOLDFAST_TEST_POSTGRES"),
        .clock = clock_real(),
        .estimate = &estimate,
    };
    struct database *db = database_create(&options);
    int64_t before_ms = support_now_ms();
    int64_t now_ms;

    estimate_init(&estimate);
    cr_assert_eq(database_ping(db), STATUS_OK, "%s", database_error(db));
    cr_assert(estimate_ready(&estimate));
    now_ms = estimate_now_ms(&estimate, clock_mono_us(clock_real()));
    cr_assert(now_ms >= before_ms && now_ms < before_ms + 60000);
    database_destroy(db);
    estimate_done(&estimate);
}

Test(database, values_come_back_as_they_went)
{
    static const struct statement echo = {
        "test_echo", "SELECT $1::bigint, $2::boolean, $3::text, $4::timestamptz, $5::bigint[],"
                     " $6::text, 7::smallint, '8'::\"char\", ARRAY[]::bigint[]"};
    struct database *db = support_open();
    const int64_t numbers[] = {INT64_MIN, -1, 0, INT64_MAX};
    struct sql_params params;
    struct sql_row row;
    PGresult *result;
    int64_t *read;

    sql_params_begin(&params, &arena);
    sql_add_i64(&params, -5);
    sql_add_bool(&params, true);
    sql_add_text(&params, SLICE("text"));
    sql_add_time_ms(&params, 1234567890123);
    sql_add_i64s(&params, numbers, ARRAY_COUNT(numbers));
    sql_add_null(&params);
    cr_assert_eq(database_run(db, &echo, &params, &result), STATUS_OK, "%s", database_error(db));
    row = sql_rows(result, &arena);
    cr_assert(sql_next(&row));
    cr_assert_eq(sql_i64(&row), -5);
    cr_assert(sql_bool(&row));
    cr_assert(slice_equal(sql_text(&row), SLICE("text")));
    cr_assert_eq(sql_time_ms(&row), 1234567890123);
    cr_assert_eq(sql_i64s(&row, &read), ARRAY_COUNT(numbers));
    cr_assert(memcmp(read, numbers, sizeof(numbers)) == 0);
    cr_assert(sql_is_null(&row));
    cr_assert_eq(sql_i64_or(&row, 77), 77);
    cr_assert_eq(sql_i64(&row), 7);
    cr_assert_eq(sql_char(&row), '8');
    cr_assert_eq(sql_i64s(&row, &read), 0);
    cr_assert_null(read);
    cr_assert_not(sql_next(&row));
    cr_assert_eq(sql_done(&row), STATUS_OK);
    database_destroy(db);
}

Test(database, a_column_of_another_type_is_corrupt)
{
    static const struct statement text = {"test_text", "SELECT 'abc'::text, 1::bigint"};
    struct database *db = support_open();
    struct sql_row row;
    PGresult *result;

    cr_assert_eq(database_run(db, &text, NULL, &result), STATUS_OK);
    row = sql_rows(result, &arena);
    cr_assert(sql_next(&row));
    cr_assert_eq(sql_i64(&row), 0);
    cr_assert_eq(sql_done(&row), STATUS_CORRUPT);
    cr_assert_eq(database_run(db, &text, NULL, &result), STATUS_OK);
    row = sql_rows(result, &arena);
    cr_assert(sql_next(&row));
    cr_assert_eq(sql_text(&row).len, 3);
    cr_assert_not(sql_next(&row), "one column was left over");
    cr_assert_eq(sql_done(&row), STATUS_CORRUPT);
    database_destroy(db);
}

/* And its end of the connection with it, which outlives its row of pg_stat_activity. */
static bool process_is_gone(void *user)
{
    const pid_t *pid = user;

    return kill(*pid, 0) != 0 && errno == ESRCH;
}

Test(database, a_connection_lost_while_idle_costs_its_next_user_no_failure)
{
    struct database *db = support_open();
    pid_t pid;

    cr_assert(database_ping(db) == STATUS_OK);
    pid = (pid_t)fixture_sql("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                             " AND application_name = 'holdfast' ORDER BY backend_start DESC");
    support_terminate_backends("%");
    cr_assert(fixture_until(5000, process_is_gone, &pid));
    cr_assert(database_ping(db) == STATUS_OK, "%s", database_error(db));
    fixture_stores("kill-postgres", NULL);
    cr_assert(database_ping(db) == STATUS_UNAVAILABLE);
    fixture_stores("start-postgres", NULL);
    cr_assert(database_begin(db) == STATUS_OK, "%s", database_error(db));
    cr_assert(database_commit(db) == STATUS_OK);
    database_destroy(db);
}
