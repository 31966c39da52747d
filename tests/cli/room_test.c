#include "cli/room.h"

#include <criterion/criterion.h>
#include <string.h>

enum { LIMITS = 300 };

static struct room_limit limits[LIMITS];
static size_t count;
static struct room_refusal refusal;

static void add(const char *scope, const char *meter, size_t n, int first_line)
{
    for (size_t i = 0; i < n; i++)
        limits[count++] = (struct room_limit){"l", scope, meter, first_line ? first_line + (int)i : 0};
}

static bool check(int64_t per_tenant, int64_t per_reservation)
{
    const struct room_bounds bounds = {per_tenant, per_reservation};

    return room_check(limits, count, &bounds, &refusal);
}

Test(room, a_tenant_has_so_many_limits)
{
    add("", "a", 3, 0);
    add("", "b", 2, 10);
    cr_assert(check(5, 128));
    cr_assert(check(0, 0), "bounds that are not known");
    cr_assert_not(check(4, 128));
    cr_assert_eq(refusal.limit.line, 11);
    cr_assert(strstr(refusal.text, "5 limits, and may have 4"), "%s", refusal.text);
}

Test(room, a_tenant_past_the_bound_keeps_what_it_has)
{
    add("", "a", 6, 0);
    cr_assert(check(4, 2));
    add("", "a", 1, 10);
    cr_assert_not(check(4, 128));
    cr_assert_eq(refusal.limit.line, 10);
}

Test(room, limits_of_a_scope_and_of_all_above_it_count_together)
{
    add("", "a", 1, 0);
    add("team", "a", 2, 10);
    add("team/ann", "a", 2, 20);
    add("team2", "a", 3, 30);
    add("", "b", 4, 40);
    cr_assert(check(0, 5));
    cr_assert_not(check(0, 4));
    cr_assert_eq(refusal.limit.line, 21);
    cr_assert(strstr(refusal.text, "a reservation of a at team/ann"), "%s", refusal.text);
}

Test(room, one_above_is_refused_for_those_below)
{
    add("team/ann", "a", 4, 0);
    add("team", "a", 1, 10);
    cr_assert(check(0, 5));
    cr_assert_not(check(0, 4));
    cr_assert_eq(refusal.limit.line, 10);
}

Test(room, none_is_there)
{
    cr_assert(check(1, 1));
}
