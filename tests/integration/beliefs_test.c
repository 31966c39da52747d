/*
 * What a server believes: what it does not know yet it learns, and a database that went back is noticed
 * and answered with a new epoch, within seconds and without a restart. And who looks after which
 * shards.
 */
#include "tests/integration/caller.h"
#include "quota/times.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NEVER = 1, SECONDS = 5 };

static struct fixture_server server;
static struct stub_channel *channel;
static char tenant[64];

static void begin(void)
{
    static int number;

    fixture_server_start(&server, NULL);
    channel = fixture_channel(server.listen, NULL);
    snprintf(tenant, sizeof(tenant), "beliefs-%" PRId64 "-%d", fixture_now_us(), number++);
    plan_tenant(channel, tenant);
    plan_limit(channel, tenant, "all", "", "tokens", NEVER, 1000);
}

static void end(void)
{
    stub_channel_destroy(channel);
    fixture_server_stop(&server);
}

TestSuite(beliefs, .init = begin, .fini = end, .timeout = 90);

static struct ask ask(const char *job, int64_t units)
{
    return (struct ask){.tenant = tenant,
                        .job = job,
                        .meters_count = 1,
                        .meters = {"tokens"},
                        .units = {units},
                        .ttl_ms = 60000};
}

static int reserve(struct stub_channel *at, const char *job, int64_t units)
{
    struct ask one = ask(job, units);
    struct answer answer;

    call_reserve(at, &one, &answer);
    return answer.code == STUB_OK ? answer.decision : -answer.code;
}

/* --- what is not known yet -------------------------------------------------------------------- */

Test(beliefs, a_shard_that_was_not_looked_at_yet_is_looked_at_for_a_commit_by_job)
{
    struct ask one = {.tenant = tenant, .job = "never-held"};
    struct answer answer;

    cr_assert_eq(reserve(channel, "too-large", 5000), REJECT, "and the plan is known from here");
    call_commit(channel, &one, &answer);
    cr_assert_eq(answer.code, STUB_NOT_FOUND, "%s %s", answer.reason, answer.text);
    cr_assert_str_eq(answer.reason, "UNKNOWN_JOB");
    call_release(channel, &one, &answer);
    cr_assert_eq(answer.code, STUB_NOT_FOUND, "%s %s", answer.reason, answer.text);
}

/* --- a database that went back ---------------------------------------------------------------- */

static int64_t epoch(void)
{
    return fixture_sql("SELECT coalesce(max(a.epoch), 0) FROM shard_authority a JOIN tenant t USING"
                       " (shard) WHERE t.name = '%s'",
                       tenant);
}

static bool admits(void *user)
{
    static int number;
    char name[64];

    (void)user;
    snprintf(name, sizeof(name), "after-%d", number++);
    return reserve(channel, name, 1) == ALLOW;
}

/* Does `harm` (an UPDATE or DELETE of the tenant's shard), and waits until the shard is above `was`. */
static void recovers_from(const char *harm)
{
    int64_t was, until_us;

    cr_assert_eq(reserve(channel, "before", 10), ALLOW);
    was = epoch();
    fixture_sql_do("%s WHERE shard = (SELECT shard FROM tenant WHERE name = '%s')", harm, tenant);
    until_us = fixture_now_us() + SECONDS * INT64_C(1000000);
    while (epoch() <= was)
        cr_assert_lt(fixture_now_us(), until_us, "epoch %" PRId64 ", was %" PRId64, epoch(), was);
    cr_assert(fixture_until(SECONDS * 1000, admits, NULL));
    books_balance(tenant);
}

Test(beliefs, an_epoch_that_went_back_is_followed_by_a_later_one)
{
    recovers_from("UPDATE shard_authority SET epoch = epoch - 1");
}

Test(beliefs, a_shard_whose_nonce_is_gone_begins_a_new_epoch)
{
    recovers_from("UPDATE shard_authority SET nonce = ''");
}

Test(beliefs, a_shard_whose_replid_is_gone_begins_a_new_epoch)
{
    recovers_from("UPDATE shard_authority SET replid = ''");
}

Test(beliefs, a_shard_whose_row_is_gone_begins_an_epoch_above_the_last)
{
    recovers_from("DELETE FROM shard_authority");
}

Test(beliefs, a_shard_that_is_inactive_again_in_its_epoch_begins_a_new_one)
{
    recovers_from("UPDATE shard_authority SET state = 'I'");
}

/* Redis is in the new epoch, and the row does not say that it is active: the shard is bumped once more. */
Test(beliefs, an_epoch_that_was_begun_by_half_is_followed_by_the_next)
{
    static const struct fixture_server_options options = {.faults = "recover.between=fail@1"};
    int64_t was;

    cr_assert_eq(reserve(channel, "first", 10), ALLOW);
    was = epoch();
    fixture_server_stop(&server);
    fixture_server_restart(&server, &options);
    recovers_from("UPDATE shard_authority SET nonce = ''");
    cr_assert_geq(epoch(), was + 2);
}

