/*
 * What becomes of a Commit at the edges: after the expiry and before the reap, with a deadline that
 * passes in the queue, by a job id that Redis cannot explain, at the largest number, of a tenant whose
 * rows contradict each other, and of one that the database refuses.
 */
#include "tests/integration/caller.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NEVER = HOLDFAST__V1__PERIOD__PERIOD_NEVER, TTL_MS = 500 };

#define LARGEST ((INT64_C(1) << 53) - 1)

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

TestSuite(commits, .init = open_scene, .fini = close_scene, .timeout = 60);

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

static bool is_past(void *user)
{
    return fixture_now_us() >= *(int64_t *)user;
}

static void wait_until_us(int64_t us)
{
    cr_assert(fixture_until(30000, is_past, &us));
}

static int64_t of_quota(const char *tenant, const char *column)
{
    return fixture_sql("SELECT %s FROM quota WHERE tenant_id = %" PRId64, column,
                       tenant_number(tenant));
}

Test(commits, late_by_a_moment_is_no_debt)
{
    struct ask ask = ask_for("late-own", "job", 100, TTL_MS);
    struct answer held, answer;
    int64_t start_us;

    plan("late-own", 100);
    start_us = fixture_now_us();
    hold(&ask, &held);
    wait_until_us(start_us + (TTL_MS + 5) * 1000);
    ask.id = held.id;
    call_commit(channel, &ask, &answer);
    cr_assert(answer.code == STUB_OK, "%s", answer.text);
    cr_assert(answer.late);
    cr_assert(answer.committed == 100 && answer.debt == 0);
    cr_assert(of_quota("late-own", "committed") == 100 && of_quota("late-own", "debt") == 0);
    cr_assert(books_free_within("late-own", 5000));
    books_balance("late-own");
}

/* Another job's hold is due, and nobody has reaped it: it is in nobody's way. */
Test(commits, excess_beside_a_due_hold_is_no_debt)
{
    struct ask due = ask_for("late-others", "due", 60, TTL_MS);
    struct ask ask = ask_for("late-others", "job", 40, 60000);
    struct answer held, answer;
    int64_t start_us;

    plan("late-others", 100);
    start_us = fixture_now_us();
    hold(&due, &answer);
    hold(&ask, &held);
    wait_until_us(start_us + (TTL_MS + 20) * 1000);
    ask.id = held.id;
    ask.units[0] = 100;
    call_commit(channel, &ask, &answer);
    cr_assert(answer.code == STUB_OK, "%s", answer.text);
    cr_assert(answer.committed == 100 && answer.debt == 0, "committed %" PRId64 " debt %" PRId64,
              answer.committed, answer.debt);
    books_balance("late-others");
}

static bool is_expired(void *user)
{
    struct answer answer;

    call_get(channel, user, &answer);
    return answer.code == STUB_OK && answer.state == EXPIRED;
}

/* Attempt A of 10 expired, attempt B of 70 is live: who cannot ask Redis does not take A for it. */
Test(commits, by_job_without_redis_no_attempt_is_guessed)
{
    struct ask old = ask_for("which", "job", 10, TTL_MS);
    struct ask ask = ask_for("which", "job", 70, 60000);
    struct ask by_job = {.tenant = "which", .job = "job"};
    struct answer held, answer;

    plan("which", 100);
    hold(&old, &answer);
    cr_assert(fixture_until(10000, is_expired, &old));
    hold(&ask, &held);
    fixture_stores("kill-redis", NULL);
    for (int i = 0; i < 2; i++) {
        if (i == 0)
            call_commit(channel, &by_job, &answer);
        else
            call_release(channel, &by_job, &answer);
        cr_assert(answer.code == STUB_UNAVAILABLE, "%d %s", answer.code, answer.text);
        cr_assert(answer.effect_stated && !answer.effect_unknown);
    }
    cr_assert(books_rows("which") == 0);
    fixture_stores("start-redis", NULL);
    by_job.id = held.id;
    call_commit(channel, &by_job, &answer);
    cr_assert(answer.code == STUB_OK, "%s", answer.text);
    cr_assert(answer.committed == 70);
}

