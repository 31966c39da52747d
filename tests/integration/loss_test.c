/*
 * Redis or Postgres dies under load, with its data or without: what was acknowledged stays, the limit
 * holds all the time, callers are told what is going on, and service comes back by itself.
 */
#include "tests/integration/storm.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { NEVER = HOLDFAST__V1__PERIOD__PERIOD_NEVER };
enum { LIMIT = 3000, TTL_MS = 10000, LEASE_MS = 62000 };
enum { GRACE_MS = 2000 * FIXTURE_SLOWER, BACK_MS = 2000 * FIXTURE_SLOWER };

/* One caller whose tenant has room: when is it admitted? */
struct probe {
    struct stub_channel *channel;
    char tenant[32];
    pthread_t thread;
    atomic_bool stop;
    atomic_llong sent_us; /* when the last admitted Reserve was sent, and when it was answered */
    atomic_llong admitted_us;
    atomic_llong in_redis_us; /* when the last one that Redis admitted was sent */
    atomic_int unstated; /* errors without a word about their effect, or that are not UNAVAILABLE */
    char unstated_text[200];
};

static void probe_once(struct probe *probe, int number)
{
    char job[24];
    struct ask ask = {.tenant = probe->tenant,
                      .job = job,
                      .meters_count = 1,
                      .meters = {"calls"},
                      .units = {1},
                      .ttl_ms = 1000,
                      .timeout_ms = 5000};
    struct answer answer;
    int64_t sent_us = fixture_now_us();

    snprintf(job, sizeof(job), "probe-%d", number);
    call_reserve(probe->channel, &ask, &answer);
    if (admitted(&answer)) {
        atomic_store(&probe->sent_us, sent_us);
        atomic_store(&probe->admitted_us, fixture_now_us());
        if (!answer.degraded)
            atomic_store(&probe->in_redis_us, sent_us);
    } else if ((answer.code != STUB_UNAVAILABLE || !answer.effect_stated) &&
               atomic_fetch_add(&probe->unstated, 1) == 0) {
        snprintf(probe->unstated_text, sizeof(probe->unstated_text), "%s %s %d: %.100s",
                 stub_code_name(answer.code), answer.reason, answer.decision, answer.text);
    }
}

static void *probe_run(void *user)
{
    struct probe *probe = user;

    for (int i = 0; !atomic_load(&probe->stop); i++) {
        probe_once(probe, i);
        usleep(10000);
    }
    return NULL;
}

enum { SERVERS = 2 };

/* Two servers find out at once, and only one of them may make Redis usable again. */
struct scene {
    struct fixture_server servers[SERVERS];
    struct stub_channel *channels[SERVERS];
    char tenant[32];
    struct probe probe;
    struct storm *storm;
    uint64_t random;
    int64_t back_max_ms;
};

static void scene_open(struct scene *scene, const char *name)
{
    static const struct stub_channel_options connection = {.connections = 4};
    const char *wanted = getenv("HOLDFAST_TEST_SEED");
    struct storm_options storm;

    memset(scene, 0, sizeof(*scene));
    snprintf(scene->tenant, sizeof(scene->tenant), "%s", name);
    snprintf(scene->probe.tenant, sizeof(scene->probe.tenant), "%s-probe", name);
    scene->random = wanted ? strtoull(wanted, NULL, 10) : (uint64_t)time(NULL);
    cr_log_info("seed %" PRIu64, scene->random);
    fixture_stores("start-redis", NULL); /* if an earlier test ended without */
    fixture_stores("start-postgres", NULL);
    for (int i = 0; i < SERVERS; i++) {
        fixture_server_start(&scene->servers[i], NULL);
        scene->channels[i] = fixture_channel(scene->servers[i].listen, &connection);
    }
    scene->probe.channel = fixture_channel(scene->servers[0].listen, NULL);
    plan_tenant(scene->channels[0], scene->tenant);
    plan_limit(scene->channels[0], scene->tenant, "calls", "", "calls", NEVER, LIMIT);
    plan_tenant(scene->channels[0], scene->probe.tenant);
    plan_limit(scene->channels[0], scene->probe.tenant, "calls", "", "calls", NEVER, 1000000);
    storm = (struct storm_options){
        .channels = scene->channels,
        .channels_count = SERVERS,
        .tenant = scene->tenant,
        .limit = LIMIT,
        .threads = 32,
        .units_max = 200,
        .ttl_ms = TTL_MS,
        .hold_ms_max = 100,
        .commit_percent = 30,
        .release_percent = 70,
        .commit_little = true,
        .seed = scene->random,
    };
    scene->storm = storm_start(&storm);
    cr_assert(pthread_create(&scene->probe.thread, NULL, probe_run, &scene->probe) == 0);
}

