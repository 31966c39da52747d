/*
 * How many calls a second, beside calls that do nothing on the same runtime.
 *
 * Closed loop: `concurrency` lanes, each sends the next call when the answer to the last one is
 * there. Three kinds of work take turns in short rounds, so that what else happens on the machine
 * hits all alike, and the ratios mean something even where the rates do not:
 *   null      grpc.health.v1.Health/Check, answered by the runtime inline
 *   reserve   Reserve of 1 unit; released after the round, which is not measured
 *   pair      Reserve, then Commit: the commit is durable
 */
#include "cli/arguments.h"
#include "cli/books.h"
#include "cli/messages.h"

#include "base/amount.h"
#include "base/clock.h"
#include "base/histogram.h"
#include "grpc/health/v1/health.stub.h"
#include "holdfast/v1/quota_service.stub.h"
#include "quota/times.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUND_US INT64_C(1000000)
#define SETTLE_US_MAX INT64_C(5000000)
#define SETTLE_PAUSE_NS 20000000
#define SECONDS_DEFAULT 5
#define METER "bench"

enum work { WORK_NULL, WORK_RESERVE, WORK_PAIR, WORK_COUNT, WORK_RELEASE = WORK_COUNT };

static const char *const work_names[WORK_COUNT] = {"null", "reserve", "pair"};

enum {
    KEY_CONCURRENCY = 'c',
    KEY_SECONDS = 'n',
    KEY_WORK = 'w',
    KEY_TENANTS = 0x500,
    KEY_CONNECTIONS
};

static const struct argp_option options[] = {
    {"concurrency", KEY_CONCURRENCY, "N", 0, "calls in flight (default: 64)", 0},
    {"seconds", KEY_SECONDS, "N", 0,
     "rounds of one second for each kind of work (default: " TEXT_OF(SECONDS_DEFAULT) ")", 0},
    {"tenant", 't', "NAME", 0, "tenant to use; added if missing (default: bench)", 0},
    {"tenants", KEY_TENANTS, "N", 0, "spread over N tenants, NAME-1 to NAME-N (default: 1)", 0},
    {"work", KEY_WORK, "WORK", 0, "only this kind of work: null, reserve or pair", 0},
    {"connections", KEY_CONNECTIONS, "N", 0, "connections to the server (default: 1)", 0},
    {0},
};

static const char doc[] =
    "Measures Reserve and Reserve + Commit beside a call that does nothing.\v"
    "The kinds of work take turns in rounds of a second; the ratios to the null call are what "
    "counts. The reservations are of 1 unit of the meter \"" METER
    "\" without a limit in the way.\n\n"
    "  holdfast bench --seconds 1";

struct lane {
    struct bench *bench;
    char job_id[96];
    char tenant[BOOK_NAME_BYTES];
    int64_t sent_us;
    int64_t jobs;     /* begun so far */
    int64_t released; /* of them, those that need no release any more */
};

struct bench {
    struct cli *cli;
    int64_t concurrency;
    int64_t seconds;
    const char *tenant;
    int64_t tenants_count;
    int64_t connections;
    int only; /* -1: all kinds of work */
    char run[CLI_ID_BYTES];
    struct stub_channel *channel;
    struct lane *lanes;
    struct book *books;   /* of each tenant */
    pthread_mutex_t lock; /* guards all below, once lanes run */
    pthread_cond_t wake;
    enum work work;
    int64_t end_us;
    int64_t running; /* lanes */
    struct {
        int64_t answers;
        int64_t errors;
        int64_t us;
        struct histogram latency_us;
    } results[WORK_COUNT + 1];
    char last_error[160];
};

static void send_first(struct lane *lane);

static int64_t now_us(void)
{
    return clock_mono_us(clock_real());
}

