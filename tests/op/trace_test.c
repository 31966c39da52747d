#include "op/trace.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/holdfast-trace-XXXXXX";

/* What was traced since it was opened, to be freed. */
static char *traced(void)
{
    FILE *file = fopen(path, "r");
    char *text = calloc(1, 16384);

    cr_assert(file && text);
    cr_assert_lt(fread(text, 1, 16383, file), 16383);
    fclose(file);
    return text;
}

static struct trace *open_new(void)
{
    int fd = mkstemp(path);
    struct trace *trace;

    cr_assert(fd >= 0);
    close(fd);
    trace = trace_open(path, "here:1");
    cr_assert(trace);
    return trace;
}

static bool contains(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

Test(trace, a_row_is_a_line)
{
    struct trace *trace = open_new();
    struct ledger_grant grant = {.granted_units = 7,
                                 .quota = {.tenant_id = 3,
                                           .ref = {.limit_id = 5, .period_start_ms = 60000},
                                           .committed = 11,
                                           .leased = 20,
                                           .granted = 30,
                                           .returned = 4,
                                           .spent = 6,
                                           .lease_id = 1048577}};
    char *text;

    trace_grants(trace, 1000, &grant, 1);
    text = traced();
    cr_assert(contains(text, "{\"what\":\"row\",\"now\":1000,\"server\":\"here:1\",\"tenant\":3,"
                             "\"quota\":\"5:60000\""),
              "%s", text);
    cr_assert(contains(text, "\"granted\":30,\"returned\":4,\"spent\":6"), "%s", text);
    cr_assert(contains(text, "\"lent\":7}\n"), "%s", text);
    free(text);
    trace_close(trace);
    unlink(path);
}

Test(trace, a_row_that_is_not_there_is_no_line)
{
    struct trace *trace = open_new();
    struct quota_row none = {.tenant_id = 3};
    char *text;

    trace_rows(trace, 1000, &none, 1);
    text = traced();
    cr_assert_str_empty(text);
    free(text);
    trace_close(trace);
    unlink(path);
}

Test(trace, a_hold_is_a_line_for_each_quota_and_its_job_is_escaped)
{
    struct trace *trace = open_new();
    struct hold_quota quotas[] = {{.quota = {.limit_id = 1}, .lease_id = 9, .units = 40},
                                  {.quota = {.limit_id = 2}, .lease_id = 8, .units = 40}};
    struct hold hold = {.attempt = {2, 17},
                        .deadline_ms = 5000,
                        .quotas_count = 2,
                        .quotas = quotas};
    char *text;

    trace_held(trace, 1000, 3, SLICE("a\"b\\c\n"), &hold);
    text = traced();
    cr_assert(contains(text, "\"what\":\"held\""), "%s", text);
    cr_assert(contains(text,
                       "\"job\":\"a\\u0022b\\u005cc\\u000a\",\"attempt\":\"2.17\",\"until\":5000,"
                       "\"quota\":\"1:0\",\"lease\":9,\"units\":40,\"began\":0}\n"),
              "%s", text);
    cr_assert(contains(text, "\"quota\":\"2:0\",\"lease\":8"), "%s", text);
    free(text);
    trace_close(trace);
    unlink(path);
}

Test(trace, a_commit_shows_rows_and_then_what_it_decided)
{
    struct trace *trace = open_new();
    struct quota_row row = {.tenant_id = 3, .ref = {.limit_id = 1}};
    struct commit_item item = {.status = STATUS_OK,
                               .now_ms = 1000,
                               .quotas = &row,
                               .quotas_count = 1,
                               .settle = {.tenant_id = 3,
                                          .job_id = SLICE("j"),
                                          .outcome = SETTLE_RELEASED,
                                          .released = {2, 4}}};
    struct commit_item unknown = item, *items[] = {&item, &unknown};
    char *text;

    unknown.status = STATUS_UNKNOWN;
    trace_commits(trace, items, 2);
    text = traced();
    cr_assert(strstr(text, "\"what\":\"row\"") < strstr(text, "\"what\":\"fence\""), "%s", text);
    cr_assert(contains(text, "\"attempt\":\"2.4\"}\n"), "%s", text);
    cr_assert_null(strstr(strstr(text, "fence") + 1, "fence"), "%s", text);
    free(text);
    trace_close(trace);
    unlink(path);
}

Test(trace, a_correction_says_what_it_may_take)
{
    struct trace *trace = open_new();
    const struct adjust_change changes[] = {
        {SLICE("a"), -5}, {SLICE("b"), 7}, {SLICE("c"), -6}};
    const struct adjust_item item = {.tenant_id = 3,
                                     .job_id = SLICE("job"),
                                     .adjust_id = SLICE("first"),
                                     .changes = changes,
                                     .changes_count = 3};
    char *text;

    trace_adjusting(trace, 1000, &item);
    text = traced();
    cr_assert(contains(text, "\"what\":\"adjusting\",\"now\":1000"), "%s", text);
    cr_assert(contains(text, "\"job\":\"job\",\"id\":\"first\",\"taken\":11}\n"), "%s", text);
    free(text);
    trace_close(trace);
    unlink(path);
}

Test(trace, nothing_is_traced_where_there_is_no_trace)
{
    struct quota_row row = {.tenant_id = 3, .ref = {.limit_id = 1}};
    struct hold hold = {.quotas_count = 0};

    trace_rows(NULL, 1000, &row, 1);
    trace_moved(NULL, 1000, 0, 3, SLICE("j"), &hold);
    trace_close(NULL);
    cr_assert_eq(trace_position(NULL), 0);
    cr_assert_null(trace_open("/nowhere/at/all", "here:1"));
}
