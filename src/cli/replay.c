/*
 * Replays a trace of LLM requests against the server, as a gateway would: reserve the context and the
 * most that may be generated, commit the context and what was generated. Then it reads the server's
 * record and draws up the balance sheet.
 *
 *   open the books (tenants, limits, how they stand) -> watch -> fly -> wait until nothing is held
 *   -> read every job back -> close the books -> the sheet
 */
#include "cli/arguments.h"
#include "cli/books.h"
#include "cli/crossings.h"
#include "cli/duration.h"
#include "cli/flight.h"
#include "cli/sheet.h"
#include "cli/trace.h"

#include "base/amount.h"
#include "base/clock.h"
#include "quota/times.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Each watched tenant costs a thread and a stream; of more tenants the others are read afterwards. */
#define WATCHED_MAX 16
#define SERVERS_MAX 16
#define RUN_BYTES_MAX 180 /* so that a job_id has room for the number */
#define TENANTS_MAX 100000
#define HELD_ZERO_US INT64_C(5000000)
#define HELD_PAUSE_US 50000
#define PROGRESS_TIMEOUT_US 300000
/* The server's promise, and some time to see it. */
#define REAP_US ((EXPIRY_WITHIN_MS + SECOND_IN_MS) * 1000)

enum {
    KEY_SPEED_UP = 0x400,
    KEY_TENANTS,
    KEY_MAX_TOKENS,
    KEY_LIMIT,
    KEY_OVERAGE,
    KEY_SERVERS,
    KEY_RETRIES,
    KEY_RUN,
    KEY_ROWS,
    KEY_RELEASE,
    KEY_NO_VERIFY,
};

static const struct argp_option options[] = {
    {"tenant", 't', "NAME", 0, "tenant to use; added if missing (default: a new one)", 0},
    {"tenants", KEY_TENANTS, "N", 0, "spread the jobs over N tenants, NAME-1 to NAME-N", 0},
    {"meter", 'm', "NAME", 0, "meter to use (default: tokens)", 0},
    {"max-tokens", KEY_MAX_TOKENS, "N", 0, "units reserved for generation (default: 1000)", 0},
    {"concurrency", 'c', "N", 0, "jobs in flight (default: 64)", 0},
    {"speed-up", KEY_SPEED_UP, "X", 0,
     "keep the trace's pace, X times as fast (default: 0, full speed)", 0},
    {"limit", KEY_LIMIT, "UNITS", 0, "set a limit on each tenant first (default: none in the way)",
     0},
    {"overage", KEY_OVERAGE, "PERCENT", 0, "overage of that limit (default: 0)", 0},
    {"ttl", 'l', "DURATION", 0, "life of each hold (default: 60s)", 0},
    {"servers", KEY_SERVERS, "A,B,...", 0, "spread the calls over these servers", 0},
    {"retries", KEY_RETRIES, "N", 0, "repeats of a call while the server is away (default: 30)", 0},
    {"rows", KEY_ROWS, "N", 0, "only the first N rows", 0},
    {"release", KEY_RELEASE, "PERCENT", 0, "release this share of the jobs instead (default: 0)",
     0},
    {"run", KEY_RUN, "ID", 0, "prefix of the job ids; the same again resumes (default: a new one)",
     0},
    {"no-verify", KEY_NO_VERIFY, NULL, 0, "take the record from sums, not job by job", 0},
    {0},
};

static const char doc[] =
    "Replays a trace (TIMESTAMP,ContextTokens,GeneratedTokens) and balances the books.\v"
    "Each row reserves ContextTokens + max-tokens and commits ContextTokens + GeneratedTokens. Calls "
    "are repeated with the same job while the server is away. The sheet at the end compares what was "
    "acknowledged with the server's record; with --json it is one object on the last line of stdout. "
    "Nothing else may use the tenant and meter meanwhile.\n\n"
    "Exits with 0 if the books balance, with 4 if not.\n\n"
    "  holdfast replay trace.csv\n"
    "  holdfast replay trace.csv --limit 13000000 --overage 10 --json";

