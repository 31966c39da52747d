/*
 * What the granter answers: refusals that say no more than the root said, repeats that get their first
 * decision whatever an admin has changed since, due holds that make way for a Reserve at once, and
 * tenants that do not stand in each other's way.
 */
#include "tests/integration/caller.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { NEVER = HOLDFAST__V1__PERIOD__PERIOD_NEVER };

static struct fixture_server server;
static struct stub_channel *channel;

static void set_up(void)
{
    fixture_server_start(&server, NULL);
    channel = fixture_channel(server.listen, NULL);
}

static void tear_down(void)
{
    stub_channel_destroy(channel);
    fixture_server_stop(&server);
}

TestSuite(grants, .init = set_up, .fini = tear_down);

static struct answer reserve(const char *tenant, const char *job, int64_t units)
{
    struct ask ask = {.tenant = tenant,
                      .job = job,
                      .meters_count = 1,
                      .meters = {"calls"},
                      .units = {units},
                      .ttl_ms = 60000};
    struct answer answer;

    call_reserve(channel, &ask, &answer);
    cr_assert(answer.code == STUB_OK || answer.reason[0], "Reserve %s: %d %s", job, answer.code,
              answer.text);
    return answer;
}

static struct answer release(const char *tenant, const char *job)
{
    struct ask ask = {.tenant = tenant, .job = job};
    struct answer answer;

    call_release(channel, &ask, &answer);
    return answer;
}

/* --- refusals ----------------------------------------------------------------------------------- */

Test(grants, a_refusal_of_too_much_does_not_refuse_less)
{
    static const char tenant[] = "grants-less";
    char job[32];

    plan_tenant(channel, tenant);
    plan_limit(channel, tenant, "l", "", "calls", NEVER, 110);
    for (int i = 0; i < 30; i++) {
        struct answer answer;

        snprintf(job, sizeof(job), "above-%d", i);
        cr_assert_eq(reserve(tenant, job, 111).decision, REJECT);
        snprintf(job, sizeof(job), "below-%d", i);
        answer = reserve(tenant, job, 89);
        cr_assert(admitted(&answer), "round %d: decision %d %s", i, answer.decision, answer.text);
        cr_assert_eq(release(tenant, job).code, STUB_OK);
    }
}

Test(grants, a_raise_is_in_force_for_the_next_reserve)
{
    static const char tenant[] = "grants-raise";
    char job[32];

    plan_tenant(channel, tenant);
    for (int i = 0; i < 30; i++) {
        struct answer answer;

        plan_limit(channel, tenant, "l", "", "calls", NEVER, 10 * (i + 1));
        snprintf(job, sizeof(job), "full-%d", i);
        answer = reserve(tenant, job, 10);
        cr_assert(admitted(&answer), "round %d: decision %d %s", i, answer.decision, answer.text);
        snprintf(job, sizeof(job), "over-%d", i);
        cr_assert_eq(reserve(tenant, job, 10).decision, REJECT);
    }
}

/* --- repeats after an admin's change ------------------------------------------------------------ */

static struct answer commit(const char *tenant, const char *job)
{
    struct ask ask = {.tenant = tenant, .job = job};
    struct answer answer;

    call_commit(channel, &ask, &answer);
    return answer;
}

static void expect_repeats(const char *tenant, const char *held_attempt, const char *what)
{
    struct answer held = reserve(tenant, "held", 40), committed = reserve(tenant, "committed", 20);

    cr_assert(admitted(&held) && held.replayed, "%s: held: %d %s %s", what, held.decision,
              held.reason, held.text);
    cr_assert_str_eq(held.attempt, held_attempt, "%s", what);
    cr_assert_eq(committed.decision, ALREADY_COMMITTED, "%s: committed: %d %s %s", what,
                 committed.decision, committed.reason, committed.text);
}

static void suspend(const char *tenant, bool suspended)
{
    fixture_sql_do("UPDATE tenant SET state = '%c', config_version = config_version + 1,"
                   " config_position = config_position_next() WHERE name = '%s'",
                   suspended ? 'S' : 'A', tenant);
}