/* Redis has seen a version that the database has lost: only a server without a plan asks the root. */
Test(beliefs, a_config_version_that_went_back_counts_in_a_new_epoch)
{
    int64_t was;

    plan_limit(channel, tenant, "all", "", "tokens", NEVER, 900);
    plan_limit(channel, tenant, "all", "", "tokens", NEVER, 800);
    cr_assert_eq(reserve(channel, "before", 10), ALLOW);
    was = epoch();
    fixture_sql_do("UPDATE tenant SET config_version = config_version - 2 WHERE name = '%s'",
                   tenant);
    fixture_server_kill(&server);
    fixture_server_restart(&server, NULL);
    cr_assert(fixture_until(SECONDS * 1000, admits, NULL));
    cr_assert_gt(epoch(), was);
    books_balance(tenant);
}

/* Limits change, the database goes back, and comes to the same version with other limits. */
Test(beliefs, the_same_version_with_other_limits_binds_within_seconds)
{
    int64_t until_us;

    plan_limit(channel, tenant, "all", "", "tokens", NEVER, 900);
    cr_assert_eq(reserve(channel, "before", 10), ALLOW);
    fixture_sql_do("UPDATE limit_ SET amount = 5, cap = 5, soft = 5 WHERE tenant_id = (SELECT"
                   " tenant_id FROM tenant WHERE name = '%s')",
                   tenant);
    fixture_sql_do("BEGIN; UPDATE tenant SET config_position = config_position_next()"
                   " WHERE name = '%s'; COMMIT",
                   tenant);
    until_us = fixture_now_us() + SECONDS * INT64_C(1000000);
    /* What is lent already admits it; what the answer says of stops is the plan's. */
    while (reserve(channel, "six", 6) == ALLOW) {
        struct ask one = {.tenant = tenant, .job = "six"};
        struct answer answer;

        call_release(channel, &one, &answer);
        cr_assert_lt(fixture_now_us(), until_us, "the old limits are still believed");
    }
}

Test(beliefs, a_lease_that_the_database_has_lost_is_followed_by_a_new_epoch)
{
    int64_t was;

    cr_assert_eq(reserve(channel, "before", 10), ALLOW);
    was = epoch();
    fixture_sql_do("UPDATE quota SET lease_id = lease_id - 1, granted = 0, returned = 0, spent = 0,"
                   " leased = 0, lease_deadline_ms = 0 WHERE tenant_id = (SELECT tenant_id FROM"
                   " tenant WHERE name = '%s')",
                   tenant);
    /* What the grant lent before that was noticed is set aside, so there must be room for two. */
    cr_assert_eq(reserve(channel, "large", 300), ALLOW, "by a grant");
    cr_assert_gt(epoch(), was);
    books_balance(tenant);
}

Test(beliefs, after_the_last_lease_that_an_epoch_has_a_number_for_a_new_epoch_begins)
{
    int64_t shard = fixture_sql("SELECT shard FROM tenant WHERE name = '%s'", tenant);
    int64_t was, last;

    cr_assert_eq(reserve(channel, "before", 10), ALLOW);
    was = epoch();
    last = (was + 1) * (INT64_C(1) << 20) - 1;
    fixture_sql_do("UPDATE quota SET lease_id = %" PRId64
                   " WHERE tenant_id = (SELECT tenant_id FROM"
                   " tenant WHERE name = '%s')",
                   last, tenant);
    cr_assert_eq(reserve(channel, "large", 300), ALLOW, "by a grant under that lease");
    cr_assert_eq(epoch(), was);
    fixture_redis("HDEL q:{%" PRId64 "}:2:t:%" PRId64 " %" PRId64 ":0", shard / 16,
                  tenant_number(tenant),
                  fixture_sql("SELECT limit_id FROM limit_ WHERE tenant_id = %" PRId64,
                              tenant_number(tenant)));
    cr_assert_eq(reserve(channel, "after", 10), ALLOW);
    cr_assert_gt(epoch(), was);
    books_balance(tenant);
}

/* --- shares ----------------------------------------------------------------------------------- */

static bool nothing_is_held(void *name)
{
    return books_holds(name) == 0;
}

/* Holds in many shards, then one of two servers is gone: the other one reaps all of them. */
static void reaped_by_the_other(bool killed, int64_t within_ms)
{
    enum { TENANTS = 24 };
    struct fixture_server other;
    struct stub_channel *to_other;
    char names[TENANTS][80];

    fixture_server_start(&other, NULL);
    to_other = fixture_channel(other.listen, NULL);
    for (int i = 0; i < TENANTS; i++) {
        struct ask one = ask("job", 1);
        struct answer answer;

        snprintf(names[i], sizeof(names[i]), "%s-%d", tenant, i);
        plan_tenant(to_other, names[i]);
        plan_limit(to_other, names[i], "all", "", "tokens", NEVER, 10);
        one.tenant = names[i];
        one.ttl_ms = 2500;
        call_reserve(to_other, &one, &answer);
        cr_assert_eq(answer.decision, ALLOW);
    }
    stub_channel_destroy(to_other);
    if (killed)
        fixture_server_kill(&other);
    else
        fixture_server_stop(&other);
    for (int i = 0; i < TENANTS; i++)
        cr_assert(fixture_until(2500 + within_ms, nothing_is_held, names[i]), "%s", names[i]);
}

