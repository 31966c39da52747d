/*
 * The commands that make one call, against a stand-in for the server.
 */
#include "run.h"
#include "stand_in.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct stand_in *stand_in;
static const char *server;

static const char plan[] = "tenants:\n"
                           "  - tenant: demo\n"
                           "    limits:\n"
                           "      - {limit_id: tokens-ever, meter: tokens, period: never,\n"
                           "         amount: 1000, overage_percent: 10}\n";

static void write_file(const char *path, const char *content)
{
    FILE *file = fopen(path, "w");

    cr_assert_not_null(file);
    fputs(content, file);
    fclose(file);
}

static void start(void)
{
    char path[] = "/tmp/holdfast-plan-XXXXXX";

    stand_in = stand_in_start();
    server = stand_in_address(stand_in);
    close(mkstemp(path));
    write_file(path, plan);
    cr_assert_eq(RUN(command_apply, server, "-f", path)->code, CLI_OK);
    unlink(path);
}

static void stop(void)
{
    stand_in_stop(stand_in);
}

TestSuite(command, .init = start, .fini = stop);

#define assert_says(text, what) cr_assert(strstr(text, what), "\"%s\" is not in: %s", what, text)

Test(command, reserve_tells_what_is_held)
{
    const struct run *run = RUN(command_reserve, server, "-t", "demo", "-j", "job-1", "tokens=60");

    cr_assert_eq(run->code, CLI_OK, "%s", run->err);
    assert_says(run->out, "ALLOW job job-1 attempt 1.1 holds tokens=60 until 2027-");
    assert_says(run->out, "1m00s left");
    assert_says(run->out, "tokens-ever");
    assert_says(run->out, "reservation_id token:job-1");
    run = RUN(command_reserve, server, "-t", "demo", "-j", "job-1", "tokens=60", "-l", "5s");
    assert_says(run->out, "ALLOW (replayed)");
}

Test(command, reserve_makes_a_job_id_when_none_is_given)
{
    const struct run *run = RUN(command_reserve, server, "-t", "demo", "tokens=60");

    assert_says(run->out, "ALLOW job job-");
}

Test(command, reserve_exits_with_1_when_refused)
{
    const struct run *run = RUN(command_reserve, server, "-t", "demo", "-j", "big", "tokens=5000");

    cr_assert_eq(run->code, CLI_REFUSED);
    assert_says(run->out, "REJECT job big");
    assert_says(run->out, "HARD_CAP: 940 used + 160 held + 60 > 1100; retry after 40.0s");
}

Test(command, reserve_exits_with_1_when_the_job_was_done_before)
{
    const struct run *run;

    RUN(command_reserve, server, "-t", "demo", "-j", "once", "tokens=60");
    RUN(command_commit, server, "-t", "demo", "-j", "once", "tokens=50");
    run = RUN(command_reserve, server, "-t", "demo", "-j", "once", "tokens=60");
    cr_assert_eq(run->code, CLI_REFUSED);
    assert_says(run->out, "ALREADY_COMMITTED job once");
    assert_says(run->out, "tokens: 50 used, 50 recorded");
}

Test(command, reserve_prints_the_reply_as_json)
{
    const struct run *run =
        RUN(command_reserve, server, "-t", "demo", "-j", "job-1", "tokens=60", "--json");
    json_t *reply = run_last_line(run);

    cr_assert_str_eq(json_string_value(json_object_get(reply, "decision")), "DECISION_ALLOW");
    cr_assert_str_eq(json_string_value(json_object_get(reply, "remaining_ttl")), "60s");
    json_decref(reply);
}

Test(command, an_error_names_reason_fields_effect_and_advice)
{
    const struct run *run = RUN(command_reserve, server, "-t", "demo", "-j", "job-1", "tokens=-5");

    cr_assert_eq(run->code, CLI_SERVER);
    assert_says(run->err, "INVALID_ARGUMENT (INVALID_FIELD): the stand-in refuses");
    assert_says(run->err, "field   amounts[0].units: is wrong");
    assert_says(run->err, "effect  definite");
    assert_says(run->err, "advice  correct the fields");
    assert_says(run->err, "server  stand-in:1");
}

