/*
 * Replays against a stand-in that keeps honest books, or does not.
 */
#include "run.h"
#include "stand_in.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROWS 500
#define SUM (ROWS * 110)

static struct stand_in *stand_in;
static const char *server;
static char path[] = "/tmp/holdfast-trace-XXXXXX";

/* 500 requests of 100 + 10 units, a millisecond apart. */
static void start(void)
{
    FILE *file;

    stand_in = stand_in_start();
    server = stand_in_address(stand_in);
    file = fdopen(mkstemp(path), "w");
    fputs("TIMESTAMP,ContextTokens,GeneratedTokens\r\n", file);
    for (int i = 0; i < ROWS; i++)
        fprintf(file, "2023-11-16 18:00:00.%03d0000,100,10\r\n", i);
    fclose(file);
}

static void stop(void)
{
    stand_in_stop(stand_in);
    unlink(path);
}

TestSuite(replay, .init = start, .fini = stop, .timeout = 60);

static int64_t count(json_t *sheet, const char *name)
{
    json_t *value = json_object_get(sheet, name);

    cr_assert(json_is_integer(value), "%s", name);
    return json_integer_value(value);
}

#define assert_count(sheet, name, expected)                                                        \
    cr_assert_eq(count(sheet, name), expected, name " is %ld", (long)count(sheet, name))

Test(replay, balances_when_no_limit_is_in_the_way)
{
    const struct run *run = RUN(command_replay, server, path, "--json");
    json_t *sheet = run_last_line(run);

    cr_assert_eq(run->code, CLI_OK, "%s%s", run->err, run->out);
    assert_count(sheet, "reserved", ROWS);
    assert_count(sheet, "committed", ROWS);
    assert_count(sheet, "ledger_rows", ROWS);
    assert_count(sheet, "ledger_sum", SUM);
    assert_count(sheet, "usage_sum", SUM);
    assert_count(sheet, "held_after", 0);
    assert_count(sheet, "lost", 0);
    assert_count(sheet, "doubled", 0);
    assert_count(sheet, "soft_stop_events", 0);
    cr_assert(json_is_true(json_object_get(sheet, "verified")));
    cr_assert_gt(json_real_value(json_object_get(sheet, "reserve_per_s")), 0);
    cr_assert_gt(json_real_value(json_object_get(sheet, "commit_p99_ms")), 0);
    json_decref(sheet);
}

Test(replay, counts_each_stop_once_under_a_limit)
{
    const struct run *run = RUN(command_replay, server, path, "--limit", "27500", "--overage", "10",
                                "--max-tokens", "20", "--json", "-c", "8");
    json_t *sheet = run_last_line(run);

    cr_assert_eq(run->code, CLI_OK, "%s%s", run->err, run->out);
    cr_assert_gt(count(sheet, "rejected"), 100);
    assert_count(sheet, "soft_stop_events", 1);
    assert_count(sheet, "hard_stop_events", 1);
    assert_count(sheet, "over_admission", 0);
    cr_assert_leq(count(sheet, "usage_sum"), 30250);
    json_decref(sheet);
}

Test(replay, counts_stops_although_streams_break)
{
    json_t *sheet;

    stand_in_break_streams(stand_in, true);
    sheet = run_last_line(RUN(command_replay, server, path, "--limit", "27500", "--max-tokens", "10",
                              "--json"));
    assert_count(sheet, "soft_stop_events", 1);
    assert_count(sheet, "hard_stop_events", 1);
    assert_count(sheet, "hard_cap_events", 1);
    json_decref(sheet);
}

Test(replay, repeats_calls_while_the_server_is_away)
{
    const struct run *run;
    json_t *sheet;

    RUN(command_replay, server, path, "--tenant", "away", "--rows", "1");
    stand_in_fail(stand_in, 100, STUB_UNAVAILABLE, "REDIS_UNAVAILABLE");
    run = RUN(command_replay, server, path, "--json", "--tenant", "away", "-c", "200");
    sheet = run_last_line(run);
    cr_assert_eq(run->code, CLI_OK, "%s%s", run->err, run->out);
    assert_count(sheet, "committed", ROWS);
    assert_count(sheet, "failed", 0);
    cr_assert_gt(count(sheet, "retried"), 0);
    json_decref(sheet);
}

