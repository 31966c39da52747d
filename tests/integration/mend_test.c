/*
 * Keys of Redis that are lost singly, by DEL, beside live holds: each is noticed within a minute and put
 * right, live holds still commit, and all capacity is back afterwards.
 */
#include "tests/integration/caller.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { NEVER = HOLDFAST__V1__PERIOD__PERIOD_NEVER };
enum { LIMIT = 100, MINUTE_MS = 60000, TTL_MS = 120000, HOLDS = 45, TO_COMMIT = 5 };

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

TestSuite(mend, .init = set_up, .fini = tear_down, .timeout = 230);

static void reserve(const char *tenant, const char *job, int64_t units, int64_t ttl_ms,
                    struct answer *answer)
{
    struct ask ask = {.tenant = tenant,
                      .job = job,
                      .meters_count = 1,
                      .meters = {"calls"},
                      .units = {units},
                      .ttl_ms = ttl_ms};

    call_reserve(channel, &ask, answer);
}

static void commit(const char *tenant, const char *job, const char *id)
{
    struct ask ask = {.tenant = tenant, .job = job, .id = id};
    struct answer answer;

    call_commit(channel, &ask, &answer);
    cr_assert_eq(answer.code, STUB_OK, "%s: %s", job, answer.text);
    cr_assert(!answer.late);
}

/* A key of the tenant's shard. */
struct place {
    const char *tenant;
    char key[80];
};

static struct place place_of(const char *tenant, const char *kind, const char *behind)
{
    int64_t shard = fixture_sql("SELECT shard FROM tenant WHERE name = '%s'", tenant);
    struct place place = {.tenant = tenant};

    if (strcmp(kind, "x") == 0)
        snprintf(place.key, sizeof(place.key), "q:{%" PRId64 "}:2:x:%" PRId64, shard / 16, shard);
    else
        snprintf(place.key, sizeof(place.key), "q:{%" PRId64 "}:2:%s:%" PRId64 "%s", shard / 16, kind,
                 tenant_number(tenant), behind);
    return place;
}

static bool is_there(void *user)
{
    return fixture_redis("EXISTS %s", ((struct place *)user)->key) == 1;
}

static bool has_old_lease(void *user)
{
    return fixture_sql("SELECT count(*) FROM old_lease WHERE tenant_id = %" PRId64,
                       tenant_number(((struct place *)user)->tenant)) == 1;
}

static bool lends_nothing_old(void *user)
{
    return !has_old_lease(user);
}

static void plan(const char *tenant)
{
    plan_tenant(channel, tenant);
    plan_limit(channel, tenant, "calls", "", "calls", NEVER, LIMIT);
}

/* Nobody reserves any more: only the janitor can find it. */
Test(mend, a_tenants_hash_is_lost)
{
    struct place place;
    struct answer held[2], answer;

    plan("hash");
    place = place_of("hash", "t", "");
    reserve("hash", "first", 30, TTL_MS, &held[0]);
    reserve("hash", "second", 25, TTL_MS, &held[1]);
    cr_assert(admitted(&held[0]) && admitted(&held[1]));
    fixture_redis("DEL %s", place.key);
    cr_assert(fixture_until(MINUTE_MS, has_old_lease, &place), "not noticed");
    cr_assert(fixture_until(MINUTE_MS, is_there, &place), "not filled anew");
    reserve("hash", "too-much", 60, TTL_MS, &answer);
    cr_assert(!admitted(&answer), "what is held by lost holds is not lent twice");
    commit("hash", "first", held[0].id);
    cr_assert_eq(books_units("hash"), 30);
    /* The lease ends: what the other held comes back. */
    fixture_sql_do("UPDATE old_lease SET deadline_ms = 1 WHERE tenant_id = %" PRId64,
                   tenant_number("hash"));
    cr_assert(fixture_until(MINUTE_MS, lends_nothing_old, &place));
    reserve("hash", "rest", LIMIT - 30, TTL_MS, &answer);
    cr_assert(admitted(&answer), "%s", answer.text);
    books_balance("hash");
}