static bool is_rejected(void *user)
{
    char job[32];
    static int number;
    struct answer answer;

    snprintf(job, sizeof(job), "probe-%d", number++);
    answer = reserve(user, job, 1);
    return answer.code != STUB_OK || answer.decision == REJECT;
}

Test(grants, a_repeat_gets_its_first_answer_whatever_was_changed)
{
    static const char tenant[] = "grants-repeats";
    struct answer held;

    plan_tenant(channel, tenant);
    plan_limit(channel, tenant, "l", "", "calls", NEVER, 1000);
    held = reserve(tenant, "held", 40);
    cr_assert(admitted(&held));
    reserve(tenant, "committed", 20);
    cr_assert_eq(commit(tenant, "committed").code, STUB_OK);
    expect_repeats(tenant, held.attempt, "nothing changed");

    plan_limit(channel, tenant, "l", "", "calls", NEVER, 10);
    expect_repeats(tenant, held.attempt, "lowered below the amount");
    plan_limit(channel, tenant, "l", "", "calls", NEVER, 100000);
    expect_repeats(tenant, held.attempt, "raised");
    for (int i = 0; i < 40; i++) {
        char limit[16];

        snprintf(limit, sizeof(limit), "more-%d", i);
        plan_limit(channel, tenant, limit, "", "calls", NEVER, 100000);
    }
    expect_repeats(tenant, held.attempt, "40 limits more");

    suspend(tenant, true);
    cr_assert(fixture_until(5000, is_rejected, (void *)(uintptr_t)tenant));
    expect_repeats(tenant, held.attempt, "suspended");
    suspend(tenant, false);

    fixture_sql_do("UPDATE limit_ SET deleted_at = clock_timestamp() WHERE tenant_id = %" PRId64,
                   tenant_number(tenant));
    suspend(tenant, false);
    cr_assert(fixture_until(5000, is_rejected, (void *)(uintptr_t)tenant));
    expect_repeats(tenant, held.attempt, "the meter has no limit");
    cr_assert_eq(release(tenant, "held").code, STUB_OK);
}

static void expect_first(const char *tenant, const char *job, int64_t units,
                         const struct answer *first, const char *what)
{
    struct answer again = reserve(tenant, job, units);

    cr_assert(admitted(&again) && again.replayed, "%s: %s: %d %s", what, job, again.decision,
              again.text);
    cr_assert_eq(again.decision, first->decision, "%s: %s: %d", what, job, again.decision);
    cr_assert_str_eq(again.reasons, first->reasons, "%s: %s", what, job);
}

/* Soft stop at 80 % of 100, then 100 and its overage of 10: one hold below, one at each. */
Test(grants, a_repeat_gets_its_first_decision_and_reasons)
{
    static const char tenant[] = "grants-first";
    struct answer allowed, warned, over;

    plan_tenant(channel, tenant);
    plan_limit(channel, tenant, "l", "", "calls", NEVER, 100);
    fixture_sql_do("UPDATE limit_ SET cap = 110 WHERE tenant_id = %" PRId64, tenant_number(tenant));
    allowed = reserve(tenant, "allowed", 40);
    warned = reserve(tenant, "warned", 50);
    over = reserve(tenant, "over", 15);
    cr_assert_eq(allowed.decision, ALLOW);
    cr_assert_str_eq(allowed.reasons, "");
    cr_assert_eq(warned.decision, WARN);
    cr_assert_not_null(strstr(warned.reasons, "l  calls l: 90 used and held"), "%s", warned.reasons);
    cr_assert_eq(over.decision, WARN);
    cr_assert_not_null(strstr(over.reasons, "inside the overage"), "%s", over.reasons);

#define EXPECT_FIRST(what)                                                                         \
    expect_first(tenant, "allowed", 40, &allowed, what);                                           \
    expect_first(tenant, "warned", 50, &warned, what);                                             \
    expect_first(tenant, "over", 15, &over, what)
    EXPECT_FIRST("at once");
    plan_limit(channel, tenant, "l", "", "calls", NEVER, 10);
    EXPECT_FIRST("lowered");
    plan_limit(channel, tenant, "l", "", "calls", NEVER, 100000);
    EXPECT_FIRST("raised");
    suspend(tenant, true);
    cr_assert(fixture_until(5000, is_rejected, (void *)(uintptr_t)tenant));
    EXPECT_FIRST("suspended");
    suspend(tenant, false);
    fixture_sql_do("UPDATE limit_ SET deleted_at = clock_timestamp() WHERE tenant_id = %" PRId64,
                   tenant_number(tenant));
    suspend(tenant, false);
    cr_assert(fixture_until(5000, is_rejected, (void *)(uintptr_t)tenant));
    EXPECT_FIRST("deleted");
#undef EXPECT_FIRST
}

