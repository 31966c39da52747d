#include "base/nearest.h"

#include <criterion/criterion.h>

static const char *const words[] = {"reserve", "release", "commit", "usage", "apply", "ttl"};

static const char *meant(const char *written)
{
    return nearest(written, words, sizeof(words) / sizeof(words[0]));
}

Test(nearest, the_word_that_was_meant_is_found)
{
    cr_assert_str_eq(meant("resrve"), "reserve");
    cr_assert_str_eq(meant("reserv"), "reserve");
    cr_assert_str_eq(meant("relaese"), "release");
    cr_assert_str_eq(meant("comit"), "commit");
    cr_assert_str_eq(meant("com"), "commit");
    cr_assert_str_eq(meant("aply"), "apply");
    cr_assert_str_eq(meant("tll"), "ttl");
}

Test(nearest, what_is_far_from_all_was_not_meant)
{
    cr_assert_null(meant("watch"));
    cr_assert_null(meant("x"));
    cr_assert_null(meant(""));
    cr_assert_null(meant("a-word-that-is-longer-than-any-command-there-is"));
    cr_assert_null(nearest("a", words, 0));
}

Test(nearest, a_swap_is_one_edit)
{
    cr_assert_eq(nearest_distance("usgae", "usage"), 1);
    cr_assert_eq(nearest_distance("", "usage"), 5);
    cr_assert_eq(nearest_distance("kitten", "sitting"), 3);
}