static void run_on(struct scene *scene, int64_t least_ms, uint64_t more_ms)
{
    int64_t end_us;

    scene->random = scene->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    end_us = fixture_now_us() + (least_ms + (int64_t)((scene->random >> 33) % more_ms)) * 1000;
    do {
        storm_check(scene->storm);
        usleep(10000);
    } while (fixture_now_us() < end_us);
}

struct since {
    struct probe *probe;
    int64_t us;
};

static bool admitted_since(void *user)
{
    struct since *since = user;

    return atomic_load(&since->probe->sent_us) >= since->us;
}

/* The store is there again, since this moment: so is the service, soon. */
static void comes_back(struct scene *scene, int64_t store_us)
{
    struct since since = {&scene->probe, store_us};
    int64_t back_ms;

    cr_assert(fixture_until(10000, admitted_since, &since), "nobody is admitted any more");
    back_ms = (atomic_load(&scene->probe.admitted_us) - store_us) / 1000;
    if (back_ms > scene->back_max_ms)
        scene->back_max_ms = back_ms;
    cr_assert(back_ms <= BACK_MS, "admitted again only after %" PRId64 " ms", back_ms);
}

static bool all_is_free(void *user)
{
    struct scene *scene = user;
    struct ask ask = {.tenant = scene->tenant,
                      .job = "all",
                      .meters_count = 1,
                      .meters = {"calls"},
                      .units = {LIMIT - books_units(scene->tenant)},
                      .ttl_ms = 1000};
    struct answer answer;

    call_reserve(scene->channels[0], &ask, &answer);
    cr_assert(answer.code == STUB_OK, "%s %s", answer.reason, answer.text);
    return admitted(&answer);
}

/* What was set aside for holds that a lost Redis may have had comes back with its lease's end. */
static void nothing_leaks(struct scene *scene)
{
    int64_t start_us = fixture_now_us();

    cr_assert(fixture_until(LEASE_MS + GRACE_MS, all_is_free, scene), "capacity is gone");
    cr_log_info("all capacity is free after %" PRId64 " ms", (fixture_now_us() - start_us) / 1000);
}

static bool redis_admits_since(void *user)
{
    struct since *since = user;

    return atomic_load(&since->probe->in_redis_us) >= since->us;
}

/*
 * Before its end somebody is admitted by Redis again: what it holds of an earlier lease, and was not told of,
 * goes with that. Who is admitted in Postgres meanwhile touches none of it.
 */
static void scene_close(struct scene *scene)
{
    struct since since = {&scene->probe, fixture_now_us()};

    cr_assert(fixture_until(10000, redis_admits_since, &since), "Redis is not asked any more");
    run_on(scene, 500, 500);
    storm_stop(scene->storm);
    atomic_store(&scene->probe.stop, true);
    pthread_join(scene->probe.thread, NULL);
    cr_log_info("admitted again after at most %" PRId64 " ms", scene->back_max_ms);
    cr_assert(books_free_within(scene->tenant, TTL_MS + GRACE_MS), "%" PRId64 " held",
              books_held(scene->tenant));
    cr_assert(books_free_within(scene->probe.tenant, TTL_MS + GRACE_MS));
    storm_judge(scene->storm);
    if (rounds(0, 1))
        nothing_leaks(scene);
    cr_assert(scene->probe.unstated == 0, "%d errors such as %s", (int)scene->probe.unstated,
              scene->probe.unstated_text);
    books_balance(scene->probe.tenant);
    storm_destroy(scene->storm);
    stub_channel_destroy(scene->probe.channel);
    for (int i = 0; i < SERVERS; i++) {
        stub_channel_destroy(scene->channels[i]);
        fixture_server_stop(&scene->servers[i]);
    }
}

static struct ask ask_of(struct scene *scene, const char *job)
{
    return (struct ask){.tenant = scene->probe.tenant,
                        .job = job,
                        .meters_count = 1,
                        .meters = {"calls"},
                        .units = {5},
                        .ttl_ms = 60000};
}

