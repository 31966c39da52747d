/*
 * A hold that nobody finishes gives its capacity back by itself; work that ends later still counts.
 */
#include "tests/integration/caller.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

enum { NEVER = HOLDFAST__V1__PERIOD__PERIOD_NEVER, TTL_MS = 500 };

static struct fixture_server server;
static struct stub_channel *channel;

static void open_scene(void)
{
    fixture_server_start(&server, NULL);
    channel = fixture_channel(server.listen, NULL);
}

static void close_scene(void)
{
    stub_channel_destroy(channel);
    fixture_server_stop(&server);
}

TestSuite(expiry, .init = open_scene, .fini = close_scene);

static void plan(const char *tenant, int64_t units)
{
    plan_tenant(channel, tenant);
    plan_limit(channel, tenant, "calls", "", "calls", NEVER, units);
}

static struct ask ask_for(const char *tenant, const char *job, int64_t units, int64_t ttl_ms)
{
    return (struct ask){.tenant = tenant,
                        .job = job,
                        .meters_count = 1,
                        .meters = {"calls"},
                        .units = {units},
                        .ttl_ms = ttl_ms};
}

static void hold(const struct ask *ask, struct answer *ret)
{
    call_reserve(channel, ask, ret);
    cr_assert(admitted(ret), "%s: %d %s %s", ask->job, ret->decision, ret->reason, ret->text);
}

Test(expiry, capacity_comes_back_by_itself)
{
    struct ask ask = ask_for("expiry-back", "nobody", 100, TTL_MS);
    struct answer answer;
    int64_t start_us;

    plan("expiry-back", 100);
    start_us = fixture_now_us();
    hold(&ask, &answer);
    cr_assert(books_held("expiry-back") == 100);
    cr_assert(books_free_within("expiry-back", 2500 - (fixture_now_us() - start_us) / 1000));
    cr_log_info("back after %" PRId64 " ms", (fixture_now_us() - start_us) / 1000);
    cr_assert(fixture_now_us() - start_us >= TTL_MS * 1000);
    cr_assert(books_holds("expiry-back") == 0);
    books_balance("expiry-back");
}

/* Whoever needs the capacity does not wait for the janitor. */
Test(expiry, who_would_be_rejected_gets_the_capacity_at_once)
{
    enum { LATEST_MS = TTL_MS + 500 * FIXTURE_SLOWER };
    struct ask ask = ask_for("expiry-once", "nobody", 100, TTL_MS);
    struct answer answer = {0};
    int64_t start_us, elapsed_us;
    char job[32];

    plan("expiry-once", 100);
    for (int i = 0; i < rounds(5, 50); i++) {
        snprintf(job, sizeof(job), "nobody-%d", i);
        ask = ask_for("expiry-once", job, 100, TTL_MS);
        start_us = fixture_now_us();
        hold(&ask, &answer);
        snprintf(job, sizeof(job), "next-%d", i);
        ask = ask_for("expiry-once", job, 100, 60000);
        do {
            call_reserve(channel, &ask, &answer);
            elapsed_us = fixture_now_us() - start_us;
            cr_assert(answer.code == STUB_OK, "%s", answer.text);
            cr_assert(elapsed_us < LATEST_MS * 1000, "rejected after %" PRId64 " us", elapsed_us);
        } while (!admitted(&answer));
        cr_assert(elapsed_us >= TTL_MS * 1000, "admitted beside a live hold");
        call_release(channel, &ask, &answer);
        cr_assert(answer.code == STUB_OK, "%s", answer.text);
    }
    books_balance("expiry-once");
}

static bool is_expired(void *user)
{
    struct answer answer;

    call_get(channel, user, &answer);
    return answer.code == STUB_OK && answer.state == EXPIRED;
}

static bool is_past(void *user)
{
    return fixture_now_us() >= *(int64_t *)user;
}

static void commits_late(struct ask ask)
{
    struct answer answer;

    ask.units[0] = 60;
    for (int i = 0; i < 2; i++) {
        call_commit(channel, &ask, &answer);
        cr_assert(answer.code == STUB_OK, "%s %s", answer.reason, answer.text);
        cr_assert(answer.late && answer.replayed == (i == 1));
        cr_assert(answer.committed + answer.debt == 60);
    }
    ask.id = NULL;
    call_get(channel, &ask, &answer);
    cr_assert(answer.state == COMMITTED && answer.late);
}

/* By the id alone, and by the job alone; the second time there is no room left: debt. */
Test(expiry, work_that_ends_after_its_hold_is_recorded_late)
{
    static const char tenant[] = "expiry-late";
    struct ask ask = ask_for(tenant, "by-id", 50, TTL_MS);
    struct answer first, second;
    int64_t end_us;

    plan(tenant, 100);
    hold(&ask, &first);
    ask.job = "by-job";
    hold(&ask, &second);
    end_us = fixture_now_us() + rounds(3000, 10000) * INT64_C(1000);
    cr_assert(fixture_until(2500, is_expired, &ask));
    ask.job = "by-id";
    cr_assert(fixture_until(2500, is_expired, &ask));
    cr_assert(books_free_within(tenant, 1000));
    cr_assert(fixture_until(60000, is_past, &end_us));
    cr_assert(is_expired(&ask));

    ask.id = first.id;
    commits_late(ask);
    ask = ask_for(tenant, "by-job", 50, TTL_MS);
    commits_late(ask);
    cr_assert(books_rows(tenant) == 2 && books_units(tenant) == 120);
    cr_assert(fixture_sql("SELECT count(*) FROM ledger WHERE late AND tenant_id = %" PRId64,
                          tenant_number(tenant)) == 2);
    cr_assert(fixture_sql("SELECT debt FROM quota WHERE tenant_id = %" PRId64,
                          tenant_number(tenant)) == 20);
    cr_assert(books_held(tenant) == 0);
    books_balance(tenant);
}

/* What the database refuses of one tenant keeps no other tenant's capacity. */
Test(expiry, a_hold_that_cannot_be_written_down_keeps_nobody_else)
{
    enum { TENANTS = 12, REFUSED = 5 };
    char names[TENANTS][32];
    struct answer answer;

    for (int i = 0; i < TENANTS; i++) {
        struct ask ask = ask_for(names[i], "nobody", 100, TTL_MS);

        snprintf(names[i], sizeof(names[i]), "expiry-beside-%d", i);
        plan(names[i], 100);
        if (i == 0)
            fixture_sql_do("CREATE FUNCTION test_raise() RETURNS trigger LANGUAGE plpgsql AS"
                           " 'BEGIN RAISE ''planted''; END'");
        if (i == REFUSED)
            fixture_sql_do("CREATE TRIGGER test_raise BEFORE INSERT ON expired_hold FOR EACH ROW"
                           " WHEN (new.tenant_id = %" PRId64 ") EXECUTE FUNCTION test_raise()",
                           tenant_number(names[i]));
        hold(&ask, &answer);
    }
    for (int i = 0; i < TENANTS; i++)
        cr_assert(i == REFUSED || books_free_within(names[i], 5000), "%s", names[i]);
    cr_assert(books_held(names[REFUSED]) == 100);
    fixture_sql_do("DROP TRIGGER test_raise ON expired_hold");
    cr_assert(books_free_within(names[REFUSED], 5000));
    for (int i = 0; i < TENANTS; i++)
        books_balance(names[i]);
}
