/*
 * Applying a file of tenants and limits, against a stand-in for the server.
 */
#include "run.h"
#include "stand_in.h"

#include "base/check.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct stand_in *stand_in;
static const char *server;
static char path[] = "/tmp/holdfast-apply-XXXXXX";

static void start(void)
{
    stand_in = stand_in_start();
    server = stand_in_address(stand_in);
    close(mkstemp(path));
}

static void stop(void)
{
    stand_in_stop(stand_in);
    unlink(path);
}

TestSuite(apply, .init = start, .fini = stop);

static void write_file(const char *content)
{
    FILE *file = fopen(path, "w");

    cr_assert_not_null(file);
    fputs(content, file);
    fclose(file);
}

static void assert_changes(const struct run *run, int created, int updated, int deleted,
                           int unchanged)
{
    json_t *totals = run_last_line(run);

    cr_assert_eq(run->code, CLI_OK, "%s", run->err);
    cr_assert_eq(json_integer_value(json_object_get(totals, "created")), created);
    cr_assert_eq(json_integer_value(json_object_get(totals, "updated")), updated);
    cr_assert_eq(json_integer_value(json_object_get(totals, "deleted")), deleted);
    cr_assert_eq(json_integer_value(json_object_get(totals, "unchanged")), unchanged);
    json_decref(totals);
}

#define LIMIT_MONTH                                                                                \
    "      - {limit_id: tokens-month, meter: tokens, period: month, amount: 1000,\n"               \
    "         overage_percent: 10, max_ttl: 5m}\n"
#define LIMIT_MINUTE "      - {limit_id: calls, meter: requests, period: minute, unlimited: true}\n"

Test(apply, creates_what_is_missing_and_changes_nothing_the_second_time)
{
    write_file("tenants:\n  - tenant: demo\n    display_name: Demo\n    limits:\n" LIMIT_MONTH
                   LIMIT_MINUTE "  - tenant: free\n    admit_unlimited_meters: true\n");
    assert_changes(RUN(command_apply, server, "-f", path, "--json"), 4, 0, 0, 0);
    assert_changes(RUN(command_apply, server, "-f", path, "--json"), 0, 0, 0, 4);
}

Test(apply, updates_what_differs_and_says_so)
{
    const struct run *run;

    write_file("tenants:\n  - tenant: demo\n    limits:\n" LIMIT_MONTH LIMIT_MINUTE);
    RUN(command_apply, server, "-f", path);
    write_file("tenants:\n  - tenant: demo\n    suspended: true\n    limits:\n" LIMIT_MONTH
               "      - {limit_id: calls, meter: requests, period: minute, amount: 7,\n"
               "         overage_units: 3}\n");
    run = RUN(command_apply, server, "-f", path, "--dry-run");
    cr_assert(strstr(run->out, "would be updated demo limit calls: amount unlimited -> 7"), "%s",
              run->out);
    run = RUN(command_apply, server, "-f", path);
    cr_assert(strstr(run->out, "updated demo: suspended false -> true\n"), "%s", run->out);
    cr_assert(strstr(run->out, "updated demo limit calls: amount unlimited -> 7, overage none -> 3 "
                               "units\n"),
              "%s", run->out);
    cr_assert(strstr(run->out, "0 created, 2 updated, 0 deleted, 1 unchanged"), "%s", run->out);
}

Test(apply, compares_every_form_of_overage)
{
    write_file("tenants: [{tenant: a, limits: [{limit_id: l, meter: m, period: day, amount: 1, "
               "overage_units: 5}]}]");
    RUN(command_apply, server, "-f", path);
    assert_changes(RUN(command_apply, server, "-f", path, "--json"), 0, 0, 0, 2);
    write_file("tenants: [{tenant: a, limits: [{limit_id: l, meter: m, period: day, amount: 1, "
               "overage_unlimited: true}]}]");
    assert_changes(RUN(command_apply, server, "-f", path, "--json"), 0, 1, 0, 1);
    assert_changes(RUN(command_apply, server, "-f", path, "--json"), 0, 0, 0, 2);
    write_file("tenants: [{tenant: a, limits: [{limit_id: l, meter: m, period: day, amount: 1, "
               "overage_unlimited: false}]}]");
    assert_changes(RUN(command_apply, server, "-f", path, "--json"), 0, 1, 0, 1);
    write_file("tenants: [{tenant: a, limits: [{limit_id: l, overage_percent: 0}]}]");
    assert_changes(RUN(command_apply, server, "-f", path, "--json"), 0, 0, 0, 2);
}

