#include "cli/quotas_file.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char error[QUOTAS_FILE_ERROR_BYTES];

static struct quotas_file *parse(const char *yaml)
{
    return quotas_file_parse(yaml, strlen(yaml), error);
}

Test(quotas_file, reads_tenants_and_limits)
{
    const struct quotas_file_tenant *tenants;
    const struct quotas_file_limit *limits;
    struct quotas_file *file = parse("tenants:\n"
                                     "  - tenant: demo\n"
                                     "    display_name: Demo\n"
                                     "    limits:\n"
                                     "      - limit_id: tokens-month\n"
                                     "        meter: tokens\n"
                                     "        scope: \"\"\n"
                                     "        period: month\n"
                                     "        amount: 1000000\n"
                                     "        soft_percent: 90\n"
                                     "        overage_percent: 10\n"
                                     "        max_ttl: 5m\n"
                                     "        redis_away: open\n"
                                     "        redis_away_units: 50\n"
                                     "      - {limit_id: calls, meter: requests, period: minute,\n"
                                     "         unlimited: true, scope: team-a}\n"
                                     "  - tenant: free\n"
                                     "    admit_unlimited_meters: true\n"
                                     "    suspended: true\n");

    cr_assert_not_null(file, "%s", error);
    tenants = file->tenants.items;
    limits = tenants[0].limits.items;
    cr_assert_eq(file->tenants.count, 2);
    cr_assert_str_eq(tenants[0].tenant, "demo");
    cr_assert_str_eq(tenants[0].display_name, "Demo");
    cr_assert_not(tenants[0].suspended.given);
    cr_assert_eq(tenants[0].limits.count, 2);
    cr_assert_str_eq(limits[0].limit_id, "tokens-month");
    cr_assert_str_eq(limits[0].scope, "");
    cr_assert_eq(limits[0].period, QUOTAS_FILE_PERIOD_MONTH);
    cr_assert_eq(limits[0].amount.value, 1000000);
    cr_assert_eq(limits[0].soft_percent.value, 90);
    cr_assert_eq(limits[0].overage_percent.value, 10);
    cr_assert_not(limits[0].overage_units.given);
    cr_assert_eq(limits[0].max_ttl.us, 300000000);
    cr_assert_eq(limits[0].redis_away, QUOTAS_FILE_AWAY_OPEN);
    cr_assert_eq(limits[0].redis_away_units.value, 50);
    cr_assert(limits[1].unlimited.value);
    cr_assert_not(limits[1].amount.given);
    cr_assert_str_eq(limits[1].scope, "team-a");
    cr_assert_not(limits[1].max_ttl.given);
    cr_assert_eq(limits[1].redis_away, QUOTAS_FILE_AWAY_NOT_GIVEN);
    cr_assert(tenants[1].admit_unlimited_meters.value);
    cr_assert(tenants[1].suspended.value);
    cr_assert_null(tenants[1].display_name);
    cr_assert_not(tenants[1].limits.given);
    quotas_file_destroy(file);
}

static void refuses_text(const char *text, size_t len, const char *says)
{
    cr_assert_null(quotas_file_parse(text, len, error), "accepted: %s", text);
    cr_assert(strstr(error, says), "%s", error);
}

Test(quotas_file, refuses_the_name_of_a_tenant_with_its_line)
{
    char text[200];

    memset(text, 'a', sizeof(text));
    memcpy(text, "tenants: [{tenant: ", 19);
    memcpy(text + 19 + 65, "}]", 3);
    refuses_text(text, strlen(text), "line 1: a tenant's name has 1 to 64 characters");
    memcpy(text + 19 + 64, "}]", 3);
    quotas_file_destroy(parse(text));
    refuses_text("tenants:\n  - tenant: a\n  - tenant: A\n", 37, "line 3: a tenant's name");
    refuses_text("tenants: [{tenant: \"\"}]", 23, "line 1: a tenant's name");
}

Test(quotas_file, refuses_another_encoding_than_utf8)
{
    refuses_text("\xff\xfet\0e\0", 6, "line 1: it is in UTF-16");
    refuses_text("\xfe\xff\0t\0e", 6, "line 1: it is in UTF-16");
    quotas_file_destroy(parse("\xef\xbb\xbftenants: []\r\n"));
    cr_assert_null(parse("tenants: [{tenant: a, display_name: \"\xff\"}]"));
}

