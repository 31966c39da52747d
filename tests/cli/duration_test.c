#include "cli/duration.h"

#include <criterion/criterion.h>
#include <string.h>

static int64_t parsed(const char *text)
{
    int64_t us = -1;

    cr_assert(duration_parse(text, &us), "%s is a duration", text);
    return us;
}

Test(duration, reads_each_unit)
{
    cr_assert_eq(parsed("250us"), 250);
    cr_assert_eq(parsed("500ms"), 500000);
    cr_assert_eq(parsed("30s"), 30000000);
    cr_assert_eq(parsed("15m"), 900000000);
    cr_assert_eq(parsed("24h"), 86400000000);
    cr_assert_eq(parsed("2d"), 172800000000);
}

Test(duration, reads_fractions_and_sums)
{
    cr_assert_eq(parsed("1.5s"), 1500000);
    cr_assert_eq(parsed(".5m"), 30000000);
    cr_assert_eq(parsed("1h30m"), 5400000000);
    cr_assert_eq(parsed("1m0.25s"), 60250000);
    cr_assert_eq(parsed("0"), 0);
    cr_assert_eq(parsed("0s"), 0);
}

Test(duration, refuses_what_is_none)
{
    static const char *const bad[] = {"",    "5",     "s",    "-1s",  "1 s",       "1s ",
                                      "1x",  "1sec",  "1..s", "1e3s", "99999999d", "1s2",
                                      "inf", "0x10s", "."};
    int64_t us = 42;

    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        cr_assert_not(duration_parse(bad[i], &us), "\"%s\" is no duration", bad[i]);
    cr_assert_eq(us, 42, "untouched on failure");
}

Test(duration, writes_what_a_person_wants_to_know)
{
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {
        {0, "0s"},           {120, "120us"},        {4200, "4.2ms"},         {123456, "123ms"},
        {59800000, "59.8s"}, {845000000, "14m05s"}, {86399000000, "23h59m"}, {273600000000, "3d04h"},
        {-1500000, "-1.5s"},
    };
    char text[DURATION_TEXT_BYTES];

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        cr_assert_str_eq(duration_format(cases[i].us, text), cases[i].text);
    cr_assert(strlen(duration_format(INT64_MIN, text)) < DURATION_TEXT_BYTES);
}
