/*
 * Commit and Release of one job at the same moment: one of them happens, and both callers know which.
 */
#include "tests/integration/caller.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS = 8, NEVER = HOLDFAST__V1__PERIOD__PERIOD_NEVER };

static const char tenant[] = "race";

struct pair {
    pthread_barrier_t together;
    char id[1024];
};

struct race {
    struct stub_channel *channels[2]; /* one commits, one releases */
    struct pair pairs[PAIRS];
    int jobs;
    struct answer *commits, *releases; /* by job */
    bool *reserved;
    bool by_job; /* without the reservation id */
};

static void racer(void *user, int index)
{
    struct race *race = user;
    struct pair *pair = &race->pairs[index / 2];
    bool commits = index % 2 == 0;
    char job[32];

    for (int i = index / 2; i < race->jobs; i += PAIRS) {
        struct ask ask = {.tenant = tenant, .job = job, .ttl_ms = 60000};

        snprintf(job, sizeof(job), "%s-%d", race->by_job ? "job" : "id", i);
        if (commits) {
            struct answer answer;

            ask.meters_count = 1;
            ask.meters[0] = "calls";
            ask.units[0] = 3;
            call_reserve(race->channels[0], &ask, &answer);
            race->reserved[i] = admitted(&answer);
            memcpy(pair->id, answer.id, sizeof(pair->id));
        }
        pthread_barrier_wait(&pair->together);
        ask.id = race->by_job ? NULL : pair->id;
        if (commits)
            call_commit(race->channels[0], &ask, &race->commits[i]);
        else
            call_release(race->channels[1], &ask, &race->releases[i]);
        pthread_barrier_wait(&pair->together);
    }
}

static void told(const struct answer *loser, const char *reason)
{
    cr_assert(loser->code == STUB_FAILED_PRECONDITION, "%s: %s", stub_code_name(loser->code),
              loser->text);
    cr_assert_str_eq(loser->reason, reason);
}

/* Each job has one end; both callers and the record agree on it. Returns the commits. */
static int judge(const struct race *race)
{
    struct answer answer;
    int committed = 0;
    char job[32];

    for (int i = 0; i < race->jobs; i++) {
        struct ask ask = {.tenant = tenant, .job = job};
        bool commit = race->commits[i].code == STUB_OK;

        cr_assert(race->reserved[i]);
        cr_assert(commit != (race->releases[i].code == STUB_OK), "job %d: %s, %s", i,
                  stub_code_name(race->commits[i].code), stub_code_name(race->releases[i].code));
        if (commit)
            told(&race->releases[i], "COMMITTED");
        else
            told(&race->commits[i], "RELEASED");
        snprintf(job, sizeof(job), "%s-%d", race->by_job ? "job" : "id", i);
        call_get(race->channels[0], &ask, &answer);
        cr_assert(answer.code == STUB_OK, "%s: %s", job, answer.text);
        cr_assert(answer.state == (commit ? COMMITTED : RELEASED), "%s: %d", job, answer.state);
        committed += commit;
    }
    return committed;
}

static void run_race(bool by_job, int jobs)
{
    struct race race = {.jobs = jobs, .by_job = by_job};
    struct fixture_server server;
    int64_t rows;
    int committed;

    fixture_server_start(&server, NULL);
    race.commits = calloc((size_t)jobs, sizeof(*race.commits));
    race.releases = calloc((size_t)jobs, sizeof(*race.releases));
    race.reserved = calloc((size_t)jobs, sizeof(*race.reserved));
    for (int i = 0; i < 2; i++)
        race.channels[i] = fixture_channel(server.listen, NULL);
    for (int i = 0; i < PAIRS; i++)
        pthread_barrier_init(&race.pairs[i].together, NULL, 2);
    if (fixture_sql("SELECT count(*) FROM tenant WHERE name = '%s'", tenant) == 0) {
        plan_tenant(race.channels[0], tenant);
        plan_limit(race.channels[0], tenant, "calls", "", "calls", NEVER, 1000000);
    }
    rows = books_rows(tenant);
    crowd(2 * PAIRS, racer, &race);
    committed = judge(&race);
    cr_log_info("%d committed, %d released", committed, jobs - committed);
    cr_assert(books_rows(tenant) == rows + committed);
    cr_assert(books_free_within(tenant, 1000), "%" PRId64 " held", books_held(tenant));
    books_balance(tenant);
    for (int i = 0; i < PAIRS; i++)
        pthread_barrier_destroy(&race.pairs[i].together);
    for (int i = 0; i < 2; i++)
        stub_channel_destroy(race.channels[i]);
    free(race.commits);
    free(race.releases);
    free(race.reserved);
    fixture_server_stop(&server);
}

Test(race, commit_against_release_by_reservation_id_has_one_winner)
{
    run_race(false, rounds(1000, 10000));
}

/* The loser of a finished job may find nothing in Redis any more; the record tells all the same. */
Test(race, commit_against_release_by_job_has_one_winner)
{
    run_race(true, rounds(500, 10000));
}