/* With the record nothing is guessed: the repeat is answered from it. */
Test(commits, by_job_without_redis_a_record_is_replayed)
{
    struct ask ask = ask_for("which-recorded", "job", 10, 60000);
    struct ask by_job = {.tenant = "which-recorded", .job = "job"};
    struct answer answer;

    plan("which-recorded", 100);
    hold(&ask, &answer);
    call_commit(channel, &by_job, &answer);
    cr_assert(answer.code == STUB_OK, "%s", answer.text);
    fixture_stores("kill-redis", NULL);
    call_commit(channel, &by_job, &answer);
    fixture_stores("start-redis", NULL);
    cr_assert(answer.code == STUB_OK && answer.replayed, "%d %s", answer.code, answer.text);
    cr_assert(answer.committed == 10);
}

struct committing {
    struct ask ask;
    struct answer answer;
};

static void *commit_beside(void *user)
{
    struct committing *committing = user;

    call_commit(channel, &committing->ask, &committing->answer);
    return NULL;
}

/* A session of its own keeps the tenant's quotas locked for a while. */
static void *keep_locked(void *user)
{
    fixture_sql_do("DO 'BEGIN PERFORM 1 FROM quota WHERE tenant_id = %" PRId64 " FOR UPDATE;"
                   " PERFORM pg_sleep(2.5); END'",
                   *(int64_t *)user);
    return NULL;
}

static bool is_locked(void *user)
{
    (void)user;
    return fixture_sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") > 0;
}

static bool waits_for_a_lock(void *user)
{
    (void)user;
    return fixture_sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND"
                       " query LIKE '%%FOR UPDATE OF q%%'") > 0;
}

/* The reservation id is valid when its Commit comes, and past its deadline when the lock lets it go. */
Test(commits, a_hold_that_was_extended_while_its_commit_waited_is_not_late)
{
    struct committing committing = {.ask = ask_for("waited", "job", 100, 1500)};
    struct ask extend = {.tenant = "waited", .job = "job", .ttl_ms = 20000}; /* within the lease */
    struct answer held, answer;
    pthread_t locker, thread;
    int64_t start_us, tenant_id;

    plan("waited", 100);
    tenant_id = tenant_number("waited");
    start_us = fixture_now_us();
    hold(&committing.ask, &held);
    committing.ask.id = held.id;
    committing.ask.timeout_ms = 20000;
    cr_assert(pthread_create(&locker, NULL, keep_locked, &tenant_id) == 0);
    cr_assert(fixture_until(5000, is_locked, NULL));
    cr_assert(pthread_create(&thread, NULL, commit_beside, &committing) == 0);
    cr_assert(fixture_until(5000, waits_for_a_lock, NULL));
    call_extend(channel, &extend, &answer);
    cr_assert(answer.code == STUB_OK, "%s", answer.text);
    cr_assert(fixture_now_us() < start_us + 1500000, "too slow to show anything");
    pthread_join(thread, NULL);
    pthread_join(locker, NULL);
    cr_assert(fixture_now_us() > start_us + 1500000, "the lock did not last");
    cr_assert(committing.answer.code == STUB_OK, "%s", committing.answer.text);
    cr_assert(!committing.answer.late);
    cr_assert(committing.answer.committed == 100 && committing.answer.debt == 0);
    books_balance("waited");
}

/* A tenant whose limit has no end, with all but 15 of the largest amount used. */
static void use_nearly_all(const char *tenant)
{
    struct ask ask = ask_for(tenant, "nearly", 10, 60000);
    struct answer held, answer;

    plan(tenant, -1);
    hold(&ask, &held);
    ask.id = held.id;
    ask.units[0] = LARGEST - 15;
    call_commit(channel, &ask, &answer);
    cr_assert(answer.code == STUB_OK, "%d %s", answer.code, answer.text);
    cr_assert(answer.committed == LARGEST - 15 && answer.debt == 0);
}

static void names_the_bound(const struct answer *answer)
{
    cr_assert(answer->code == STUB_OUT_OF_RANGE, "%d %d %s", answer->code, answer->decision,
              answer->text);
    cr_assert_str_eq(answer->reason, "AMOUNT_BOUND");
    cr_assert(strstr(answer->text, "9007199254740991"), "%s", answer->text);
    cr_assert(answer->effect_stated && !answer->effect_unknown);
}