Test(beliefs, the_shards_of_a_server_that_stops_are_looked_after_by_the_other)
{
    reaped_by_the_other(false, 2000);
}

Test(beliefs, the_shards_of_a_server_that_dies_are_looked_after_by_the_other)
{
    reaped_by_the_other(true, 4000);
}

static int64_t scripts(void)
{
    char info[4096];
    const char *at;

    snprintf(info, sizeof(info), "%s", fixture_redis_text("INFO commandstats"));
    at = strstr(info, "cmdstat_evalsha:calls=");
    return at ? strtoll(at + strlen("cmdstat_evalsha:calls="), NULL, 10) : 0;
}

static int64_t active_shards(void)
{
    return fixture_sql("SELECT count(*) FROM shard_authority WHERE state = 'A'");
}

/*
 * Statements and transactions. Postgres adds those of a connection once a second while it is used, and ten
 * seconds after its last one.
 */
static int64_t transactions(void)
{
    return fixture_sql("SELECT xact_commit + xact_rollback FROM pg_stat_database"
                       " WHERE datname = current_database()");
}

enum { COUNTED_SECONDS = 11, IDLE_SECONDS = 8, SERVERS = 3, IDLE_TENANTS = 20, TAGS = 16 };

/* Each has beaten twice since the last came, and so knows of it. */
static bool all_are_there(void *user)
{
    static int64_t since_us;

    (void)user;
    if (fixture_sql("SELECT count(*) FROM server WHERE until_ms > extract(epoch FROM"
                    " clock_timestamp()) * 1000") != SERVERS)
        since_us = 0;
    else if (since_us == 0)
        since_us = fixture_now_us();
    return since_us != 0 && fixture_now_us() - since_us > 2000000;
}

static void pause_for(int seconds)
{
    int64_t until_us = fixture_now_us() + seconds * INT64_C(1000000);

    while (fixture_now_us() < until_us)
        usleep(50000);
}

/* Tenants in several shards, used and left alone. */
static void use_and_leave(void)
{
    for (int i = 0; i < IDLE_TENANTS; i++) {
        struct ask one = ask("job", 1);
        struct answer answer;
        char name[80];

        snprintf(name, sizeof(name), "%s-idle-%d", tenant, i);
        plan_tenant(channel, name);
        plan_limit(channel, name, "all", "", "tokens", NEVER, 10);
        one.tenant = name;
        one.ttl_ms = 1000; /* while a hold may live, its server is not idle */
        call_reserve(channel, &one, &answer);
        cr_assert_eq(answer.decision, ALLOW);
        call_release(channel, &one, &answer);
    }
}

/*
 * A server that is idle asks the database one question a second, and Redis one and a script per shard
 * that is its own. Every five seconds comes a look for lost keys of each shard; and every two, until nothing
 * is lent any more, one of the servers looks for what is idle.
 */
Test(beliefs, idle_servers_share_the_asking)
{
    struct fixture_server others[SERVERS - 1];
    int64_t before, before_transactions, asked, bound;

    use_and_leave();
    cr_assert_gt(active_shards(), IDLE_TENANTS / 2);
    for (int i = 0; i < SERVERS - 1; i++)
        fixture_server_start(&others[i], NULL);
    cr_assert(fixture_until(5000, all_are_there, NULL));
    fixture_sql_do("ALTER SYSTEM SET autovacuum = off");
    fixture_sql_do("SELECT pg_reload_conf()");
    pause_for(COUNTED_SECONDS);
    before = scripts();
    before_transactions = transactions();
    pause_for(IDLE_SECONDS);
    asked = scripts() - before;
    /* The beat of each server, the reaps, the looks for lost keys; what was lent is taken back once. */
    bound = (active_shards() + SERVERS) * (IDLE_SECONDS + 1) +
            active_shards() * (IDLE_SECONDS / 5 + 1) + active_shards() +
            active_shards() * (IDLE_SECONDS / 3 + 1) + /* reconciliation, of what is lent */
            TAGS * (IDLE_SECONDS * 1000 / CRIER_ROUND_MS + 1);
    cr_assert_leq(asked, bound, "%" PRId64 " scripts of %" PRId64, asked, bound);
    asked = transactions() - before_transactions;
    /*
     * Two beats may be counted late; one server looks for what is idle and, in at most five transactions,
     * for what is to be sealed; every three seconds, in at most seven, for accounts that differ; and the
     * test's own.
     */
    bound = SERVERS * (IDLE_SECONDS + 2) + 6 * (IDLE_SECONDS / 2 + 1) + 7 * (IDLE_SECONDS / 3 + 1) + 4;
    cr_assert_leq(asked, bound, "%" PRId64 " transactions of %" PRId64, asked, bound);
    cr_assert_geq(asked, SERVERS * (IDLE_SECONDS - 3), "and they are counted");
    fixture_sql_do("ALTER SYSTEM RESET autovacuum");
    for (int i = 0; i < SERVERS - 1; i++)
        fixture_server_stop(&others[i]);
}
