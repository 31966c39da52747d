/*
 * Extend against the end of its attempt: after OK of a Release or a Commit nothing of it comes back,
 * whatever raced, also where the hold had to be taken again after a loss of Redis, and on two servers.
 * And a hold lives as long as its Extends say, whatever period it belongs to.
 */
#include "tests/integration/caller.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NEVER = 1, HOUR = 3, GONE_MS = 3000 };

static char tenant[64];
static struct fixture_server servers[2]; /* the first extends, the second ends */
static struct stub_channel *channels[2];

static void open_servers(const char *faults)
{
    const struct fixture_server_options options = {.faults = faults};
    static int number;

    fixture_server_start(&servers[0], &options);
    fixture_server_start(&servers[1], NULL);
    for (int i = 0; i < 2; i++)
        channels[i] = fixture_channel(servers[i].listen, NULL);
    snprintf(tenant, sizeof(tenant), "extend-%" PRId64 "-%d", fixture_now_us(), number++);
    plan_tenant(channels[0], tenant);
}

static bool away; /* the database: also if the test has failed meanwhile */

static void part(void)
{
    away = true;
    fixture_stores("stop-postgres", NULL);
}

static void meet_again(void)
{
    if (away)
        fixture_stores("start-postgres", NULL);
    away = false;
}

static void close_servers(void)
{
    meet_again();
    for (int i = 0; i < 2; i++) {
        stub_channel_destroy(channels[i]);
        fixture_server_stop(&servers[i]);
    }
}

TestSuite(extend, .fini = close_servers, .timeout = 120);

static bool holds_are_gone(void *user)
{
    (void)user;
    return books_holds(tenant) == 0;
}

/* --- each gap ----------------------------------------------------------------------------------- */

struct extension {
    struct ask ask;
    struct answer answer;
    pthread_t thread;
};

static void *extend(void *user)
{
    struct extension *extension = user;

    call_extend(channels[0], &extension->ask, &extension->answer);
    return NULL;
}

static char process_state(pid_t pid)
{
    char path[64], text[512] = "";
    FILE *file;
    const char *end;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "r");
    if (!file)
        return '?';
    if (!fgets(text, sizeof(text), file))
        text[0] = '\0';
    fclose(file);
    end = strrchr(text, ')');
    return end && end[1] ? end[2] : '?';
}

static bool first_has_stopped(void *user)
{
    (void)user;
    return process_state(servers[0].pid) == 'T';
}

/* The first server stops in the gap; the second ends the attempt; then the first goes on. */
static void ends_in_the_gap(const char *gap, bool lose_redis, bool commit)
{
    struct ask one = {.job = "job", .meters_count = 1, .meters = {"tokens"}, .units = {10},
                      .ttl_ms = 60000};
    struct extension extension = {0};
    struct answer held, ended;
    char faults[64];

    snprintf(faults, sizeof(faults), "%s=stop@1", gap);
    open_servers(faults);
    plan_limit(channels[0], tenant, "all", "", "tokens", NEVER, 100);
    one.tenant = tenant;
    call_reserve(channels[1], &one, &held);
    cr_assert_eq(held.decision, ALLOW);
    if (lose_redis)
        fixture_redis_text("FLUSHALL");
    extension.ask = (struct ask){.tenant = tenant, .job = "job", .id = held.id, .ttl_ms = 90000,
                                 .timeout_ms = 30000};
    cr_assert(pthread_create(&extension.thread, NULL, extend, &extension) == 0);
    cr_assert(fixture_until(10000, first_has_stopped, NULL), "%s", gap);
    one = (struct ask){.tenant = tenant, .job = "job", .id = held.id};
    if (commit)
        call_commit(channels[1], &one, &ended);
    else
        call_release(channels[1], &one, &ended);
    cr_assert_eq(ended.code, STUB_OK, "%s %s", ended.reason, ended.text);
    cr_assert(kill(servers[0].pid, SIGCONT) == 0);
    pthread_join(extension.thread, NULL);
    cr_assert_eq(extension.answer.code, STUB_FAILED_PRECONDITION, "%s: %s %s", gap,
                 extension.answer.reason, extension.answer.text);
    cr_assert_str_eq(extension.answer.reason, commit ? "COMMITTED" : "RELEASED");
    cr_assert(fixture_until(GONE_MS, holds_are_gone, NULL), "%s: %" PRId64 " holds stand", gap,
              books_holds(tenant));
    cr_assert_eq(books_held(tenant), 0);
    books_balance(tenant);
}

