/* How many limits a tenant may have, and one reservation. */
#include "tests/ledger/support.h"

#include "ledger/ledger.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>

static struct arena arena;
static struct database *db;
static size_t limits_max = 10000;

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

TestSuite(limit_bounds, .init = begin, .fini = end);

static enum ledger_admin add(const char *tenant, const char *name, const char *scope,
                             const char *meter, bool trial)
{
    struct ledger_limit limit = {
        .tenant = slice_from_cstr(tenant),
        .limit_name = slice_from_cstr(name),
        .scope = slice_from_cstr(scope),
        .meter = slice_from_cstr(meter),
        .period = PERIOD_NEVER,
        .amount = 100,
    };
    struct ledger_note note = {.actor = SLICE("ann")};
    struct quota_row *rows;
    size_t rows_count;
    enum ledger_admin answer;
    bool created;

    cr_assert_eq(ledger_limit_put(db, &arena, &note, SLICE(""), trial, limits_max, &limit, &created,
                                  &rows, &rows_count, &answer),
                 STATUS_OK, "%s", database_error(db));
    return answer;
}

Test(limit_bounds, a_tenant_has_so_many_limits_and_a_deleted_one_makes_room)
{
    struct support_tenant tenant = support_tenant_make("l-full", 1000, 1000, 0);
    struct ledger_limit gone = {.tenant = SLICE("l-full"), .limit_name = SLICE("a")};
    struct ledger_note note = {.actor = SLICE("ann")};
    enum ledger_admin answer;

    limits_max = 3;
    cr_assert_eq(add("l-full", "a", "", "tokens", false), ADMIN_DONE);
    cr_assert_eq(add("l-full", "b", "", "seconds", false), ADMIN_DONE);
    cr_assert_eq(add("l-full", "c", "", "tokens", true), ADMIN_LIMITS_FULL);
    cr_assert_eq(add("l-full", "c", "", "tokens", false), ADMIN_LIMITS_FULL);
    cr_assert_eq(ledger_limit_implicit(db, tenant.tenant_id, SLICE("calls"), limits_max),
                 STATUS_EXHAUSTED);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM limit_ WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 3, "nothing of what was refused stays");
    cr_assert_eq(add("l-full", "b", "", "seconds", false), ADMIN_DONE, "no other limit");
    cr_assert_eq(ledger_limit_delete(db, &arena, &note, SLICE(""), false, &gone, &answer),
                 STATUS_OK);
    cr_assert_eq(answer, ADMIN_DONE);
    cr_assert_eq(add("l-full", "c", "", "tokens", false), ADMIN_DONE);
    limits_max = 1;
    cr_assert_eq(add("l-full", "c", "", "tokens", false), ADMIN_DONE, "more than there may be");
    cr_assert_eq(add("l-full", "d", "", "tokens", false), ADMIN_LIMITS_FULL);
}

/* Which callers make by the names of meters, and which ListLimits does not show. */
Test(limit_bounds, meters_without_a_limit_do_not_keep_limits_out)
{
    struct support_tenant tenant = support_tenant_make("l-names", 1000, 1000, 0);

    limits_max = 3;
    cr_assert_eq(ledger_limit_implicit(db, tenant.tenant_id, SLICE("a"), limits_max), STATUS_OK);
    cr_assert_eq(ledger_limit_implicit(db, tenant.tenant_id, SLICE("b"), limits_max), STATUS_OK);
    cr_assert_eq(ledger_limit_implicit(db, tenant.tenant_id, SLICE("c"), limits_max),
                 STATUS_EXHAUSTED);
    cr_assert_eq(add("l-names", "c", "", "c", false), ADMIN_DONE);
    cr_assert_eq(add("l-names", "d", "", "d", false), ADMIN_DONE);
    cr_assert_eq(add("l-names", "e", "", "e", false), ADMIN_LIMITS_FULL);
}

Test(limit_bounds, no_reservation_of_a_meter_counts_against_more_than_a_hold_carries)
{
    struct support_tenant tenant = support_tenant_make("l-crowd", 1000, 1000, 0);

    fixture_sql_do("INSERT INTO limit_ (tenant_id, name, scope, meter, period_kind, unlimited,"
                   " amount, soft_percent, overage_kind, overage, cap, soft)"
                   " SELECT %" PRId64 ", 'x' || i, (ARRAY['a/b-c', 'a', 'a/b-c/d'])[i %% 3 + 1],"
                   " 'tokens', 1, false, 10, 90, 0, 0, 10, 9 FROM generate_series(1, %d) i",
                   tenant.tenant_id, HOLD_QUOTAS_MAX - 2);
    cr_assert_eq(add("l-crowd", "beside", "a/b", "tokens", false), ADMIN_DONE);
    cr_assert_eq(add("l-crowd", "other", "a", "seconds", false), ADMIN_DONE);
    cr_assert_eq(add("l-crowd", "last", "", "tokens", false), ADMIN_DONE);
    cr_assert_eq(add("l-crowd", "above", "", "tokens", false), ADMIN_CROWDED);
    cr_assert_eq(add("l-crowd", "below", "a/b-c/d/e", "tokens", false), ADMIN_CROWDED);
    cr_assert_eq(add("l-crowd", "at", "a/b-c/d", "tokens", false), ADMIN_CROWDED);
    cr_assert_eq(add("l-crowd", "aside", "a/b-c/e", "tokens", false), ADMIN_DONE);
    cr_assert_eq(add("l-crowd", "last", "", "tokens", false), ADMIN_DONE, "no other limit");
}