/* A hold in Redis: a server that still believes that Redis is away takes it in Postgres, which is ended. */
static void hold_in_redis(struct scene *scene, const char *job, struct answer *answer)
{
    struct ask ask = ask_of(scene, job);
    int64_t end_us = fixture_now_us() + 10 * INT64_C(1000000);
    struct answer released;

    call_reserve(scene->probe.channel, &ask, answer);
    while (admitted(answer) && answer->degraded && fixture_now_us() < end_us) {
        call_release(scene->probe.channel, &ask, &released);
        usleep(20000);
        call_reserve(scene->probe.channel, &ask, answer);
    }
    cr_assert(admitted(answer) && !answer->degraded, "%s %s", answer->reason, answer->text);
}

/* Two holds that are to be finished while Redis is away. */
static void hold_two(struct scene *scene, int number, char jobs[2][24], struct answer answers[2])
{
    for (int i = 0; i < 2; i++) {
        snprintf(jobs[i], sizeof(jobs[i]), "two-%d-%d", number, i);
        hold_in_redis(scene, jobs[i], &answers[i]);
    }
}

static void told_redis_is_away(const struct answer *answer)
{
    cr_assert(answer->code == STUB_UNAVAILABLE, "%s: %s", stub_code_name(answer->code),
              answer->text);
    cr_assert(strcmp(answer->reason, "REDIS_UNAVAILABLE") == 0, "%s", answer->reason);
    cr_assert(answer->effect_stated);
    cr_assert(!answer->effect_unknown);
}

/* Postgres holds what is new, and ends it by the job alone. */
static void hold_without_redis(struct scene *scene)
{
    struct ask ask = ask_of(scene, "new");
    struct answer answer;

    call_reserve(scene->probe.channel, &ask, &answer);
    cr_assert(admitted(&answer) && !answer.replayed, "%s %s", answer.reason, answer.text);
    call_release(scene->probe.channel, &ask, &answer);
    cr_assert(answer.code == STUB_OK, "%s %s", answer.reason, answer.text);
}

/* By the reservation id a commit needs no Redis; by the job alone, what is held there cannot be told. */
static void finish_without_redis(struct scene *scene, char jobs[2][24], struct answer answers[2])
{
    struct answer answer;
    struct ask ask;

    hold_without_redis(scene);
    ask = ask_of(scene, jobs[0]);
    call_commit(scene->probe.channel, &ask, &answer);
    told_redis_is_away(&answer);
    for (int i = 0; i < 2; i++) {
        ask = ask_of(scene, jobs[i]);
        ask.id = answers[i].id;
        if (i == 0)
            call_commit(scene->probe.channel, &ask, &answer);
        else
            call_release(scene->probe.channel, &ask, &answer);
        cr_assert(answer.code == STUB_OK && !answer.late, "%s %s", answer.reason, answer.text);
    }
}

/* With its data or without; a Redis that starts anew is never taken for what it was. */
static void kill_redis(const char *name, const char *start_option)
{
    struct scene scene;
    struct answer answers[2];
    char jobs[2][24];

    scene_open(&scene, name);
    for (int i = 0; i < rounds(2, 10); i++) {
        run_on(&scene, 300, 700);
        hold_two(&scene, i, jobs, answers);
        fixture_stores("kill-redis", NULL);
        finish_without_redis(&scene, jobs, answers);
        run_on(&scene, 100, 400);
        fixture_stores("restart-redis", start_option);
        comes_back(&scene, fixture_now_us());
    }
    scene_close(&scene);
    cr_assert(books_rows(scene.probe.tenant) == rounds(2, 10));
}

Test(loss, redis_dies_and_returns_with_its_data)
{
    kill_redis("loss-kept", NULL);
}

Test(loss, redis_dies_and_returns_empty)
{
    kill_redis("loss-empty", "--lose-data");
}

Test(loss, redis_is_emptied_while_it_runs)
{
    struct scene scene;

    scene_open(&scene, "loss-flush");
    for (int i = 0; i < rounds(2, 10); i++) {
        run_on(&scene, 300, 700);
        fixture_redis("FLUSHALL");
        comes_back(&scene, fixture_now_us());
    }
    scene_close(&scene);
}

/* Another Redis, empty, takes over the path of the first one, which goes on answering who is connected. */
struct second_redis {
    pid_t pid;
    char log[256];
};

static bool second_redis_listens(void *user)
{
    const struct second_redis *second = user;
    char text[4096] = "";
    FILE *file = fopen(second->log, "r");

    if (!file)
        return false;
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    return strstr(text, "ready to accept connections at") != NULL;
}