Test(extend, released_after_the_script_and_before_the_question)
{
    ends_in_the_gap("extend.before_facts", false, false);
}

Test(extend, committed_after_the_script_and_before_the_question)
{
    ends_in_the_gap("extend.before_facts", false, true);
}

Test(extend, released_before_a_lost_hold_is_taken_again)
{
    ends_in_the_gap("extend.before_retake", true, false);
}

Test(extend, committed_before_a_lost_hold_is_taken_again)
{
    ends_in_the_gap("extend.before_retake", true, true);
}

Test(extend, released_after_a_lost_hold_was_taken_again_and_before_the_question)
{
    ends_in_the_gap("extend.after_retake", true, false);
}

Test(extend, committed_after_a_lost_hold_was_taken_again_and_before_the_question)
{
    ends_in_the_gap("extend.after_retake", true, true);
}

/* --- races -------------------------------------------------------------------------------------- */

enum { RACES = 64 };

struct race {
    char job[32];
    struct answer held, extended, ended;
} races[RACES];

static bool race_commits;

/* Even threads extend, odd ones end; each pair has a job of its own. */
static void run_race(void *user, int index)
{
    struct race *race = &races[index / 2];
    struct ask one = {.tenant = tenant, .job = race->job, .id = race->held.id, .ttl_ms = 90000};

    (void)user;
    if (index % 2 == 0)
        call_extend(channels[(index / 2) % 2], &one, &race->extended);
    else if (race_commits)
        call_commit(channels[1], &one, &race->ended);
    else
        call_release(channels[1], &one, &race->ended);
}

static void reserve_all(int round)
{
    for (int i = 0; i < RACES; i++) {
        struct ask one = {.tenant = tenant, .job = races[i].job, .meters_count = 1,
                          .meters = {"tokens"}, .units = {1}, .ttl_ms = 60000};

        snprintf(races[i].job, sizeof(races[i].job), "job-%d-%d", round, i);
        call_reserve(channels[1], &one, &races[i].held);
        cr_assert(admitted(&races[i].held), "%s", races[i].held.text);
    }
}

static void race_all(bool lose_redis, bool commit)
{
    int extended = 0;

    open_servers(NULL);
    plan_limit(channels[0], tenant, "all", "", "tokens", NEVER, 1000000);
    race_commits = commit;
    for (int round = 0; round < rounds(4, 40); round++) {
        reserve_all(round);
        if (lose_redis)
            fixture_redis_text("FLUSHALL");
        crowd(2 * RACES, run_race, NULL);
        for (int i = 0; i < RACES; i++) {
            struct ask one = {.tenant = tenant, .job = races[i].job};
            struct answer now;

            cr_assert(races[i].ended.code == STUB_OK || passing(&races[i].ended), "%s %s",
                      races[i].ended.reason, races[i].ended.text);
            extended += races[i].extended.code == STUB_OK;
            if (races[i].ended.code != STUB_OK) { /* it did not answer: it is not over yet */
                one.id = races[i].held.id;
                if (commit)
                    call_commit(channels[1], &one, &races[i].ended);
                else
                    call_release(channels[1], &one, &races[i].ended);
                cr_assert_eq(races[i].ended.code, STUB_OK, "%s", races[i].ended.text);
                one.id = NULL;
            }
            call_get(channels[0], &one, &now);
            cr_assert_eq(now.state, commit ? COMMITTED : RELEASED, "%s: state %d", races[i].job,
                         now.state);
        }
        cr_assert(fixture_until(GONE_MS, holds_are_gone, NULL),
                  "%" PRId64 " ended attempts stand in round %d", books_holds(tenant), round);
        cr_assert_eq(books_held(tenant), 0);
    }
    cr_log_info("%d Extends were first", extended);
    books_balance(tenant);
}

Test(extend, races_with_releases_leave_nothing)
{
    race_all(false, false);
}

Test(extend, races_with_releases_after_a_loss_leave_nothing)
{
    race_all(true, false);
}

Test(extend, races_with_commits_after_a_loss_leave_nothing)
{
    race_all(true, true);
}

