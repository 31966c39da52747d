#include "cli/amounts.h"

#include <criterion/criterion.h>
#include <string.h>

Test(amounts, reads_meter_and_units)
{
    char text[] = "tokens=1500";
    struct amount_argument argument;

    cr_assert(amount_argument_parse(text, &argument));
    cr_assert_str_eq(argument.meter, "tokens");
    cr_assert_eq(argument.units, 1500);
    cr_assert_eq(argument.policy, AMOUNT_POLICY_DEFAULT);
}

Test(amounts, reads_the_overrun_policy)
{
    char text[] = "tokens=0:strict";
    struct amount_argument argument;

    cr_assert(amount_argument_parse(text, &argument));
    cr_assert_str_eq(argument.meter, "tokens");
    cr_assert_eq(argument.units, 0);
    cr_assert_eq(argument.policy, AMOUNT_POLICY_STRICT);
}

Test(amounts, lets_the_server_judge_ranges_and_names)
{
    char text[] = "=-5";
    struct amount_argument argument;

    cr_assert(amount_argument_parse(text, &argument));
    cr_assert_str_eq(argument.meter, "");
    cr_assert_eq(argument.units, -5);
}

Test(amounts, refuses_another_form_and_leaves_the_text_alone)
{
    char bad[][32] = {"tokens",     "tokens=",        "tokens=five",   "tokens=5:",
                      "tokens=5:x", "tokens=1.5:cap", "tokens=99999999999999999999",
                      "tokens=+5",  "tokens= 5",      "tokens=5=6",
                      "tokens=1_0", "tokens=10k",     "tokens=010",    "tokens=0x10"};

    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct amount_argument argument;
        char before[32];

        strcpy(before, bad[i]);
        cr_assert_not(amount_argument_parse(bad[i], &argument), "\"%s\"", before);
        cr_assert_str_eq(bad[i], before);
    }
}
