#include "tests/integration/storm.h"

#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { JOBS_MAX = 400000, THREADS_MAX = 64, PATIENCE_MS = 60000, CALL_TIMEOUT_MS = 5000 };

enum outcome { UNFINISHED, TOLD_COMMITTED, TOLD_RELEASED, LEFT, TOLD_REJECTED };

struct job {
    enum outcome outcome;
    int64_t units;    /* acknowledged as committed */
    int64_t rows;     /* found in the ledger */
    int64_t recorded; /* units found there */
};

struct runner {
    struct storm *storm;
    pthread_t thread;
    uint64_t random;
    int channel;
};

struct storm {
    struct storm_options options;
    struct job *jobs;
    struct runner runners[THREADS_MAX];
    atomic_int next;
    atomic_bool stop;
    atomic_llong bound, bound_max;
    atomic_llong reserved, rejected, extended, committed, released, repeated, late, unavailable;
    atomic_int strange;
    char strange_text[400]; /* of the first */
};

static uint64_t draw(struct runner *runner, uint64_t below)
{
    runner->random ^= runner->random << 13;
    runner->random ^= runner->random >> 7;
    runner->random ^= runner->random << 17;
    return runner->random % below;
}

static void strange(struct storm *storm, const char *call, const char *job,
                    const struct answer *answer)
{
    if (atomic_fetch_add(&storm->strange, 1) == 0)
        snprintf(storm->strange_text, sizeof(storm->strange_text),
                 "%s of %s: %s %s decision %d state %d: %.200s", call, job,
                 stub_code_name(answer->code), answer->reason, answer->decision, answer->state,
                 answer->text);
}

static void add_bound(struct storm *storm, int64_t units)
{
    long long now = atomic_fetch_add(&storm->bound, units) + units;
    long long max = atomic_load(&storm->bound_max);

    while (now > max && !atomic_compare_exchange_weak(&storm->bound_max, &max, now))
        ;
}

typedef void call_function(struct stub_channel *channel, const struct ask *ask,
                           struct answer *ret);

/* Repeats the call until it is answered for good. False: its answer stayed away too long. */
static bool insist(struct runner *runner, const char *name, call_function *call,
                   const struct ask *ask, struct answer *ret)
{
    struct storm *storm = runner->storm;
    int64_t end_us = fixture_now_us() + PATIENCE_MS * INT64_C(1000);

    while (true) {
        call(storm->options.channels[runner->channel % storm->options.channels_count], ask, ret);
        if (!passing(ret))
            return true;
        atomic_fetch_add(&storm->repeated, 1);
        atomic_fetch_add(&storm->unavailable, ret->code == STUB_UNAVAILABLE && ret->effect_stated);
        if (!storm->options.servers_die &&
            (ret->code != STUB_UNAVAILABLE || !ret->effect_stated)) {
            strange(storm, name, ask->job, ret);
            return false;
        }
        if (fixture_now_us() > end_us) {
            strange(storm, name, ask->job, ret);
            return false;
        }
        runner->channel++;
        usleep((useconds_t)(5000 + draw(runner, 20000)));
    }
}

static void finish_commit(struct runner *runner, struct job *job, struct ask *ask, int64_t held)
{
    struct storm *storm = runner->storm;
    struct answer answer;

    ask->units[0] = storm->options.commit_little ? 1 : held;
    add_bound(storm, ask->units[0] - held);
    if (!insist(runner, "Commit", call_commit, ask, &answer))
        return;
    if (answer.code != STUB_OK || answer.committed + answer.debt != ask->units[0]) {
        strange(storm, "Commit", ask->job, &answer);
        return;
    }
    atomic_fetch_add(&storm->committed, 1);
    atomic_fetch_add(&storm->late, answer.late);
    job->outcome = TOLD_COMMITTED;
    job->units = ask->units[0];
}

static void finish_release(struct runner *runner, struct job *job, struct ask *ask, int64_t held)
{
    struct storm *storm = runner->storm;
    struct answer answer;

    add_bound(storm, -held);
    if (!insist(runner, "Release", call_release, ask, &answer))
        return;
    if (answer.code != STUB_OK) {
        strange(storm, "Release", ask->job, &answer);
        return;
    }
    atomic_fetch_add(&storm->released, 1);
    job->outcome = TOLD_RELEASED;
}

static void extend(struct runner *runner, const struct ask *ask)
{
    struct storm *storm = runner->storm;
    struct answer answer;

    if (!insist(runner, "Extend", call_extend, ask, &answer))
        return;
    if (answer.code == STUB_OK)
        atomic_fetch_add(&storm->extended, 1);
    else if (strcmp(answer.reason, "EXPIRED") != 0 && strcmp(answer.reason, "UNKNOWN_JOB") != 0)
        strange(storm, "Extend", ask->job, &answer);
}

/* Half of all calls name the attempt and the job, the others the attempt alone. */
static void finish(struct runner *runner, struct job *job, struct ask *ask, int64_t held)
{
    const struct storm_options *options = &runner->storm->options;
    int choice = (int)draw(runner, 100);

    if (options->hold_ms_max > 0)
        usleep((useconds_t)draw(runner, (uint64_t)options->hold_ms_max * 1000));
    if ((int)draw(runner, 100) < options->extend_percent)
        extend(runner, ask);
    if (draw(runner, 2))
        ask->job = NULL;
    if (choice < options->commit_percent) {
        finish_commit(runner, job, ask, held);
    } else if (choice < options->commit_percent + options->release_percent) {
        finish_release(runner, job, ask, held);
    } else {
        add_bound(runner->storm, -held);
        job->outcome = LEFT;
    }
}