Test(apply, deletes_other_limits_only_when_told_to)
{
    write_file("tenants:\n  - tenant: demo\n    limits:\n" LIMIT_MONTH LIMIT_MINUTE);
    RUN(command_apply, server, "-f", path);
    write_file("tenants:\n  - tenant: demo\n    limits:\n" LIMIT_MONTH);
    assert_changes(RUN(command_apply, server, "-f", path, "--json"), 0, 0, 0, 2);
    assert_changes(RUN(command_apply, server, "-f", path, "--json", "--prune"), 0, 0, 1, 2);
}

Test(apply, repeats_a_change_while_the_server_is_away)
{
    write_file("tenants: [{tenant: a}]");
    stand_in_fail(stand_in, 2, STUB_UNAVAILABLE, "POSTGRES_UNAVAILABLE");
    assert_changes(RUN(command_apply, server, "-f", path, "--json"), 1, 0, 0, 0);
}

Test(apply, fails_when_the_server_refuses)
{
    const struct run *run;

    write_file("tenants: [{tenant: a}]");
    stand_in_fail(stand_in, 1, STUB_INVALID_ARGUMENT, "INVALID_FIELD");
    run = RUN(command_apply, server, "-f", path);
    cr_assert_eq(run->code, CLI_SERVER);
    cr_assert(strstr(run->err, "INVALID_FIELD"), "%s", run->err);
}

Test(apply, refuses_a_wrong_file)
{
    const struct run *run;

    write_file("tenants: 5\n");
    run = RUN(command_apply, server, "-f", path);
    cr_assert_eq(run->code, CLI_USAGE);
    cr_assert(strstr(run->err, path), "%s", run->err);
}

Test(apply, what_the_file_does_not_say_stays)
{
    const struct run *run;

    write_file("tenants:\n  - tenant: demo\n    display_name: Demo\n    suspended: true\n"
               "    admit_unlimited_meters: true\n    limits:\n"
               "      - {limit_id: l, meter: m, scope: team-a, period: day, amount: 100,\n"
               "         soft_percent: 50, overage_units: 7, max_ttl: 5m}\n");
    RUN(command_apply, server, "-f", path);
    write_file("tenants: [{tenant: demo, limits: [{limit_id: l}]}]");
    assert_changes(RUN(command_apply, server, "-f", path, "--json"), 0, 0, 0, 2);
    write_file("tenants: [{tenant: demo, suspended: false, limits: [{limit_id: l, amount: 200}]}]");
    run = RUN(command_apply, server, "-f", path);
    cr_assert_str_eq(run->out, "updated demo: suspended true -> false\n"
                               "updated demo limit l: amount 100 -> 200\n"
                               "0 created, 2 updated, 0 deleted, 0 unchanged\n");
    write_file("tenants: [{tenant: demo, display_name: \"\", limits: [{limit_id: l, max_ttl: none}]}]");
    run = RUN(command_apply, server, "-f", path);
    cr_assert(strstr(run->out, "updated demo: display_name \"Demo\" -> \"\"\n"), "%s", run->out);
    cr_assert(strstr(run->out, "updated demo limit l: max_ttl 300s -> none\n"), "%s", run->out);
}

