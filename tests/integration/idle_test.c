/*
 * Capacity that nobody uses comes back, and a lease ends with its longest live hold: so little of a limit is
 * set aside when Redis is lost, and a quota that nobody uses costs nothing.
 */
#include "tests/integration/caller.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { NEVER = HOLDFAST__V1__PERIOD__PERIOD_NEVER };
enum { LIMIT = 1000, LONG_MS = 900000, IDLE_MS = 20000, LEASE_MS = 60000, SETTLED_MS = 110000 };

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

TestSuite(idle, .init = set_up, .fini = tear_down, .timeout = 200);

static struct ask ask_of(const char *tenant, const char *job, int64_t units, int64_t ttl_ms)
{
    return (struct ask){.tenant = tenant,
                        .job = job,
                        .meters_count = 1,
                        .meters = {"calls"},
                        .units = {units},
                        .ttl_ms = ttl_ms};
}

static struct answer reserve(const char *tenant, const char *job, int64_t units, int64_t ttl_ms)
{
    struct ask ask = ask_of(tenant, job, units, ttl_ms);
    struct answer answer;

    call_reserve(channel, &ask, &answer);
    return answer;
}

static void hold(const char *tenant, const char *job, int64_t units, int64_t ttl_ms)
{
    struct answer answer = reserve(tenant, job, units, ttl_ms);

    cr_assert(admitted(&answer), "%s: decision %d %s %s", job, answer.decision, answer.reasons,
              answer.text);
}

static void commit(const char *tenant, const char *job, int64_t units)
{
    struct ask ask = ask_of(tenant, job, units, 0);
    struct answer answer;

    call_commit(channel, &ask, &answer);
    cr_assert_eq(answer.code, STUB_OK, "%s", answer.text);
}

static void release(const char *tenant, const char *job)
{
    struct ask ask = {.tenant = tenant, .job = job};
    struct answer answer;

    call_release(channel, &ask, &answer);
    cr_assert_eq(answer.code, STUB_OK, "%s", answer.text);
}

static void plan(const char *tenant)
{
    plan_tenant(channel, tenant);
    plan_limit(channel, tenant, "calls", "", "calls", NEVER, LIMIT);
}

static const char *row(const char *tenant)
{
    return fixture_sql_text("SELECT row_to_json(q)::text FROM quota q WHERE tenant_id = %" PRId64,
                            tenant_number(tenant));
}

/* How many of its rows meet the condition. */
static int64_t rows_with(const char *tenant, const char *condition)
{
    return fixture_sql("SELECT count(*) FROM quota WHERE tenant_id = %" PRId64 " AND %s",
                       tenant_number(tenant), condition);
}

/* From now on: what is not held is lent to a quarter at most, for a minute at most. */
static bool is_idle(void *tenant)
{
    return rows_with(tenant, "4 * (granted - returned - spent) <= cap_amount - committed - debt"
                             " - leased + (granted - returned - spent)"
                             " AND lease_deadline_ms <= extract(epoch FROM clock_timestamp())"
                             " * 1000 + 60000") == 1;
}

static bool is_settled(void *tenant)
{
    return rows_with(tenant, "lent") == 0;
}

Test(idle, a_quarter_of_what_is_free_stays_lent_and_a_lease_of_a_minute)
{
    static char tenant[] = "idle-quarter";
    int64_t begun_us;

    plan(tenant);
    hold(tenant, "long", 700, LONG_MS);
    commit(tenant, "long", 100);
    cr_assert(!is_idle(tenant), "%s", row(tenant));
    begun_us = fixture_now_us();
    cr_assert(fixture_until(IDLE_MS, is_idle, tenant), "%s", row(tenant));
    cr_log_info("idle after %" PRId64 " ms", (fixture_now_us() - begun_us) / 1000);
    hold(tenant, "all", 900, LONG_MS);
    release(tenant, "all");
    books_balance(tenant);
}

