/* Limits: put, lowered, raised, removed, repeated, and what their quota rows and watchers see. */
#include "tests/ledger/support.h"

#include "base/amount.h"
#include "ledger/ledger.h"
#include "quota/threshold.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>

static struct arena arena;
static struct database *db;
static bool trial; /* a delete is checked only */

/* Of the last put. */
static struct quota_row *rows;
static size_t rows_count;
static bool created;

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

TestSuite(admin_limit, .init = begin, .fini = end);

static struct ledger_note note_of(const char *request_id)
{
    return (struct ledger_note){SLICE("ann"), SLICE("test"), slice_from_cstr(request_id)};
}

static enum ledger_admin put_with(const char *request_id, const char *etag, bool validate_only,
                                  struct ledger_limit *limit)
{
    struct ledger_note note = note_of(request_id);
    enum ledger_admin answer;

    cr_assert_eq(ledger_limit_put(db, &arena, &note, slice_from_cstr(etag), validate_only, limits_max,
                                  limit, &created, &rows, &rows_count, &answer),
                 STATUS_OK, "%s", database_error(db));
    return answer;
}

static enum ledger_admin put(struct ledger_limit *limit)
{
    return put_with("", "", false, limit);
}

static enum ledger_admin delete(const char *request_id, const char *etag,
                                struct ledger_limit *limit)
{
    struct ledger_note note = note_of(request_id);
    enum ledger_admin answer;

    cr_assert_eq(
        ledger_limit_delete(db, &arena, &note, slice_from_cstr(etag), trial, limit, &answer),
        STATUS_OK, "%s", database_error(db));
    return answer;
}

/* The limit that support_tenant_make made, with another amount and without overage. */
static struct ledger_limit main_limit(const struct support_tenant *tenant, int64_t amount)
{
    return (struct ledger_limit){
        .tenant = slice_from_cstr(tenant->name),
        .limit_name = SLICE("main"),
        .meter = SLICE("tokens"),
        .period = PERIOD_NEVER,
        .amount = amount,
    };
}

static struct plan *plan_of(const char *tenant)
{
    struct plan *plan;

    cr_assert_eq(ledger_plan_load(db, slice_from_cstr(tenant), &plan), STATUS_OK);
    cr_assert_not_null(plan);
    return plan;
}

static struct ledger_event *events_of(int64_t tenant_id, size_t *ret_count)
{
    struct ledger_cursor cursor = {.tenant_id = tenant_id, .max = 100};
    struct ledger_event *events;

    cr_assert_eq(ledger_events_read(db, &arena, &cursor, 1, &events), STATUS_OK);
    *ret_count = cursor.count;
    for (size_t i = 0; i < *ret_count; i++)
        cr_assert_eq(events[i].seq, (int64_t)i + 1);
    return events;
}

static void expect_event(const struct ledger_event *event, enum event_kind kind, int direction)
{
    cr_assert_eq(event->kind, kind, "seq %" PRId64 " is of kind %d", event->seq, event->kind);
    cr_assert_eq(event->direction, direction);
    cr_assert(event->has_quota);
    cr_assert_eq(event->job_id.len, 0);
}

Test(admin_limit, is_added_to_the_plan_with_defaults_filled_in)
{
    struct support_tenant tenant = support_tenant_make("l-add", 1000, 1000, 0);
    struct ledger_limit limit = {
        .tenant = SLICE("l-add"),
        .limit_name = SLICE("daily"),
        .scope = SLICE("org/team"),
        .meter = SLICE("tokens"),
        .period = PERIOD_DAY,
        .amount = 1001,
        .overage_kind = OVERAGE_PERCENT,
        .overage = 10,
        .max_ttl_ms = 5000,
        .redis_away = REDIS_AWAY_OPEN,
        .redis_away_units = 70,
    };
    struct plan *plan;
    const struct limit *added;
    struct ledger_event *events;
    size_t count;

    cr_assert_eq(put(&limit), ADMIN_DONE);
    cr_assert(created);
    cr_assert_eq(limit.version, 1);
    cr_assert_eq(limit.soft_percent, 90);
    cr_assert_eq(rows_count, 0);
    plan = plan_of("l-add");
    cr_assert_eq(plan->config_version, 2);
    added = plan_limit(plan, limit.limit_id);
    cr_assert_not_null(added);
    cr_assert(slice_equal(added->scope, SLICE("org/team")));
    cr_assert_eq(added->amount, 1001);
    cr_assert_eq(added->cap, 1101);
    cr_assert_eq(added->soft, 901);
    cr_assert_eq(added->max_ttl_ms, 5000);
    cr_assert_eq(added->redis_away, REDIS_AWAY_OPEN);
    cr_assert_eq(added->redis_away_units, 70);
    plan_unref(plan);
    events = events_of(tenant.tenant_id, &count);
    cr_assert_eq(count, 1);
    expect_event(&events[0], EVENT_LIMIT_CHANGED, 0);
    cr_assert(slice_equal(events[0].limit_name, SLICE("daily")));
    cr_assert_eq(events[0].stops.cap, 1101);
    cr_assert_eq(events[0].period_end_ms - events[0].period_start_ms, 86400000);
}

