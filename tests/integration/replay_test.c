/*
 * Whole traces through real servers and stores: what the client's sheet says, and what Postgres says.
 */
#include "tests/cli/run.h"
#include "tests/support/fixture.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROWS 3000
#define SUM (ROWS * 110)

static struct fixture_server first, second;
static char path[] = "/tmp/holdfast-trace-XXXXXX";

static void start(void)
{
    FILE *file = fdopen(mkstemp(path), "w");

    cr_assert_not_null(file);
    fputs("TIMESTAMP,ContextTokens,GeneratedTokens\r\n", file);
    for (int i = 0; i < ROWS; i++)
        fprintf(file, "2023-11-16 18:00:%02d.%03d0000,100,10\r\n", i / 1000, i % 1000);
    fclose(file);
    fixture_server_start(&first, NULL);
}

static void stop(void)
{
    unlink(path);
    fixture_server_stop(&first);
    if (second.pid)
        fixture_server_stop(&second);
}

TestSuite(replay, .init = start, .fini = stop, .timeout = 120);

static int64_t count(json_t *sheet, const char *name)
{
    json_t *value = json_object_get(sheet, name);

    cr_assert(json_is_integer(value), "%s", name);
    return json_integer_value(value);
}

#define assert_count(sheet, name, expected)                                                        \
    cr_assert_eq(count(sheet, name), expected, name " is %ld", (long)count(sheet, name))

static int64_t ledger_rows(const char *tenant)
{
    return fixture_sql("SELECT count(*) FROM ledger JOIN tenant USING (tenant_id)"
                       " WHERE name = '%s' AND entry = 0",
                       tenant);
}

static int64_t ledger_sum(const char *tenant)
{
    return fixture_sql("SELECT coalesce(sum(amount + debt), 0)::bigint FROM ledger"
                       " JOIN tenant USING (tenant_id) WHERE name = '%s'",
                       tenant);
}

Test(replay, balances_and_postgres_agrees)
{
    const struct run *run = RUN(command_replay, first.listen, path, "--tenant", "all", "--json");
    json_t *sheet = run_last_line(run);

    cr_assert_eq(run->code, CLI_OK, "%s%s", run->err, run->out);
    assert_count(sheet, "committed", ROWS);
    assert_count(sheet, "ledger_rows", ROWS);
    assert_count(sheet, "ledger_sum", SUM);
    assert_count(sheet, "held_after", 0);
    cr_assert(json_is_true(json_object_get(sheet, "verified")));
    cr_assert_eq(ledger_rows("all"), ROWS);
    cr_assert_eq(ledger_sum("all"), SUM);
    json_decref(sheet);
}

Test(replay, under_a_limit_crosses_each_stop_once_as_watchers_of_both_servers_see)
{
    const int64_t limit = SUM / 2, cap = limit + limit / 10;
    char limit_text[32], servers[160], *soft, *hard;
    const struct run *run;
    json_t *sheet;

    fixture_server_start(&second, NULL);
    snprintf(limit_text, sizeof(limit_text), "%ld", (long)limit);
    snprintf(servers, sizeof(servers), "%s,%s", first.listen, second.listen);
    run = RUN(command_replay, first.listen, path, "--tenant", "half", "--limit", limit_text,
              "--overage", "10", "--max-tokens", "100", "--servers", servers, "--json");
    sheet = run_last_line(run);
    cr_assert_eq(run->code, CLI_OK, "%s%s", run->err, run->out);
    assert_count(sheet, "soft_stop_events", 1);
    assert_count(sheet, "hard_stop_events", 1);
    assert_count(sheet, "over_admission", 0);
    cr_assert_gt(count(sheet, "rejected"), 0);
    cr_assert_leq(count(sheet, "usage_sum") - count(sheet, "debt_sum"), cap);
    cr_assert_eq(ledger_rows("half"), count(sheet, "committed"));
    json_decref(sheet);
    for (int i = 0; i < 2; i++) {
        run = RUN(command_watch, i ? second.listen : first.listen, "-t", "half", "--after", "0",
                  "--kind", "soft_stop", "--kind", "hard_stop", "--count", "2", "--json");
        cr_assert_eq(run->code, CLI_OK, "%s", run->err);
        cr_assert_str_eq(run->err, "", "no gap");
        soft = strstr(run->out, "EVENT_KIND_SOFT_STOP");
        hard = strstr(run->out, "EVENT_KIND_HARD_STOP");
        cr_assert(soft && hard && soft < hard, "%s", run->out);
    }
}

struct background {
    const struct run *run;
    atomic_bool done;
};

static void *replay_in_background(void *user)
{
    struct background *background = user;

    background->run = RUN(command_replay, first.listen, path, "--tenant", "killed", "--retries",
                          "200", "-T", "2s", "--ttl", "3s", "--release", "10", "--json");
    atomic_store(&background->done, true);
    return NULL;
}

Test(replay, balances_although_the_server_is_killed_again_and_again)
{
    struct background background = {.run = NULL};
    pthread_t thread;
    int kills = 0;
    json_t *sheet;

    cr_assert_eq(pthread_create(&thread, NULL, replay_in_background, &background), 0);
    while (!atomic_load(&background.done) && kills < 5) {
        usleep(150000);
        fixture_server_kill(&first);
        fixture_server_restart(&first, NULL);
        kills++;
    }
    pthread_join(thread, NULL);
    cr_assert_eq(background.run->code, CLI_OK, "%s%s", background.run->err, background.run->out);
    sheet = run_last_line(background.run);
    assert_count(sheet, "lost", 0);
    assert_count(sheet, "doubled", 0);
    assert_count(sheet, "held_after", 0);
    cr_assert_eq(ledger_rows("killed"), count(sheet, "committed"));
    json_decref(sheet);
}

Test(replay, bench_measures_pairs)
{
    const struct run *run = RUN(command_bench, first.listen, "--seconds", "1", "--json");
    json_t *result = run_last_line(run);

    cr_assert_gt(json_real_value(json_object_get(json_object_get(result, "null"), "per_s")), 0);
    cr_assert_gt(json_real_value(json_object_get(json_object_get(result, "pair"), "per_s")), 0);
    json_decref(result);
}

Test(replay, apply_changes_nothing_the_second_time)
{
    char plan[] = "/tmp/holdfast-plan-XXXXXX";
    FILE *file = fdopen(mkstemp(plan), "w");
    const struct run *run;

    fputs("tenants:\n"
          "  - tenant: applied\n"
          "    display_name: Applied\n"
          "    limits:\n"
          "      - {limit_id: month, meter: tokens, period: month, amount: 1000000,\n"
          "         soft_percent: 80, overage_percent: 10, max_ttl: 5m}\n"
          "      - {limit_id: minute, meter: requests, period: minute, amount: 60,\n"
          "         overage_units: 5, scope: team-a/user-7}\n"
          "      - {limit_id: day, meter: requests, period: day, unlimited: true}\n"
          "      - {limit_id: hour, meter: bytes, period: hour, amount: 0,\n"
          "         overage_unlimited: true}\n",
          file);
    fclose(file);
    run = RUN(command_apply, first.listen, "-f", plan);
    cr_assert(strstr(run->out, "5 created, 0 updated, 0 deleted, 0 unchanged"), "%s%s", run->out,
              run->err);
    run = RUN(command_apply, first.listen, "-f", plan);
    cr_assert(strstr(run->out, "0 created, 0 updated, 0 deleted, 5 unchanged"), "%s%s", run->out,
              run->err);
    unlink(plan);
}
