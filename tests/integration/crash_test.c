/*
 * A server may die at any moment: what it acknowledged stands, what it did not may be repeated, and
 * what it held is given back in time.
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { NEVER = HOLDFAST__V1__PERIOD__PERIOD_NEVER, LIMIT = 100000000 };
enum { TTL_MS = 1500, GRACE_MS = 2000 * FIXTURE_SLOWER };

static uint64_t seed_of_run(void)
{
    const char *wanted = getenv("HOLDFAST_TEST_SEED");
    uint64_t seed = wanted ? strtoull(wanted, NULL, 10) : (uint64_t)time(NULL);

    cr_log_info("seed %" PRIu64, seed);
    return seed;
}

/* How long the oldest hold in Redis is past its deadline, in ms; 0 or less: none is. */
static int64_t overdue_ms(int64_t shard, int64_t number)
{
    return fixture_redis("EVAL local\tt=redis.call('TIME');local\tn=t[1]*1000+math.floor(t[2]/1000);"
                         "local\to=0;local\tf=redis.call('HGETALL',KEYS[1])for\ti=1,#f,2\tdo\t"
                         "local\te=f[i]:find'='and\tf[i+1]:match'^%%d+:%%d+:(%%d+)'\t"
                         "if(e)then\to=math.max(o,n-math.floor(e/256))end\tend\t"
                         "return\tmath.floor(o) 1 q:{%" PRId64 "}:2:t:%" PRId64,
                         shard / 16, number);
}

enum { SERVERS_MAX = 2 };

struct scene {
    struct fixture_server servers[SERVERS_MAX];
    struct stub_channel *channels[SERVERS_MAX];
    int servers_count;
    const char *tenant;
    int64_t shard, number;
    struct storm *storm;
    int64_t overdue_max_ms;
    uint64_t random;
};

static void scene_open(struct scene *scene, const char *tenant, int servers,
                       const struct fixture_server_options *options)
{
    struct stub_channel_options connection = {.connections = 4, .reconnect_ms_max = 50};
    struct storm_options storm;

    memset(scene, 0, sizeof(*scene));
    scene->servers_count = servers;
    for (int i = 0; i < servers; i++) {
        fixture_server_start(&scene->servers[i], options);
        scene->channels[i] = fixture_channel(scene->servers[i].listen, &connection);
    }
    scene->tenant = tenant;
    plan_tenant(scene->channels[0], tenant);
    plan_limit(scene->channels[0], tenant, "calls", "", "calls", NEVER, LIMIT);
    scene->shard = fixture_sql("SELECT shard FROM tenant WHERE name = '%s'", tenant);
    scene->number = tenant_number(tenant);
    scene->random = seed_of_run();
    storm = (struct storm_options){
        .channels = scene->channels,
        .channels_count = servers,
        .tenant = tenant,
        .limit = LIMIT,
        .threads = 16,
        .units_max = 10,
        .ttl_ms = TTL_MS,
        .hold_ms_max = 20,
        .commit_percent = 60,
        .release_percent = 25,
        .extend_percent = 20,
        .servers_die = true,
        .seed = scene->random,
    };
    scene->storm = storm_start(&storm);
}

static void watch_holds(struct scene *scene)
{
    int64_t overdue = overdue_ms(scene->shard, scene->number);

    if (overdue > scene->overdue_max_ms)
        scene->overdue_max_ms = overdue;
    cr_assert(overdue <= GRACE_MS, "a hold is %" PRId64 " ms past its end", overdue);
}

static void scene_close(struct scene *scene)
{
    storm_stop(scene->storm);
    cr_assert(books_free_within(scene->tenant, TTL_MS + GRACE_MS), "%" PRId64 " held",
              books_held(scene->tenant));
    cr_assert(books_holds(scene->tenant) == 0);
    storm_judge(scene->storm);
    cr_log_info("no hold was longer than %" PRId64 " ms past its end", scene->overdue_max_ms);
    storm_destroy(scene->storm);
    for (int i = 0; i < scene->servers_count; i++) {
        stub_channel_destroy(scene->channels[i]);
        fixture_server_stop(&scene->servers[i]);
    }
}

static bool is_past(void *user)
{
    return fixture_now_us() >= *(int64_t *)user;
}

/* Lets the load run for a time that nobody could foresee, looking at the holds meanwhile. */
static void run_on(struct scene *scene, int64_t least_ms, uint64_t more_ms)
{
    int64_t end_us;

    scene->random = scene->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    end_us = fixture_now_us() + (least_ms + (int64_t)((scene->random >> 33) % more_ms)) * 1000;
    do {
        watch_holds(scene);
        usleep(10000);
    } while (!is_past(&end_us));
}

/* Each server in turn. */
static void kill_again_and_again(const char *tenant, int servers, int kills)
{
    struct scene scene;

    scene_open(&scene, tenant, servers, NULL);
    for (int i = 0; i < kills; i++) {
        run_on(&scene, 100, 900);
        storm_check(scene.storm);
        fixture_server_restart(&scene.servers[i % servers], NULL);
    }
    run_on(&scene, 500, 500);
    scene_close(&scene);
}

Test(crash, acknowledged_work_survives_kills_at_any_moment)
{
    kill_again_and_again("crash-kills", 1, rounds(10, 100));
}

Test(crash, acknowledged_work_survives_kills_of_one_of_two_servers)
{
    kill_again_and_again("crash-two", 2, rounds(5, 50));
}

static bool has_died(void *user)
{
    struct fixture_server *server = user;
    int status;

    if (waitpid(server->pid, &status, WNOHANG) != server->pid)
        return false;
    server->pid = 0;
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/* The server dies by itself at this point of the code, each time at another passage. */
static void die_at(const char *tenant, const char *point, int step)
{
    struct fixture_server_options options = {0};
    struct scene scene;
    char faults[64];

    for (int i = 0; i < rounds(2, 20); i++) {
        char name[48];

        snprintf(name, sizeof(name), "%s-%d", tenant, i);
        snprintf(faults, sizeof(faults), "%s=crash@%d", point, 1 + step * i);
        options.faults = faults;
        scene_open(&scene, name, 1, &options);
        cr_assert(fixture_until(30000, has_died, &scene.servers[0]), "%s was not reached", point);
        fixture_server_restart(&scene.servers[0], NULL);
        run_on(&scene, 300, 300);
        scene_close(&scene);
    }
}

Test(crash, before_the_commit_of_the_transaction)
{
    die_at("crash-before", "commit.before_commit", 7);
}

Test(crash, after_the_commit_was_sent)
{
    die_at("crash-sent", "commit.after_commit_sent", 7);
}

Test(crash, after_the_commit_before_the_answer)
{
    die_at("crash-after", "commit.after_commit", 7);
}

Test(crash, between_the_two_halves_of_a_reap)
{
    die_at("crash-reap", "reap.between", 1);
}