Test(admin_limit, lowered_under_its_use_crosses_and_recalls)
{
    struct support_tenant tenant = support_tenant_make("l-lower", 1000, 1000, 200);
    struct ledger_limit limit = main_limit(&tenant, 500);
    struct quota_row *recalls;
    struct ledger_event *events;
    size_t count;
    bool found = false;

    fixture_sql_do("UPDATE quota SET committed = 495 WHERE tenant_id = %" PRId64, tenant.tenant_id);
    cr_assert_eq(put(&limit), ADMIN_DONE);
    cr_assert_not(created);
    cr_assert_eq(limit.version, 2);
    cr_assert_eq(rows_count, 1);
    cr_assert(rows[0].recall);
    cr_assert_eq(rows[0].stops.cap, 500);
    cr_assert_eq(book_room(&rows[0]), -195);
    cr_assert_eq(rows[0].granted, 200);
    cr_assert_eq(fixture_sql("SELECT cap_amount FROM quota WHERE tenant_id = %" PRId64
                             " AND recall AND level = 1 AND soft_amount = 450",
                             tenant.tenant_id), 500);
    cr_assert_eq(ledger_recalls(db, &arena, 100, &recalls, &count), STATUS_OK);
    for (size_t i = 0; i < count; i++)
        found |= recalls[i].tenant_id == tenant.tenant_id;
    cr_assert(found);

    limit = main_limit(&tenant, 400);
    cr_assert_eq(put(&limit), ADMIN_DONE);
    limit = main_limit(&tenant, 1000);
    cr_assert_eq(put(&limit), ADMIN_DONE);
    cr_assert_not(rows[0].recall, "there is room again");
    events = events_of(tenant.tenant_id, &count);
    cr_assert_eq(count, 9);
    expect_event(&events[0], EVENT_LIMIT_CHANGED, 0);
    cr_assert_eq(events[0].level, 2);
    expect_event(&events[1], EVENT_SOFT_STOP, 1);
    expect_event(&events[2], EVENT_LIMIT_CHANGED, 0);
    expect_event(&events[3], EVENT_HARD_STOP, 1);
    expect_event(&events[4], EVENT_HARD_CAP, 1);
    expect_event(&events[5], EVENT_LIMIT_CHANGED, 0);
    expect_event(&events[6], EVENT_HARD_CAP, 2);
    expect_event(&events[7], EVENT_HARD_STOP, 2);
    expect_event(&events[8], EVENT_SOFT_STOP, 2);
    cr_assert_eq(events[3].committed, 495);
    cr_assert_eq(events[3].stops.amount, 400);
}

Test(admin_limit, a_lowered_limit_reaches_the_rows_of_periods_that_are_not_over)
{
    struct support_tenant tenant = support_tenant_make("l-rows", 1000, 1000, 0);
    struct ledger_limit limit = {
        .tenant = SLICE("l-rows"),
        .limit_name = SLICE("hourly"),
        .meter = SLICE("tokens"),
        .period = PERIOD_HOUR,
        .amount = 100,
    };
    int64_t start_ms = period_start_ms(PERIOD_HOUR, support_now_ms());

    cr_assert_eq(put(&limit), ADMIN_DONE);
    for (int i = -2; i <= 1; i++)
        fixture_sql_do("INSERT INTO quota (tenant_id, limit_id, period_start_ms, period_end_ms,"
                       " limit_amount, cap_amount, soft_amount, unlimited, state) VALUES (%" PRId64
                       ", %" PRId64 ", %" PRId64 ", %" PRId64 ", 100, 100, 90, false, '%s')",
                       tenant.tenant_id, limit.limit_id, start_ms + i * 3600000,
                       start_ms + (i + 1) * 3600000, i == -2 ? "X" : "O");
    limit.amount = 50;
    cr_assert_eq(put(&limit), ADMIN_DONE);
    cr_assert_eq(rows_count, 2, "this hour and the next");
    cr_assert_eq(fixture_sql("SELECT count(*) FROM quota WHERE limit_id = %" PRId64
                             " AND cap_amount = 50 AND state = 'O'", limit.limit_id), 2);
    cr_assert_eq(fixture_sql("SELECT cap_amount FROM quota WHERE limit_id = %" PRId64
                             " AND period_start_ms = %" PRId64, limit.limit_id,
                             start_ms - 3600000), 100, "the hour that is over keeps its stops");
    cr_assert_eq(fixture_sql("SELECT cap_amount FROM quota WHERE limit_id = %" PRId64
                             " AND state = 'X'", limit.limit_id), 100);
}

