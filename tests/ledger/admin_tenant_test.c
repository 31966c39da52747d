/* Tenants: made, changed under etags, repeated by request id, listed. */
#include "tests/ledger/support.h"

#include "ledger/ledger.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

static struct arena arena;
static struct database *db;
static bool trial; /* what is asked for is checked only */

static void begin(void)
{
    arena_init(&arena, 4096, 1 << 20);
    db = support_open();
}

static void end(void)
{
    database_destroy(db);
    arena_done(&arena);
}

TestSuite(admin_tenant, .init = begin, .fini = end);

static struct ledger_note note_of(const char *request_id)
{
    return (struct ledger_note){SLICE("ann"), SLICE("test"), slice_from_cstr(request_id)};
}

static enum ledger_admin create(const char *request_id, struct ledger_tenant *tenant)
{
    struct ledger_note note = note_of(request_id);
    enum ledger_admin answer;

    cr_assert_eq(ledger_tenant_create(db, &arena, &note, trial, tenant, &answer), STATUS_OK,
                 "%s", database_error(db));
    return answer;
}

static enum ledger_admin update(const char *request_id, const char *etag,
                                struct ledger_tenant *tenant)
{
    struct ledger_note note = note_of(request_id);
    enum ledger_admin answer;

    cr_assert_eq(
        ledger_tenant_update(db, &arena, &note, slice_from_cstr(etag), trial, tenant, &answer),
        STATUS_OK, "%s", database_error(db));
    return answer;
}

Test(admin_tenant, is_made_once)
{
    struct ledger_tenant tenant = {.tenant = SLICE("t-made"), .display_name = SLICE("Made")};
    struct ledger_tenant again = {.tenant = SLICE("t-made")};
    struct plan *plan;

    cr_assert_eq(create("", &tenant), ADMIN_DONE);
    cr_assert(tenant.tenant_id > 0);
    cr_assert_eq(tenant.version, 1);
    cr_assert(slice_equal(tenant.display_name, SLICE("Made")));
    cr_assert(tenant.created_ms > support_now_ms() - 60000);
    cr_assert_eq(create("", &again), ADMIN_EXISTS);
    cr_assert_eq(ledger_plan_load(db, SLICE("t-made"), &plan), STATUS_OK);
    cr_assert_not_null(plan);
    cr_assert_eq(plan->tenant_id, tenant.tenant_id);
    cr_assert_eq(plan->shard, plan_shard(SLICE("t-made")));
    cr_assert_eq(plan->limits_count, 0);
    plan_unref(plan);
    cr_assert_eq(ledger_plan_load(db, SLICE("t-nobody"), &plan), STATUS_OK);
    cr_assert_null(plan);
}

Test(admin_tenant, a_repeated_request_gets_the_first_answer)
{
    struct ledger_tenant first = {.tenant = SLICE("t-repeat"), .display_name = SLICE("One")};
    struct ledger_tenant repeat = first, changed = first, other = first;

    cr_assert_eq(create("r1", &first), ADMIN_DONE);
    changed.display_name = SLICE("Two");
    cr_assert_eq(update("r2", "1", &changed), ADMIN_DONE);
    cr_assert_eq(changed.version, 2);
    cr_assert_eq(create("r1", &repeat), ADMIN_REPEATED);
    cr_assert_eq(repeat.version, 1);
    cr_assert_eq(repeat.created_ms, first.created_ms);
    cr_assert(slice_equal(repeat.display_name, SLICE("One")));
    other.display_name = SLICE("Three");
    cr_assert_eq(create("r1", &other), ADMIN_REQUEST_REUSED);
    cr_assert_eq(update("r1", "", &other), ADMIN_REQUEST_REUSED);
    cr_assert_eq(create("r9", &other), ADMIN_EXISTS);
}

Test(admin_tenant, a_repeated_update_is_told_before_the_etag_is_checked)
{
    struct ledger_tenant tenant = {.tenant = SLICE("t-etag")};
    struct ledger_tenant suspended = {.tenant = SLICE("t-etag"), .suspended = true};
    struct ledger_tenant open = {.tenant = SLICE("t-etag"), .admit_unlimited_meters = true};
    struct ledger_tenant repeat = suspended;
    struct plan *plan;

    cr_assert_eq(create("", &tenant), ADMIN_DONE);
    cr_assert_eq(update("u1", "1", &suspended), ADMIN_DONE);
    cr_assert_eq(update("u2", "1", &open), ADMIN_ETAG);
    cr_assert_eq(update("u2", "x", &open), ADMIN_ETAG);
    cr_assert_eq(update("u2", "2", &open), ADMIN_DONE);
    cr_assert_eq(update("u1", "1", &repeat), ADMIN_REPEATED);
    cr_assert(repeat.suspended);
    cr_assert_eq(repeat.version, 2);
    cr_assert_eq(ledger_plan_load(db, SLICE("t-etag"), &plan), STATUS_OK);
    cr_assert_not(plan->suspended);
    cr_assert(plan->admit_unlimited_meters);
    cr_assert_eq(plan->config_version, 3);
    plan_unref(plan);
    repeat.tenant = SLICE("t-none");
    cr_assert_eq(update("u1", "", &repeat), ADMIN_NOT_FOUND);
}