/* --- steps over two stores ---------------------------------------------------------------------- */

Test(grants, a_recall_that_was_cut_short_costs_nothing)
{
    static const char tenant[] = "grants-recall";
    const struct fixture_server_options faults = {.faults = "recall.between=fail"};
    struct ask ask = {.tenant = tenant,
                      .job = "a",
                      .meters_count = 1,
                      .meters = {"calls"},
                      .units = {100}};
    struct answer answer;
    int64_t lent;

    plan_tenant(channel, tenant);
    plan_limit(channel, tenant, "l", "", "calls", NEVER, 100);
    cr_assert(admitted((answer = reserve(tenant, "a", 10), &answer)));
    lent = fixture_sql("SELECT leased FROM quota WHERE tenant_id = %" PRId64,
                       tenant_number(tenant));
    cr_assert(lent > 10, "nothing is idle");

    /* Redis gives the idle units up, the database does not hear of it. */
    fixture_server_stop(&server);
    fixture_server_restart(&server, &faults);
    call_commit(channel, &ask, &answer);
    cr_assert_eq(answer.code, STUB_OK, "%s", answer.text);
    fixture_server_stop(&server);
    fixture_server_restart(&server, NULL);

    plan_limit(channel, tenant, "l", "", "calls", NEVER, 100 + lent - 10);
    answer = reserve(tenant, "b", lent - 10);
    cr_assert(admitted(&answer), "decision %d, lent %" PRId64 ", row %s", answer.decision, lent,
              fixture_sql_text("SELECT row_to_json(q)::text FROM quota q WHERE tenant_id = %" PRId64,
                               tenant_number(tenant)));
}

static bool has_expired(void *user)
{
    return fixture_sql("SELECT count(*) FROM expired_hold WHERE tenant_id = %" PRId64,
                       tenant_number(user)) > 0;
}

static bool has_room(void *user)
{
    const char *tenant = user;
    static int number;
    int64_t free_units = fixture_sql("SELECT cap_amount - committed - debt FROM quota"
                                     " WHERE tenant_id = %" PRId64, tenant_number(tenant));
    char job[32];

    snprintf(job, sizeof(job), "all-%d", number++);
    return admitted((struct answer[]){reserve(tenant, job, free_units)});
}

/* What is lost in a gap is lost for as long as the lease lasts: a minute at least. */
static void cut_at(const char *fault, const char *tenant)
{
    char faults[64];
    struct fixture_server_options options = {.faults = faults};
    struct ask brief = {.tenant = tenant,
                        .job = "brief",
                        .meters_count = 1,
                        .meters = {"calls"},
                        .units = {5},
                        .ttl_ms = 1500};
    struct ask more = {.tenant = tenant,
                       .job = "a",
                       .meters_count = 1,
                       .meters = {"calls"},
                       .units = {70},
                       .timeout_ms = 3000};
    struct answer answer;

    snprintf(faults, sizeof(faults), "%s=fail", fault);
    plan_tenant(channel, tenant);
    plan_limit(channel, tenant, "l", "", "calls", NEVER, 100);
    call_reserve(channel, (struct ask[]){{.tenant = tenant, .job = "a", .meters_count = 1,
                                          .meters = {"calls"}, .units = {10}, .ttl_ms = 3000}},
                 &answer);
    cr_assert(admitted(&answer));
    call_reserve(channel, (struct ask[]){{.tenant = tenant, .job = "b", .meters_count = 1,
                                          .meters = {"calls"}, .units = {4}, .ttl_ms = 3000}},
                 &answer);
    cr_assert(admitted(&answer));

    /* From here on nothing gets over the gap. */
    fixture_server_stop(&server);
    fixture_server_restart(&server, &options);
    call_reserve(channel, &brief, &answer);
    brief.job = "large";
    brief.units[0] = 60;
    call_reserve(channel, &brief, &answer);
    release(tenant, "b");
    brief.job = "large";
    brief.ttl_ms = 3000;
    brief.timeout_ms = 3000;
    call_extend(channel, &brief, &answer);
    call_commit(channel, &more, &answer);
    (void)put_limit(channel, tenant, "l", "", "calls", NEVER, 90);
    cr_assert(fixture_until(8000, has_expired, (void *)(uintptr_t)tenant), "%s: no reap", fault);
    fixture_server_kill(&server);
    fixture_server_restart(&server, NULL);
    cr_assert(fixture_until(8000, has_room, (void *)(uintptr_t)tenant), "%s: %s", fault,
              fixture_sql_text("SELECT row_to_json(q)::text FROM quota q WHERE tenant_id = %" PRId64,
                               tenant_number(tenant)));
    books_balance(tenant);
}