/* A day of minutes that wait to be closed, each at its old limit, all with something lent. */
Test(admin_limit, periods_that_are_over_are_neither_locked_nor_crossed)
{
    struct support_tenant tenant = support_tenant_make("l-over", 1000, 1000, 0);
    struct ledger_limit limit = {
        .tenant = SLICE("l-over"),
        .limit_name = SLICE("minutely"),
        .meter = SLICE("tokens"),
        .period = PERIOD_MINUTE,
        .amount = 100,
    };
    int64_t start_ms, before;

    cr_assert_eq(put(&limit), ADMIN_DONE);
    start_ms = period_start_ms(PERIOD_MINUTE, support_now_ms());
    fixture_sql_do("INSERT INTO quota (tenant_id, limit_id, period_start_ms, period_end_ms,"
                   " limit_amount, cap_amount, soft_amount, unlimited, committed, leased, lease_id,"
                   " granted) SELECT %" PRId64 ", %" PRId64 ", %" PRId64 " - 60000 * i, %" PRId64
                   " - 60000 * (i - 1), 100, 100, 90, false, 50, 10, 1048576, 10"
                   " FROM generate_series(1, 3000) i",
                   tenant.tenant_id, limit.limit_id, start_ms, start_ms);
    before = support_check_events(&tenant);
    limit.amount = 40;
    cr_assert_eq(put(&limit), ADMIN_DONE);
    cr_assert_leq(rows_count, 1);
    cr_assert_eq(support_check_events(&tenant) - before, 1, "LIMIT_CHANGED, and no crossing");
    cr_assert_eq(fixture_sql("SELECT count(*) FROM quota WHERE limit_id = %" PRId64 " AND recall",
                             limit.limit_id), 0);
}

Test(admin_limit, nothing_is_recalled_where_nothing_is_lent_or_the_cap_grows)
{
    struct support_tenant idle = support_tenant_make("l-idle", 1000, 1000, 0);
    struct support_tenant busy = support_tenant_make("l-busy", 1000, 1000, 100);
    struct ledger_limit limit = main_limit(&idle, 10);

    cr_assert_eq(put(&limit), ADMIN_DONE);
    cr_assert_not(rows[0].recall);
    limit = main_limit(&busy, 2000);
    cr_assert_eq(put(&limit), ADMIN_DONE);
    cr_assert_not(rows[0].recall);
    cr_assert_eq(book_room(&rows[0]), 1900);
    limit = main_limit(&busy, 0);
    limit.unlimited = true;
    cr_assert_eq(put(&limit), ADMIN_DONE);
    cr_assert_not(rows[0].recall);
    cr_assert(rows[0].stops.unlimited);
    cr_assert_eq(limit.amount, AMOUNT_MAX);
}

Test(admin_limit, every_kind_of_overage_makes_its_cap)
{
    static const struct {
        enum overage_kind kind;
        int64_t overage, cap;
    } cases[] = {
        {OVERAGE_NONE, 7, 1000},
        {OVERAGE_UNITS, 7, 1007},
        {OVERAGE_PERCENT, 15, 1150},
        {OVERAGE_UNLIMITED, 0, AMOUNT_MAX},
    };
    struct support_tenant tenant = support_tenant_make("l-overage", 1000, 1000, 0);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ledger_limit limit = main_limit(&tenant, 1000);

        limit.overage_kind = cases[i].kind;
        limit.overage = cases[i].overage;
        cr_assert_eq(put(&limit), ADMIN_DONE);
        cr_assert_eq(rows[0].stops.cap, cases[i].cap);
        cr_assert_eq(limit.overage_kind, cases[i].kind);
    }
}