/* Two Extends of one lost hold write it twice: it counts once. */
static void extend_both(void *user, int index)
{
    struct race *race = &races[index / 2];
    struct ask one = {.tenant = tenant, .job = race->job, .id = race->held.id,
                      .ttl_ms = 90000 + 1000 * index};

    (void)user;
    call_extend(channels[index % 2], &one, index % 2 ? &race->extended : &race->ended);
}

Test(extend, two_extends_of_a_lost_hold_make_one_hold_of_one_attempt)
{
    open_servers(NULL);
    plan_limit(channels[0], tenant, "all", "", "tokens", NEVER, 1000000);
    reserve_all(0);
    fixture_redis_text("FLUSHALL");
    crowd(2 * RACES, extend_both, NULL);
    for (int i = 0; i < RACES; i++) {
        cr_assert(races[i].extended.code == STUB_OK && races[i].ended.code == STUB_OK, "%s %s",
                  races[i].extended.text, races[i].ended.text);
        cr_assert_str_eq(races[i].extended.attempt, races[i].held.attempt);
        cr_assert_str_eq(races[i].ended.attempt, races[i].held.attempt);
    }
    cr_assert_eq(books_holds(tenant), RACES);
    cr_assert_eq(books_held(tenant), RACES);
    books_balance(tenant);
}

/* --- periods ------------------------------------------------------------------------------------ */

static void extend_past_the_period(bool lose_redis)
{
    struct ask one = {.job = "job", .meters_count = 1, .meters = {"tokens"}, .units = {10},
                      .ttl_ms = 5000};
    struct answer held, extended, committed;
    int64_t now_ms;

    open_servers(NULL);
    plan_limit(channels[0], tenant, "hourly", "", "tokens", HOUR, 100);
    one.tenant = tenant;
    call_reserve(channels[0], &one, &held);
    cr_assert_eq(held.decision, ALLOW);
    if (lose_redis)
        fixture_redis_text("FLUSHALL");
    fixture_sql_do("UPDATE quota SET period_end_ms = extract(epoch FROM clock_timestamp())::bigint"
                   " * 1000 - 1000 WHERE tenant_id = %" PRId64, tenant_number(tenant));
    one = (struct ask){.tenant = tenant, .job = "job", .id = held.id, .ttl_ms = 600000};
    call_extend(channels[0], &one, &extended);
    cr_assert_eq(extended.code, STUB_OK, "%s %s", extended.reason, extended.text);
    now_ms = fixture_sql("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint");
    cr_assert_gt(extended.expire_ms, now_ms + 590000, "the lease of the period ends before");
    cr_assert_geq(fixture_sql("SELECT min(lease_deadline_ms) FROM quota WHERE tenant_id = %" PRId64,
                              tenant_number(tenant)),
                  extended.expire_ms);
    one = (struct ask){.tenant = tenant, .job = "job", .id = extended.id};
    call_commit(channels[0], &one, &committed);
    cr_assert_eq(committed.code, STUB_OK, "%s", committed.text);
    cr_assert(!committed.late && committed.debt == 0 && committed.committed == 10);
    books_balance(tenant);
}

Test(extend, a_hold_lives_on_when_its_period_is_over)
{
    extend_past_the_period(false);
}

Test(extend, a_lost_hold_is_taken_again_in_its_period_when_that_is_over)
{
    extend_past_the_period(true);
}

/* --- how long ------------------------------------------------------------------------------------- */

/* As it bounds a Reserve's. By job alone the hold says which limits it has. */
Test(extend, a_limits_longest_ttl_bounds_an_extend)
{
    struct ask one = {.job = "job", .meters_count = 1, .meters = {"tokens"}, .units = {10},
                      .ttl_ms = 5000};
    struct answer held, by_id, by_job;
    int64_t now_ms;

    open_servers(NULL);
    plan_limit(channels[0], tenant, "all", "", "tokens", NEVER, 100);
    fixture_sql_do("UPDATE limit_ SET max_ttl_ms = 20000 WHERE tenant_id = %" PRId64,
                   tenant_number(tenant));
    plan_limit(channels[0], tenant, "other", "", "calls", NEVER, 1); /* the plan is read anew */
    one.tenant = tenant;
    call_reserve(channels[0], &one, &held);
    cr_assert(admitted(&held), "%s", held.text);
    one = (struct ask){.tenant = tenant, .job = "job", .id = held.id, .ttl_ms = 60000};
    call_extend(channels[0], &one, &by_id);
    one.id = NULL;
    call_extend(channels[1], &one, &by_job);
    cr_assert(by_id.code == STUB_OK && by_job.code == STUB_OK, "%s %s", by_id.text, by_job.text);
    now_ms = fixture_sql("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint");
    cr_assert_leq(by_id.expire_ms, now_ms + 20000);
    cr_assert_leq(by_job.expire_ms, now_ms + 20000);
    cr_assert_geq(by_job.expire_ms, by_id.expire_ms);
    cr_assert_gt(by_id.expire_ms, now_ms + 10000);
}

