/* Holds in Postgres: taken many at once, moved, reaped, listed; what is in the rows afterwards. */
#include "tests/ledger/support.h"

#include "ledger/ledger.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

enum { TTL_MS = 60000, PLACES_MAX = 8 };

static struct arena arena;
static struct database *db;
static struct ledger_place places[PLACES_MAX];
static struct hold *wanted[PLACES_MAX];

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

TestSuite(place, .init = begin, .fini = end);

static int64_t placed_sum(const struct support_tenant *tenant)
{
    return fixture_sql(
        "SELECT coalesce(sum(split_part(split_part(hold, '|', 5), ':', 5)::bigint), 0)"
        " FROM pg_hold WHERE tenant_id = %" PRId64,
        tenant->tenant_id);
}

/* Each job of the list asks for `units`. */
static void take(const struct support_tenant *tenant, const char *const *jobs, size_t count,
                 int64_t units, int64_t ttl_ms)
{
    int64_t now_ms;

    for (size_t i = 0; i < count; i++) {
        wanted[i] = support_hold(&arena, tenant, 1, units, 0);
        places[i] = (struct ledger_place){
            .place = {.tenant_id = tenant->tenant_id,
                      .job_id = slice_from_cstr(jobs[i]),
                      .wanted = wanted[i],
                      .ttl_ms = ttl_ms},
            .config_version = fixture_sql("SELECT config_version FROM tenant WHERE tenant_id ="
                                          " %" PRId64,
                                          tenant->tenant_id),
            .ledger_part = support_ledger_part(tenant)};
    }
    cr_assert_eq(ledger_place_run(db, &arena, places, count, &now_ms), STATUS_OK, "%s",
                 database_error(db));
}

Test(place, as_many_as_fit_are_taken_in_order)
{
    static const char *const jobs[] = {"a", "b", "c"};
    struct support_tenant tenant = support_tenant_make("place-fit", 100, 100, 0);

    take(&tenant, jobs, 3, 40, TTL_MS);
    cr_assert_eq(places[0].place.end, PLACE_TAKEN);
    cr_assert_eq(places[1].place.end, PLACE_TAKEN);
    cr_assert_eq(places[2].place.end, PLACE_SHORT);
    cr_assert(places[2].place.certain);
    cr_assert_eq(places[2].rows[0].pg_held, 80);
    cr_assert_eq(support_of_quota(&tenant, "pg_held"), 80);
    cr_assert_eq(placed_sum(&tenant), 80);
    take(&tenant, jobs, 1, 40, TTL_MS);
    cr_assert_eq(places[0].place.end, PLACE_STANDS);
    cr_assert_eq(placed_sum(&tenant), 80);
}

Test(place, a_job_that_comes_twice_is_held_once)
{
    static const char *const jobs[] = {"a", "a"};
    struct support_tenant tenant = support_tenant_make("place-twice", 100, 100, 0);

    take(&tenant, jobs, 2, 10, TTL_MS);
    cr_assert_eq(places[0].place.end, PLACE_TAKEN);
    cr_assert_eq(places[1].place.end, PLACE_STANDS);
    cr_assert_eq(support_of_quota(&tenant, "pg_held"), 10);
}

Test(place, a_plan_of_another_version_takes_nothing)
{
    static const char *const jobs[] = {"a"};
    struct support_tenant tenant = support_tenant_make("place-stale", 100, 100, 0);
    int64_t now_ms;

    take(&tenant, jobs, 0 + 1, 10, TTL_MS);
    fixture_sql_do("UPDATE tenant SET config_version = config_version + 1 WHERE tenant_id ="
                   " %" PRId64,
                   tenant.tenant_id);
    places[0].place.job_id = SLICE("b");
    cr_assert_eq(ledger_place_run(db, &arena, places, 1, &now_ms), STATUS_OK);
    cr_assert(places[0].stale);
    cr_assert_eq(support_of_quota(&tenant, "pg_held"), 10);
}