static void refuses(const char *limit, const char *says)
{
    char text[400];

    snprintf(text, sizeof(text), "tenants:\n  - tenant: a\n    limits:\n      - {limit_id: l, %s}\n",
             limit);
    cr_assert_null(parse(text), "accepted: %s", limit);
    cr_assert(strstr(error, "line 4: "), "%s", error);
    cr_assert(strstr(error, says), "%s", error);
}

Test(quotas_file, refuses_what_libcyaml_took_for_something_else)
{
    refuses("amount: 1_000_000", "whole number");
    refuses("amount: 10k", "whole number");
    refuses("amount: 9007199254740992", "9007199254740991");
    refuses("unlimited: yes", "true or false");
    refuses("limitz: 1", "no key \"limitz\"");
    cr_assert_null(parse("tenants:\n  - tenant: a\n    suspended: flase\n"));
    cr_assert(strstr(error, "line 3: suspended is \"flase\""), "%s", error);
    cr_assert_null(parse(""));
    cr_assert_null(parse("tenants: []\n---\ntenants: []\n"));
    cr_assert_null(parse("tenants:\n  - tenant: a\n  - tenant: b\n  - tenant: a\n"));
    cr_assert(strstr(error, "line 4: the tenant \"a\""), "%s", error);
    cr_assert_null(parse("tenants: [{tenant: a, limits: [{limit_id: l}, {limit_id: l}]}]"));
}

Test(quotas_file, refuses_an_unknown_period_and_a_percentage_out_of_range)
{
    refuses("period: decade", "never, minute, hour, day, week, month or year");
    refuses("period: Month", "never, minute, hour, day, week, month or year");
    refuses("anchor_time: 2026-01-31", "an instant in UTC");
    refuses("anchor_time: 2026-02-31T00:00:00Z", "an instant in UTC");
    refuses("anchor_time: 2026-1-31T00:00:00Z", "an instant in UTC");
    refuses("soft_percent: 0", "from 1 to 100");
    refuses("soft_percent: 101", "from 1 to 100");
    refuses("overage_percent: 1001", "from 0 to 1000");
    refuses("max_ttl: soon", "a duration");
    refuses("max_ttl: 60", "a duration");
    refuses("max_ttl: 0", "a duration");
    refuses("max_ttl: 0.1004s", "whole milliseconds");
    refuses("redis_away: closd", "postgres, closed or open");
    refuses("redis_away_units: 0", "from 1 to");
    refuses("redis_away: closed, redis_away_units: 5", "only with redis_away: open");
}

Test(quotas_file, wants_at_most_one_bound_and_one_overage)
{
    refuses("amount: 1, unlimited: true", "tenant a, limit l: has an amount and is unlimited");
    refuses("overage_percent: 1, overage_units: 1", "one of overage");
    refuses("overage_percent: 1, overage_unlimited: true", "one of overage");
    refuses("unlimited: true, overage_units: 5", "no meaning");
}

Test(quotas_file, says_when_a_duration_is_taken_away)
{
    struct quotas_file *file =
        parse("tenants: [{tenant: a, limits: [{limit_id: l, max_ttl: none, unlimited: false}]}]");
    const struct quotas_file_tenant *tenants;
    const struct quotas_file_limit *limit;

    cr_assert_not_null(file, "%s", error);
    tenants = file->tenants.items;
    limit = tenants[0].limits.items;
    cr_assert(limit->max_ttl.given);
    cr_assert_eq(limit->max_ttl.us, 0);
    cr_assert(limit->unlimited.given);
    quotas_file_destroy(file);
}

Test(quotas_file, refuses_a_file_that_is_too_large_or_no_file)
{
    char path[] = "/tmp/holdfast-quotas-XXXXXX";
    int fd = mkstemp(path);

    cr_assert_eq(ftruncate(fd, QUOTAS_FILE_BYTES_MAX + 1), 0);
    close(fd);
    cr_assert_null(quotas_file_load(path, error));
    cr_assert(strstr(error, "more than 16 MiB"), "%s", error);
    unlink(path);
    cr_assert_null(quotas_file_load("/tmp", error));
    cr_assert(strstr(error, "directory"), "%s", error);
}

Test(quotas_file, says_so_when_there_is_no_such_file)
{
    cr_assert_null(quotas_file_load("/nonexistent/limits.yaml", error));
    cr_assert(error[0]);
}