Test(apply, nothing_is_changed_when_anything_is_refused)
{
    const struct run *run;

    write_file("tenants:\n  - tenant: a\n  - tenant: b\n    limits:\n"
               "      - {limit_id: good, meter: m, period: day, amount: 1}\n"
               "      - {limit_id: bad, meter: m, period: day, amount: 1}\n");
    stand_in_refuse_limit(stand_in, "bad");
    for (int dry = 0; dry < 2; dry++) {
        run = dry ? RUN(command_apply, server, "-f", path, "--dry-run")
                  : RUN(command_apply, server, "-f", path);
        cr_assert_eq(run->code, CLI_SERVER);
        cr_assert(strstr(run->err, "line 6: tenant b, limit bad is not created"), "%s", run->err);
        cr_assert(strstr(run->err, "limit.limit_id"), "%s", run->err);
        cr_assert(strstr(run->err, "nothing was changed"), "%s", run->err);
        cr_assert_str_eq(run->out, "");
    }
    cr_assert_eq(stand_in_changes(stand_in), 0);
}

Test(apply, a_dry_run_changes_nothing)
{
    write_file("tenants:\n  - tenant: demo\n    limits:\n" LIMIT_MONTH);
    assert_changes(RUN(command_apply, server, "-f", path, "--json", "--dry-run"), 2, 0, 0, 0);
    cr_assert_eq(stand_in_changes(stand_in), 0);
}

Test(apply, what_was_cut_short_is_finished_by_the_next)
{
    const struct run *run;

    write_file("tenants:\n  - tenant: demo\n    limits:\n" LIMIT_MONTH LIMIT_MINUTE);
    stand_in_fail_changes_after(stand_in, 2, STUB_ABORTED, "ETAG_MISMATCH");
    run = RUN(command_apply, server, "-f", path);
    cr_assert_eq(run->code, CLI_SERVER);
    cr_assert(strstr(run->err, "2 of 3 changes were made"), "%s", run->err);
    stand_in_fail_changes_after(stand_in, -1, 0, NULL);
    assert_changes(RUN(command_apply, server, "-f", path, "--json"), 1, 0, 0, 2);
}

Test(apply, tells_what_is_in_use_where_a_limit_goes_below_it)
{
    const struct run *run;
    json_t *line;

    write_file("tenants: [{tenant: a, limits: [{limit_id: l, meter: tokens, period: never, "
               "amount: 100}]}]");
    RUN(command_apply, server, "-f", path);
    RUN(command_reserve, server, "-t", "a", "-j", "one", "tokens=60");
    RUN(command_commit, server, "-t", "a", "-j", "one");
    RUN(command_reserve, server, "-t", "a", "-j", "two", "tokens=30");
    write_file("tenants: [{tenant: a, limits: [{limit_id: l, amount: 95}]}]");
    run = RUN(command_apply, server, "-f", path);
    cr_assert_null(strstr(run->out, "in use"), "%s", run->out);
    write_file("tenants: [{tenant: a, limits: [{limit_id: l, amount: 50}]}]");
    run = RUN(command_apply, server, "-f", path, "--dry-run");
    cr_assert(strstr(run->out, "amount 95 -> 50\n  in use now, above the new amount: 60 committed, "
                               "0 debt, 30 held\n"),
              "%s", run->out);
    run = RUN(command_apply, server, "-f", path, "--json");
    line = json_loads(run->out, JSON_DISABLE_EOF_CHECK, NULL);
    cr_assert_str_eq(json_string_value(json_object_get(
                         json_object_get(json_object_get(line, "fields"), "amount"), "old")),
                     "95");
    cr_assert_eq(json_integer_value(json_object_get(json_object_get(line, "in_use"), "held")), 30);
    json_decref(line);
}

Test(apply, without_limits_in_the_file_prune_leaves_them)
{
    write_file("tenants:\n  - tenant: demo\n    limits:\n" LIMIT_MONTH LIMIT_MINUTE);
    RUN(command_apply, server, "-f", path);
    write_file("tenants:\n  - tenant: demo\n");
    assert_changes(RUN(command_apply, server, "-f", path, "--json", "--prune"), 0, 0, 0, 1);
    write_file("tenants:\n  - tenant: demo\n    limits: []\n");
    assert_changes(RUN(command_apply, server, "-f", path, "--json", "--prune"), 0, 0, 2, 1);
}

