/*
 * The simulation: runs from seeds, each in a process of its own, until the time is over or a promise is
 * broken.
 *
 *     run [--seconds S | --minutes M | --seeds C] [--start N] [--jobs J]     seeds from N on
 *     run --seed N [--trace] [--themes A,B]                      one of them, with its last steps
 *     run --record FILE ...                                      what servers trace (op/trace.h), of one seed
 *     run --deaf ...                                             and the run goes on, whatever breaks
 *     run --without A,B                                          never these themes
 *     run --mutant NAME                                          with a hole: a promise must break
 *     run --mutants [--some N]                                   each of them, or N that take turns by
 *                                                                the day; --seeds is the bound that a
 *                                                                busy machine does not move
 */
#include "tests/sim/world.h"

#include "base/check.h"
#include "base/log.h"
#include "tests/sim/fibre.h"
#include "tests/sim/mutants.h"
#include "tests/sim/server.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { JOBS_MAX = 16, RUN_MINUTES = 10, TRACE_SHOWN = 60 };

struct settings {
    double seconds;
    uint64_t seeds; /* at most; 0: as many as the time allows */
    uint64_t start;
    bool one;
    bool trace;
    bool keep_going;
    bool mutants;
    bool deaf;
    int some; /* mutants that have their turn today; 0: all */
    uint32_t themes, without;
    int jobs;
};

/* What the processes of all seeds have done. */
struct totals {
    int64_t runs, failed, calls, checks, virtual_us, switches, faults, commits, scripts;
    int64_t themes[THEMES];
};

static double seconds_now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void print_themes(const struct world *world, FILE *to)
{
    for (int i = 0; i < THEMES; i++)
        if (world_has(world, (enum theme)i))
            fprintf(to, " %s", theme_names[i]);
    fprintf(to, "\n");
}

static bool run_seed(const struct settings *settings, uint64_t seed, struct totals *totals)
{
    struct world *world = world_create(seed, settings->themes, settings->without, RUN_MINUTES);
    bool ok;

    world->tracing = settings->trace;
    world->truth.deaf = settings->deaf;
    ok = world_run(world);
    if (!ok || settings->one) {
        printf("seed %" PRIu64 ":", seed);
        print_themes(world, stdout);
        if (!ok) {
            world_print_trace(world, stdout, TRACE_SHOWN);
            printf("BROKEN at %.3f s: %s\n    %s\n    again: tests/sim/run --seed %" PRIu64 "\n",
                   (double)fibre_now_us() / 1e6, world->truth.broken, world->truth.text, seed);
        }
    }
    totals->runs++;
    totals->failed += !ok;
    totals->calls += world->truth.calls;
    totals->checks += world->truth.checks;
    totals->virtual_us += fibre_now_us();
    totals->switches += fibre_switches();
    totals->faults += world->chaos.faults;
    totals->commits += world->commits;
    for (int i = 0; i <= world->node; i++)
        totals->scripts += world->nodes[i].scripts_run;
    for (int i = 0; i < THEMES; i++)
        totals->themes[i] += world_has(world, (enum theme)i);
    fflush(stdout);
    return ok;
}

static void report(const struct totals *totals, double seconds, uint64_t start)
{
    double hours = (double)totals->virtual_us / 3.6e9;

    printf("%" PRId64 " seeds from %" PRIu64 ", %" PRId64 " failed; %" PRId64 " calls, %" PRId64
           " commits, %" PRId64 " scripts, %" PRId64 " faults, %" PRId64 " checks, %" PRId64
           " switches; %.1f virtual hours in %.1f s: %.0f times real time\n",
           totals->runs, start, totals->failed, totals->calls, totals->commits, totals->scripts,
           totals->faults, totals->checks, totals->switches, hours, seconds,
           (double)totals->virtual_us / 1e6 / seconds);
}