/* Postgres has set it aside, and Redis was not told: the next look does the rest. */
Test(mend, a_repair_that_is_cut_between_the_stores_is_finished)
{
    static const struct fixture_server_options options = {.faults = "mend.between=fail@1"};
    struct place place;
    struct answer held, answer;

    fixture_server_stop(&server);
    fixture_server_restart(&server, &options);
    plan("cut");
    place = place_of("cut", "t", "");
    reserve("cut", "first", 30, TTL_MS, &held);
    cr_assert(admitted(&held));
    fixture_redis("DEL %s", place.key);
    cr_assert(fixture_until(MINUTE_MS, has_old_lease, &place), "not noticed");
    cr_assert(fixture_until(MINUTE_MS, is_there, &place), "not filled anew");
    reserve("cut", "too-much", 80, TTL_MS, &answer);
    cr_assert(!admitted(&answer), "what is held by lost holds is not lent twice");
    commit("cut", "first", held.id);
    cr_assert_eq(books_units("cut"), 30);
    books_balance("cut");
}

/* Between the loss and the repair nobody knows what the tenant holds, so nobody says "nothing". */
Test(mend, while_a_tenants_hash_is_lost_nobody_says_that_there_is_no_hold)
{
    struct ask ask = {.tenant = "unsure", .job = "first"};
    struct answer held, answer;
    struct place place;

    plan("unsure");
    place = place_of("unsure", "t", "");
    reserve("unsure", "first", 30, TTL_MS, &held);
    cr_assert(admitted(&held));
    fixture_redis("DEL %s", place.key);
    call_get(channel, &ask, &answer);
    cr_assert_eq(answer.code, STUB_UNAVAILABLE, "%d %s", answer.code, answer.text);
    cr_assert_str_eq(answer.reason, "SHARD_RECOVERING");
    call_commit(channel, &ask, &answer);
    cr_assert_eq(answer.code, STUB_UNAVAILABLE, "%d %s", answer.code, answer.text);
    ask.id = held.id;
    call_get(channel, &ask, &answer);
    cr_assert_eq(answer.code, STUB_OK, "%s", answer.text);
    cr_assert_eq(answer.state, HELD);
    commit("unsure", "first", held.id);
    ask.id = NULL;
    call_get(channel, &ask, &answer);
    cr_assert_eq(answer.code, STUB_OK, "the record says it: %s", answer.text);
    cr_assert_eq(answer.state, COMMITTED);
}

/* An older attempt that expired is not taken for it, and what it held is not lent again. */
Test(mend, a_hold_is_lost_singly)
{
    struct ask ask = {.tenant = "single", .job = "job"};
    struct answer held, answer;
    struct place place;

    plan("single");
    place = place_of("single", "t", "");
    reserve("single", "job", 10, 300, &held);
    cr_assert(admitted(&held));
    cr_assert(books_free_within("single", MINUTE_MS));
    reserve("single", "job", 70, TTL_MS, &held);
    cr_assert(admitted(&held));
    fixture_redis("HDEL %s %" PRId64 "=job", place.key, tenant_number("single"));
    call_commit(channel, &ask, &answer);
    cr_assert_eq(answer.code, STUB_UNAVAILABLE, "%d %s", answer.code, answer.text);
    cr_assert_not(answer.effect_unknown);
    call_get(channel, &ask, &answer);
    cr_assert_eq(answer.code, STUB_UNAVAILABLE, "%d %s", answer.code, answer.text);
    cr_assert(fixture_until(MINUTE_MS, has_old_lease, &place), "not noticed");
    call_commit(channel, &ask, &answer);
    cr_assert_eq(answer.code, STUB_NOT_FOUND, "%d %s", answer.code, answer.text);
    cr_assert_str_eq(answer.reason, "UNKNOWN_JOB");
    reserve("single", "too-much", LIMIT - 60, TTL_MS, &answer);
    cr_assert(!admitted(&answer), "what the lost one holds is lent again");
    commit("single", "job", held.id);
    cr_assert_eq(books_units("single"), 70);
    books_balance("single");
}

