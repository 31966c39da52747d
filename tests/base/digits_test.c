/* Numbers as decimal text: the same as printf's. */
#include "base/digits.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void expect_same(int64_t value)
{
    char expected[DIGITS_MAX + 1], text[DIGITS_MAX + 1];
    size_t len;

    memset(text, '#', sizeof(text));
    snprintf(expected, sizeof(expected), "%" PRId64, value);
    len = digits_write(value, text);
    cr_assert_eq(len, strlen(expected));
    cr_assert_eq(memcmp(text, expected, len), 0, "%s", expected);
    cr_assert_eq(text[len], '#', "it writes beyond %s", expected);
}

Test(digits, agree_with_printf_at_every_length)
{
    expect_same(0);
    for (int64_t power = 1; power <= INT64_MAX / 10; power *= 10)
        for (int64_t d = -1; d <= 1; d++) {
            expect_same(power * 10 + d);
            expect_same(-power - d);
        }
    expect_same(INT64_MAX);
    expect_same(INT64_MIN);
}

Test(digits, pairs_have_their_separator_between_them)
{
    char text[DIGITS_PAIR_MAX];

    cr_assert_eq(digits_write_pair(12, '.', -3, text), 5);
    cr_assert_eq(memcmp(text, "12.-3", 5), 0);
    cr_assert_eq(digits_write_pair(INT64_MIN, ':', INT64_MIN, text), DIGITS_PAIR_MAX);
}