Test(commits, a_sum_past_the_largest_amount_names_the_bound)
{
    struct ask ask = ask_for("largest", "job", 10, 60000);
    struct answer held, answer;

    use_nearly_all("largest");
    hold(&ask, &held);
    ask.id = held.id;
    ask.units[0] = 16;
    call_commit(channel, &ask, &answer);
    names_the_bound(&answer);
    ask.units[0] = 15;
    call_commit(channel, &ask, &answer);
    cr_assert(answer.code == STUB_OK, "the hold stays: %s", answer.text);
    ask = ask_for("largest", "more", 1, 60000);
    call_reserve(channel, &ask, &answer);
    names_the_bound(&answer);
    books_balance("largest");
}

static bool commits_again(void *user)
{
    struct answer answer;

    call_commit(channel, user, &answer);
    return answer.code == STUB_OK;
}

static bool reserves_again(void *user)
{
    struct answer answer;

    call_reserve(channel, user, &answer);
    return answer.code == STUB_OK && admitted(&answer);
}

Test(commits, a_tenant_whose_rows_contradict_is_set_aside_alone)
{
    struct ask ask = ask_for("crooked", "job", 10, 60000);
    struct ask other = ask_for("straight", "job", 10, 60000);
    struct answer held, answer;

    plan("crooked", 1000);
    plan("straight", 1000);
    hold(&ask, &held);
    hold(&other, &answer);
    ask.id = held.id;
    fixture_sql_do("UPDATE quota SET leased = leased + 1 WHERE tenant_id = %" PRId64,
                   tenant_number("crooked"));
    call_commit(channel, &ask, &answer);
    cr_assert(answer.code == STUB_INTERNAL, "%d %s", answer.code, answer.text);
    cr_assert(strstr(answer.text, "crooked"), "%s", answer.text);
    cr_assert(answer.effect_stated && !answer.effect_unknown);
    call_get(channel, &ask, &answer);
    cr_assert(answer.code == STUB_INTERNAL, "%d %s", answer.code, answer.text);
    cr_assert(strstr(answer.text, "crooked"), "%s", answer.text);
    call_commit(channel, &other, &answer);
    cr_assert(answer.code == STUB_OK, "%s", answer.text);
    fixture_sql_do("UPDATE quota SET leased = leased - 1 WHERE tenant_id = %" PRId64,
                   tenant_number("crooked"));
    cr_assert(fixture_until(20000, commits_again, &ask));
    books_balance("crooked");
}

/* The hold has to be reaped before its job may hold anew, which cannot be done: no caller waits for it. */
Test(commits, a_due_hold_that_cannot_be_reaped_is_told_of)
{
    struct ask crooked = ask_for("crooked-due", "job", 10, 300);
    struct ask raised = ask_for("raised-due", "job", 10, 300);
    struct answer answer;

    plan("crooked-due", 1000);
    plan("raised-due", 1000);
    fixture_sql_do("CREATE FUNCTION test_raise() RETURNS trigger LANGUAGE plpgsql AS"
                   " 'BEGIN RAISE ''planted''; END'");
    fixture_sql_do("CREATE TRIGGER test_raise BEFORE INSERT ON expired_hold FOR EACH ROW"
                   " WHEN (new.tenant_id = %" PRId64 ") EXECUTE FUNCTION test_raise()",
                   tenant_number("raised-due"));
    hold(&crooked, &answer);
    hold(&raised, &answer);
    fixture_sql_do("UPDATE quota SET leased = leased + 1 WHERE tenant_id = %" PRId64,
                   tenant_number("crooked-due"));
    wait_until_us(fixture_now_us() + 400000);
    call_reserve(channel, &crooked, &answer);
    cr_assert(answer.code == STUB_INTERNAL, "%d %s", answer.code, answer.text);
    cr_assert(strstr(answer.text, "crooked-due"), "%s", answer.text);
    cr_assert(answer.effect_stated && !answer.effect_unknown);
    call_reserve(channel, &raised, &answer);
    cr_assert(answer.code == STUB_INTERNAL, "%d %s", answer.code, answer.text);
    cr_assert(strstr(answer.text, "P0001"), "%s", answer.text);
    cr_assert(answer.effect_stated && !answer.effect_unknown);
    fixture_sql_do("DROP TRIGGER test_raise ON expired_hold");
    fixture_sql_do("DROP FUNCTION test_raise");
    fixture_sql_do("UPDATE quota SET leased = leased - 1 WHERE tenant_id = %" PRId64,
                   tenant_number("crooked-due"));
    cr_assert(fixture_until(20000, reserves_again, &crooked));
    cr_assert(fixture_until(20000, reserves_again, &raised));
}

