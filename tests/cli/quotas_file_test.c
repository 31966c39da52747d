#include "cli/quotas_file.h"

#include <criterion/criterion.h>
#include <string.h>

static char error[QUOTAS_FILE_ERROR_BYTES];

static struct quotas_file *parse(const char *yaml)
{
    return quotas_file_parse(yaml, strlen(yaml), error);
}

Test(quotas_file, reads_tenants_and_limits)
{
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
                                     "      - {limit_id: calls, meter: requests, period: minute,\n"
                                     "         unlimited: true, scope: team-a}\n"
                                     "  - tenant: free\n"
                                     "    admit_unlimited_meters: true\n"
                                     "    suspended: true\n");

    cr_assert_not_null(file, "%s", error);
    cr_assert_eq(file->tenants_count, 2);
    cr_assert_str_eq(file->tenants[0].tenant, "demo");
    cr_assert_str_eq(file->tenants[0].display_name, "Demo");
    cr_assert_eq(file->tenants[0].limits_count, 2);
    cr_assert_str_eq(file->tenants[0].limits[0].limit_id, "tokens-month");
    cr_assert_str_eq(file->tenants[0].limits[0].scope, "");
    cr_assert_eq(file->tenants[0].limits[0].period, QUOTAS_FILE_PERIOD_MONTH);
    cr_assert_eq(*file->tenants[0].limits[0].amount, 1000000);
    cr_assert_eq(file->tenants[0].limits[0].soft_percent, 90);
    cr_assert_eq(*file->tenants[0].limits[0].overage_percent, 10);
    cr_assert_null(file->tenants[0].limits[0].overage_units);
    cr_assert_eq(file->tenants[0].limits[0].max_ttl_us, 300000000);
    cr_assert(file->tenants[0].limits[1].unlimited);
    cr_assert_null(file->tenants[0].limits[1].amount);
    cr_assert_str_eq(file->tenants[0].limits[1].scope, "team-a");
    cr_assert(file->tenants[1].admit_unlimited_meters);
    cr_assert(file->tenants[1].suspended);
    cr_assert_eq(file->tenants[1].limits_count, 0);
    quotas_file_destroy(file);
}

Test(quotas_file, names_the_line_of_an_unknown_key)
{
    cr_assert_null(parse("tenants:\n  - tenant: demo\n    limitz: []\n"));
    cr_assert(strstr(error, "limitz"), "%s", error);
    cr_assert(strstr(error, "line"), "%s", error);
}

Test(quotas_file, refuses_an_unknown_period_and_a_word_for_a_number)
{
    cr_assert_null(parse("tenants: [{tenant: a, limits: [{limit_id: l, meter: m, period: week, "
                         "amount: 1}]}]"));
    cr_assert_null(parse("tenants: [{tenant: a, limits: [{limit_id: l, meter: m, period: day, "
                         "amount: many}]}]"));
    cr_assert_null(parse("tenants: [{tenant: a, limits: [{limit_id: l, meter: m, amount: 1}]}]"));
}

Test(quotas_file, wants_exactly_one_bound_and_at_most_one_overage)
{
    cr_assert_null(parse("tenants: [{tenant: a, limits: [{limit_id: l, meter: m, period: day}]}]"));
    cr_assert(strstr(error, "tenant a, limit l: needs either amount"), "%s", error);
    cr_assert_null(parse("tenants: [{tenant: a, limits: [{limit_id: l, meter: m, period: day, "
                         "amount: 1, unlimited: true}]}]"));
    cr_assert_null(parse("tenants: [{tenant: a, limits: [{limit_id: l, meter: m, period: day, "
                         "amount: 1, overage_percent: 1, overage_units: 1}]}]"));
    cr_assert(strstr(error, "one of overage"), "%s", error);
    cr_assert_null(parse("tenants: [{tenant: a, limits: [{limit_id: l, meter: m, period: day, "
                         "amount: 1, max_ttl: soon}]}]"));
    cr_assert(strstr(error, "max_ttl"), "%s", error);
}

Test(quotas_file, says_so_when_there_is_no_such_file)
{
    cr_assert_null(quotas_file_load("/nonexistent/limits.yaml", error));
    cr_assert(error[0]);
}
