#include "op/aside.h"

#include <criterion/criterion.h>

Test(aside, the_pause_grows_while_the_tenant_is_stuck_and_is_forgotten_when_it_is_not)
{
    struct aside *aside = aside_create();
    int64_t now_us = 1000000, last_us = 0;

    cr_assert(!aside_has(aside, 1, now_us));
    for (int i = 0; i < 8; i++) {
        int64_t pause_us;

        aside_put(aside, 1, now_us);
        cr_assert(aside_has(aside, 1, now_us));
        pause_us = aside_until_us(aside, 1, now_us) - now_us;
        cr_assert(pause_us >= last_us && pause_us <= 800000, "%lld", (long long)pause_us);
        last_us = pause_us;
        now_us += pause_us;
    }
    cr_assert_eq(last_us, 800000);
    aside_forget(aside, 1);
    cr_assert(!aside_has(aside, 1, now_us));
    cr_assert_eq(aside_until_us(aside, 1, now_us), now_us);
    aside_destroy(aside);
}

Test(aside, two_who_find_it_out_at_once_count_once)
{
    struct aside *aside = aside_create();
    int64_t until_us;

    aside_put(aside, 1, 1000000);
    until_us = aside_until_us(aside, 1, 1000000);
    aside_put(aside, 1, 1000001);
    cr_assert_eq(aside_until_us(aside, 1, 1000001), until_us);
    aside_destroy(aside);
}

Test(aside, nobody_is_left_out_for_ever)
{
    struct aside *aside = aside_create();

    aside_put(aside, 1, 1000000);
    cr_assert(aside_has(aside, 1, 2999999));
    cr_assert(!aside_has(aside, 1, 3000000));
    cr_assert(!aside_has(aside, 2, 1000000));
    aside_destroy(aside);
}

Test(aside, more_than_there_is_room_for_push_out_the_oldest)
{
    struct aside *aside = aside_create();
    int left_out = 0;

    for (int64_t tenant = 1; tenant <= 1000; tenant++)
        aside_put(aside, tenant, 1000000 + tenant);
    for (int64_t tenant = 1; tenant <= 1000; tenant++)
        left_out += aside_has(aside, tenant, 1002000);
    cr_assert_eq(left_out, 64);
    cr_assert(aside_has(aside, 1000, 1002000));
    aside_destroy(aside);
}