static bool is_refused(void *user)
{
    static int number;
    struct answer answer;
    char job[16];

    snprintf(job, sizeof(job), "probe-%d", number++);
    reserve(user, job, 1, TTL_MS, &answer);
    return answer.code == STUB_OK && answer.decision == REJECT;
}

/* What the plan refuses may be a repeat of what was held there. */
Test(mend, a_refused_repeat_is_not_final_while_a_tenants_hash_is_lost)
{
    struct answer held, answer;
    struct place place;

    plan("unsure-too");
    place = place_of("unsure-too", "t", "");
    reserve("unsure-too", "first", 30, TTL_MS, &held);
    cr_assert(admitted(&held));
    reserve("unsure-too", "last", 30, TTL_MS, &held);
    cr_assert(admitted(&held));
    fixture_sql_do("UPDATE tenant SET state = 'S', config_version = config_version + 1,"
                   " config_position = config_position_next() WHERE name = 'unsure-too'");
    cr_assert(fixture_until(5000, is_refused, (void *)(uintptr_t)place.tenant));
    fixture_redis("DEL %s", place.key);
    reserve("unsure-too", "last", 30, TTL_MS, &answer);
    cr_assert_eq(answer.code, STUB_UNAVAILABLE, "%d %s", answer.code, answer.text);
    cr_assert(answer.effect_unknown);
}

/* The first few are to be committed, whenever what was lost is there again. */
static void hold_many(const char *tenant, struct answer *answers, int64_t ttl_ms)
{
    char job[16];

    for (int i = 0; i < HOLDS; i++) {
        snprintf(job, sizeof(job), "job-%d", i);
        reserve(tenant, job, 2, i < TO_COMMIT ? TTL_MS : ttl_ms, &answers[i]);
        cr_assert(admitted(&answers[i]), "%s", answers[i].text);
    }
}

/* Some commit, the others end by themselves: both need what was lost. */
static void expect_mended(struct place *place, const struct answer *answers)
{
    char job[16];

    cr_assert(fixture_until(MINUTE_MS, is_there, place), "%s is not made anew", place->key);
    for (int i = 0; i < TO_COMMIT; i++) {
        snprintf(job, sizeof(job), "job-%d", i);
        commit(place->tenant, job, i % 2 ? answers[i].id : NULL);
    }
}

static void expect_free(const char *tenant)
{
    cr_assert(books_free_within(tenant, MINUTE_MS), "%s: %" PRId64 " held", tenant, books_held(tenant));
    cr_assert_eq(books_units(tenant), 2 * TO_COMMIT);
    cr_assert_eq(books_holds(tenant), 0);
    books_balance(tenant);
}

/* A tenant each: a leaf of the index, the list of leaves, that of leases, and its shard's of tenants. */
Test(mend, a_key_that_others_tell_of_is_lost)
{
    static const struct {
        const char *tenant, *kind, *behind;
    } lost[] = {
        {"leaf", "d", ":0"}, {"leaves", "i", ""}, {"leases", "c", ""}, {"tenants", "x", ""}};
    struct answer answers[4][HOLDS];
    struct place places[4];

    for (int i = 0; i < 4; i++)
        plan(lost[i].tenant);
    for (int i = 0; i < 4; i++) {
        hold_many(lost[i].tenant, answers[i], 13000);
        places[i] = place_of(lost[i].tenant, lost[i].kind, lost[i].behind);
    }
    for (int i = 0; i < 4; i++)
        fixture_redis("DEL %s", places[i].key);
    for (int i = 0; i < 4; i++)
        expect_mended(&places[i], answers[i]);
    for (int i = 0; i < 4; i++)
        expect_free(lost[i].tenant);
}

enum { BOTH_KEYS, WITH_THE_INDEX, THE_FIELDS, LOSSES };