Test(place, it_is_moved_by_its_attempt_alone)
{
    static const char *const jobs[] = {"a"};
    struct support_tenant tenant = support_tenant_make("place-move", 100, 100, 0);
    struct ledger_move move = {.move = {.tenant_id = tenant.tenant_id,
                                        .job_id = SLICE("a"),
                                        .ttl_ms = 2 * TTL_MS,
                                        .lifetime_ms = 100 * TTL_MS}};
    int64_t now_ms, before_ms;

    take(&tenant, jobs, 1, 10, TTL_MS);
    before_ms = places[0].place.hold->deadline_ms;
    move.move.attempt = (struct attempt){1, 5};
    cr_assert_eq(ledger_move_run(db, &arena, &move, 1, &now_ms), STATUS_OK);
    cr_assert_eq(move.move.end, PLACE_MOVE_NONE);
    move.move.attempt = places[0].place.hold->attempt;
    cr_assert_eq(ledger_move_run(db, &arena, &move, 1, &now_ms), STATUS_OK);
    cr_assert_eq(move.move.end, PLACE_MOVED);
    cr_assert_geq(move.move.hold->deadline_ms, before_ms + TTL_MS);
    cr_assert_eq(fixture_sql("SELECT deadline_ms FROM pg_hold WHERE tenant_id = %" PRId64,
                             tenant.tenant_id),
                 move.move.hold->deadline_ms);
}

Test(place, what_is_due_is_reaped_once_and_kept_for_late_commits)
{
    static const char *const jobs[] = {"a", "b"};
    struct support_tenant tenant = support_tenant_make("place-reap", 100, 100, 0);
    const struct ledger_due_want want = {.tenant_id = tenant.tenant_id, .max = 10};
    struct ledger_due *dues;
    size_t count;

    take(&tenant, jobs, 1, 10, 1);
    take(&tenant, jobs + 1, 1, 20, TTL_MS);
    do {
        cr_assert_eq(ledger_placed_due(db, &arena, &want, &dues, &count), STATUS_OK);
    } while (count == 0);
    cr_assert_eq(count, 1);
    cr_assert(slice_equal_cstr(dues[0].job_id, "a"));
    cr_assert_eq(ledger_placed_reap(db, &arena, dues, 1), STATUS_OK, "%s", database_error(db));
    cr_assert(dues[0].reaped);
    cr_assert_eq(support_of_quota(&tenant, "pg_held"), 20);
    cr_assert_eq(placed_sum(&tenant), 20);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM expired_hold WHERE tenant_id = %" PRId64
                             " AND job_id = 'a'",
                             tenant.tenant_id),
                 1);
    cr_assert_eq(ledger_placed_reap(db, &arena, dues, 1), STATUS_OK);
    cr_assert_not(dues[0].reaped);
    cr_assert_eq(support_of_quota(&tenant, "pg_held"), 20);
}

Test(place, a_page_is_in_the_order_of_deadlines)
{
    static const char *const jobs[] = {"b", "a", "c"};
    struct support_tenant tenant = support_tenant_make("place-list", 100, 100, 0);
    struct ledger_placed *found;
    size_t count;
    int64_t all = 0;

    for (size_t i = 0; i < 3; i++)
        take(&tenant, jobs + i, 1, 10, TTL_MS * (int64_t)(i + 1));
    cr_assert_eq(ledger_placed_list(db, &arena, tenant.tenant_id, 0, SLICE(""), 2, &found, &count),
                 STATUS_OK);
    cr_assert_eq(count, 2);
    cr_assert(slice_equal_cstr(found[0].job_id, "b") && slice_equal_cstr(found[1].job_id, "a"));
    cr_assert_eq(ledger_placed_list(db, &arena, tenant.tenant_id, found[1].hold->deadline_ms,
                                    SLICE("a"), 2, &found, &count),
                 STATUS_OK);
    cr_assert_eq(count, 1);
    cr_assert(slice_equal_cstr(found[0].job_id, "c"));
    cr_assert_eq(ledger_placed_count(db, 100, &all), STATUS_OK);
    cr_assert_geq(all, 3);
}
