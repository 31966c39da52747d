/*
 * A job counts once, however often and from however many places it is asked for.
 */
#include "tests/integration/caller.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum { THREADS = 32, NEVER = HOLDFAST__V1__PERIOD__PERIOD_NEVER };

static const char tenant[] = "idempotent";
static struct fixture_server servers[2];
static struct stub_channel *channels[2];

static void open_scene(void)
{
    static const struct stub_channel_options options = {.connections = 4};

    for (int i = 0; i < 2; i++) {
        fixture_server_start(&servers[i], NULL);
        channels[i] = fixture_channel(servers[i].listen, &options);
    }
    if (fixture_sql("SELECT count(*) FROM tenant WHERE name = '%s'", tenant) == 0) {
        plan_tenant(channels[0], tenant);
        plan_limit(channels[0], tenant, "calls", "", "calls", NEVER, 1000000);
    }
}

static void close_scene(void)
{
    for (int i = 0; i < 2; i++) {
        stub_channel_destroy(channels[i]);
        fixture_server_stop(&servers[i]);
    }
}

TestSuite(idempotent, .init = open_scene, .fini = close_scene);

/* The same call from all threads, over both servers. */
struct chorus {
    void (*call)(struct stub_channel *channel, const struct ask *ask, struct answer *ret);
    struct ask ask;
    struct answer answers[THREADS];
};

static void chorus_member(void *user, int index)
{
    struct chorus *chorus = user;

    chorus->call(channels[index % 2], &chorus->ask, &chorus->answers[index]);
}

/* All were told the same; returns how many were told that they repeat. */
static int chorus_sing(struct chorus *chorus)
{
    int replays = 0;

    crowd(THREADS, chorus_member, chorus);
    for (int i = 0; i < THREADS; i++) {
        const struct answer *answer = &chorus->answers[i];

        cr_assert(answer->code == STUB_OK, "%s %s: %s", stub_code_name(answer->code),
                  answer->reason, answer->text);
        cr_assert(answer->state == chorus->answers[0].state);
        cr_assert_str_eq(answer->attempt, chorus->answers[0].attempt);
        cr_assert(answer->committed == chorus->answers[0].committed);
        replays += answer->replayed;
    }
    return replays;
}

static struct ask ask_for(const char *job, int64_t units)
{
    return (struct ask){.tenant = tenant,
                        .job = job,
                        .meters_count = 1,
                        .meters = {"calls"},
                        .units = {units},
                        .ttl_ms = 60000};
}

Test(idempotent, many_at_once_make_one_hold_and_one_record)
{
    static struct chorus chorus;
    char job[32], id[sizeof(chorus.answers[0].id)];

    for (int i = 0; i < rounds(20, 200); i++) {
        int64_t rows = books_rows(tenant), units = books_units(tenant);

        snprintf(job, sizeof(job), "chorus-%d", i);
        chorus.ask = ask_for(job, 7);
        chorus.call = call_reserve;
        cr_assert(chorus_sing(&chorus) == THREADS - 1);
        cr_assert(admitted(&chorus.answers[0]));
        cr_assert(books_holds(tenant) == 1);
        cr_assert(books_held(tenant) == 7);

        chorus.ask.units[0] = 5;
        memcpy(id, chorus.answers[0].id, sizeof(id)); /* the answers are about to be new ones */
        chorus.ask.id = i % 2 ? id : NULL;
        chorus.call = call_commit;
        cr_assert(chorus_sing(&chorus) == THREADS - 1);
        cr_assert(chorus.answers[0].committed == 5);
        cr_assert(books_rows(tenant) == rows + 1);
        cr_assert(books_units(tenant) == units + 5);
        cr_assert(books_free_within(tenant, 1000));
        cr_assert(books_holds(tenant) == 0);
    }
    books_balance(tenant);
}

Test(idempotent, many_releases_at_once_release_once)
{
    static struct chorus chorus;
    struct answer answer;
    char job[32];

    for (int i = 0; i < rounds(20, 200); i++) {
        snprintf(job, sizeof(job), "release-%d", i);
        chorus.ask = ask_for(job, 7);
        call_reserve(channels[0], &chorus.ask, &answer);
        cr_assert(admitted(&answer), "%s", answer.text);
        chorus.ask.id = answer.id;
        chorus.call = call_release;
        cr_assert(chorus_sing(&chorus) == THREADS - 1);
        cr_assert(books_free_within(tenant, 1000));
    }
}

static void refused(const struct answer *answer, const char *field)
{
    cr_assert(answer->code == STUB_ALREADY_EXISTS, "%s: %s", stub_code_name(answer->code),
              answer->text);
    cr_assert_str_eq(answer->reason, "JOB_MISMATCH");
    cr_assert_str_eq(answer->field, field);
    cr_assert(answer->effect_stated && !answer->effect_unknown);
}

Test(idempotent, the_same_job_with_other_parameters_is_refused_by_field)
{
    struct answer answer, first;
    struct ask ask = ask_for("mismatch", 7);

    call_reserve(channels[0], &ask, &first);
    cr_assert(admitted(&first), "%s", first.text);
    for (int i = 0; i < 2; i++) {
        ask = ask_for("mismatch", 8);
        call_reserve(channels[i], &ask, &answer);
        refused(&answer, "amounts");
        ask = ask_for("mismatch", 7);
        ask.scope = "team";
        call_reserve(channels[i], &ask, &answer);
        refused(&answer, "scope");
    }
    cr_assert(books_held(tenant) == 7);
    ask = ask_for("mismatch", 5);
    call_commit(channels[0], &ask, &answer);
    cr_assert(answer.code == STUB_OK && !answer.replayed, "%s", answer.text);
    for (int i = 0; i < 2; i++) {
        ask = ask_for("mismatch", 4);
        ask.id = i ? first.id : NULL;
        call_commit(channels[1 - i], &ask, &answer);
        refused(&answer, "actual");
    }
    cr_assert(books_free_within(tenant, 1000));
}

Test(idempotent, a_committed_job_is_never_held_again)
{
    struct ask ask = ask_for("again", 7);
    struct answer answer;

    call_reserve(channels[0], &ask, &answer);
    cr_assert(admitted(&answer), "%s", answer.text);
    call_commit(channels[1], &ask, &answer);
    cr_assert(answer.code == STUB_OK, "%s", answer.text);
    for (int i = 0; i < 2; i++) {
        call_reserve(channels[i], &ask, &answer);
        cr_assert(answer.code == STUB_OK && answer.decision == ALREADY_COMMITTED, "%d %s",
                  answer.decision, answer.text);
        cr_assert(answer.committed == 7);
        cr_assert(*answer.id == '\0');
    }
    cr_assert(books_free_within(tenant, 1000));
    cr_assert(books_holds(tenant) == 0);
}