Test(admin_limit, what_cannot_be_is_refused)
{
    struct support_tenant tenant = support_tenant_make("l-refuse", 1000, 1000, 0);
    struct ledger_limit limit = main_limit(&tenant, AMOUNT_MAX);
    struct ledger_note note = note_of("");
    enum ledger_admin answer;

    limit.overage_kind = OVERAGE_UNITS;
    limit.overage = 1;
    cr_assert_eq(ledger_limit_put(db, &arena, &note, SLICE(""), false, limits_max, &limit, &created,
                                  &rows, &rows_count, &answer), STATUS_INVALID);
    limit = main_limit(&tenant, 10);
    limit.meter = SLICE("seconds");
    cr_assert_eq(put(&limit), ADMIN_CONFLICT);
    limit = main_limit(&tenant, 10);
    limit.scope = SLICE("org");
    cr_assert_eq(put(&limit), ADMIN_CONFLICT);
    limit = main_limit(&tenant, 10);
    limit.period = PERIOD_DAY;
    cr_assert_eq(put(&limit), ADMIN_CONFLICT);
    limit = main_limit(&tenant, 10);
    cr_assert_eq(put_with("", "7", false, &limit), ADMIN_ETAG);
    cr_assert_eq(put_with("", "0", false, &limit), ADMIN_ETAG, "it is there already");
    limit.limit_name = SLICE("other");
    cr_assert_eq(put_with("", "1", false, &limit), ADMIN_ETAG);
    cr_assert_eq(put_with("", "0", true, &limit), ADMIN_DONE, "none is there");
    limit.tenant = SLICE("l-nobody");
    cr_assert_eq(put(&limit), ADMIN_NOT_FOUND);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM audit WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 0);
    cr_assert_eq(fixture_sql("SELECT config_version FROM tenant WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 1);
}

Test(admin_limit, a_trial_changes_nothing)
{
    struct support_tenant tenant = support_tenant_make("l-trial", 1000, 1000, 100);
    struct ledger_limit limit = main_limit(&tenant, 10), added = limit;

    cr_assert_eq(put_with("v1", "1", true, &limit), ADMIN_DONE);
    cr_assert_eq(limit.version, 2);
    cr_assert_not(created);
    added.limit_name = SLICE("new");
    cr_assert_eq(put_with("v2", "", true, &added), ADMIN_DONE);
    cr_assert(created);
    cr_assert_eq(put_with("", "9", true, &limit), ADMIN_ETAG);
    trial = true;
    cr_assert_eq(delete("v3", "1", &added), ADMIN_NOT_FOUND);
    cr_assert_eq(delete("v3", "9", &limit), ADMIN_ETAG);
    cr_assert_eq(delete("v3", "1", &limit), ADMIN_DONE);
    cr_assert_eq(limit.amount, 1000);
    limit = main_limit(&tenant, 10);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM tenant t JOIN limit_ l USING (tenant_id)"
                             " JOIN quota q USING (tenant_id) WHERE t.tenant_id = %" PRId64
                             " AND config_version = 1 AND event_seq = 0 AND l.version = 1"
                             " AND NOT q.recall AND q.cap_amount = 1000 AND l.amount = 1000",
                             tenant.tenant_id), 1);
    cr_assert_eq(put_with("v1", "1", false, &limit), ADMIN_DONE, "a trial uses no request id up");
}