Test(command, an_error_is_json_on_demand)
{
    const struct run *run =
        RUN(command_reserve, server, "-t", "nobody", "-j", "job-1", "tokens=5", "--json");
    json_t *error = run_last_line(run), *inner = json_object_get(error, "error");

    cr_assert_eq(run->code, CLI_SERVER);
    cr_assert_str_eq(json_string_value(json_object_get(inner, "code")), "NOT_FOUND");
    cr_assert_str_eq(json_string_value(json_object_get(inner, "reason")), "UNKNOWN_TENANT");
    cr_assert_str_eq(json_string_value(json_object_get(inner, "effect")), "definite");
    json_decref(error);
}

Test(command, an_unreachable_server_has_an_unknown_effect)
{
    const struct run *run =
        RUN(command_reserve, "127.0.0.1:1", "-t", "demo", "-j", "job-1", "tokens=5", "-T", "2s");

    cr_assert_eq(run->code, CLI_SERVER);
    assert_says(run->err, "UNAVAILABLE");
    assert_says(run->err, "effect  unknown");
    assert_says(run->err, "is the server running there?");
}

Test(command, a_server_that_is_no_address_is_a_usage_error, .exit_code = CLI_USAGE)
{
    RUN(command_usage, "127.0.0.1:99999", "-t", "demo");
}

Test(command, commit_records_what_was_used_or_all)
{
    const struct run *run;

    RUN(command_reserve, server, "-t", "demo", "-j", "a", "tokens=60");
    RUN(command_reserve, server, "-t", "demo", "-j", "b", "tokens=60");
    run = RUN(command_commit, server, "-t", "demo", "-j", "a", "tokens=50:cap");
    cr_assert_eq(run->code, CLI_OK, "%s", run->err);
    assert_says(run->out, "COMMITTED attempt 1.1");
    assert_says(run->out, "tokens: 50 used, 50 recorded, 10 freed");
    run = RUN(command_commit, server, "-r", "token:b");
    assert_says(run->out, "tokens: 60 used, 60 recorded, 0 freed");
    run = RUN(command_commit, server, "-r", "token:b");
    assert_says(run->out, "COMMITTED (replayed)");
    run = RUN(command_commit, server, "-t", "demo", "-j", "unknown", "--json");
    cr_assert_eq(run->code, CLI_SERVER);
}

Test(command, release_gives_back_once)
{
    const struct run *run;

    RUN(command_reserve, server, "-t", "demo", "-j", "a", "tokens=60");
    run = RUN(command_release, server, "-t", "demo", "-j", "a", "--note", "not needed");
    cr_assert_eq(run->code, CLI_OK, "%s", run->err);
    assert_says(run->out, "RELEASED attempt 1.1, freed tokens=60");
    run = RUN(command_release, server, "-t", "demo", "-j", "a");
    assert_says(run->out, "RELEASED (replayed) attempt 1.1, freed nothing");
    run = RUN(command_release, server, "-t", "demo", "-j", "unknown");
    cr_assert_eq(run->code, CLI_SERVER);
    assert_says(run->err, "UNKNOWN_JOB");
}

Test(command, extend_gives_a_new_token)
{
    const struct run *run;

    RUN(command_reserve, server, "-t", "demo", "-j", "a", "tokens=60");
    run = RUN(command_extend, server, "-t", "demo", "-j", "a", "--ttl", "90s");
    cr_assert_eq(run->code, CLI_OK, "%s", run->err);
    assert_says(run->out, "1m30s left");
    assert_says(run->out, "reservation_id token:new");
    run = RUN(command_extend, server, "-t", "demo", "-j", "unknown");
    assert_says(run->err, "EXPIRED");
}

Test(command, check_answers_without_holding)
{
    const struct run *run = RUN(command_check, server, "-t", "demo", "tokens=60", "--deferrable");

    cr_assert_eq(run->code, CLI_OK, "%s", run->err);
    assert_says(run->out, "WARN\n");
    cr_assert_eq(RUN(command_check, server, "-t", "demo", "tokens=1101")->code, CLI_REFUSED);
}