/* Counts an answer that ends a unit of work; true if the lane goes on. */
static bool finish_work(struct lane *lane, const struct stub_status *status, bool good)
{
    struct bench *bench = lane->bench;
    bool more;

    pthread_mutex_lock(&bench->lock);
    if (good) {
        bench->results[bench->work].answers++;
        histogram_add(&bench->results[bench->work].latency_us, now_us() - lane->sent_us);
    } else if (bench->work == WORK_RELEASE) {
        bench->results[bench->work].errors++; /* these expire instead */
    } else {
        bench->results[bench->work].errors++;
        snprintf(bench->last_error, sizeof(bench->last_error), "%s: %s",
                 stub_code_name(status->code),
                 status->code == STUB_OK ? "not admitted" : status->message);
    }
    if (bench->work == WORK_RELEASE)
        more = lane->released < lane->jobs;
    else
        more = now_us() < bench->end_us && status->code == STUB_OK;
    if (!more && --bench->running == 0)
        pthread_cond_signal(&bench->wake);
    pthread_mutex_unlock(&bench->lock);
    return more;
}

static void on_null(void *user, const struct stub_status *status,
                    const Grpc__Health__V1__HealthCheckResponse *reply)
{
    struct lane *lane = user;

    (void)reply;
    if (finish_work(lane, status, status->code == STUB_OK))
        send_first(lane);
}

static void on_committed(void *user, const struct stub_status *status,
                         const Holdfast__V1__CommitResponse *reply)
{
    struct lane *lane = user;

    (void)reply;
    if (finish_work(lane, status, status->code == STUB_OK))
        send_first(lane);
}

static void on_reserved(void *user, const struct stub_status *status,
                        const Holdfast__V1__ReserveResponse *reply)
{
    Holdfast__V1__CommitRequest request = HOLDFAST__V1__COMMIT_REQUEST__INIT;
    struct lane *lane = user;
    bool good = status->code == STUB_OK && *reply->reservation_id;

    if (!good || lane->bench->work == WORK_RESERVE) {
        if (finish_work(lane, status, good))
            send_first(lane);
        return;
    }
    request.tenant = lane->tenant;
    request.job_id = lane->job_id;
    request.reservation_id = reply->reservation_id;
    request.brief = true;
    holdfast_v1_quota_service_commit_async(lane->bench->channel, NULL, &request, on_committed,
                                           lane);
}

static void on_released(void *user, const struct stub_status *status,
                        const Holdfast__V1__ReleaseResponse *reply)
{
    struct lane *lane = user;

    (void)reply;
    if (finish_work(lane, status, status->code == STUB_OK))
        send_first(lane);
}

static void name_job(struct lane *lane, int64_t number)
{
    snprintf(lane->job_id, sizeof(lane->job_id), "%s-%td-%" PRId64, lane->bench->run,
             lane - lane->bench->lanes, number);
}

static void send_release(struct lane *lane)
{
    Holdfast__V1__ReleaseRequest request = HOLDFAST__V1__RELEASE_REQUEST__INIT;

    name_job(lane, lane->released++);
    request.tenant = lane->tenant;
    request.job_id = lane->job_id;
    request.brief = true;
    holdfast_v1_quota_service_release_async(lane->bench->channel, NULL, &request, on_released,
                                            lane);
}

static void send_reserve(struct lane *lane)
{
    Holdfast__V1__ReserveRequest request = HOLDFAST__V1__RESERVE_REQUEST__INIT;
    Holdfast__V1__Amount amount = HOLDFAST__V1__AMOUNT__INIT, *amounts = &amount;
    Google__Protobuf__Duration ttl = duration_message(TTL_DEFAULT_MS * 1000);

    name_job(lane, lane->jobs++);
    amount.meter = arguments_text(METER);
    amount.units = 1;
    request.tenant = lane->tenant;
    request.job_id = lane->job_id;
    request.amounts = &amounts;
    request.n_amounts = 1;
    request.ttl = &ttl;
    request.brief = true;
    holdfast_v1_quota_service_reserve_async(lane->bench->channel, NULL, &request, on_reserved,
                                            lane);
}

static void send_first(struct lane *lane)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;

    lane->sent_us = now_us();
    if (lane->bench->work == WORK_NULL)
        grpc_health_v1_health_check_async(lane->bench->channel, NULL, &request, on_null, lane);
    else if (lane->bench->work == WORK_RELEASE)
        send_release(lane);
    else
        send_reserve(lane);
}