static void lose_both(int what, const char *tenant)
{
    struct place t = place_of(tenant, "t", ""), c = place_of(tenant, "c", "");
    struct place leaf = place_of(tenant, "d", ":0");
    int64_t limit = fixture_sql("SELECT limit_id FROM limit_ WHERE tenant_id = %" PRId64,
                                tenant_number(tenant));

    if (what == THE_FIELDS) {
        cr_assert_eq(fixture_redis("HDEL %s %" PRId64 ":0", t.key, limit), 1);
        cr_assert_eq(fixture_redis("HDEL %s %" PRId64 ":0", c.key, limit), 1);
        return;
    }
    cr_assert_eq(fixture_redis("DEL %s %s", t.key, c.key), 2);
    if (what == WITH_THE_INDEX)
        cr_assert_eq(fixture_redis("DEL %s", leaf.key), 1);
}

/*
 * What was lent is in neither key any more, and what is held only by the callers, or in holds. None of it
 * is lent again, whoever comes by first.
 */
Test(mend, what_both_keys_of_a_tenant_lost_is_not_lent_again)
{
    struct answer held[LOSSES], answer;

    for (int i = 0; i < LOSSES; i++) {
        char tenant[16], job[16];
        int64_t units = 60;

        snprintf(tenant, sizeof(tenant), "both-%d", i);
        plan(tenant);
        reserve(tenant, "job", units, TTL_MS, &held[i]);
        cr_assert(admitted(&held[i]), "%s", held[i].text);
        lose_both(i, tenant);
        for (int k = 0; k < 20; k++) {
            snprintf(job, sizeof(job), "next-%d", k);
            reserve(tenant, job, 10, TTL_MS, &answer);
            units += admitted(&answer) ? 10 : 0;
        }
        cr_assert_leq(units, LIMIT, "%s: %" PRId64 " of %d", tenant, units, LIMIT);
        commit(tenant, "job", held[i].id);
        books_balance(tenant);
    }
}

/* Its sixteen shards begin new epochs; what was held is set aside, and still commits. */
Test(mend, the_guard_of_the_shards_is_lost)
{
    int64_t shard;
    struct answer held, answer;

    plan("guard");
    reserve("guard", "job", 30, TTL_MS, &held);
    cr_assert(admitted(&held));
    shard = fixture_sql("SELECT shard FROM tenant WHERE name = 'guard'");
    fixture_redis("DEL q:{%" PRId64 "}:a", shard / 16);
    reserve("guard", "next", 10, TTL_MS, &answer);
    cr_assert(admitted(&answer), "%s", answer.text);
    commit("guard", "job", held.id);
    cr_assert_eq(books_units("guard"), 30);
    books_balance("guard");
}

/* --- what nobody can read ----------------------------------------------------------------------- */

/* The text of a job's hold becomes another one; * in front stands for what was before its quotas. */
static void spoil(const struct place *place, const char *job, const char *format)
{
    char field[80], text[512];
    const char *was;
    int head;

    snprintf(field, sizeof(field), "%" PRId64 "=%s", tenant_number(place->tenant), job);
    was = fixture_redis_text("HGET %s %s", place->key, field);
    cr_assert(strchr(was, ';') != NULL, "%s", was);
    head = format[0] == '*' ? (int)strcspn(was, ";") : 0;
    snprintf(text, sizeof(text), "%.*s%s", head, was, format + (format[0] == '*'));
    fixture_redis("HSET %s %s %s", place->key, field, text);
}

static bool is_all_free(void *tenant)
{
    struct answer answer;

    reserve(tenant, "all", LIMIT, TTL_MS, &answer);
    return admitted(&answer);
}

/*
 * Four holds of a tenant end; two of them are not readable, in two ways. The readable ones end as ever, and
 * so do those of another tenant; the live one commits. What the unreadable ones held is not lent again
 * before the leases have ended, and is then.
 */