/* --- no room ------------------------------------------------------------------------------------- */

static bool is_past(void *user)
{
    return fixture_now_us() >= *(int64_t *)user;
}

/* What is set aside for it holds it: a token that says so, and a commit on time. */
Test(extend, a_lost_hold_without_room_to_stand_again_lives_under_what_is_set_aside)
{
    struct ask one = {.job = "job", .meters_count = 1, .meters = {"tokens"}, .units = {60},
                      .ttl_ms = 5000};
    struct answer held, extended, committed;
    int64_t past_us, now_ms;

    open_servers(NULL);
    plan_limit(channels[0], tenant, "all", "", "tokens", NEVER, 100);
    one.tenant = tenant;
    call_reserve(channels[0], &one, &held);
    cr_assert(admitted(&held), "%s", held.text);
    past_us = fixture_now_us() + 5500000;
    fixture_redis_text("FLUSHALL");
    one = (struct ask){.tenant = tenant, .job = "job", .id = held.id, .ttl_ms = 600000};
    call_extend(channels[0], &one, &extended);
    cr_assert_eq(extended.code, STUB_OK, "%s %s", extended.reason, extended.text);
    now_ms = fixture_sql("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint");
    cr_assert_gt(extended.expire_ms, now_ms + 590000, "the expiry did not move");
    cr_assert_geq(fixture_sql("SELECT min(deadline_ms) FROM old_lease WHERE tenant_id = %" PRId64,
                              tenant_number(tenant)),
                  extended.expire_ms);
    cr_assert(fixture_until(10000, is_past, &past_us));
    one = (struct ask){.tenant = tenant, .job = "job", .id = extended.id};
    call_commit(channels[1], &one, &committed);
    cr_assert_eq(committed.code, STUB_OK, "%s", committed.text);
    cr_assert(!committed.late && committed.debt == 0 && committed.committed == 60);
    books_balance(tenant);
}

/* It is in Redis, under a lease of the epoch before, and there it stays. */
static bool is_of_a_later_epoch(void *user)
{
    struct ask one = {.tenant = tenant, .job = "another", .meters_count = 1, .meters = {"tokens"},
                      .units = {1}, .ttl_ms = 100};
    struct answer answer;

    call_reserve(channels[0], &one, &answer);
    return admitted(&answer) &&
           fixture_sql("SELECT count(*) FROM old_lease WHERE tenant_id = %" PRId64, *(int64_t *)user);
}

Test(extend, a_hold_under_an_old_lease_without_room_for_a_new_one_goes_on_under_it)
{
    struct ask one = {.job = "job", .meters_count = 1, .meters = {"tokens"}, .units = {60},
                      .ttl_ms = 8000};
    struct answer held, extended, committed, now;
    int64_t past_us, now_ms, number;

    open_servers(NULL);
    plan_limit(channels[0], tenant, "all", "", "tokens", NEVER, 100);
    one.tenant = tenant;
    call_reserve(channels[0], &one, &held);
    cr_assert(admitted(&held), "%s", held.text);
    past_us = fixture_now_us() + 8500000;
    number = tenant_number(tenant);
    fixture_sql_do("UPDATE shard_authority SET nonce = '' WHERE shard = (SELECT shard FROM tenant"
                   " WHERE tenant_id = %" PRId64 ")", number);
    cr_assert(fixture_until(5000, is_of_a_later_epoch, &number));
    one = (struct ask){.tenant = tenant, .job = "job", .ttl_ms = 600000};
    call_extend(channels[0], &one, &extended);
    cr_assert_eq(extended.code, STUB_OK, "%s %s", extended.reason, extended.text);
    cr_assert_str_eq(extended.attempt, held.attempt);
    now_ms = fixture_sql("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint");
    cr_assert_gt(extended.expire_ms, now_ms + 590000, "the expiry did not move");
    cr_assert_geq(fixture_sql("SELECT min(deadline_ms) FROM old_lease WHERE tenant_id = %" PRId64,
                              number),
                  extended.expire_ms);
    cr_assert(fixture_until(12000, is_past, &past_us));
    call_get(channels[1], &one, &now);
    cr_assert_eq(now.state, HELD, "state %d", now.state);
    call_commit(channels[1], &one, &committed);
    cr_assert_eq(committed.code, STUB_OK, "%s", committed.text);
    cr_assert(!committed.late && committed.debt == 0 && committed.committed == 60);
    books_balance(tenant);
}

