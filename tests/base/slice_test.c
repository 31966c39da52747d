#include "base/slice.h"

#include <criterion/criterion.h>

Test(slice, equality_looks_at_bytes_and_length)
{
    cr_assert(slice_equal(SLICE("abc"), slice_of("abcd", 3)));
    cr_assert(!slice_equal(SLICE("abc"), SLICE("abd")));
    cr_assert(!slice_equal(SLICE("abc"), SLICE("ab")));
    cr_assert(slice_equal(slice_of(NULL, 0), SLICE("")));
    cr_assert(slice_equal(slice_of("a\0b", 3), slice_of("a\0b", 3)));
    cr_assert(!slice_equal(slice_of("a\0b", 3), slice_of("a\0c", 3)));
    cr_assert(slice_equal_cstr(SLICE("x"), "x"));
    cr_assert(slice_equal(slice_from_cstr(NULL), SLICE("")));
}

Test(slice, order_puts_a_prefix_first)
{
    cr_assert(slice_compare(SLICE("a"), SLICE("ab")) < 0);
    cr_assert(slice_compare(SLICE("b"), SLICE("ab")) > 0);
    cr_assert(slice_compare(slice_of(NULL, 0), SLICE("")) == 0);
    cr_assert(slice_compare(SLICE("\xff"), SLICE("a")) > 0);
}

Test(slice, cut_gives_every_field_once)
{
    struct slice rest = SLICE("a,,b,");
    struct slice field = {0};
    const char *expected[] = {"a", "", "b", ""};

    for (size_t i = 0; i < ARRAY_COUNT(expected); i++) {
        cr_assert(slice_cut(&rest, ',', &field));
        cr_assert(slice_equal_cstr(field, expected[i]));
    }
    cr_assert(!slice_cut(&rest, ',', &field));
}

Test(slice, prefix_and_skip)
{
    cr_assert(slice_starts_with(SLICE("hf1.abc"), SLICE("hf1.")));
    cr_assert(!slice_starts_with(SLICE("hf"), SLICE("hf1.")));
    cr_assert(slice_equal(slice_skip(SLICE("hf1.abc"), 4), SLICE("abc")));
    cr_assert_eq(slice_skip(SLICE("abc"), 3).len, 0);
}

static void expect_i64(const char *text, int64_t expected)
{
    int64_t value = 0;

    cr_assert(slice_to_i64(slice_from_cstr(text), &value), "%s", text);
    cr_assert_eq(value, expected, "%s", text);
}

Test(slice, integers_in_range_are_parsed)
{
    expect_i64("0", 0);
    expect_i64("7", 7);
    expect_i64("-7", -7);
    expect_i64("9223372036854775807", INT64_MAX);
    expect_i64("-9223372036854775808", INT64_MIN);
}

Test(slice, anything_else_is_refused_and_leaves_the_result)
{
    const char *bad[] = {"",    "-",   "+1",  " 1",  "1 ",
                         "007", "-0",  "--1", "0x1", "9223372036854775808",
                         "1.0", "1e3", "a",   "1-",  "-9223372036854775809",
                         "99999999999999999999"};
    int64_t value = 42;

    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        cr_assert(!slice_to_i64(slice_from_cstr(bad[i]), &value), "%s", bad[i]);
    cr_assert(!slice_to_i64(slice_of("1\0", 2), &value));
    cr_assert_eq(value, 42);
}

Test(slice, unsigned_integers_reach_their_own_limit)
{
    uint64_t value = 0;

    cr_assert(slice_to_u64(SLICE("18446744073709551615"), &value));
    cr_assert_eq(value, UINT64_MAX);
    cr_assert(!slice_to_u64(SLICE("18446744073709551616"), &value));
    cr_assert(!slice_to_u64(SLICE("-1"), &value));
}