Test(admin_tenant, a_trial_changes_nothing)
{
    struct ledger_tenant tenant = {.tenant = SLICE("t-trial"), .display_name = SLICE("Tried")};
    struct ledger_tenant changed = {.tenant = SLICE("t-trial"), .suspended = true};
    struct plan *plan;

    trial = true;
    cr_assert_eq(create("trial", &tenant), ADMIN_DONE);
    cr_assert_eq(tenant.version, 1);
    cr_assert_eq(ledger_plan_load(db, SLICE("t-trial"), &plan), STATUS_OK);
    cr_assert_null(plan);
    cr_assert_eq(update("", "", &changed), ADMIN_NOT_FOUND);
    trial = false;
    cr_assert_eq(create("trial", &tenant), ADMIN_DONE, "the request id is still unused");
    trial = true;
    cr_assert_eq(create("", &tenant), ADMIN_EXISTS);
    cr_assert_eq(update("", "2", &changed), ADMIN_ETAG);
    cr_assert_eq(update("", "1", &changed), ADMIN_DONE);
    cr_assert(changed.suspended);
    cr_assert_eq(changed.version, 2);
    cr_assert_eq(ledger_plan_load(db, SLICE("t-trial"), &plan), STATUS_OK);
    cr_assert_not(plan->suspended);
    cr_assert_eq(plan->config_version, 1);
    plan_unref(plan);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM audit JOIN tenant USING (tenant_id)"
                             " WHERE name = 't-trial'"), 1);
}

Test(admin_tenant, a_change_leaves_one_audit_row_with_both_states)
{
    struct ledger_tenant tenant = {.tenant = SLICE("t-audit"), .display_name = SLICE("a|b \"c\"")};

    cr_assert_eq(create("", &tenant), ADMIN_DONE);
    cr_assert_eq(create("", &tenant), ADMIN_EXISTS);
    tenant.suspended = true;
    cr_assert_eq(update("s1", "", &tenant), ADMIN_DONE);
    cr_assert_eq(update("s1", "", &tenant), ADMIN_REPEATED);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM audit WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 2);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM audit WHERE tenant_id = %" PRId64
                             " AND actor = 'ann' AND reason = 'test' AND object = 't-audit'"
                             " AND action = 'tenant.update' AND old->>'state' = 'A'"
                             " AND new->>'state' = 'S' AND request_id = 's1'"
                             " AND new->>'display_name' = 'a|b \"c\"'",
                             tenant.tenant_id), 1);
}

Test(admin_tenant, lists_by_prefix_in_pages)
{
    static const char *const names[] = {"tl-b.1", "tl-b.3", "tl-b.2", "tl-a", "tl-c"};
    struct ledger_tenant *page;
    size_t count;

    for (size_t i = 0; i < 5; i++) {
        struct ledger_tenant tenant = {.tenant = slice_from_cstr(names[i])};

        cr_assert_eq(create("", &tenant), ADMIN_DONE);
    }
    cr_assert_eq(ledger_tenant_list(db, &arena, SLICE("tl-b."), SLICE(""), 2, &page, &count),
                 STATUS_OK);
    cr_assert_eq(count, 2);
    cr_assert(slice_equal_cstr(page[0].tenant, "tl-b.1"));
    cr_assert(slice_equal_cstr(page[1].tenant, "tl-b.2"));
    cr_assert_eq(ledger_tenant_list(db, &arena, SLICE("tl-b."), page[1].tenant, 2, &page, &count),
                 STATUS_OK);
    cr_assert_eq(count, 1);
    cr_assert(slice_equal_cstr(page[0].tenant, "tl-b.3"));
    cr_assert_eq(ledger_tenant_list(db, &arena, SLICE(""), SLICE("tl-b.9"), 1, &page, &count),
                 STATUS_OK);
    cr_assert_eq(count, 1);
    cr_assert(slice_equal_cstr(page[0].tenant, "tl-c"));
}

enum { THREADS = 4 };

struct racer {
    pthread_t thread;
    enum status status;
    enum ledger_admin answer;
    int64_t version;
};

static void *race(void *user)
{
    struct racer *racer = user;
    struct ledger_note note = note_of("race");
    struct ledger_tenant tenant = {.tenant = SLICE("t-race"), .suspended = true};
    struct database *own = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    struct arena memory;

    arena_init(&memory, 4096, 1 << 20);
    racer->status = ledger_tenant_create(own, &memory, &note, false, &tenant, &racer->answer);
    racer->version = tenant.version;
    arena_done(&memory);
    database_destroy(own);
    return NULL;
}

Test(admin_tenant, one_request_from_many_connections_is_done_once)
{
    struct racer racers[THREADS] = {0};
    int done = 0;

    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(racers[i].thread, NULL);
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(racers[i].status, STATUS_OK);
        cr_assert(racers[i].answer == ADMIN_DONE || racers[i].answer == ADMIN_REPEATED);
        cr_assert_eq(racers[i].version, 1);
        done += racers[i].answer == ADMIN_DONE;
    }
    cr_assert_eq(done, 1);
}