struct replay {
    struct cli *cli;
    const char *path;
    const char *tenant;
    int64_t tenants_count;
    const char *meter;
    int64_t max_tokens;
    int64_t concurrency;
    double speed_up;
    int64_t limit_units;
    int64_t overage_percent;
    int64_t ttl_us;
    char *servers;
    int64_t retries_max;
    int64_t rows_max;
    int64_t release_percent;
    const char *run;
    bool verify;

    char tenant_default[CLI_ID_BYTES];
    char run_default[CLI_ID_BYTES];
    char job_prefix[RUN_BYTES_MAX + 2];
    struct stub_channel *channels[SERVERS_MAX];
    size_t channels_count;
    struct trace trace;
    struct flight_job *jobs;
    struct book *books;
    const char **tenants;
    struct crossings *watched[WATCHED_MAX];
    struct flight *flight;
    struct flight_totals *totals; /* large: two histograms */
    struct sheet sheet;
    struct stub_status status;
};

static void parse_count(const char *name, const char *arg, int64_t min, int64_t max, int64_t *ret,
                        struct argp_state *state)
{
    if (!amount_parse(arg, ret) || *ret < min || *ret > max)
        argp_error(state, "--%s: \"%s\" is not a whole number from %" PRId64 " to %" PRId64, name,
                   arg, min, max);
}

static void parse_speed_up(const char *arg, double *ret, struct argp_state *state)
{
    char *end;

    *ret = strtod(arg, &end);
    if (*end || end == arg || !(*ret >= 0 && *ret <= 1e9))
        argp_error(state, "--speed-up: \"%s\" is not a number from 0 up", arg);
}

