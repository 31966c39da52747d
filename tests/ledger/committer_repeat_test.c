/*
 * Jobs that are assumed new and are not (ledger/batch.h). A sequence, which no rollback takes back,
 * counts the rows that were inserted into the ledger or tried to be.
 */
#include "tests/ledger/committing.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

static struct arena arena;
static struct committer *committer;
static struct database *db;

static void start(void)
{
    arena_init(&arena, 1 << 16, 64 << 20);
    db = support_open();
    fixture_sql_do("DROP TRIGGER IF EXISTS at_insert ON ledger");
    fixture_sql_do("CREATE SEQUENCE IF NOT EXISTS ledger_tried");
    fixture_sql_do("CREATE OR REPLACE FUNCTION at_insert() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                   " PERFORM nextval('ledger_tried'); RETURN NEW; END $$");
    fixture_sql_do("CREATE TRIGGER at_insert BEFORE INSERT ON ledger FOR EACH ROW"
                   " EXECUTE FUNCTION at_insert()");
    fixture_sql_do("SELECT nextval('ledger_tried')");
    committer = committing_committer();
}

static void stop(void)
{
    committer_destroy(committer);
    fixture_sql_do("DROP TRIGGER at_insert ON ledger");
    database_destroy(db);
    arena_done(&arena);
}

TestSuite(committer_repeat, .init = start, .fini = stop);

static struct hold *live_hold(const struct support_tenant *tenant, int64_t seq, int64_t units)
{
    return support_hold(&arena, tenant, seq, units, support_now_ms() + 600000);
}

static int64_t tried(void)
{
    return fixture_sql("SELECT last_value FROM ledger_tried");
}

static int64_t records(const struct support_tenant *tenant)
{
    return fixture_sql("SELECT count(*) FROM ledger WHERE tenant_id = %" PRId64, tenant->tenant_id);
}

Test(committer_repeat, the_first_one_tries_the_key_and_those_behind_it_are_looked_up)
{
    struct support_tenant tenant = support_tenant_make("repeats", 100000, 100000, 10000);
    struct plan *plan = support_plan(&tenant);
    struct committing again, fresh;
    int64_t before;

    committing_init(&again, &tenant, plan, SETTLE_COMMIT, "job", live_hold(&tenant, 1, 10));
    before = tried();
    cr_assert_eq(committing_run(&again, committer), SETTLE_COMMITTED);
    cr_assert_not(again.item.settle.replayed);
    cr_assert_eq(tried() - before, 1);
    cr_assert_eq(committing_run(&again, committer), SETTLE_COMMITTED);
    cr_assert(again.item.settle.replayed);
    cr_assert_eq(tried() - before, 2, "assumed new: the key said no");
    cr_assert_eq(committing_run(&again, committer), SETTLE_COMMITTED);
    cr_assert(again.item.settle.replayed);
    cr_assert_eq(tried() - before, 2, "looked up");

    before = tried();
    for (int i = 0; i < COMMITTER_LOOK_UP_BATCHES; i++) {
        char job_id[32];

        snprintf(job_id, sizeof(job_id), "fresh-%d", i);
        committing_init(&fresh, &tenant, plan, SETTLE_COMMIT, job_id, live_hold(&tenant, 2 + i, 1));
        cr_assert_eq(committing_run(&fresh, committer), SETTLE_COMMITTED);
        committing_done(&fresh);
    }
    cr_assert_eq(tried() - before, COMMITTER_LOOK_UP_BATCHES);
    cr_assert_eq(committing_run(&again, committer), SETTLE_COMMITTED);
    cr_assert(again.item.settle.replayed);
    cr_assert_eq(tried() - before, COMMITTER_LOOK_UP_BATCHES + 1, "assumed new once more");
    cr_assert_eq(records(&tenant), 1 + COMMITTER_LOOK_UP_BATCHES);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 10 + COMMITTER_LOOK_UP_BATCHES);
    support_check_quotas(&tenant);
    committing_done(&again);
    plan_unref(plan);
}

