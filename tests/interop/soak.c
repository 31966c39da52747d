/*
 * Mixed calls for a long time, and whether memory stays flat:
 *
 *   soak --seconds N [--threads N] [--server PATH] [--growth_kib N] [--judge=false]
 *       [--use_tls --tls_cert_file PEM --tls_key_file PEM --ca_file PEM --server_host_override NAME]
 *
 * Starts an interop_server of its own, plays every interop case and every case of soak_cases.c in
 * random order on several threads, now and then on a channel that is made for it, and prints what the
 * server and this process have in memory and how many descriptors. Both run with fixed malloc settings
 * (MALLOC_*_ in the environment), so that what is resident is what is in use, not what glibc has kept.
 *
 * Flat: the resident memory of the last quarter of the time, as a median of samples, is at most 2 %
 * and growth_kib, 2 MiB if not given, above that of the second quarter. (The first quarter warms up:
 * free lists, arenas, allocator; in a run of seconds it is not enough for that.) Descriptors: at most 8
 * more at the end than at the end of the first quarter. This is asked of both processes. It fails, too,
 * if any case fails or the server does not end with 0.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/entropy.h"
#include "interop/cases.h"
#include "interop/flags.h"
#include "interop/soak_cases.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
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

enum {
    THREADS_MAX = 64,
    SAMPLES_MAX = 4000,
    LINES = 20, /* printed samples */
    SAMPLE_MS = 250,
    CASES_PER_CHANNEL = 50,
    GROWTH_PERCENT_MAX = 2,
    DESCRIPTORS_MAX = 8,
};

struct settings {
    int seconds;
    int threads;
    const char *server;
    int growth_kib;
    bool judge;
    bool use_tls;
    const char *certificate;
    const char *key;
    const char *authority;
    const char *server_name;
};

struct sample {
    long rss_kib;
    int descriptors;
};

struct soak {
    struct settings settings;
    pid_t server;
    char target[64];
    struct stub_channel *channel;
    atomic_bool ending;
    atomic_long played;
    atomic_long failed;
    struct sample server_samples[SAMPLES_MAX];
    struct sample own_samples[SAMPLES_MAX];
    int samples;
};

/* --- the server ------------------------------------------------------------------------------------ */

/* Returns where to read what it prints. */
static FILE *spawn(struct soak *soak)
{
    int ends[2];

    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    soak->server = fork();
    CHECK(soak->server >= 0);
    if (soak->server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], STDOUT_FILENO);
        execl(soak->settings.server, "interop_server", "--port=0", "--tls_cert_file",
              soak->settings.certificate, "--tls_key_file", soak->settings.key,
              soak->settings.use_tls ? "--use_tls" : NULL, (char *)NULL);
        fprintf(stderr, "soak: no server at %s\n", soak->settings.server);
        _exit(127);
    }
    close(ends[1]);
    return fdopen(ends[0], "r");
}

static bool start_server(struct soak *soak)
{
    FILE *out = spawn(soak);
    char line[64] = "";
    int port = 0;

    if (fgets(line, sizeof(line), out))
        port = atoi(line + strcspn(line, "0123456789"));
    fclose(out);
    snprintf(soak->target, sizeof(soak->target), "127.0.0.1:%d", port);
    return port > 0;
}