/* An error of the database is not its absence: INTERNAL with the SQLSTATE, and others go on. */
Test(commits, what_the_database_answers_with_an_error_is_internal_with_the_sqlstate)
{
    struct ask ask = ask_for("raised", "job", 10, 60000);
    struct ask other = ask_for("not-raised", "job", 10, 60000);
    struct answer held, answer;

    plan("raised", 1000);
    plan("not-raised", 1000);
    hold(&ask, &held);
    hold(&other, &answer);
    ask.id = held.id;
    fixture_sql_do("CREATE FUNCTION test_raise() RETURNS trigger LANGUAGE plpgsql AS"
                   " 'BEGIN RAISE ''planted''; END'");
    fixture_sql_do("CREATE TRIGGER test_raise BEFORE UPDATE ON quota FOR EACH ROW"
                   " WHEN (new.tenant_id = %" PRId64 ") EXECUTE FUNCTION test_raise()",
                   tenant_number("raised"));
    call_commit(channel, &ask, &answer);
    cr_assert(answer.code == STUB_INTERNAL, "%d %s", answer.code, answer.text);
    cr_assert(strstr(answer.text, "P0001"), "%s", answer.text);
    cr_assert(answer.effect_stated && !answer.effect_unknown);
    call_commit(channel, &other, &answer);
    cr_assert(answer.code == STUB_OK, "%s", answer.text);
    fixture_sql_do("DROP TRIGGER test_raise ON quota");
    fixture_sql_do("DROP FUNCTION test_raise");
    call_commit(channel, &ask, &answer);
    cr_assert(answer.code == STUB_OK, "%s", answer.text);
    books_balance("raised");
}

/* Raises at COMMIT, once a row of the table is changed so. */
static void raise_at_commit(const char *table, const char *when)
{
    fixture_sql_do("CREATE FUNCTION test_raise() RETURNS trigger LANGUAGE plpgsql AS"
                   " 'BEGIN RAISE ''planted''; END'");
    fixture_sql_do("CREATE CONSTRAINT TRIGGER test_raise AFTER INSERT OR UPDATE ON %s"
                   " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (%s)"
                   " EXECUTE FUNCTION test_raise()",
                   table, when);
}

static void raise_no_more(const char *table)
{
    fixture_sql_do("DROP TRIGGER test_raise ON %s", table);
    fixture_sql_do("DROP FUNCTION test_raise");
}

/* Nor is an error that COMMIT itself answers. A grant may be repeated; a change may have landed. */
Test(commits, what_commit_answers_with_an_error_is_internal_with_the_sqlstate)
{
    struct ask ask = ask_for("deferred", "job", 60, 60000);
    struct answer answer;
    int code;

    plan("deferred", 1000);
    raise_at_commit("quota", "new.leased > 0");
    call_reserve(channel, &ask, &answer);
    cr_assert(answer.code == STUB_INTERNAL, "%d %s", answer.code, answer.text);
    cr_assert(strstr(answer.text, "P0001"), "%s", answer.text);
    cr_assert(answer.effect_stated && !answer.effect_unknown);
    raise_no_more("quota");
    raise_at_commit("limit_", "new.amount = 77");
    code = put_limit(channel, "deferred", "calls", "", "calls", NEVER, 77);
    cr_assert(code == STUB_INTERNAL, "%d", code);
    raise_no_more("limit_");
    hold(&ask, &answer);
    books_balance("deferred");
}

/* --- late, and Redis is not told ---------------------------------------------------------------------- */