/* --- without the database -------------------------------------------------------------------------- */

static bool commits(void *user)
{
    struct extension *extension = user;

    call_commit(channels[1], &extension->ask, &extension->answer);
    return !passing(&extension->answer);
}

Test(extend, a_hold_is_extended_while_the_database_is_away)
{
    struct ask one = {.job = "job", .meters_count = 1, .meters = {"tokens"}, .units = {10},
                      .ttl_ms = 15000};
    struct extension committing = {0};
    struct answer held, before, after, by_job, other, answer;
    int64_t past_us;

    open_servers(NULL);
    plan_limit(channels[0], tenant, "all", "", "tokens", NEVER, 100);
    one.tenant = tenant;
    call_reserve(channels[0], &one, &held);
    one.job = "other";
    call_reserve(channels[0], &one, &other);
    cr_assert(admitted(&held) && admitted(&other), "%s", held.text);
    past_us = fixture_now_us() + 15500000;
    one = (struct ask){.tenant = tenant, .job = "job", .id = held.id, .ttl_ms = 15000};
    call_extend(channels[0], &one, &before);
    cr_assert(before.code == STUB_OK && !before.degraded, "%s", before.text);
    part();

    one.ttl_ms = 40000;
    call_extend(channels[0], &one, &after);
    cr_assert_eq(after.code, STUB_OK, "%s %s", after.reason, after.text);
    cr_assert(after.degraded);
    cr_assert_gt(after.expire_ms, before.expire_ms + 20000);
    one.id = NULL;
    call_extend(channels[0], &one, &by_job);
    cr_assert(by_job.code == STUB_OK && by_job.degraded, "%s %s", by_job.reason, by_job.text);
    cr_assert_geq(by_job.expire_ms, after.expire_ms);
    one.ttl_ms = 600000; /* the lease ends before */
    call_extend(channels[0], &one, &answer);
    cr_assert_eq(answer.code, STUB_UNAVAILABLE, "%s %s", answer.reason, answer.text);
    cr_assert_str_eq(answer.reason, "POSTGRES_UNAVAILABLE");
    cr_assert(answer.effect_stated && !answer.effect_unknown);
    call_commit(channels[0], &one, &answer);
    cr_assert_eq(answer.code, STUB_UNAVAILABLE, "%s %s", answer.reason, answer.text);

    meet_again();
    cr_assert(fixture_until(20000, is_past, &past_us), "its first deadline");
    committing.ask = (struct ask){.tenant = tenant, .job = "job", .id = after.id};
    cr_assert(fixture_until(10000, commits, &committing));
    cr_assert_eq(committing.answer.code, STUB_OK, "%s", committing.answer.text);
    cr_assert(!committing.answer.late && committing.answer.debt == 0);
    one = (struct ask){.tenant = tenant, .job = "other", .id = other.id};
    call_release(channels[1], &one, &answer);
    cr_assert_eq(answer.code, STUB_OK, "%s %s", answer.reason, answer.text);
    call_extend(channels[0], &one, &answer);
    cr_assert_eq(answer.code, STUB_FAILED_PRECONDITION, "%s %s", answer.reason, answer.text);
    cr_assert(fixture_until(GONE_MS, holds_are_gone, NULL));
    books_balance(tenant);
}