static void expect_thrown_away(const char *tenant, const char *beside, const char *text,
                               const char *other_text)
{
    struct place place;
    struct answer held, live, answer;

    plan(tenant);
    plan(beside);
    place = place_of(tenant, "t", "");
    reserve(beside, "all-of-it", LIMIT, 1500, &held);
    cr_assert(admitted(&held));
    reserve(tenant, "live", 10, TTL_MS, &live);
    cr_assert(admitted(&live));
    reserve(tenant, "bad", 20, 1000, &held);
    cr_assert(admitted(&held));
    reserve(tenant, "worse", 15, 1000, &held);
    cr_assert(admitted(&held));
    reserve(tenant, "good", 30, 1500, &held);
    cr_assert(admitted(&held));
    spoil(&place, "bad", text);
    spoil(&place, "worse", other_text);
    cr_assert(fixture_until(1500 + 2000, is_all_free, (void *)(uintptr_t)beside),
              "another tenant's hold is not reaped");
    cr_assert(fixture_until(MINUTE_MS, has_old_lease, &place), "not noticed");
    reserve(tenant, "too-much", LIMIT - 10 - 34, TTL_MS, &answer);
    cr_assert(!admitted(&answer), "what was held by the unreadable ones is lent again");
    commit(tenant, "live", live.id);
    fixture_sql_do("UPDATE old_lease SET deadline_ms = 1 WHERE tenant_id = %" PRId64,
                   tenant_number(tenant));
    cr_assert(fixture_until(MINUTE_MS, lends_nothing_old, &place));
    reserve(tenant, "bad", 1, TTL_MS, &answer);
    cr_assert(admitted(&answer), "%d %s", answer.code, answer.text);
    commit(tenant, "bad", answer.id);
    reserve(tenant, "rest", LIMIT - 11, TTL_MS, &answer);
    cr_assert(admitted(&answer), "%s", answer.text);
    books_balance(tenant);
}

Test(mend, due_holds_that_cannot_be_read_are_thrown_away)
{
    expect_thrown_away("unread", "unread-beside", "nonsense", "*;0:x:y:0:7|team|1|calls=7");
}

Test(mend, due_holds_that_contradict_themselves_are_thrown_away)
{
    expect_thrown_away("twice", "twice-beside", "*;0:1:0:0:10;0:1:0:0:10||1|calls=10",
                       "*;0:1:0:0:15||1|calls=15,calls=15");
}

/* Until its deadline it is there: nobody says that there is none, or takes another one for it. */
Test(mend, of_a_hold_that_cannot_be_read_nothing_is_guessed)
{
    struct ask ask = {.tenant = "guess", .job = "job"};
    struct answer held, answer;
    struct place place;

    plan("guess");
    place = place_of("guess", "t", "");
    reserve("guess", "job", 10, 300, &held);
    cr_assert(admitted(&held));
    cr_assert(books_free_within("guess", MINUTE_MS));
    reserve("guess", "job", 70, 15000, &held);
    cr_assert(admitted(&held));
    spoil(&place, "job", "*;0:x:y:0:70||1|calls=70");
    call_commit(channel, &ask, &answer);
    cr_assert_eq(answer.code, STUB_INTERNAL, "%d %s", answer.code, answer.text);
    cr_assert_not(answer.effect_unknown);
    call_release(channel, &ask, &answer);
    cr_assert_eq(answer.code, STUB_INTERNAL, "%d %s", answer.code, answer.text);
    call_get(channel, &ask, &answer);
    cr_assert_eq(answer.code, STUB_INTERNAL, "%d %s", answer.code, answer.text);
    reserve("guess", "job", 70, TTL_MS, &answer);
    cr_assert_eq(answer.code, STUB_INTERNAL, "%d %s", answer.code, answer.text);
    commit("guess", "job", held.id);
    cr_assert_eq(books_units("guess"), 70);
    cr_assert(books_free_within("guess", MINUTE_MS), "it ends with its deadline");
    books_balance("guess");
}