Test(apply, changes_nothing_of_what_it_cannot_read)
{
    static const char *const wrong[] = {
        "", "tenants: []\n---\ntenants: [{tenant: a}]\n", "tenants: [{tenant: a}, {tenant: a}]\n",
        "tenants:\n  - tenant: a\n  - tenant: b\n    suspended: flase\n",
        "tenants: [{tenant: a, limits: [{limit_id: l, meter: m, period: day, amount: 1_000_000}]}]\n",
    };

    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        write_file(wrong[i]);
        cr_assert_eq(RUN(command_apply, server, "-f", path)->code, CLI_USAGE, "%s", wrong[i]);
    }
    cr_assert_eq(stand_in_changes(stand_in), 0);
}

/* A file of one tenant with so many limits, named by the letter. */
static void write_limits(char letter, int count)
{
    FILE *file = fopen(path, "w");

    cr_assert_not_null(file);
    fprintf(file, "tenants:\n  - tenant: a\n    limits:\n");
    for (int i = 0; i < count; i++)
        fprintf(file, "      - {limit_id: %c%d, meter: m%d, period: day, amount: 1, max_ttl: %ds}\n",
                letter, i, i, i + 1);
    fclose(file);
}

Test(apply, what_replaces_limits_is_added_before_they_are_deleted)
{
    const struct run *run;

    write_limits('a', 4);
    RUN(command_apply, server, "-f", path);
    write_limits('b', 4);
    run = RUN(command_apply, server, "-f", path, "--prune");
    cr_assert_eq(run->code, CLI_OK, "%s", run->err);
    cr_assert(strstr(run->out, "created a limit b3"), "%s", run->out);
    cr_assert(strstr(run->out, "created a limit b3") < strstr(run->out, "deleted a limit a0"), "%s",
              run->out);
}

/* Adding first would be refused: the tenant has as many limits as it may. */
Test(apply, where_there_is_no_room_beside_them_they_are_deleted_first)
{
    const struct run *run;

    write_limits('a', 8);
    RUN(command_apply, server, "-f", path);
    write_limits('b', 8);
    run = RUN(command_apply, server, "-f", path, "--prune", "--dry-run");
    cr_assert_eq(run->code, CLI_OK, "%s", run->err);
    run = RUN(command_apply, server, "-f", path, "--prune");
    cr_assert_eq(run->code, CLI_OK, "%s", run->err);
    cr_assert(strstr(run->out, "deleted a limit a7"), "%s", run->out);
    cr_assert(strstr(run->out, "deleted a limit a7") < strstr(run->out, "created a limit b0"), "%s",
              run->out);
    assert_changes(RUN(command_apply, server, "-f", path, "--json", "--prune"), 0, 0, 0, 9);
    write_limits('c', 9);
    run = RUN(command_apply, server, "-f", path, "--prune");
    cr_assert_eq(run->code, CLI_SERVER);
    cr_assert(strstr(run->err, "would have 9 limits, and may have 8"), "%s", run->err);
    cr_assert(strstr(run->err, "nothing was changed"), "%s", run->err);
}

Test(apply, a_refused_limit_is_found_where_others_are_to_go_first)
{
    const struct run *run;

    write_limits('a', 8);
    RUN(command_apply, server, "-f", path);
    write_limits('b', 8);
    stand_in_refuse_limit(stand_in, "b5");
    run = RUN(command_apply, server, "-f", path, "--prune");
    cr_assert_eq(run->code, CLI_SERVER);
    cr_assert(strstr(run->err, "limit b5 is not created"), "%s", run->err);
    cr_assert(strstr(run->err, "nothing was changed"), "%s", run->err);
    stand_in_refuse_limit(stand_in, NULL);
    write_limits('a', 8);
    assert_changes(RUN(command_apply, server, "-f", path, "--json"), 0, 0, 0, 9);
}