/* The mark of the job in Redis, in either of the two sets that count. */
static bool is_marked(void *user)
{
    const struct ask *ask = user;
    int64_t tag = fixture_sql("SELECT shard FROM tenant WHERE name = '%s'", ask->tenant) / 16;
    int64_t generation =
        strtoll(fixture_redis_text("HGET q:{%" PRId64 "}:a f", tag), NULL, 10);

    for (int64_t i = generation; i > 0 && i > generation - 2; i--)
        if (fixture_redis("SISMEMBER q:{%" PRId64 "}:2:f:%" PRId64 " %" PRId64 "=%s", tag, i,
                          tenant_number(ask->tenant), ask->job))
            return true;
    return false;
}

/* 10 of 100 are held, reaped, and committed late; of the notifies those are lost that the faults say. */
static void commit_late_untold(const char *faults, struct ask *ask, struct answer *held)
{
    struct fixture_server_options options = {.faults = faults};
    struct answer answer;

    fixture_server_stop(&server);
    fixture_server_restart(&server, &options);
    plan(ask->tenant, 100);
    hold(ask, held);
    cr_assert(books_free_within(ask->tenant, 5000));
    ask->id = held->id;
    call_commit(channel, ask, &answer);
    cr_assert(answer.code == STUB_OK && answer.late, "%d %s", answer.code, answer.text);
    cr_assert_eq(books_units(ask->tenant), 10);
    ask->id = NULL;
}

Test(commits, a_late_commit_that_redis_was_not_told_of_is_marked_soon)
{
    struct ask ask = ask_for("late-mark", "job", 10, TTL_MS);
    struct answer held, answer;

    commit_late_untold("notify.lost=fail@1,notify.given_up=fail@1", &ask, &held);
    cr_assert(fixture_until(5000, is_marked, &ask), "nobody brings the mark");
    call_reserve(channel, &ask, &answer);
    cr_assert_eq(answer.code, STUB_OK, "%s", answer.text);
    cr_assert_eq(answer.decision, ALREADY_COMMITTED);
    books_balance("late-mark");
}

/* As long as the mark is not there the job may be held anew, and is not counted twice for it. */
Test(commits, a_committed_job_that_is_held_anew_counts_once)
{
    struct ask ask = ask_for("late-once", "job", 10, 60000), again;
    struct answer held, answer;

    ask.ttl_ms = TTL_MS;
    commit_late_untold("notify.lost=fail@1,notify.given_up=fail@1,notify.marks=fail", &ask, &held);
    ask.ttl_ms = 60000;
    call_reserve(channel, &ask, &answer);
    cr_assert(admitted(&answer), "this is what the rest is about: %d %s", answer.decision, answer.text);
    again = ask;
    again.id = answer.id;
    again.units[0] = 7;
    call_commit(channel, &again, &answer);
    cr_assert_eq(answer.code, STUB_ALREADY_EXISTS, "%d %s", answer.code, answer.text);
    cr_assert(books_free_within("late-once", 2000), "the hold is given back, whatever the amounts");
    cr_assert_eq(books_units("late-once"), 10);
    call_reserve(channel, &ask, &answer);
    cr_assert_eq(answer.decision, ALREADY_COMMITTED, "and Redis knows it by now");
    again.units[0] = 10;
    call_commit(channel, &again, &answer);
    cr_assert(answer.code == STUB_OK && answer.replayed, "%d %s", answer.code, answer.text);
    cr_assert_eq(books_units("late-once"), 10);
    books_balance("late-once");
}

/* The fence is durable, and Redis was not told: whoever tries to commit the attempt finds the rest to do. */
Test(commits, a_commit_of_a_released_attempt_gives_its_hold_back)
{
    static const struct fixture_server_options options = {
        .faults = "notify.lost=fail@1,notify.given_up=fail@1"};
    struct ask ask = ask_for("fenced", "job", 10, 60000);
    struct answer held, answer;

    fixture_server_stop(&server);
    fixture_server_restart(&server, &options);
    plan("fenced", 100);
    hold(&ask, &held);
    ask.id = held.id;
    call_release(channel, &ask, &answer);
    cr_assert_eq(answer.code, STUB_OK, "%s", answer.text);
    cr_assert_eq(books_held("fenced"), 10, "this is what the rest is about");
    call_commit(channel, &ask, &answer);
    cr_assert_eq(answer.code, STUB_FAILED_PRECONDITION, "%d %s", answer.code, answer.text);
    cr_assert(books_free_within("fenced", 2000));
    cr_assert_eq(books_units("fenced"), 0);
    books_balance("fenced");
}