static void run_round(struct bench *bench, enum work work)
{
    int64_t start_us = now_us();

    bench->work = work;
    bench->end_us = start_us + ROUND_US;
    bench->running = bench->concurrency;
    for (int64_t i = 0; i < bench->concurrency; i++)
        send_first(&bench->lanes[i]);
    pthread_mutex_lock(&bench->lock);
    while (bench->running > 0)
        pthread_cond_wait(&bench->wake, &bench->lock);
    bench->results[work].us += now_us() - start_us;
    pthread_mutex_unlock(&bench->lock);
}

static double rate_of(const struct bench *bench, enum work work)
{
    return bench->results[work].us
               ? (double)bench->results[work].answers * 1e6 / (double)bench->results[work].us
               : 0;
}

static double ratio_of(const struct bench *bench, enum work work)
{
    return rate_of(bench, WORK_NULL) > 0 ? rate_of(bench, work) / rate_of(bench, WORK_NULL) : 0;
}

static double percentile_ms(const struct bench *bench, enum work work, double percent)
{
    return (double)histogram_percentile(&bench->results[work].latency_us, percent) / 1000;
}

static void print_table(const struct bench *bench)
{
    printf("%" PRId64 " in flight, %" PRId64 " rounds of 1 s each, %" PRId64
           " connections, %" PRId64 " tenants\n  %-8s %10s %8s %10s %10s %8s\n",
           bench->concurrency, bench->seconds, bench->connections, bench->tenants_count, "WORK",
           "PER S", "RATIO", "P50 MS", "P99 MS", "ERRORS");
    for (enum work work = WORK_NULL; work < WORK_COUNT; work++)
        printf("  %-8s %10.0f %8.3f %10.2f %10.2f %8" PRId64 "\n", work_names[work],
               rate_of(bench, work), ratio_of(bench, work), percentile_ms(bench, work, 50),
               percentile_ms(bench, work, 99), bench->results[work].errors);
}

static void print_object(const struct bench *bench)
{
    json_t *object = json_object();

    CHECK(object);
    json_object_set_new(object, "concurrency", json_integer(bench->concurrency));
    json_object_set_new(object, "seconds", json_integer(bench->seconds));
    json_object_set_new(object, "tenants", json_integer(bench->tenants_count));
    json_object_set_new(object, "connections", json_integer(bench->connections));
    for (enum work work = WORK_NULL; work < WORK_COUNT; work++)
        json_object_set_new(object, work_names[work],
                            json_pack("{s:f, s:f, s:f, s:f, s:I}", "per_s", rate_of(bench, work),
                                      "ratio", ratio_of(bench, work), "p50_ms",
                                      percentile_ms(bench, work, 50), "p99_ms",
                                      percentile_ms(bench, work, 99), "errors",
                                      (json_int_t)bench->results[work].errors));
    cli_print_object(object);
}

static int work_named(const char *name)
{
    for (int work = WORK_NULL; work < WORK_COUNT; work++)
        if (strcmp(work_names[work], name) == 0)
            return work;
    return -1;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct bench *bench = state->input;
    int64_t *count = NULL;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = bench->cli;
        return 0;
    case 't':
        bench->tenant = arg;
        return 0;
    case KEY_WORK:
        bench->only = work_named(arg);
        if (bench->only < 0)
            argp_error(state, "\"%s\" is not null, reserve or pair", arg);
        return 0;
    case KEY_CONCURRENCY:
        count = &bench->concurrency;
        break;
    case KEY_SECONDS:
        count = &bench->seconds;
        break;
    case KEY_TENANTS:
        count = &bench->tenants_count;
        break;
    case KEY_CONNECTIONS:
        count = &bench->connections;
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    if (!amount_parse(arg, count) || *count < 1 || *count > 100000)
        argp_error(state, "\"%s\" is not a whole number from 1 to 100000", arg);
    return 0;
}