Test(command, usage_shows_the_quotas_in_a_table)
{
    const struct run *run;

    RUN(command_reserve, server, "-t", "demo", "-j", "a", "tokens=60");
    run = RUN(command_usage, server, "-t", "demo", "--below");
    cr_assert_eq(run->code, CLI_OK, "%s", run->err);
    assert_says(run->out, "tokens-ever");
    assert_says(run->out, "1100");
    assert_says(run->out, "1040");
    run = RUN(command_usage, server, "-t", "nobody");
    assert_says(run->out, "no limits here");
}

Test(command, holds_reads_every_page)
{
    const struct run *run;

    RUN(command_reserve, server, "-t", "demo", "-j", "a", "tokens=60");
    RUN(command_reserve, server, "-t", "demo", "-j", "b", "tokens=70");
    run = RUN(command_holds, server, "-t", "demo");
    cr_assert_eq(run->code, CLI_OK, "%s", run->err);
    assert_says(run->out, "job a: tokens=60");
    assert_says(run->out, "job b: tokens=70");
    assert_says(run->out, "2 live");
}

Test(command, show_tells_where_a_job_stands)
{
    const struct run *run;

    RUN(command_reserve, server, "-t", "demo", "-j", "a", "tokens=60");
    RUN(command_commit, server, "-t", "demo", "-j", "a");
    run = RUN(command_show, server, "-t", "demo", "-j", "a");
    cr_assert_eq(run->code, CLI_OK, "%s", run->err);
    assert_says(run->out, "COMMITTED demo job a");
    cr_assert_eq(RUN(command_show, server, "-t", "demo", "-j", "b")->code, CLI_SERVER);
}

Test(command, status_tells_about_the_stores_and_fails_if_one_is_away)
{
    const struct run *run = RUN(command_status, server, "-T", "3s");

    cr_assert_eq(run->code, CLI_SERVER, "%s", run->err);
    assert_says(run->out, "redis");
    assert_says(run->out, "DOWN");
    assert_says(run->out, "connection refused");
    assert_says(run->out, "3 holds");
}

static void cross_all(void)
{
    RUN(command_reserve, server, "-t", "demo", "-j", "x", "tokens=1100");
    RUN(command_commit, server, "-t", "demo", "-j", "x");
}

Test(command, watch_prints_events_in_order_and_ends_after_the_count)
{
    const struct run *run;

    cross_all();
    run = RUN(command_watch, server, "-t", "demo", "--after", "0", "--count", "3", "--kind",
              "soft_stop");
    cr_assert_eq(run->code, CLI_OK, "%s", run->err);
    assert_says(run->out, "#1 SOFT_STOP UP on COMMITTED demo tokens tokens-ever: 1100 used");
    assert_says(run->out, "#2 HARD_STOP UP");
    assert_says(run->out, "#3 HARD_CAP UP");
    assert_says(run->out, "of 1000 (cap 1100) by job-x");
    cr_assert_str_eq(run->err, "");
}

Test(command, watch_resumes_after_the_last_event_when_the_stream_ends)
{
    const struct run *run;

    cross_all();
    stand_in_break_streams(stand_in, true);
    run = RUN(command_watch, server, "-t", "demo", "--after", "0", "--count", "3", "--json");
    cr_assert_eq(run->code, CLI_OK, "%s", run->err);
    cr_assert_str_eq(run->err, "", "no gap");
    assert_says(run->out, "\"seq\":1,\"prev_seq\":0");
    assert_says(run->out, "\"seq\":3,\"prev_seq\":2");
}

Test(command, watch_of_an_unknown_tenant_is_an_error)
{
    cr_assert_eq(RUN(command_watch, server, "-t", "nobody")->code, CLI_SERVER);
}

Test(command, a_wrong_option_is_a_usage_error, .exit_code = CLI_USAGE)
{
    argp_err_exit_status = CLI_USAGE;
    RUN(command_reserve, server, "-t", "demo", "tokens");
}

Test(command, an_unknown_kind_is_a_usage_error, .exit_code = CLI_USAGE)
{
    RUN(command_watch, server, "-t", "demo", "--kind", "weather");
}