/* Each seed in a child: what a killed server leaves behind goes with it, and so does a crash. */
static int run_many(const struct settings *settings, struct totals *ret)
{
    struct totals *shared = mmap(NULL, JOBS_MAX * sizeof(*shared), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct totals all = {0};
    double begun = seconds_now();
    uint64_t seed = settings->start, seeds[JOBS_MAX] = {0};
    pid_t pids[JOBS_MAX] = {0};
    bool stop = false;
    int running = 0, ended = 0;

    CHECK(shared != MAP_FAILED);
    while (true) {
        int status, slot = 0;
        pid_t pid;

        if (settings->seeds > 0)
            stop = stop || seed - settings->start == settings->seeds;
        else
            stop = stop || seconds_now() - begun > settings->seconds;
        if (!stop && running < settings->jobs) {
            while (pids[slot])
                slot++;
            seeds[slot] = seed++;
            fflush(stdout);
            pid = fork();
            CHECK(pid >= 0);
            if (pid == 0)
                _exit(run_seed(settings, seeds[slot], &shared[slot]) ? 0 : 1);
            pids[slot] = pid;
            running++;
            continue;
        }
        if (running == 0)
            break;
        pid = wait(&status);
        while (slot < JOBS_MAX && pids[slot] != pid)
            slot++;
        CHECK(slot < JOBS_MAX);
        pids[slot] = 0;
        running--;
        ended++;
        if (WIFSIGNALED(status)) {
            printf("seed %" PRIu64 ": died of signal %d\n    again: tests/sim/run --seed %" PRIu64
                   "\n", seeds[slot], WTERMSIG(status), seeds[slot]);
            shared[slot].failed++;
        }
        stop = stop || (!settings->keep_going && (!WIFEXITED(status) || WEXITSTATUS(status) != 0));
    }
    for (int i = 0; i < JOBS_MAX; i++) {
        all.runs += shared[i].runs;
        all.failed += shared[i].failed;
        all.calls += shared[i].calls;
        all.checks += shared[i].checks;
        all.virtual_us += shared[i].virtual_us;
        all.switches += shared[i].switches;
        all.faults += shared[i].faults;
        all.commits += shared[i].commits;
        all.scripts += shared[i].scripts;
    }
    report(&all, seconds_now() - begun, settings->start);
    munmap(shared, JOBS_MAX * sizeof(*shared));
    *ret = all;
    ret->runs = ended; /* also those that died */
    return all.failed == 0 ? 0 : 1;
}

static uint32_t parse_themes(const char *text)
{
    uint32_t themes = 0;

    for (int i = 0; i < THEMES; i++) {
        const char *found = strstr(text, theme_names[i]);

        if (found && (found == text || found[-1] == ','))
            themes |= 1u << i;
    }
    return themes;
}

static void parse(struct settings *settings, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";

        if (strcmp(argv[i], "--trace") == 0) {
            settings->trace = true;
            continue;
        }
        if (strcmp(argv[i], "--mutants") == 0) {
            settings->mutants = true;
            continue;
        }
        if (strcmp(argv[i], "--deaf") == 0) {
            settings->deaf = true;
            continue;
        }
        if (strcmp(argv[i], "--keep-going") == 0) {
            settings->keep_going = true;
            continue;
        }
        if (strcmp(argv[i], "--seconds") == 0) {
            settings->seconds = strtod(value, NULL);
        } else if (strcmp(argv[i], "--minutes") == 0) {
            settings->seconds = 60 * strtod(value, NULL);
        } else if (strcmp(argv[i], "--seeds") == 0) {
            settings->seeds = strtoull(value, NULL, 10);
        } else if (strcmp(argv[i], "--start") == 0) {
            settings->start = strtoull(value, NULL, 10);
        } else if (strcmp(argv[i], "--record") == 0) {
            server_trace_into(value);
        } else if (strcmp(argv[i], "--some") == 0) {
            settings->some = (int)strtol(value, NULL, 10);
        } else if (strcmp(argv[i], "--jobs") == 0) {
            settings->jobs = (int)strtol(value, NULL, 10);
        } else if (strcmp(argv[i], "--themes") == 0) {
            settings->themes = parse_themes(value);
        } else if (strcmp(argv[i], "--without") == 0) {
            settings->without = parse_themes(value);
        } else if (strcmp(argv[i], "--mutant") == 0) {
            enum mutant mutant;

            CHECK_MSG(mutant_find(value, &mutant), "mutant=%s", value);
            mutant_set(mutant);
            settings->themes = parse_themes(mutant_themes(mutant));
        } else if (strcmp(argv[i], "--seed") == 0) {
            settings->one = true;
            settings->start = strtoull(value, NULL, 10);
        } else {
            fprintf(stderr, "run: unknown option %s\n", argv[i]);
            exit(2);
        }
        i++;
    }
    CHECK(settings->jobs >= 1 && settings->jobs <= JOBS_MAX);
}

/* By the day, so that all have had their turn after some days, and a day repeats itself. */
static bool has_its_turn(const struct settings *settings, int64_t number, int64_t count)
{
    int64_t day = (int64_t)time(NULL) / 86400;

    return settings->some == 0 || (number - day * settings->some % count + count) % count < settings->some;
}

/* False: it was not found. */
static bool run_mutant(const struct settings *settings, enum mutant mutant)
{
    struct settings own = *settings;
    struct totals totals;
    double begun = seconds_now();

    mutant_set(mutant);
    own.themes = parse_themes(mutant_themes(mutant));
    if (!mutant_applies(mutant)) {
        printf("SURVIVED: %s: no script has its line any more, see mutants.c\n", mutant_name(mutant));
        return false;
    }
    printf("mutant %s (%s):\n", mutant_name(mutant), mutant_themes(mutant));
    if (run_many(&own, &totals) == 0) {
        printf("SURVIVED: %s: %" PRId64 " seeds\n", mutant_name(mutant), totals.runs);
        return false;
    }
    printf("killed: %s: %" PRId64 " seeds, %.1f s\n", mutant_name(mutant), totals.runs,
           seconds_now() - begun);
    return true;
}

/* Every hole must be found. */
static int run_mutants(const struct settings *settings)
{
    enum mutant found[MUTANTS];
    int survivors = 0, count = 0, tried = 0;

    for (int i = MUTANT_NONE + 1; i < MUTANTS; i++)
        if (!mutant_is_open((enum mutant)i))
            found[count++] = (enum mutant)i;
    for (int i = 0; i < count; i++) {
        if (!has_its_turn(settings, i, count))
            continue;
        tried++;
        survivors += !run_mutant(settings, found[i]);
    }
    printf("%d mutants, %d survived\n", tried, survivors);
    return survivors > 0;
}

int main(int argc, char **argv)
{
    struct settings settings = {.seconds = 60, .start = (uint64_t)time(NULL), .jobs = 2};
    struct totals totals = {0};
    double begun = seconds_now();

    parse(&settings, argc, argv);
    log_set_level(settings.trace ? LOG_DEBUG : LOG_ERROR);
    if (settings.mutants)
        return run_mutants(&settings);
    if (!settings.one)
        return run_many(&settings, &totals);
    run_seed(&settings, settings.start, &totals);
    report(&totals, seconds_now() - begun, settings.start);
    return totals.failed == 0 ? 0 : 1;
}
