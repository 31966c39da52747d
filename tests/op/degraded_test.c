#include "op/degraded.h"

#include "quota/times.h"

#include <criterion/criterion.h>

#define SECOND_US INT64_C(1000000)

static struct degraded *degraded;

static void begin(void)
{
    degraded = degraded_create();
}

static void end(void)
{
    degraded_destroy(degraded);
}

TestSuite(degraded, .init = begin, .fini = end);

static size_t waiting(void)
{
    int64_t tenants[DEGRADED_PLACES];

    return degraded_waiting(degraded, tenants, DEGRADED_PLACES);
}

Test(degraded, a_tenant_waits_until_it_is_told_and_is_known_for_a_while)
{
    int64_t tenant = 7;

    cr_assert_eq(waiting(), 0);
    degraded_note(degraded, tenant, SECOND_US);
    degraded_note(degraded, tenant, SECOND_US);
    cr_assert_eq(waiting(), 1);
    cr_assert_eq(degraded_last_us(degraded), SECOND_US);
    degraded_told(degraded, &tenant, 1, SECOND_US);
    degraded_note(degraded, tenant, SECOND_US + DEGRADED_TOLD_MS * 1000 - 1);
    cr_assert_eq(waiting(), 0);
    degraded_note(degraded, tenant, SECOND_US + DEGRADED_TOLD_MS * 1000);
    cr_assert_eq(waiting(), 1);
}

Test(degraded, what_was_told_and_is_over_is_told_again)
{
    int64_t tenant = 7;

    degraded_note(degraded, tenant, SECOND_US);
    degraded_told(degraded, &tenant, 1, SECOND_US);
    degraded_over(degraded);
    cr_assert_eq(waiting(), 0);
    degraded_note(degraded, tenant, SECOND_US + 1);
    cr_assert_eq(waiting(), 1);
    degraded_over(degraded);
    cr_assert_eq(waiting(), 1, "it was not told yet");
}

Test(degraded, whoever_waits_keeps_the_place)
{
    int64_t first = 1, second = 1 + DEGRADED_PLACES, found[2];

    degraded_note(degraded, first, SECOND_US);
    degraded_note(degraded, second, SECOND_US);
    cr_assert_eq(degraded_waiting(degraded, found, 2), 1);
    cr_assert_eq(found[0], first);
    degraded_told(degraded, &first, 1, SECOND_US);
    degraded_told(degraded, &second, 1, SECOND_US);
    degraded_note(degraded, second, SECOND_US);
    cr_assert_eq(degraded_waiting(degraded, found, 2), 1);
    cr_assert_eq(found[0], second);
}

Test(degraded, there_are_never_more_than_places)
{
    for (int64_t tenant = 1; tenant <= 3 * DEGRADED_PLACES; tenant++)
        degraded_note(degraded, tenant, SECOND_US);
    cr_assert_eq(waiting(), DEGRADED_PLACES);
}