/* True: it ended well. */
static bool stop_server(struct soak *soak)
{
    int status = 0;

    kill(soak->server, SIGTERM);
    waitpid(soak->server, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    printf("the server ended with status %#x\n", (unsigned)status);
    return false;
}

/* --- load ------------------------------------------------------------------------------------------ */

/* With credentials of its own, too. */
static struct stub_channel *connect_to(const struct soak *soak, int connections)
{
    struct stub_tls_files files = {.authority = soak->settings.authority};
    struct stub_channel_options options = {.connections = connections,
                                           .server_name = soak->settings.server_name};
    struct stub_credentials *credentials = NULL;
    struct stub_channel *channel;
    char error[256];

    if (soak->settings.use_tls) {
        credentials = stub_credentials_create(&files, error, sizeof(error));
        if (!credentials) {
            fprintf(stderr, "soak: %s\n", error);
            exit(1);
        }
        options.credentials = credentials;
    }
    channel = stub_channel_create(soak->target, &options);
    if (credentials)
        stub_credentials_destroy(credentials);
    return channel;
}

static void play(struct soak *soak, struct stub_channel *channel)
{
    size_t which = entropy_below(entropy_real(), interop_cases_count + soak_cases_count);
    const struct interop_case *it = which < interop_cases_count
                                        ? &interop_cases[which]
                                        : &soak_cases[which - interop_cases_count];
    char error[CASE_ERROR_MAX] = "";
    int64_t start_us = clock_mono_us(clock_real());

    if (!it->play(channel, error)) {
        printf("FAIL %s after %" PRId64 " us: %s\n", it->name,
               clock_mono_us(clock_real()) - start_us, error);
        atomic_fetch_add(&soak->failed, 1);
    }
    atomic_fetch_add(&soak->played, 1);
}

static void *load_thread(void *user)
{
    struct soak *soak = user;

    while (!atomic_load(&soak->ending)) {
        struct stub_channel *fresh;

        for (int i = 0; i < CASES_PER_CHANNEL && !atomic_load(&soak->ending); i++)
            play(soak, soak->channel);
        fresh = connect_to(soak, 2);
        play(soak, fresh);
        stub_channel_destroy(fresh);
    }
    return NULL;
}

/* --- memory ---------------------------------------------------------------------------------------- */

static struct sample sample_of(pid_t pid)
{
    struct sample sample = {0};
    char path[64];
    long pages = 0;
    FILE *file;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    file = fopen(path, "r");
    if (file && fscanf(file, "%*d %ld", &pages) == 1)
        sample.rss_kib = pages * (sysconf(_SC_PAGESIZE) / 1024);
    if (file)
        fclose(file);
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    while (dir && readdir(dir))
        sample.descriptors++;
    if (dir)
        closedir(dir);
    return sample;
}

static int compare(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;

    return (x > y) - (x < y);
}

/* Of the samples of one quarter, 0 to 3. */
static long median_kib(const struct sample *samples, int count, int quarter)
{
    long values[SAMPLES_MAX];
    int first = count * quarter / 4, last = count * (quarter + 1) / 4;

    for (int i = first; i < last; i++)
        values[i - first] = samples[i].rss_kib;
    qsort(values, (size_t)(last - first), sizeof(*values), compare);
    return values[(last - first) / 2];
}

static bool is_flat(const char *name, const struct sample *samples, int count, int growth_kib)
{
    long before = median_kib(samples, count, 1), after = median_kib(samples, count, 3);
    int opened = samples[count - 1].descriptors - samples[count / 4].descriptors;
    bool flat = before > 0 && opened <= DESCRIPTORS_MAX &&
                after <= before + before * GROWTH_PERCENT_MAX / 100 + growth_kib;

    printf("%s: %ld KiB in the second quarter, %ld KiB in the last (%+ld); %+d descriptors: %s\n",
           name, before, after, after - before, opened, flat ? "flat" : "NOT FLAT");
    return flat;
}

static void watch(struct soak *soak)
{
    int64_t start_us = clock_mono_us(clock_real());
    int step_ms = SAMPLE_MS;
    int count;

    while (soak->settings.seconds * 1000 / step_ms > SAMPLES_MAX)
        step_ms *= 2;
    count = soak->settings.seconds * 1000 / step_ms;
    for (int i = 0; i < count; i++) {
        struct sample *server = &soak->server_samples[i], *own = &soak->own_samples[i];

        nanosleep(&(struct timespec){step_ms / 1000, step_ms % 1000 * 1000000L}, NULL);
        *server = sample_of(soak->server);
        *own = sample_of(getpid());
        soak->samples++;
        if (count < LINES || i % (count / LINES) == 0 || i + 1 == count)
            printf("%6.1f s  server %6ld KiB %3d fds  client %6ld KiB %3d fds  %ld cases\n",
                   (double)(clock_mono_us(clock_real()) - start_us) / 1e6, server->rss_kib,
                   server->descriptors, own->rss_kib, own->descriptors,
                   atomic_load(&soak->played));
        fflush(stdout);
    }
}

static bool judge(const struct soak *soak)
{
    int growth_kib = soak->settings.growth_kib;
    bool flat = is_flat("server", soak->server_samples, soak->samples, growth_kib);

    flat = is_flat("client", soak->own_samples, soak->samples, growth_kib) && flat;
    printf("%ld cases, %ld failed\n", atomic_load(&soak->played), atomic_load(&soak->failed));
    return atomic_load(&soak->failed) == 0 && atomic_load(&soak->played) > 0 &&
           (flat || !soak->settings.judge);
}

/* --- main ------------------------------------------------------------------------------------------ */

static bool run(struct soak *soak)
{
    pthread_t threads[THREADS_MAX];

    soak->channel = connect_to(soak, 1);
    for (int i = 0; i < soak->settings.threads; i++)
        CHECK(pthread_create(&threads[i], NULL, load_thread, soak) == 0);
    watch(soak);
    atomic_store(&soak->ending, true);
    for (int i = 0; i < soak->settings.threads; i++)
        pthread_join(threads[i], NULL);
    stub_channel_destroy(soak->channel);
    return judge(soak);
}

static bool read_settings(struct settings *settings, int argc, char **argv)
{
    const struct flag flags[] = {
        {.name = "seconds", .number = &settings->seconds},
        {.name = "threads", .number = &settings->threads},
        {.name = "server", .text = &settings->server},
        {.name = "growth_kib", .number = &settings->growth_kib},
        {.name = "judge", .on = &settings->judge},
        {.name = "use_tls", .on = &settings->use_tls},
        {.name = "tls_cert_file", .text = &settings->certificate},
        {.name = "tls_key_file", .text = &settings->key},
        {.name = "ca_file", .text = &settings->authority},
        {.name = "server_host_override", .text = &settings->server_name},
    };

    return flags_read(flags, ARRAY_COUNT(flags), argc, argv) && settings->seconds >= 2 &&
           settings->threads >= 1 && settings->threads <= THREADS_MAX;
}

/* glibc else raises the size from which it maps a block of its own, up to 32 MiB, and keeps more. */
static void fix_malloc(char **argv)
{
    if (getenv("MALLOC_MMAP_THRESHOLD_"))
        return;
    setenv("MALLOC_MMAP_THRESHOLD_", "131072", 1);
    setenv("MALLOC_TRIM_THRESHOLD_", "131072", 1);
    setenv("MALLOC_ARENA_MAX", "2", 1);
    execv("/proc/self/exe", argv);
}

int main(int argc, char **argv)
{
    char own[4096], server[4200];
    struct soak *soak = calloc(1, sizeof(*soak));
    ssize_t bytes = readlink("/proc/self/exe", own, sizeof(own) - 1);
    bool passed;

    fix_malloc(argv);
    CHECK(soak && bytes > 0);
    own[bytes] = 0;
    snprintf(server, sizeof(server), "%s/interop_server", dirname(own));
    soak->settings = (struct settings){
        .seconds = 10, .threads = 4, .server = server, .growth_kib = 2048, .judge = true,
        .certificate = "server1.pem", .key = "server1.key"};
    if (!read_settings(&soak->settings, argc, argv))
        return 2;
    if (!start_server(soak)) {
        fprintf(stderr, "soak: the server does not start\n");
        return 1;
    }
    passed = run(soak);
    passed = stop_server(soak) && passed;
    free(soak);
    return passed ? 0 : 1;
}