/* All that a live hold does not need is there at once or within a minute. */
Test(idle, after_a_restart_of_redis_with_its_data_little_is_set_aside)
{
    static char tenant[] = "idle-restart";
    char condition[200];

    plan(tenant);
    hold(tenant, "big", 880, LONG_MS);
    hold(tenant, "live", 20, 300000);
    release(tenant, "big");
    snprintf(condition, sizeof(condition), "leased = 20 AND lease_deadline_ms <="
             " extract(epoch FROM clock_timestamp()) * 1000 + 300000");
    for (int i = 0; i < IDLE_MS / 100 && rows_with(tenant, condition) == 0; i++)
        usleep(100000);
    cr_assert_eq(rows_with(tenant, condition), 1, "%s", row(tenant));
    fixture_stores("restart-redis", NULL);
    for (int i = 0; i < 50 && !admitted((struct answer[]){reserve(tenant, "rest", 980, 1000)}); i++)
        usleep(100000);
    hold(tenant, "rest", 980, 1000);
    cr_assert_eq(fixture_sql("SELECT granted - returned - spent FROM old_lease WHERE tenant_id = %"
                             PRId64, tenant_number(tenant)), 20);
    commit(tenant, "live", 20);
    books_balance(tenant);
}

/* Nobody touches it: its lease is set aside and closed all the same. */
Test(idle, what_a_loss_leaves_lent_in_a_quiet_tenant_comes_home)
{
    static char tenant[] = "idle-lost", other[] = "idle-other";

    plan(tenant);
    plan(other);
    hold(tenant, "gone", 100, 1000);
    fixture_redis("FLUSHALL");
    for (int i = 0; i < 50 && !admitted((struct answer[]){reserve(other, "wakes", 1, 1000)}); i++)
        usleep(100000);
    hold(tenant, "wakes", 1, 1000); /* its shard begins an epoch, too */
    cr_assert(fixture_until(SETTLED_MS, is_settled, tenant), "%s", row(tenant));
    for (int i = 0; i < 600 && rows_with(tenant, "leased = 0") == 0; i++)
        usleep(100000);
    cr_assert_eq(rows_with(tenant, "leased = 0"), 1, "%s", row(tenant));
    books_balance(tenant);
}

/* A quota in Redis is a text of numbers; the fourth is B. */
static bool has_given_back(void *tenant)
{
    int64_t number = tenant_number(tenant), returned = 0;
    int64_t tag = fixture_sql("SELECT shard / 16 FROM tenant WHERE tenant_id = %" PRId64, number);
    int64_t limit = fixture_sql("SELECT limit_id FROM quota WHERE tenant_id = %" PRId64, number);
    const char *text =
        fixture_redis_text("HGET q:{%" PRId64 "}:2:t:%" PRId64 " %" PRId64 ":0", tag, number, limit);

    return sscanf(text, "%*d %*d %*d %" SCNd64, &returned) == 1 && returned > 0;
}

/* Redis has given units back and lowered the deadline, and the root does not know. */
Test(idle, a_return_that_was_cut_between_the_stores_costs_nothing)
{
    static char tenant[] = "idle-cut";
    const struct fixture_server_options faults = {.faults = "recall.between=fail"};
    struct ask ask = {.tenant = tenant, .job = "small", .ttl_ms = LONG_MS};
    struct answer answer;

    fixture_server_stop(&server);
    fixture_server_restart(&server, &faults);
    plan(tenant);
    hold(tenant, "small", 10, 100000);
    hold(tenant, "long", 600, LONG_MS);
    release(tenant, "long");
    cr_assert(fixture_until(IDLE_MS, has_given_back, tenant), "%s", row(tenant));
    cr_assert_eq(rows_with(tenant, "returned = 0"), 1, "%s", row(tenant));
    /* Both push the lease: Redis takes it only from a root that knows. */
    call_extend(channel, &ask, &answer);
    cr_assert_eq(answer.code, STUB_OK, "%s", answer.text);
    hold(tenant, "all", LIMIT - 10, LONG_MS);
    fixture_server_stop(&server);
    fixture_server_restart(&server, NULL);
    release(tenant, "all");
    release(tenant, "small");
    cr_assert(fixture_until(IDLE_MS, is_idle, tenant), "%s", row(tenant));
    books_balance(tenant);
}

/* Then the beat says that nothing is lent, and nobody looks any more (tests/op/idle_test.c). */
Test(idle, a_tenant_with_many_limits_settles)
{
    static char tenant[] = "idle-many";

    plan_tenant(channel, tenant);
    for (int i = 0; i < 31; i++) {
        char name[16];

        snprintf(name, sizeof(name), "l%d", i);
        plan_limit(channel, tenant, name, "", "calls", NEVER, LIMIT + i);
    }
    hold(tenant, "job", 10, 1000);
    release(tenant, "job");
    cr_assert(!is_settled(tenant));
    cr_assert(fixture_until(SETTLED_MS, is_settled, tenant), "%s", row(tenant));
}
