#include "op/dirty.h"

#include <criterion/criterion.h>

#define SECOND_US INT64_C(1000000)

static struct dirty *dirty;

static void begin(void)
{
    dirty = dirty_create();
}

static void end(void)
{
    dirty_destroy(dirty);
}

TestSuite(dirty, .init = begin, .fini = end);

Test(dirty, those_of_the_beat_until_it_is_old)
{
    const int64_t tenants[] = {3, 7, 9};

    cr_assert_not(dirty_any(dirty));
    cr_assert_not(dirty_has(dirty, 7, 0));
    dirty_set(dirty, tenants, 3, SECOND_US);
    cr_assert(dirty_any(dirty));
    cr_assert(dirty_has(dirty, 7, SECOND_US));
    cr_assert_not(dirty_has(dirty, 8, SECOND_US));
    cr_assert_not(dirty_has(dirty, 7, SECOND_US + DIRTY_LASTS_MS * 1000));
    dirty_set(dirty, tenants, 0, 2 * SECOND_US);
    cr_assert_not(dirty_any(dirty));
}

Test(dirty, more_than_are_listed_are_everybody)
{
    int64_t tenants[DIRTY_MAX + 1];

    for (int i = 0; i <= DIRTY_MAX; i++)
        tenants[i] = i + 1;
    dirty_set(dirty, tenants, DIRTY_MAX, SECOND_US);
    cr_assert(dirty_has(dirty, DIRTY_MAX, SECOND_US));
    cr_assert_not(dirty_has(dirty, DIRTY_MAX + 1, SECOND_US));
    dirty_set(dirty, tenants, DIRTY_MAX + 1, SECOND_US);
    cr_assert(dirty_has(dirty, 100000, SECOND_US));
}

Test(dirty, an_own_one_lasts_until_a_beat_that_was_asked_later)
{
    dirty_add(dirty, 5, 2 * SECOND_US);
    cr_assert(dirty_has(dirty, 5, 2 * SECOND_US));
    dirty_set(dirty, NULL, 0, SECOND_US);
    cr_assert(dirty_has(dirty, 5, 2 * SECOND_US), "that beat did not see it");
    dirty_set(dirty, NULL, 0, 3 * SECOND_US);
    cr_assert_not(dirty_has(dirty, 5, 3 * SECOND_US));
    dirty_add(dirty, 5, 4 * SECOND_US);
    cr_assert_not(dirty_has(dirty, 5, 4 * SECOND_US + DIRTY_LASTS_MS * 1000));
}

Test(dirty, very_many_own_ones_are_everybody)
{
    for (int64_t tenant = 1; tenant <= DIRTY_MAX + 1; tenant++)
        dirty_add(dirty, tenant, SECOND_US);
    cr_assert(dirty_has(dirty, 100000, SECOND_US));
}

Test(dirty, in_doubt_it_is_everybody_until_the_next_beat)
{
    dirty_doubt(dirty, SECOND_US);
    cr_assert(dirty_has(dirty, 1, SECOND_US));
    dirty_set(dirty, NULL, 0, 2 * SECOND_US);
    cr_assert_not(dirty_has(dirty, 1, 2 * SECOND_US));
}
