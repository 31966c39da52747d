/*
 * Applying a file of tenants and limits, against a stand-in for the server.
 */
#include "run.h"
#include "stand_in.h"

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
    cr_assert(strstr(run->out, "would be updated demo limit calls"), "%s", run->out);
    run = RUN(command_apply, server, "-f", path);
    cr_assert(strstr(run->out, "updated demo\n"), "%s", run->out);
    cr_assert(strstr(run->out, "updated demo limit calls\n"), "%s", run->out);
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
    write_file("tenants: [{tenant: a, limits: [{limit_id: l, meter: m, period: day, amount: 1}]}]");
    assert_changes(RUN(command_apply, server, "-f", path, "--json"), 0, 1, 0, 1);
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