/* Of the first server, whose notifies are lost if faults say so. */
static void release_and_part(const char *faults, struct answer *held)
{
    struct ask one = {.job = "job", .meters_count = 1, .meters = {"tokens"}, .units = {10},
                      .ttl_ms = 60000};
    struct answer answer;

    open_servers(faults);
    plan_limit(channels[0], tenant, "all", "", "tokens", NEVER, 100);
    one.tenant = tenant;
    call_reserve(channels[0], &one, held);
    cr_assert(admitted(held), "%s", held->text);
    one = (struct ask){.tenant = tenant, .job = "warm", .meters_count = 1, .meters = {"tokens"},
                       .units = {1}, .ttl_ms = 100};
    call_reserve(channels[1], &one, &answer);
    cr_assert(admitted(&answer), "the second server knows plan and shard: %s", answer.text);
    one = (struct ask){.tenant = tenant, .job = "job", .id = held->id};
    call_release(channels[0], &one, &answer);
    cr_assert_eq(answer.code, STUB_OK, "%s %s", answer.reason, answer.text);
    part();
}

/* What it acknowledged itself it knows; the first notify is lost. */
Test(extend, after_a_release_on_this_server_there_is_no_ok_without_the_database)
{
    struct ask one = {.job = "job", .ttl_ms = 61000};
    struct answer held, answer;

    release_and_part("notify.lost=fail@1", &held);
    one.tenant = tenant;
    one.id = held.id;
    for (int i = 0; i < 5; i++) {
        call_extend(channels[0], &one, &answer);
        cr_assert_eq(answer.code, STUB_UNAVAILABLE, "%d %s", answer.code, answer.text);
    }
    meet_again();
}

static bool knows_the_release(void *user)
{
    struct extension *extension = user;

    call_extend(channels[1], &extension->ask, &extension->answer);
    return !passing(&extension->answer) && !extension->answer.degraded;
}

/* Redis was never told: the hold stands, is extended, and goes. Nothing of it is recorded. */
Test(extend, a_release_that_redis_did_not_hear_of_is_kept_when_the_database_is_back)
{
    struct extension one = {.ask = {.job = "job", .ttl_ms = 61000}};
    struct answer held;

    release_and_part("notify.lost=fail", &held);
    fixture_server_kill(&servers[0]);
    one.ask.tenant = tenant;
    one.ask.id = held.id;
    call_extend(channels[1], &one.ask, &one.answer);
    cr_assert(one.answer.code == STUB_OK && one.answer.degraded, "%d %s", one.answer.code,
              one.answer.text);
    snprintf(held.id, sizeof(held.id), "%s", one.answer.id);
    meet_again();
    cr_assert(fixture_until(10000, commits, &one));
    cr_assert_eq(one.answer.code, STUB_FAILED_PRECONDITION, "%d %s", one.answer.code,
                 one.answer.text);
    cr_assert_str_eq(one.answer.reason, "RELEASED");
    cr_assert(fixture_until(10000, knows_the_release, &one));
    cr_assert_str_eq(one.answer.reason, "RELEASED", "%s", one.answer.text);
    cr_assert(fixture_until(GONE_MS, holds_are_gone, NULL));
    cr_assert_eq(books_rows(tenant), 0);
    fixture_server_restart(&servers[0], NULL);
    books_balance(tenant);
}

/* --- many at once ---------------------------------------------------------------------------------- */

enum { MANY = 300 };

static struct extension many[MANY];
static atomic_int many_answered;

static void *extend_one_of_many(void *user)
{
    extend(user);
    atomic_fetch_add(&many_answered, 1);
    return NULL;
}

static bool repeat_where_redis_was_away(void *user)
{
    struct extension *one = user;

    if (one->answer.code == STUB_UNAVAILABLE)
        extend(one);
    return one->answer.code != STUB_UNAVAILABLE;
}

/* Who found Redis away asks again: then everybody has an answer that says what became of it. */
static void join_many(int count)
{
    for (int i = 0; i < count; i++)
        pthread_join(many[i].thread, NULL);
    for (int i = 0; i < count; i++)
        cr_assert(fixture_until(10000, repeat_where_redis_was_away, &many[i]), "%d: %s", i,
                  many[i].answer.text);
}

static bool one_is_answered(void *user)
{
    (void)user;
    return atomic_load(&many_answered) > 0;
}