Test(replay, gives_up_after_the_retries_and_says_why)
{
    const struct run *run;

    cr_assert_eq(RUN(command_replay, server, path, "--tenant", "t", "--rows", "1")->code, CLI_OK);
    stand_in_fail(stand_in, 20, STUB_FAILED_PRECONDITION, "NO_LIMIT");
    run = RUN(command_replay, server, path, "--tenant", "t", "--json");
    cr_assert(strstr(run->err, "20 jobs given up, the last one with FAILED_PRECONDITION NO_LIMIT"),
              "%s", run->err);
}

Test(replay, finds_lost_commits)
{
    const struct run *run;
    json_t *sheet;

    stand_in_lose_commits(stand_in, 100);
    run = RUN(command_replay, server, path, "--json");
    sheet = run_last_line(run);
    cr_assert_eq(run->code, CLI_UNBALANCED);
    assert_count(sheet, "lost", ROWS / 100);
    assert_count(sheet, "ledger_rows", ROWS - ROWS / 100);
    json_decref(sheet);
    run = RUN(command_replay, server, path, "--json", "--no-verify");
    sheet = run_last_line(run);
    cr_assert_eq(run->code, CLI_UNBALANCED);
    assert_count(sheet, "lost", ROWS / 100);
    json_decref(sheet);
}

Test(replay, finds_doubled_commits)
{
    const struct run *run;
    json_t *sheet;

    stand_in_double_commits(stand_in, 250);
    run = RUN(command_replay, server, path, "--json");
    sheet = run_last_line(run);
    cr_assert_eq(run->code, CLI_UNBALANCED);
    assert_count(sheet, "doubled", ROWS / 250);
    json_decref(sheet);
}

Test(replay, spreads_over_tenants_and_servers_and_releases_a_share)
{
    char servers[160];
    const struct run *run;
    json_t *sheet;

    snprintf(servers, sizeof(servers), "%s,%s", server, server);
    run = RUN(command_replay, "127.0.0.1:1", path, "--json", "--tenants", "3", "--servers", servers,
              "--release", "20");
    sheet = run_last_line(run);
    cr_assert_eq(run->code, CLI_OK, "%s%s", run->err, run->out);
    assert_count(sheet, "released", ROWS / 5);
    assert_count(sheet, "committed", ROWS - ROWS / 5);
    assert_count(sheet, "ledger_rows", ROWS - ROWS / 5);
    json_decref(sheet);
}

Test(replay, of_the_same_run_again_records_nothing_twice)
{
    json_t *sheet;

    RUN(command_replay, server, path, "--tenant", "same", "--run", "r", "--rows", "100");
    sheet = run_last_line(RUN(command_replay, server, path, "--tenant", "same", "--run", "r",
                              "--rows", "100", "--json"));
    assert_count(sheet, "replayed", 100);
    assert_count(sheet, "reserved", 0);
    assert_count(sheet, "usage_sum", 0);
    json_decref(sheet);
}

Test(replay, keeps_the_pace_of_the_trace)
{
    const struct run *run = RUN(command_replay, server, path, "--speed-up", "2", "--json");
    json_t *sheet = run_last_line(run);

    /* The last row is due after 499 ms of the trace. */
    cr_assert_eq(run->code, CLI_OK, "%s%s", run->err, run->out);
    cr_assert_geq(json_real_value(json_object_get(sheet, "elapsed_s")), 0.2495);
    json_decref(sheet);
}

Test(replay, prints_the_sheet_as_a_table)
{
    const struct run *run = RUN(command_replay, server, path, "--rows", "10");

    cr_assert(strstr(run->out, "The books balance."), "%s", run->out);
    cr_assert(strstr(run->out, "ledger_rows                   10"), "%s", run->out);
}

Test(replay, refuses_a_file_that_is_no_trace)
{
    cr_assert_eq(RUN(command_replay, server, "/dev/null")->code, CLI_USAGE);
    cr_assert_eq(RUN(command_replay, server, "/nonexistent")->code, CLI_USAGE);
}

Test(replay, refuses_a_wrong_option, .exit_code = CLI_USAGE)
{
    argp_err_exit_status = CLI_USAGE;
    RUN(command_replay, server, path, "--concurrency", "0");
}

Test(replay, bench_compares_rates_with_a_null_call)
{
    const struct run *run =
        RUN(command_bench, server, "--seconds", "1", "-c", "4", "--tenants", "2", "--json");
    json_t *result = run_last_line(run), *null = json_object_get(result, "null");

    cr_assert_gt(json_real_value(json_object_get(null, "per_s")), 0);
    cr_assert_eq(json_real_value(json_object_get(null, "ratio")), 1.0);
    json_decref(result);
}