/* Each lane has a tenant; the tenants get a limit that is never in the way. */
static bool prepare(struct bench *bench, struct stub_status *status)
{
    const struct book_limit limit = {METER, -1, 0};

    bench->books = calloc((size_t)bench->tenants_count, sizeof(*bench->books));
    CHECK(bench->books);
    bench->lanes = calloc((size_t)bench->concurrency, sizeof(*bench->lanes));
    CHECK(bench->lanes);
    for (int64_t i = 0; i < bench->concurrency; i++) {
        struct lane *lane = &bench->lanes[i];

        lane->bench = bench;
        if (bench->tenants_count == 1)
            snprintf(lane->tenant, sizeof(lane->tenant), "%s", bench->tenant);
        else
            snprintf(lane->tenant, sizeof(lane->tenant), "%.64s-%" PRId64, bench->tenant,
                     i % bench->tenants_count + 1);
        if (i < bench->tenants_count &&
            !book_open(bench->cli, lane->tenant, &limit, &bench->books[i], status))
            return false;
    }
    return true;
}

/*
 * Waits until nothing is held any more, a few seconds at most: what the server still does for the
 * last round would be counted against the next.
 */
static void settle_down(struct bench *bench)
{
    const struct timespec pause = {.tv_nsec = SETTLE_PAUSE_NS};
    int64_t until_us = now_us() + SETTLE_US_MAX;

    for (int64_t i = 0; i < bench->tenants_count && i < bench->concurrency; i++) {
        struct stub_status status = STUB_STATUS_INIT;
        struct book_reading reading;

        while (book_read(bench->cli, &bench->books[i], METER, &reading, &status) &&
               reading.held > 0 && now_us() < until_us)
            nanosleep(&pause, NULL);
        stub_status_clear(&status);
    }
    cli_close(bench->cli);
}

static bool is_wanted(const struct bench *bench, enum work work)
{
    return bench->only < 0 || bench->only == (int)work;
}

static int run(struct bench *bench)
{
    struct stub_status status = STUB_STATUS_INIT;
    int result = CLI_OK;

    if (!prepare(bench, &status)) {
        result = cli_fail(bench->cli, bench->cli->last_call, &status);
        stub_status_clear(&status);
        return result;
    }
    stub_status_clear(&status);
    /* Its idle thread would take the events of the next channel and pass them on, at a switch each. */
    cli_close(bench->cli);
    bench->channel = cli_connect(bench->cli, bench->cli->server, (int)bench->connections);
    for (int64_t round = 0; round < bench->seconds; round++) {
        if (is_wanted(bench, WORK_NULL))
            run_round(bench, WORK_NULL);
        if (is_wanted(bench, WORK_RESERVE)) {
            run_round(bench, WORK_RESERVE);
            run_round(bench, WORK_RELEASE);
            settle_down(bench);
        }
        if (is_wanted(bench, WORK_PAIR)) {
            run_round(bench, WORK_PAIR);
            settle_down(bench);
        }
        for (int64_t i = 0; i < bench->concurrency; i++)
            bench->lanes[i].released = bench->lanes[i].jobs;
    }
    stub_channel_destroy(bench->channel);
    if (bench->cli->json)
        print_object(bench);
    else
        print_table(bench);
    if (*bench->last_error) {
        fprintf(stderr, "holdfast bench: the last error was %s\n", bench->last_error);
        result = CLI_SERVER;
    }
    return result;
}

int command_bench(struct cli *cli, int argc, char **argv)
{
    const struct argp_child children[] = {{&cli_argp, 0, "Every command:", -1}, {0}};
    const struct argp argp = {options, parse_option, NULL, doc, children, NULL, NULL};
    struct bench *bench = calloc(1, sizeof(*bench));
    int result;

    CHECK(bench);
    bench->cli = cli;
    bench->concurrency = 64;
    bench->seconds = SECONDS_DEFAULT;
    bench->tenant = "bench";
    bench->tenants_count = 1;
    bench->connections = 1;
    bench->only = -1;
    cli_parse(&argp, argc, argv, 0, bench);
    cli_random_id("bench-", bench->run);
    pthread_mutex_init(&bench->lock, NULL);
    pthread_cond_init(&bench->wake, NULL);
    result = run(bench);
    pthread_cond_destroy(&bench->wake);
    pthread_mutex_destroy(&bench->lock);
    free(bench->lanes);
    free(bench->books);
    free(bench);
    return result;
}