Test(admin_limit, a_repeated_request_gets_the_first_answer)
{
    struct support_tenant tenant = support_tenant_make("l-repeat", 1000, 1000, 100);
    struct ledger_limit first = main_limit(&tenant, 800), second = main_limit(&tenant, 700);
    struct ledger_limit repeat = first, other = first, added = first;

    cr_assert_eq(put_with("p1", "1", false, &first), ADMIN_DONE);
    cr_assert_eq(put_with("p2", "2", false, &second), ADMIN_DONE);
    cr_assert_eq(put_with("p1", "1", false, &repeat), ADMIN_REPEATED);
    cr_assert_eq(repeat.amount, 800);
    cr_assert_eq(repeat.version, 2);
    cr_assert_eq(repeat.soft_percent, 90);
    cr_assert_not(created);
    cr_assert_eq(rows_count, 1);
    cr_assert_eq(rows[0].stops.amount, 700, "the row is as it is now");
    other.amount = 801;
    cr_assert_eq(put_with("p1", "", false, &other), ADMIN_REQUEST_REUSED);
    added.limit_name = SLICE("added");
    cr_assert_eq(put_with("p3", "", false, &added), ADMIN_DONE);
    cr_assert_eq(put_with("p3", "", false, &added), ADMIN_REPEATED);
    cr_assert(created, "as the first answer said");
    cr_assert_eq(fixture_sql("SELECT count(*) FROM audit WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 3);
}

Test(admin_limit, removed_it_leaves_the_plan_and_its_name_starts_anew)
{
    struct support_tenant tenant = support_tenant_make("l-gone", 1000, 1000, 100);
    struct ledger_limit limit = {.tenant = SLICE("l-gone"), .limit_name = SLICE("main")};
    struct ledger_limit repeat = limit, again = main_limit(&tenant, 50);
    struct ledger_event *events;
    struct plan *plan;
    size_t count;

    cr_assert_eq(delete("d1", "5", &limit), ADMIN_ETAG);
    cr_assert_eq(delete("d1", "1", &limit), ADMIN_DONE);
    cr_assert_eq(limit.limit_id, tenant.limit_id);
    cr_assert(slice_equal(limit.meter, SLICE("tokens")));
    cr_assert_eq(delete("d1", "1", &repeat), ADMIN_REPEATED);
    cr_assert_eq(repeat.limit_id, tenant.limit_id);
    cr_assert_eq(repeat.amount, 1000);
    cr_assert_eq(delete("d2", "", &repeat), ADMIN_NOT_FOUND);
    plan = plan_of("l-gone");
    cr_assert_eq(plan->limits_count, 0);
    plan_unref(plan);
    cr_assert_eq(put_with("", "1", false, &again), ADMIN_ETAG);
    cr_assert_eq(put(&again), ADMIN_DONE);
    cr_assert(created);
    cr_assert(again.limit_id > tenant.limit_id);
    cr_assert_eq(again.version, 1);
    cr_assert_eq(fixture_sql("SELECT leased FROM quota WHERE limit_id = %" PRId64,
                             tenant.limit_id), 100, "what is out is honoured");
    events = events_of(tenant.tenant_id, &count);
    cr_assert_eq(count, 2);
    expect_event(&events[0], EVENT_LIMIT_CHANGED, 0);
    expect_event(&events[1], EVENT_LIMIT_CHANGED, 0);
}

/* Who paused at a stop goes on; and what is committed later meets no stop, however much it is. */
Test(admin_limit, a_removed_limit_stops_nothing_any_more)
{
    struct support_tenant tenant = support_tenant_make("l-freed", 1000, 1000, 100);
    struct ledger_limit limit = {.tenant = SLICE("l-freed"), .limit_name = SLICE("main")};
    struct ledger_event *events;
    size_t count;

    fixture_sql_do("UPDATE quota SET committed = 900, level = 1, lease_target = 50, recall = true"
                   " WHERE tenant_id = %" PRId64, tenant.tenant_id);
    cr_assert_eq(delete("", "", &limit), ADMIN_DONE);
    cr_assert_eq(limit.amount, 1000, "as it was");
    cr_assert_eq(fixture_sql("SELECT count(*) FROM quota WHERE tenant_id = %" PRId64
                             " AND unlimited AND cap_amount = 9007199254740991 AND level = 0"
                             " AND lease_target = 0 AND NOT recall AND leased = 100",
                             tenant.tenant_id), 1);
    events = events_of(tenant.tenant_id, &count);
    cr_assert_eq(count, 2);
    expect_event(&events[0], EVENT_LIMIT_CHANGED, 0);
    cr_assert_eq(events[0].level, LEVEL_REMOVED);
    cr_assert(events[0].stops.unlimited);
    cr_assert_eq(events[0].committed, 900);
    expect_event(&events[1], EVENT_SOFT_STOP, 2);
    cr_assert_eq(events[1].level, 1);
}

Test(admin_limit, lists_in_pages_and_knows_no_strangers)
{
    struct support_tenant tenant = support_tenant_make("l-list", 1000, 1000, 0);
    struct ledger_limit *page;
    size_t count;
    bool exists;

    for (int i = 0; i < 3; i++) {
        struct ledger_limit limit = main_limit(&tenant, i);

        limit.limit_name = slice_from_cstr(i == 0 ? "b" : i == 1 ? "z" : "a");
        cr_assert_eq(put(&limit), ADMIN_DONE);
    }
    cr_assert_eq(ledger_limit_list(db, &arena, SLICE("l-list"), SLICE(""), 3, &page, &count,
                                   &exists), STATUS_OK);
    cr_assert(exists);
    cr_assert_eq(count, 3);
    cr_assert(slice_equal(page[0].limit_name, SLICE("a")));
    cr_assert(slice_equal(page[2].limit_name, SLICE("main")));
    cr_assert(slice_equal(page[2].tenant, SLICE("l-list")));
    cr_assert_eq(ledger_limit_list(db, &arena, SLICE("l-list"), SLICE("main"), 3, &page, &count,
                                   &exists), STATUS_OK);
    cr_assert_eq(count, 1);
    cr_assert_eq(ledger_limit_list(db, &arena, SLICE("l-nobody"), SLICE(""), 3, &page, &count,
                                   &exists), STATUS_OK);
    cr_assert_not(exists);
    cr_assert_eq(count, 0);
}

Test(admin_limit, a_meter_without_one_gets_an_unlimited_limit_once)
{
    struct support_tenant tenant = support_tenant_make("l-implicit", 1000, 1000, 0);
    struct plan *plan;

    cr_assert_eq(ledger_limit_implicit(db, tenant.tenant_id, SLICE("seconds"), 10000), STATUS_OK, "%s",
                 database_error(db));
    cr_assert_eq(ledger_limit_implicit(db, tenant.tenant_id, SLICE("seconds"), 10000), STATUS_OK);
    plan = plan_of("l-implicit");
    cr_assert_eq(plan->limits_count, 1, "the tenant does not admit such meters (any more)");
    plan_unref(plan);
    fixture_sql_do("UPDATE tenant SET admit_unlimited_meters = true WHERE tenant_id = %" PRId64,
                   tenant.tenant_id);
    plan = plan_of("l-implicit");
    cr_assert_eq(plan->config_version, 2);
    cr_assert_eq(plan->limits_count, 2);
    cr_assert(slice_equal(plan->limits[1].name, SLICE("unlimited.seconds")));
    cr_assert(plan->limits[1].unlimited);
    cr_assert_eq(plan->limits[1].cap, AMOUNT_MAX);
    plan_unref(plan);
}

/* --- at once ------------------------------------------------------------------------------------------ */

enum { THREADS = 4, ROUNDS = 10 };

struct writer {
    pthread_t thread;
    int number;
    int failures;
    enum ledger_admin answer;
};

static void *write_limits(void *user)
{
    static const char letters[THREADS * ROUNDS + 1] = "abcdefghijklmnopqrstuvwxyz0123456789_-.+";
    struct writer *writer = user;
    struct database *own = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    struct ledger_note note = note_of("");
    struct arena memory;

    arena_init(&memory, 4096, 1 << 24);
    for (int i = 0; i < ROUNDS; i++) {
        struct ledger_limit limit = {
            .tenant = SLICE("l-many"),
            .limit_name = slice_of(&letters[writer->number * ROUNDS + i], 1),
            .meter = SLICE("tokens"),
            .period = PERIOD_NEVER,
            .amount = 100 + i,
        };
        struct quota_row *open;
        size_t count;
        bool is_new;

        if (ledger_limit_put(own, &memory, &note, SLICE(""), false, limits_max, &limit, &is_new, &open,
                             &count,
                             &writer->answer) != STATUS_OK || writer->answer != ADMIN_DONE)
            writer->failures++;
    }
    arena_done(&memory);
    database_destroy(own);
    return NULL;
}

/* Backends report what they met when they end; by then only the test's own is left. */
static bool others_are_gone(void *user)
{
    (void)user;
    return fixture_sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holdfast'")
           <= 1;
}

static int64_t deadlocks(void)
{
    cr_assert(fixture_until(10000, others_are_gone, NULL));
    return fixture_sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()");
}

Test(admin_limit, many_writers_of_one_tenant_do_not_stand_in_each_others_way)
{
    struct support_tenant tenant = support_tenant_make("l-many", 1000, 1000, 0);
    int64_t before = deadlocks();
    struct writer writers[THREADS] = {0};

    for (int i = 0; i < THREADS; i++) {
        writers[i].number = i;
        cr_assert_eq(pthread_create(&writers[i].thread, NULL, write_limits, &writers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(writers[i].thread, NULL);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(writers[i].failures, 0);
    cr_assert_eq(fixture_sql("SELECT config_version FROM tenant WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 1 + THREADS * ROUNDS);
    cr_assert_eq(deadlocks(), before);
}

/* --- a row that is made while its limit changes ------------------------------------------------------- */

static const struct statement lower = {
    "test_lower", "UPDATE limit_ SET amount = 50, cap = 50, soft = 45 WHERE tenant_id = $1::bigint"};
static const struct statement share = {
    "test_share", "SELECT limit_id FROM limit_ WHERE tenant_id = $1::bigint FOR SHARE"};
static const struct statement make = {
    "test_make", "INSERT INTO quota (tenant_id, limit_id, period_start_ms, period_end_ms,"
                 " limit_amount, cap_amount, soft_amount, unlimited) SELECT tenant_id, limit_id, 0,"
                 " 9223372036854775807, amount, cap, soft, false FROM limit_"
                 " WHERE tenant_id = $1::bigint"};

struct other_side {
    pthread_t thread;
    const struct support_tenant *tenant;
    enum status status;
    int64_t cap;
    size_t rows;
};

static enum status run_on(struct database *on, const struct statement *statement,
                          int64_t tenant_id)
{
    struct sql_params params;

    sql_params_begin(&params, &arena);
    sql_add_i64(&params, tenant_id);
    return database_run(on, statement, &params, NULL);
}

static bool somebody_waits(void *user)
{
    (void)user;
    return fixture_sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                       " AND application_name = 'holdfast'") > 0;
}

static void *first_touch(void *user)
{
    struct other_side *side = user;
    struct database *own = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    struct ledger_grant grant = {
        .tenant_id = side->tenant->tenant_id,
        .epoch = side->tenant->epoch,
        .ref = {side->tenant->limit_id, 0},
        .needed = 100,
        .deadline_ms = INT64_C(1) << 42,
    };
    struct arena memory;
    int64_t now_ms;

    arena_init(&memory, 4096, 1 << 20);
    side->status = ledger_grant_run(own, &memory, &grant, 1, &now_ms);
    side->cap = grant.quota.stops.cap;
    arena_done(&memory);
    database_destroy(own);
    return NULL;
}

static void *lower_it(void *user)
{
    struct other_side *side = user;
    struct database *own = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    struct ledger_limit limit = main_limit(side->tenant, 50);
    struct ledger_note note = note_of("");
    struct quota_row *open = NULL;
    enum ledger_admin answer;
    struct arena memory;
    bool is_new;

    arena_init(&memory, 4096, 1 << 20);
    side->status = ledger_limit_put(own, &memory, &note, SLICE(""), false, limits_max, &limit, &is_new,
                                    &open, &side->rows, &answer);
    side->cap = side->rows > 0 ? open[0].stops.cap : -1;
    arena_done(&memory);
    database_destroy(own);
    return NULL;
}

/* Holds the first statements' locks open while the other side runs into them. */
static void run_into(const struct support_tenant *tenant, const struct statement *first,
                     const struct statement *second, void *(*other)(void *user),
                     struct other_side *side)
{
    struct database *open = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));

    fixture_sql_do("DELETE FROM quota WHERE tenant_id = %" PRId64, tenant->tenant_id);
    side->tenant = tenant;
    cr_assert_eq(database_begin(open), STATUS_OK);
    cr_assert_eq(run_on(open, first, tenant->tenant_id), STATUS_OK);
    if (second)
        cr_assert_eq(run_on(open, second, tenant->tenant_id), STATUS_OK);
    cr_assert_eq(pthread_create(&side->thread, NULL, other, side), 0);
    cr_assert(fixture_until(1500, somebody_waits, NULL));
    cr_assert_eq(database_commit(open), STATUS_OK);
    pthread_join(side->thread, NULL);
    cr_assert_eq(side->status, STATUS_OK);
    database_destroy(open);
}

Test(admin_limit, a_row_that_is_made_while_the_limit_changes_has_the_new_one)
{
    struct support_tenant tenant = support_tenant_make("l-race-make", 1000, 1000, 0);
    struct other_side side = {0};

    run_into(&tenant, &lower, NULL, first_touch, &side);
    cr_assert_eq(side.cap, 50);
    cr_assert_eq(fixture_sql("SELECT leased FROM quota WHERE tenant_id = %" PRId64
                             " AND cap_amount = 50", tenant.tenant_id), 50);
}

Test(admin_limit, a_change_reaches_a_row_that_is_being_made)
{
    struct support_tenant tenant = support_tenant_make("l-race-change", 1000, 1000, 0);
    struct other_side side = {0};

    run_into(&tenant, &share, &make, lower_it, &side);
    cr_assert_eq(side.rows, 1);
    cr_assert_eq(side.cap, 50);
    cr_assert_eq(fixture_sql("SELECT cap_amount FROM quota WHERE tenant_id = %" PRId64,
                             tenant.tenant_id), 50);
}

/* --- the same request from many ------------------------------------------------------------------------- */

struct asker {
    pthread_t thread;
    struct ledger_limit limit;
    struct arena memory; /* the answer's; the thread's until it has ended */
    bool is_new;
    enum ledger_admin answer;
    enum status status;
};

static void *ask_for_it(void *user)
{
    struct asker *asker = user;
    struct database *own = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    struct ledger_note note = note_of("same");
    struct quota_row *open;
    size_t count;

    asker->status = ledger_limit_put(own, &asker->memory, &note, SLICE(""), false, limits_max,
                                     &asker->limit, &asker->is_new, &open, &count, &asker->answer);
    database_destroy(own);
    return NULL;
}

/* All get the answer of the one that was first; its version is `version`. */
static void ask_at_once(const struct ledger_limit *limit, bool is_new, int64_t version)
{
    struct asker askers[THREADS] = {0};
    int done = 0;

    for (int i = 0; i < THREADS; i++) {
        askers[i].limit = *limit;
        arena_init(&askers[i].memory, 4096, 1 << 20);
        cr_assert_eq(pthread_create(&askers[i].thread, NULL, ask_for_it, &askers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(askers[i].thread, NULL);
        cr_assert_eq(askers[i].status, STATUS_OK, "%s", status_name(askers[i].status));
        cr_assert(askers[i].answer == ADMIN_DONE || askers[i].answer == ADMIN_REPEATED);
        cr_assert_eq(askers[i].limit.version, version);
        cr_assert_eq(askers[i].is_new, is_new);
        done += askers[i].answer == ADMIN_DONE;
        arena_done(&askers[i].memory);
    }
    cr_assert_eq(done, 1);
}

Test(admin_limit, one_request_from_many_connections_is_done_once)
{
    struct support_tenant changed = support_tenant_make("l-same-change", 1000, 1000, 0);
    struct support_tenant added = support_tenant_make("l-same-add", 1000, 1000, 0);
    struct ledger_limit limit = main_limit(&changed, 500);

    ask_at_once(&limit, false, 2);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM audit WHERE tenant_id = %" PRId64,
                             changed.tenant_id), 1);
    limit = main_limit(&added, 500);
    limit.limit_name = SLICE("other");
    ask_at_once(&limit, true, 1);
    cr_assert_eq(fixture_sql("SELECT count(*) FROM audit WHERE tenant_id = %" PRId64,
                             added.tenant_id), 1);
    cr_assert_eq(fixture_sql("SELECT config_version FROM tenant WHERE tenant_id = %" PRId64,
                             added.tenant_id), 2);
}

Test(admin_limit, one_that_the_service_made_becomes_a_limit_of_its_owner)
{
    struct support_tenant tenant = support_tenant_make("l-explicit", 1000, 1000, 0);
    struct ledger_limit limit = main_limit(&tenant, 50);
    struct ledger_limit *all;
    size_t count;
    bool exists;

    cr_assert_eq(ledger_limit_implicit(db, tenant.tenant_id, SLICE("seconds"), 10000), STATUS_OK);
    cr_assert_eq(ledger_limit_list(db, &arena, SLICE("l-explicit"), SLICE("main"), 10, &all, &count,
                                   &exists),
                 STATUS_OK);
    cr_assert_eq(count, 1);
    cr_assert(all[0].implicit && all[0].unlimited);
    limit.limit_name = SLICE("unlimited.seconds");
    limit.meter = SLICE("seconds");
    cr_assert_eq(put(&limit), ADMIN_DONE);
    cr_assert_not(created);
    cr_assert_not(limit.implicit);
    cr_assert_eq(limit.limit_id, all[0].limit_id);
    cr_assert_eq(limit.version, 2);
    cr_assert_eq(ledger_limit_list(db, &arena, SLICE("l-explicit"), SLICE("main"), 10, &all, &count,
                                   &exists),
                 STATUS_OK);
    cr_assert(count == 1 && !all[0].implicit && !all[0].unlimited && all[0].amount == 50);
    cr_assert_eq(ledger_limit_implicit(db, tenant.tenant_id, SLICE("seconds"), 10000), STATUS_OK);
    cr_assert_eq(put(&limit), ADMIN_DONE);
    cr_assert_eq(limit.version, 3, "nothing was made of it again");
}
