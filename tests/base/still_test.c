#include "base/still.h"

#include <criterion/criterion.h>

enum { FORGET_US = 100 };

static struct still *still;

static void begin(void)
{
    still = still_create(STILL_WAYS, FORGET_US); /* one group: all keys fall together */
}

static void end(void)
{
    still_destroy(still);
}

TestSuite(still, .init = begin, .fini = end);

static int64_t since(uint64_t key, uint64_t print, int64_t now_us)
{
    struct still_entry *entry = still_look(still, key, print, now_us);

    return entry ? entry->since_us : -1;
}

Test(still, a_thing_is_still_until_its_print_changes)
{
    cr_assert_eq(since(1, 7, 10), 10);
    cr_assert_eq(since(1, 7, 20), 10);
    cr_assert_eq(since(1, 8, 30), 30);
    cr_assert_eq(since(1, 8, 40), 30);
}

Test(still, what_falls_together_disturbs_nobody)
{
    for (int64_t now_us = 1; now_us <= 1000; now_us += 10)
        for (uint64_t key = 1; key <= STILL_WAYS; key++)
            cr_assert_eq(since(key, 7, now_us), 1);
}

Test(still, among_too_many_some_are_still_and_the_others_get_the_places_that_become_free)
{
    for (int64_t now_us = 1; now_us <= 1001; now_us += 10)
        for (uint64_t key = 1; key <= STILL_WAYS + 1; key++)
            cr_assert_eq(since(key, 7, now_us), key <= STILL_WAYS ? 1 : -1);
    for (int64_t now_us = 1011; now_us <= 1101; now_us += 10) /* 1 is gone */
        for (uint64_t key = 2; key <= STILL_WAYS + 1; key++)
            (void)since(key, 7, now_us);
    cr_assert_eq(since(STILL_WAYS + 1, 7, 1111), 1101);
    cr_assert_eq(since(2, 7, 1111), 1);
    cr_assert_eq(since(1, 7, 1111), -1);
}

Test(still, what_the_caller_keeps_goes_with_the_place)
{
    still_look(still, 1, 7, 10)->own_us = 5;
    cr_assert_eq(still_look(still, 1, 8, 20)->own_us, 5);
    for (uint64_t key = 2; key <= STILL_WAYS + 1; key++)
        (void)since(key, 7, 20 + FORGET_US);
    cr_assert_eq(still_look(still, 1, 7, 20 + 3 * FORGET_US)->own_us, 0);
}

Test(still, zero_is_a_key_like_others)
{
    cr_assert_eq(since(0, 0, 10), 10);
    cr_assert_eq(since(0, 0, 20), 10);
}