Test(committer_repeat, others_of_its_batch_are_recorded_once)
{
    enum { OTHERS = 40 };
    struct support_tenant tenant = support_tenant_make("repeat-others", 1000, 1000, 1000);
    struct plan *plan = support_plan(&tenant);
    static struct committing others[OTHERS], again;

    committing_init(&again, &tenant, plan, SETTLE_COMMIT, "job", live_hold(&tenant, 1, 10));
    cr_assert_eq(committing_run(&again, committer), SETTLE_COMMITTED);
    committing_lock_quota(db, &tenant);
    for (int i = 0; i < OTHERS; i++) {
        char job_id[16];

        snprintf(job_id, sizeof(job_id), "job-%d", i);
        committing_init(&others[i], &tenant, plan, SETTLE_COMMIT, job_id,
                        live_hold(&tenant, i + 2, 2));
        committing_submit(&others[i], committer);
        if (i == OTHERS / 2)
            committing_submit(&again, committer);
    }
    cr_assert_eq(database_commit(db), STATUS_OK);
    committing_wait(&again);
    cr_assert_eq(again.item.status, STATUS_OK);
    cr_assert(again.item.settle.replayed);
    for (int i = 0; i < OTHERS; i++) {
        committing_wait(&others[i]);
        cr_assert_eq(others[i].item.status, STATUS_OK);
        cr_assert_eq(others[i].item.settle.outcome, SETTLE_COMMITTED);
        cr_assert_not(others[i].item.settle.replayed, "its own first run is no repeat");
        cr_assert_eq(others[i].dones, 1);
        committing_done(&others[i]);
    }
    cr_assert_eq(records(&tenant), 1 + OTHERS);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 10 + 2 * OTHERS);
    support_check_quotas(&tenant);
    committing_done(&again);
    plan_unref(plan);
}

/* Nothing is inserted that could prove the job new, and the record comes before every other answer. */
Test(committer_repeat, one_that_would_be_refused_gets_its_record)
{
    struct support_tenant tenant = support_tenant_make("repeat-refused", 100, 100, 100);
    struct plan *plan = support_plan(&tenant);
    struct committing c;
    int64_t before;

    committing_init(&c, &tenant, plan, SETTLE_COMMIT, "job", live_hold(&tenant, 1, 10));
    cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
    before = tried();
    committing_actual(&c, 5000, OVERRUN_STRICT);
    c.item.settle.recall_done = true;
    cr_assert_eq(committing_run(&c, committer), SETTLE_MISMATCH);
    cr_assert_eq(c.item.settle.record->entries[0].amount, 10);
    committing_actual(&c, 5000, OVERRUN_RECORD);
    c.item.settle.recall_done = false;
    cr_assert_eq(committing_run(&c, committer), SETTLE_MISMATCH, "not WANTS_RECALL");
    c.actual.meter = SLICE("seats");
    cr_assert_neq(committing_run(&c, committer), SETTLE_BAD_METERS);
    cr_assert_eq(tried(), before);
    cr_assert_eq(support_of_quota(&tenant, "committed"), 10);
    committing_done(&c);
    plan_unref(plan);
}

Test(committer_repeat, one_that_is_refused_and_new_is_refused)
{
    struct support_tenant tenant = support_tenant_make("refused-new", 100, 100, 100);
    struct plan *plan = support_plan(&tenant);
    struct committing c;

    committing_init(&c, &tenant, plan, SETTLE_COMMIT, "job", live_hold(&tenant, 1, 10));
    committing_actual(&c, 5000, OVERRUN_STRICT);
    c.item.settle.recall_done = true;
    cr_assert_eq(committing_run(&c, committer), SETTLE_OVERRUN);
    cr_assert_eq(c.dones, 1);
    committing_actual(&c, 10, OVERRUN_STRICT);
    cr_assert_eq(committing_run(&c, committer), SETTLE_COMMITTED);
    cr_assert_not(c.item.settle.replayed);
    cr_assert_eq(records(&tenant), 1);
    committing_done(&c);
    plan_unref(plan);
}

/* A Release looks, and so does a Commit of the same job beside it. */
Test(committer_repeat, a_release_finds_the_record)
{
    struct support_tenant tenant = support_tenant_make("repeat-release", 100, 100, 100);
    struct plan *plan = support_plan(&tenant);
    struct committing first, commit, release;
    struct hold *hold = live_hold(&tenant, 1, 10);
    int64_t before;

    committing_init(&first, &tenant, plan, SETTLE_COMMIT, "other", live_hold(&tenant, 2, 1));
    committing_init(&commit, &tenant, plan, SETTLE_COMMIT, "job", hold);
    committing_init(&release, &tenant, plan, SETTLE_RELEASE, "job", hold);
    cr_assert_eq(committing_run(&commit, committer), SETTLE_COMMITTED);
    cr_assert_eq(committing_run(&release, committer), SETTLE_WAS_COMMITTED);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM job_fence WHERE tenant_id = %" PRId64,
                             tenant.tenant_id),
                 0);
    before = tried();
    committing_lock_quota(db, &tenant);
    committing_submit(&first, committer);
    committing_submit(&release, committer);
    committing_submit(&commit, committer);
    cr_assert_eq(database_commit(db), STATUS_OK);
    committing_wait(&first);
    committing_wait(&release);
    committing_wait(&commit);
    cr_assert_eq(release.item.settle.outcome, SETTLE_WAS_COMMITTED);
    cr_assert_eq(commit.item.settle.outcome, SETTLE_COMMITTED);
    cr_assert(commit.item.settle.replayed);
    cr_assert_eq(tried() - before, 1, "the other job");
    committing_done(&first);
    committing_done(&commit);
    committing_done(&release);
    plan_unref(plan);
}