static pid_t redis_pid(void)
{
    const char *info = fixture_redis_text("INFO server"), *at = strstr(info, "process_id:");

    cr_assert(at);
    return (pid_t)strtol(at + strlen("process_id:"), NULL, 10);
}

/* While Redis does not answer the first of them, the others gather: more than go in one turn. */
Test(extend, more_at_once_than_go_together_are_all_answered)
{
    static char jobs[MANY][32];
    pid_t redis = redis_pid();

    open_servers(NULL);
    plan_limit(channels[0], tenant, "all", "", "tokens", NEVER, 1000);
    for (int i = 0; i < MANY; i++) {
        snprintf(jobs[i], sizeof(jobs[i]), "many-%d", i);
        many[i].ask = (struct ask){.tenant = tenant, .job = jobs[i], .meters_count = 1,
                                   .meters = {"tokens"}, .units = {1}, .ttl_ms = 60000};
    }
    for (int i = 0; i < MANY; i++) {
        call_reserve(channels[0], &many[i].ask, &many[i].answer);
        cr_assert(admitted(&many[i].answer), "%s", many[i].answer.text);
        many[i].ask.ttl_ms = 90000;
    }
    cr_assert(kill(redis, SIGSTOP) == 0);
    for (int i = 0; i < MANY; i++)
        cr_assert(pthread_create(&many[i].thread, NULL, extend_one_of_many, &many[i]) == 0);
    (void)fixture_until(5000, one_is_answered, NULL);
    cr_assert(kill(redis, SIGCONT) == 0);
    join_many(MANY);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(many[i].answer.code, STUB_OK, "%d %s", many[i].answer.code,
                     many[i].answer.text);
    cr_assert_eq(books_holds(tenant), MANY);
    books_balance(tenant);
}

/* What the database refuses of one tenant is that tenant's alone, also in one turn with others. */
Test(extend, a_tenant_whose_lease_cannot_be_pushed_is_alone_with_it)
{
    static char jobs[MANY][32], good[64], bad[72];
    pid_t redis = redis_pid();

    open_servers(NULL);
    snprintf(good, sizeof(good), "%s", tenant);
    snprintf(bad, sizeof(bad), "%s-bad", tenant);
    plan_tenant(channels[0], bad);
    plan_limit(channels[0], good, "all", "", "tokens", NEVER, 1000);
    plan_limit(channels[0], bad, "all", "", "tokens", NEVER, 1000);
    atomic_store(&many_answered, 0);
    for (int i = 0; i < MANY / 3; i++) {
        snprintf(jobs[i], sizeof(jobs[i]), "many-%d", i);
        many[i].ask = (struct ask){.tenant = i % 8 == 3 ? bad : good, .job = jobs[i],
                                   .meters_count = 1, .meters = {"tokens"}, .units = {1},
                                   .ttl_ms = 60000};
        call_reserve(channels[0], &many[i].ask, &many[i].answer);
        cr_assert(admitted(&many[i].answer), "%s", many[i].answer.text);
        many[i].ask.ttl_ms = 600000; /* further than any lease */
    }
    fixture_sql_do("CREATE FUNCTION test_raise() RETURNS trigger LANGUAGE plpgsql AS"
                   " 'BEGIN RAISE ''planted''; END'");
    fixture_sql_do("CREATE TRIGGER test_raise BEFORE UPDATE ON quota FOR EACH ROW"
                   " WHEN (new.tenant_id = %" PRId64 ") EXECUTE FUNCTION test_raise()",
                   tenant_number(bad));
    cr_assert(kill(redis, SIGSTOP) == 0);
    for (int i = 0; i < MANY / 3; i++)
        cr_assert(pthread_create(&many[i].thread, NULL, extend_one_of_many, &many[i]) == 0);
    (void)fixture_until(5000, one_is_answered, NULL);
    cr_assert(kill(redis, SIGCONT) == 0);
    join_many(MANY / 3);
    for (int i = 0; i < MANY / 3; i++)
        cr_assert_eq(many[i].answer.code, i % 8 == 3 ? STUB_INTERNAL : STUB_OK, "%d: %d %s", i,
                     many[i].answer.code, many[i].answer.text);
    fixture_sql_do("DROP TRIGGER test_raise ON quota");
    fixture_sql_do("DROP FUNCTION test_raise");
    books_balance(good);
}
