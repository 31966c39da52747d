/* Which recalls are listed: none that cannot be served now keeps out others. */
#include "tests/ledger/support.h"

#include "ledger/ledger.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <libpq-fe.h>

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

TestSuite(recalls, .init = begin, .fini = end);

/* So many more rows of the tenant's first limit, each with its flag set. */
static void flag_many(const struct support_tenant *tenant, int count)
{
    fixture_sql_do("INSERT INTO quota (tenant_id, limit_id, period_start_ms, period_end_ms,"
                   " limit_amount, cap_amount, soft_amount, unlimited, lease_id, granted, leased,"
                   " recall) SELECT %" PRId64 ", %" PRId64 ", n, 9223372036854775807, 1, 1, 1, false,"
                   " %" PRId64 ", 1, 1, true FROM generate_series(1, %d) n",
                   tenant->tenant_id, tenant->limit_id, tenant->lease_id, count);
}

static size_t count_recalls(size_t max, const struct support_tenant *tenant)
{
    struct quota_row *recalls;
    size_t count, own = 0;

    cr_assert_eq(ledger_recalls(db, &arena, max, &recalls, &count), STATUS_OK, "%s",
                 database_error(db));
    for (size_t i = 0; i < count; i++)
        own += recalls[i].tenant_id == tenant->tenant_id;
    return own;
}

Test(recalls, each_tenant_has_a_recall_listed_before_any_has_two)
{
    struct support_tenant many = support_tenant_make("b-many", 1000, 1000, 300);
    struct support_tenant few = support_tenant_make("b-few", 1000, 1000, 300);
    int64_t tenants;

    flag_many(&many, 400);
    flag_many(&few, 2);
    tenants = fixture_sql("SELECT count(DISTINCT tenant_id) FROM quota WHERE recall");
    cr_assert_geq(count_recalls((size_t)tenants, &few), 1);
    cr_assert_eq(count_recalls(2 * (size_t)tenants, &few), 2);
    cr_assert_eq(count_recalls(1000, &many), 400);
}

Test(recalls, a_recall_whose_row_is_locked_is_not_listed)
{
    struct support_tenant tenant = support_tenant_make("b-locked", 1000, 1000, 300);
    PGconn *other = PQconnectdb(fixture_env("HOLDFAST_TEST_POSTGRES"));

    flag_many(&tenant, 5);
    PQclear(PQexec(other, "BEGIN"));
    PQclear(PQexec(other, "UPDATE quota SET level = level WHERE period_start_ms <= 3 AND recall"
                          " AND tenant_id = (SELECT tenant_id FROM tenant WHERE name = 'b-locked')"));
    cr_assert_eq(count_recalls(1000, &tenant), 2);
    PQfinish(other);
}