static error_t parse_text_option(struct replay *replay, int key, char *arg,
                                 struct argp_state *state)
{
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = replay->cli;
        return 0;
    case 't':
        replay->tenant = arg;
        return 0;
    case 'm':
        replay->meter = arg;
        return 0;
    case KEY_SERVERS:
        replay->servers = arg;
        return 0;
    case KEY_RUN:
        if (strlen(arg) > RUN_BYTES_MAX)
            argp_error(state, "--run: at most %d characters", RUN_BYTES_MAX);
        replay->run = arg;
        return 0;
    case KEY_NO_VERIFY:
        replay->verify = false;
        return 0;
    case ARGP_KEY_ARG:
        if (replay->path)
            argp_error(state, "one FILE only");
        replay->path = arg;
        return 0;
    case ARGP_KEY_END:
        if (!replay->path)
            argp_error(state, "which FILE?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct replay *replay = state->input;

    switch (key) {
    case KEY_TENANTS:
        parse_count("tenants", arg, 1, TENANTS_MAX, &replay->tenants_count, state);
        return 0;
    case KEY_MAX_TOKENS:
        parse_count("max-tokens", arg, 0, AMOUNT_MAX, &replay->max_tokens, state);
        return 0;
    case 'c':
        parse_count("concurrency", arg, 1, 10000, &replay->concurrency, state);
        return 0;
    case KEY_SPEED_UP:
        parse_speed_up(arg, &replay->speed_up, state);
        return 0;
    case KEY_LIMIT:
        parse_count("limit", arg, 0, AMOUNT_MAX, &replay->limit_units, state);
        return 0;
    case KEY_OVERAGE:
        parse_count("overage", arg, 0, 1000, &replay->overage_percent, state);
        return 0;
    case 'l':
        duration_option(state, "ttl", arg, &replay->ttl_us);
        return 0;
    case KEY_RETRIES:
        parse_count("retries", arg, 0, 1000000, &replay->retries_max, state);
        return 0;
    case KEY_ROWS:
        parse_count("rows", arg, 0, INT64_MAX, &replay->rows_max, state);
        return 0;
    case KEY_RELEASE:
        parse_count("release", arg, 0, 100, &replay->release_percent, state);
        return 0;
    default:
        return parse_text_option(replay, key, arg, state);
    }
}

static bool read_trace(struct replay *replay)
{
    char error[TRACE_ERROR_BYTES];
    FILE *file = fopen(replay->path, "r");
    bool good;

    if (!file) {
        fprintf(stderr, "holdfast replay: %s: %s\n", replay->path, strerror(errno));
        return false;
    }
    good = trace_read(file, &replay->trace, error);
    fclose(file);
    if (!good)
        fprintf(stderr, "holdfast replay: %s: %s\n", replay->path, error);
    else if ((int64_t)replay->trace.count > replay->rows_max)
        replay->trace.count = (size_t)replay->rows_max;
    return good;
}

static void make_jobs(struct replay *replay)
{
    replay->jobs = calloc(replay->trace.count + 1, sizeof(*replay->jobs));
    CHECK(replay->jobs);
    for (size_t i = 0; i < replay->trace.count; i++) {
        const struct trace_row *row = &replay->trace.rows[i];
        struct flight_job *job = &replay->jobs[i];

        job->at_us = row->at_us;
        job->held_units = row->context_units + replay->max_tokens;
        job->used_units = row->context_units + row->generated_units;
        job->release = (int64_t)(i % 100) < replay->release_percent;
    }
}

/* Calls of this command itself go to the first server, jobs to all of them. */
static bool open_channels(struct replay *replay)
{
    char *rest = replay->servers, *name;

    if (!replay->servers) {
        replay->channels[replay->channels_count++] = cli_channel(replay->cli);
        return true;
    }
    while ((name = strsep(&rest, ",")) != NULL) {
        if (!*name)
            continue;
        if (replay->channels_count == SERVERS_MAX) {
            fprintf(stderr, "holdfast replay: more than %d servers\n", SERVERS_MAX);
            return false;
        }
        if (replay->channels_count == 0) {
            replay->cli->server = name;
            replay->cli->server_from = "--servers";
            replay->channels[replay->channels_count++] = cli_channel(replay->cli);
        } else {
            replay->channels[replay->channels_count++] = cli_connect(replay->cli, name, 1);
        }
    }
    if (replay->channels_count == 0)
        fprintf(stderr, "holdfast replay: --servers names none\n");
    return replay->channels_count > 0;
}

static bool open_books(struct replay *replay)
{
    const struct book_limit limit = {replay->meter, replay->limit_units,
                                     (int32_t)replay->overage_percent};
    size_t count = (size_t)replay->tenants_count;

    replay->books = calloc(count, sizeof(*replay->books));
    replay->tenants = calloc(count, sizeof(*replay->tenants));
    CHECK(replay->books && replay->tenants);
    for (size_t i = 0; i < count; i++) {
        char name[BOOK_NAME_BYTES];

        if (count == 1)
            snprintf(name, sizeof(name), "%s", replay->tenant);
        else
            snprintf(name, sizeof(name), "%.64s-%zu", replay->tenant, i + 1);
        if (!book_open(replay->cli, name, &limit, &replay->books[i], &replay->status))
            return false;
        replay->tenants[i] = replay->books[i].tenant;
    }
    for (size_t i = 0; i < count && i < WATCHED_MAX; i++)
        replay->watched[i] =
            crossings_start(replay->channels, replay->channels_count, replay->books[i].tenant,
                            replay->books[i].limit_id, replay->books[i].before.event_seq);
    return true;
}

static void note_over_admission(struct replay *replay, int64_t over_units)
{
    if (over_units > replay->sheet.over_admission)
        replay->sheet.over_admission = over_units;
}

/* A line on stderr: overwritten on a terminal, else a new one. Also looks for over-admission. */
static void show_progress(void *user)
{
    struct replay *replay = user;
    struct book_reading reading = {0};
    struct stub_status status = STUB_STATUS_INIT;
    struct cli quick = *replay->cli;
    char elapsed[DURATION_TEXT_BYTES];

    quick.timeout_us = PROGRESS_TIMEOUT_US;
    flight_totals(replay->flight, replay->totals);
    if (book_read(&quick, &replay->books[0], replay->meter, &reading, &status))
        note_over_admission(replay, reading.over_units);
    stub_status_clear(&status);
    fprintf(stderr,
            "%s%s  %" PRId64 "/%zu jobs  %" PRId64 " committed  %" PRId64 " rejected  %" PRId64
            " retried  %" PRId64 " failed  used %" PRId64 " held %" PRId64 "%s",
            isatty(2) ? "\r\033[K" : "", duration_format(replay->totals->elapsed_us, elapsed),
            replay->totals->finished, replay->trace.count, replay->totals->committed,
            replay->totals->rejected, replay->totals->retried, replay->totals->failed, reading.used,
            reading.held, isatty(2) ? "" : "\n");
    fflush(stderr);
}

static void show_reading_progress(void *user)
{
    struct replay *replay = user;

    flight_totals(replay->flight, replay->totals);
    fprintf(stderr, "%sreading the record: %" PRId64 "/%zu jobs%s", isatty(2) ? "\r\033[K" : "",
            replay->totals->finished, replay->trace.count, isatty(2) ? "" : "\n");
    fflush(stderr);
}

static void fly(struct replay *replay, enum flight_mode mode)
{
    const struct flight_options flight_options = {
        .mode = mode,
        .channels = replay->channels,
        .channels_count = replay->channels_count,
        .tenants = replay->tenants,
        .tenants_count = (size_t)replay->tenants_count,
        .job_prefix = replay->job_prefix,
        .meter = replay->meter,
        .ttl_us = replay->ttl_us,
        .timeout_us = replay->cli->timeout_us,
        .concurrency = (int)replay->concurrency,
        .retries_max = (int)replay->retries_max,
        .speed_up = mode == FLIGHT_SPEND ? replay->speed_up : 0,
        .progress = mode == FLIGHT_SPEND ? show_progress : show_reading_progress,
        .user = replay,
    };

    replay->flight = flight_create(&flight_options, replay->jobs, replay->trace.count);
    flight_run(replay->flight);
    flight_options.progress(replay);
    if (isatty(2))
        fputc('\n', stderr);
    flight_totals(replay->flight, replay->totals);
    flight_destroy(replay->flight);
    replay->flight = NULL;
}

static double per_second(int64_t count, int64_t us)
{
    return us > 0 ? (double)count * 1e6 / (double)us : 0;
}

static void enter_totals(struct replay *replay)
{
    const struct flight_totals *totals = replay->totals;
    struct sheet *sheet = &replay->sheet;

    sheet->jobs = (int64_t)replay->trace.count;
    sheet->reserved = totals->reserved;
    sheet->committed = totals->committed;
    sheet->released = totals->released;
    sheet->rejected = totals->rejected;
    sheet->expired = totals->expired;
    sheet->replayed = totals->replayed;
    sheet->retried = totals->retried;
    sheet->failed = totals->failed;
    sheet->reserved_sum = totals->reserved_sum;
    sheet->committed_sum = totals->committed_sum;
    sheet->elapsed_s = (double)totals->elapsed_us / 1e6;
    sheet->reserve_per_s = per_second(totals->reserve_answers, totals->elapsed_us);
    sheet->commit_per_s = per_second(totals->commit_answers, totals->elapsed_us);
    sheet->reserve_p50_ms = (double)histogram_percentile(&totals->reserve_us, 50) / 1000;
    sheet->reserve_p99_ms = (double)histogram_percentile(&totals->reserve_us, 99) / 1000;
    sheet->commit_p50_ms = (double)histogram_percentile(&totals->commit_us, 50) / 1000;
    sheet->commit_p99_ms = (double)histogram_percentile(&totals->commit_us, 99) / 1000;
    if (*totals->last_error)
        fprintf(stderr, "holdfast replay: %" PRId64 " jobs given up, the last one with %s\n",
                totals->failed, totals->last_error);
}

/*
 * How long something may still be held: a moment. But where a server died between a commit and telling
 * Redis of it, the hold goes when it expires and is reaped.
 */
static int64_t held_zero_us(const struct replay *replay)
{
    if (replay->sheet.retried == 0 || replay->ttl_us + REAP_US < HELD_ZERO_US)
        return HELD_ZERO_US;
    return replay->ttl_us + REAP_US;
}

/* Reads every book until nothing of this run is held. */
static bool close_books(struct replay *replay)
{
    int64_t start_us = clock_mono_us(clock_real()), held;

    for (;;) {
        held = 0;
        for (int64_t i = 0; i < replay->tenants_count; i++) {
            struct book *book = &replay->books[i];

            if (!book_read(replay->cli, book, replay->meter, &book->after, &replay->status))
                return false;
            held += book->after.held - book->before.held;
            note_over_admission(replay, book->after.over_units);
        }
        if (held == 0 || clock_mono_us(clock_real()) - start_us > held_zero_us(replay))
            break;
        usleep(HELD_PAUSE_US);
    }
    replay->sheet.held_after = held;
    replay->sheet.held_zero_ms =
        held == 0 ? (double)(clock_mono_us(clock_real()) - start_us) / 1000 : -1;
    for (int64_t i = 0; i < replay->tenants_count; i++) {
        const struct book *book = &replay->books[i];

        replay->sheet.ledger_rows += book->after.rows - book->before.rows;
        replay->sheet.usage_sum += book->after.used - book->before.used;
        replay->sheet.debt_sum += book->after.debt - book->before.debt;
    }
    replay->sheet.ledger_sum = replay->sheet.usage_sum;
    return true;
}

/* What the books alone tell: more or fewer records than acknowledgements. */
static void compare_sums(struct sheet *sheet)
{
    int64_t more = sheet->ledger_rows - sheet->committed;

    sheet->lost = more < 0 ? -more : 0;
    sheet->doubled = more > sheet->failed ? more - sheet->failed : 0;
}

static bool is_lost(const struct flight_job *job)
{
    bool acknowledged = job->outcome == JOB_COMMITTED || job->outcome == JOB_EARLIER;

    return acknowledged && job->recorded_units < job->acked_units;
}

/* Recorded with more than was acknowledged, or although the caller was told that it is not. */
static bool is_doubled(const struct flight_job *job)
{
    if (job->outcome == JOB_COMMITTED || job->outcome == JOB_EARLIER)
        return job->recorded_units > job->acked_units;
    return job->recorded_units >= 0 &&
           (job->outcome == JOB_REJECTED || job->outcome == JOB_RELEASED);
}

/* Job by job: the record against the acknowledgement. */
static void compare_jobs(struct replay *replay)
{
    struct sheet *sheet = &replay->sheet;
    int64_t rows_by_sum = sheet->ledger_rows, rows = 0, sum = 0, lost = 0, doubled = 0;

    for (size_t i = 0; i < replay->trace.count; i++) {
        const struct flight_job *job = &replay->jobs[i];
        bool recorded = job->recorded_units >= 0;

        if (!job->read) {
            fprintf(stderr, "holdfast replay: not every job could be read back; taking sums\n");
            compare_sums(sheet);
            return;
        }
        lost += is_lost(job);
        doubled += is_doubled(job);
        if (recorded && job->outcome != JOB_EARLIER) {
            rows++;
            sum += job->recorded_units;
        }
    }
    sheet->verified = true;
    sheet->ledger_rows = rows;
    sheet->ledger_sum = sum;
    sheet->lost = lost;
    sheet->doubled = doubled + (rows_by_sum > rows ? rows_by_sum - rows : 0);
}

static void count_crossings(struct replay *replay)
{
    for (int64_t i = 0; i < replay->tenants_count; i++) {
        const struct book *book = &replay->books[i];
        struct crossings *crossings = i < WATCHED_MAX ? replay->watched[i] : NULL;
        struct crossings_counts counts;

        if (!crossings)
            crossings = crossings_start(replay->channels, replay->channels_count, book->tenant,
                                        book->limit_id, book->before.event_seq);
        crossings_finish(crossings, book->after.event_seq, &counts);
        if (i < WATCHED_MAX)
            replay->watched[i] = NULL;
        replay->sheet.soft_stop_events += counts.soft_stop;
        replay->sheet.hard_stop_events += counts.hard_stop;
        replay->sheet.hard_cap_events += counts.hard_cap;
        note_over_admission(replay, counts.over_units);
        if (!counts.complete)
            fprintf(stderr, "holdfast replay: events of %s are incomplete%s%s\n", book->tenant,
                    *counts.error ? ": " : "", counts.error);
    }
}

static int print_sheet(const struct replay *replay)
{
    const struct sheet *sheet = &replay->sheet;

    if (replay->cli->json) {
        json_t *object = sheet_json(sheet);

        json_object_set_new(object, "tenant", json_string(replay->tenant));
        json_object_set_new(object, "run", json_string(replay->run));
        cli_print_object(object);
    } else {
        printf("tenant %s, limit %s, jobs %s0 to %s%zu\n", replay->tenant,
               replay->books[0].limit_id, replay->job_prefix, replay->job_prefix,
               replay->trace.count ? replay->trace.count - 1 : 0);
        sheet_print(sheet, stdout);
    }
    return sheet_balanced(sheet) ? CLI_OK : CLI_UNBALANCED;
}

static int run(struct replay *replay)
{
    if (!read_trace(replay) || !open_channels(replay))
        return CLI_USAGE;
    make_jobs(replay);
    if (!open_books(replay))
        return cli_fail(replay->cli, replay->cli->last_call, &replay->status);
    fly(replay, FLIGHT_SPEND);
    enter_totals(replay);
    if (!close_books(replay))
        return cli_fail(replay->cli, replay->cli->last_call, &replay->status);
    if (replay->verify) {
        fly(replay, FLIGHT_READ);
        compare_jobs(replay);
    } else {
        compare_sums(&replay->sheet);
    }
    count_crossings(replay);
    return print_sheet(replay);
}

static void finish(struct replay *replay)
{
    struct crossings_counts ignored;

    for (size_t i = 0; i < WATCHED_MAX; i++) {
        if (replay->watched[i])
            crossings_finish(replay->watched[i], 0, &ignored);
    }
    /* The first channel is the command's own. */
    for (size_t i = 1; i < replay->channels_count; i++)
        stub_channel_destroy(replay->channels[i]);
    stub_status_clear(&replay->status);
    trace_done(&replay->trace);
    free(replay->jobs);
    free(replay->books);
    free(replay->tenants);
    free(replay->totals);
}

int command_replay(struct cli *cli, int argc, char **argv)
{
    const struct argp_child children[] = {{&cli_argp, 0, "Every command:", -1}, {0}};
    const struct argp argp = {options, parse_option, "FILE", doc, children, NULL, NULL};
    struct replay replay = {
        .cli = cli,
        .tenants_count = 1,
        .meter = "tokens",
        .max_tokens = 1000,
        .concurrency = 64,
        .limit_units = -1,
        .ttl_us = TTL_DEFAULT_MS * 1000,
        .retries_max = 30,
        .rows_max = INT64_MAX,
        .verify = true,
    };
    int result;

    cli_parse(&argp, argc, argv, 0, &replay);
    if (!replay.run)
        replay.run = cli_random_id("replay-", replay.run_default);
    if (!replay.tenant)
        replay.tenant = cli_random_id("replay-", replay.tenant_default);
    snprintf(replay.job_prefix, sizeof(replay.job_prefix), "%s-", replay.run);
    replay.totals = calloc(1, sizeof(*replay.totals));
    CHECK(replay.totals);
    result = run(&replay);
    finish(&replay);
    return result;
}