static void second_redis_start(struct second_redis *second)
{
    const char *path = fixture_env("HOLDFAST_TEST_REDIS") + strlen("unix:");

    snprintf(second->log, sizeof(second->log), "%s.second.log", path);
    unlink(second->log);
    second->pid = fork();
    cr_assert(second->pid >= 0);
    if (second->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", path, "--save", "",
               "--appendonly", "no", "--maxmemory-policy", "noeviction", "--logfile", second->log,
               (char *)NULL);
        _exit(127);
    }
    cr_assert(fixture_until(5000, second_redis_listens, second), "%s", second->log);
}

static void second_redis_kill(const struct second_redis *second)
{
    cr_assert(kill(second->pid, SIGKILL) == 0);
    cr_assert(waitpid(second->pid, NULL, 0) == second->pid);
}

/* Every other connection to the first Redis breaks, and is opened anew: to the second one. */
static void break_every_other_connection(void)
{
    const char *port = fixture_env("HOLDFAST_TEST_REDIS_PORT");
    char command[512];

    snprintf(command, sizeof(command),
             "redis-cli -p %s CLIENT LIST | sed -n 's/^id=\\([0-9]*\\) .*/CLIENT KILL ID \\1/p' |"
             " awk 'NR %% 2' | redis-cli -p %s | grep -q '^1'", port, port);
    cr_assert(system(command) == 0, "%s", command);
}

static int64_t epochs_max(void)
{
    return fixture_sql("SELECT COALESCE(max(epoch), 0) FROM shard_authority");
}

/* Whoever finds the wrong one first asks over a fresh connection: one new epoch, not one by each. */
Test(loss, a_second_redis_on_the_same_path)
{
    struct scene scene;

    scene_open(&scene, "loss-twice");
    for (int i = 0; i < rounds(2, 10); i++) {
        struct second_redis second;
        int64_t before;

        run_on(&scene, 300, 700);
        before = epochs_max();
        second_redis_start(&second);
        break_every_other_connection();
        comes_back(&scene, fixture_now_us());
        run_on(&scene, 2500, 500);
        cr_assert_leq(epochs_max(), before + 1, "%" PRId64 " epochs instead of one",
                      epochs_max() - before);
        second_redis_kill(&second);
        fixture_stores("restart-redis", NULL);
        comes_back(&scene, fixture_now_us());
    }
    scene_close(&scene);
}

struct attempt {
    struct scene *scene;
    void (*call)(struct stub_channel *channel, const struct ask *ask, struct answer *ret);
    const struct ask *ask;
    struct answer answer;
};

static bool is_ok(void *user)
{
    struct attempt *attempt = user;

    attempt->call(attempt->scene->probe.channel, attempt->ask, &attempt->answer);
    return attempt->answer.code == STUB_OK;
}

/* Postgres has just returned: soon it takes what had to wait. */
static void is_taken(struct scene *scene,
                     void (*call)(struct stub_channel *channel, const struct ask *ask,
                                  struct answer *ret),
                     const struct ask *ask)
{
    struct attempt attempt = {.scene = scene, .call = call, .ask = ask};

    cr_assert(fixture_until(BACK_MS, is_ok, &attempt), "%s %s", attempt.answer.reason,
              attempt.answer.text);
}

Test(loss, postgres_dies_and_returns)
{
    struct scene scene;
    struct answer answers[2], answer;
    char jobs[2][24];

    scene_open(&scene, "loss-postgres");
    for (int i = 0; i < rounds(2, 10); i++) {
        struct ask ask;

        run_on(&scene, 300, 700);
        hold_two(&scene, i, jobs, answers);
        fixture_stores("kill-postgres", NULL);
        ask = ask_of(&scene, jobs[0]);
        ask.id = answers[0].id;
        call_commit(scene.probe.channel, &ask, &answer);
        cr_assert(answer.code == STUB_UNAVAILABLE && answer.effect_stated, "%s: %s",
                  stub_code_name(answer.code), answer.text);
        cr_assert_str_eq(answer.reason, "POSTGRES_UNAVAILABLE");
        run_on(&scene, 100, 400);
        fixture_stores("start-postgres", NULL);
        comes_back(&scene, fixture_now_us());
        is_taken(&scene, call_commit, &ask);
        ask.id = answers[1].id;
        ask.job = jobs[1];
        is_taken(&scene, call_release, &ask);
    }
    scene_close(&scene);
}