static void run_job(struct runner *runner, int number)
{
    struct storm *storm = runner->storm;
    struct job *job = &storm->jobs[number];
    struct answer answer;
    char name[24];
    struct ask ask = {
        .tenant = storm->options.tenant,
        .job = name,
        .meters_count = 1,
        .meters = {"calls"},
        .units = {1 + (int64_t)draw(runner, (uint64_t)storm->options.units_max)},
        .ttl_ms = storm->options.ttl_ms,
        .timeout_ms = CALL_TIMEOUT_MS,
    };

    snprintf(name, sizeof(name), "%d", number);
    runner->channel = number;
    if (!insist(runner, "Reserve", call_reserve, &ask, &answer))
        return;
    if (answer.code == STUB_OK && answer.decision == REJECT) {
        atomic_fetch_add(&storm->rejected, 1);
        job->outcome = TOLD_REJECTED;
        usleep((useconds_t)draw(runner, 10000));
        return;
    }
    if (!admitted(&answer)) {
        strange(storm, "Reserve", name, &answer);
        return;
    }
    atomic_fetch_add(&storm->reserved, 1);
    add_bound(storm, ask.units[0]);
    ask.id = answer.id;
    finish(runner, job, &ask, ask.units[0]);
}

static void *run(void *user)
{
    struct runner *runner = user;
    struct storm *storm = runner->storm;
    int number;

    while (!atomic_load(&storm->stop) && atomic_load(&storm->strange) == 0 &&
           (number = atomic_fetch_add(&storm->next, 1)) < JOBS_MAX)
        run_job(runner, number);
    return NULL;
}

struct storm *storm_start(const struct storm_options *options)
{
    struct storm *storm = calloc(1, sizeof(*storm));

    cr_assert(storm && options->threads <= THREADS_MAX && options->limit > 0);
    storm->options = *options;
    storm->jobs = calloc(JOBS_MAX, sizeof(*storm->jobs));
    cr_assert(storm->jobs);
    for (int i = 0; i < options->threads; i++) {
        storm->runners[i] = (struct runner){
            .storm = storm,
            .random = (options->seed + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)(i + 1) << 32};
        cr_assert(pthread_create(&storm->runners[i].thread, NULL, run, &storm->runners[i]) == 0);
    }
    return storm;
}

void storm_stop(struct storm *storm)
{
    atomic_store(&storm->stop, true);
    for (int i = 0; i < storm->options.threads; i++)
        pthread_join(storm->runners[i].thread, NULL);
}

struct storm_figures storm_figures(struct storm *storm)
{
    return (struct storm_figures){
        .jobs = storm->next,
        .reserved = storm->reserved,
        .rejected = storm->rejected,
        .extended = storm->extended,
        .committed = storm->committed,
        .released = storm->released,
        .repeated = storm->repeated,
        .late = storm->late,
        .unavailable = storm->unavailable,
        .bound_max = storm->bound_max,
    };
}

void storm_check(struct storm *storm)
{
    cr_assert(storm->strange == 0, "seed %" PRIu64 ": %d strange answers, first %s",
              storm->options.seed, (int)storm->strange, storm->strange_text);
    cr_assert(storm->bound_max <= storm->options.limit,
              "seed %" PRIu64 ": at least %lld held and committed, the limit is %" PRId64,
              storm->options.seed, (long long)storm->bound_max, storm->options.limit);
}

static void take_entry(void *user, const char *name, int64_t units)
{
    struct storm *storm = user;
    int number = (int)strtol(name, NULL, 10);

    cr_assert(number >= 0 && number < storm->next, "a job that nobody made: %s", name);
    storm->jobs[number].rows++;
    storm->jobs[number].recorded += units;
}

void storm_judge(struct storm *storm)
{
    struct storm_figures figures = storm_figures(storm);
    int64_t sum = 0;

    cr_log_info("%" PRId64 " jobs: reserved %" PRId64 " rejected %" PRId64 " extended %" PRId64
                " committed %" PRId64 " (late %" PRId64 ") released %" PRId64 "; repeats %" PRId64
                ", told UNAVAILABLE %" PRId64 "; at most %" PRId64 " of %" PRId64,
                figures.jobs, figures.reserved, figures.rejected, figures.extended,
                figures.committed, figures.late, figures.released, figures.repeated,
                figures.unavailable, figures.bound_max, storm->options.limit);
    storm_check(storm);
    books_read(storm->options.tenant, take_entry, storm);
    for (int i = 0; i < storm->next && i < JOBS_MAX; i++) {
        const struct job *job = &storm->jobs[i];

        if (job->outcome == TOLD_COMMITTED)
            cr_assert(job->rows == 1 && job->recorded == job->units,
                      "job %d: acknowledged %" PRId64 ", recorded %" PRId64 " in %" PRId64 " rows",
                      i, job->units, job->recorded, job->rows);
        else
            cr_assert(job->rows == 0, "job %d: %" PRId64 " rows, but its end was %d", i, job->rows,
                      job->outcome);
        sum += job->units;
    }
    cr_assert(books_units(storm->options.tenant) == sum);
    books_balance(storm->options.tenant);
}

void storm_destroy(struct storm *storm)
{
    free(storm->jobs);
    free(storm);
}