Test(grants, both_stores_agree_after_a_gap)
{
    static const char *const faults[] = {"grant.between", "extend.between",  "notify.lost",
                                         "reap.between",  "recall.between", "limit.between"};
    char tenant[32];

    for (size_t i = 0; i < ARRAY_COUNT(faults); i++) {
        snprintf(tenant, sizeof(tenant), "gap-%zu", i);
        cut_at(faults[i], tenant);
    }
}

/* --- what cannot be read ------------------------------------------------------------------------- */

enum { REPEATERS = 48 };

static struct repeat {
    char job[16];
    struct ask ask;
    struct answer answer;
} repeats[REPEATERS];

/* Every sixth is of the tenant whose record cannot be read. */
static bool is_unreadable(int index)
{
    return index % 6 == 2;
}

static void repeat_one(void *user, int index)
{
    (void)user;
    call_reserve(channel, &repeats[index].ask, &repeats[index].answer);
}

Test(grants, a_record_that_cannot_be_read_is_that_tenants_alone)
{
    struct ask ask = {.tenant = "unreadable", .job = "b", .meters_count = 1, .meters = {"calls"},
                      .units = {1}, .ttl_ms = 60000};
    struct answer answer;

    plan_tenant(channel, "unreadable");
    plan_tenant(channel, "readable");
    plan_limit(channel, "unreadable", "l", "", "calls", NEVER, 1000);
    plan_limit(channel, "readable", "l", "", "calls", NEVER, 1000);
    call_reserve(channel, &ask, &answer);
    cr_assert(admitted(&answer), "%s", answer.text);
    call_commit(channel, &ask, &answer);
    cr_assert_eq(answer.code, STUB_OK, "%s", answer.text);
    for (int i = 0; i < REPEATERS; i++) {
        snprintf(repeats[i].job, sizeof(repeats[i].job), is_unreadable(i) ? "b" : "r-%d", i);
        repeats[i].ask = ask;
        repeats[i].ask.tenant = is_unreadable(i) ? "unreadable" : "readable";
        repeats[i].ask.job = repeats[i].job;
    }
    crowd(REPEATERS, repeat_one, NULL);
    for (int i = 0; i < REPEATERS; i++)
        cr_assert(is_unreadable(i) || admitted(&repeats[i].answer), "%s", repeats[i].answer.text);
    fixture_sql_do("UPDATE ledger SET counted = '{NULL,2,3,4,5}' WHERE tenant_id = %" PRId64,
                   tenant_number("unreadable"));
    for (int round = 0; round < rounds(6, 60); round++) {
        crowd(REPEATERS, repeat_one, NULL);
        for (int i = 0; i < REPEATERS; i++) {
            const struct answer *now = &repeats[i].answer;

            if (is_unreadable(i))
                cr_assert_eq(now->code, STUB_INTERNAL, "%d %s", now->code, now->text);
            else
                cr_assert(admitted(now) && now->replayed, "%d %s", now->code, now->text);
        }
    }
    fixture_sql_do("DELETE FROM ledger WHERE tenant_id = %" PRId64, tenant_number("unreadable"));
    books_balance("readable");
}
