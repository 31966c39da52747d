/*
 * Only the COMMIT's own result counts. A trigger that runs at COMMIT plays the database that has
 * confirmed every statement before and then fails, or warns as it does when the wait for a standby is
 * cut short.
 */
#include "tests/ledger/committing.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>

static struct arena arena;
static struct committer *committer;
static struct database *db;

static void start(void)
{
    arena_init(&arena, 4096, 1 << 20);
    db = support_open();
    fixture_sql_do(
        "CREATE OR REPLACE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.job_id LIKE 'warn%%' THEN RAISE WARNING 'canceling wait'; END IF;"
        " IF NEW.job_id LIKE 'fail%%' THEN RAISE EXCEPTION USING ERRCODE = 'check_violation'; END IF;"
        " RETURN NULL; END $$");
    fixture_sql_do("DROP TRIGGER IF EXISTS at_commit ON job_fence");
    fixture_sql_do("CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON job_fence DEFERRABLE"
                   " INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit()");
    committer = committing_committer();
}

static void stop(void)
{
    committer_destroy(committer);
    fixture_sql_do("DROP TRIGGER at_commit ON job_fence");
    database_destroy(db);
    arena_done(&arena);
}

TestSuite(committer_outcome, .init = start, .fini = stop);

static int64_t fences(const struct support_tenant *tenant)
{
    return fixture_sql("SELECT count(*) FROM job_fence WHERE tenant_id = %" PRId64,
                       tenant->tenant_id);
}

static void release(struct committing *c, const struct support_tenant *tenant, struct plan *plan,
                    const char *job_id)
{
    committing_init(c, tenant, plan, SETTLE_RELEASE, job_id,
                    support_hold(&arena, tenant, 1, 10, support_now_ms() + 60000));
    committing_submit(c, committer);
    committing_wait(c);
}

Test(committer_outcome, a_commit_that_fails_after_its_statements_is_not_acknowledged)
{
    struct support_tenant tenant = support_tenant_make("fails", 1000, 1000, 100);
    struct plan *plan = support_plan(&tenant);
    struct committing c;

    release(&c, &tenant, plan, "fail-1");
    cr_assert_eq(c.item.status, STATUS_INVALID, "%s", status_name(c.item.status));
    cr_assert_eq(fences(&tenant), 0);
    committing_done(&c);
    release(&c, &tenant, plan, "sound");
    cr_assert_eq(c.item.status, STATUS_OK);
    cr_assert_eq(fences(&tenant), 1);
    committing_done(&c);
    plan_unref(plan);
}

Test(committer_outcome, a_commit_that_comes_with_a_warning_is_unknown)
{
    struct support_tenant tenant = support_tenant_make("warns", 1000, 1000, 100);
    struct plan *plan = support_plan(&tenant);
    struct committing c;

    release(&c, &tenant, plan, "warn-1");
    cr_assert_eq(c.item.status, STATUS_UNKNOWN, "%s", status_name(c.item.status));
    cr_assert_eq(fences(&tenant), 1);
    committing_submit(&c, committer);
    committing_wait(&c);
    cr_assert_eq(c.item.status, STATUS_OK, "the repeat writes nothing and finds what is there");
    cr_assert_eq(c.item.settle.outcome, SETTLE_RELEASED);
    cr_assert(c.item.settle.replayed);
    committing_done(&c);
    plan_unref(plan);
}

static enum status insert_fence(int64_t tenant_id, const char *job_id)
{
    static const struct statement insert = {
        "test_insert", "INSERT INTO job_fence (tenant_id, job_id, epoch, hold_seq, purge_after)"
                       " VALUES ($1::bigint, $2::text, 1, 1, 'infinity')"};
    struct sql_params params;

    sql_params_begin(&params, &arena);
    sql_add_i64(&params, tenant_id);
    sql_add_text(&params, slice_from_cstr(job_id));
    cr_assert_eq(database_begin(db), STATUS_OK);
    cr_assert_eq(database_run(db, &insert, &params, NULL), STATUS_OK);
    return database_commit(db);
}

Test(committer_outcome, the_blocking_connection_does_not_guess_either)
{
    struct support_tenant tenant = support_tenant_make("blocking", 1000, 1000, 100);

    cr_assert_eq(insert_fence(tenant.tenant_id, "fail-2"), STATUS_UNKNOWN);
    cr_assert_eq(fences(&tenant), 0);
    cr_assert_eq(insert_fence(tenant.tenant_id, "warn-2"), STATUS_UNKNOWN);
    cr_assert_eq(insert_fence(tenant.tenant_id, "sound"), STATUS_OK);
    cr_assert_eq(fences(&tenant), 2);
}
