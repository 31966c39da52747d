#include "base/id.h"

#include <criterion/criterion.h>
#include <string.h>

Test(id, has_the_shape_of_uuid_version_7)
{
    struct id id = id_make(clock_real(), entropy_real());

    cr_assert_eq(strlen(id.text), ID_LEN);
    for (int i = 0; i < ID_LEN; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23)
            cr_assert_eq(id.text[i], '-');
        else
            cr_assert_not_null(strchr("0123456789abcdef", id.text[i]));
    }
    cr_assert_eq(id.text[14], '7');
    cr_assert_not_null(strchr("89ab", id.text[19]));
}

Test(id, text_sorts_by_time)
{
    struct clock_manual clock;
    struct id last = {""};

    clock_manual_init(&clock, 0, INT64_C(0x0193642f7a3c));
    for (int i = 0; i < 1000; i++) {
        struct id id = id_make(&clock.clock, entropy_real());

        cr_assert_lt(strcmp(last.text, id.text), 0);
        last = id;
        clock_manual_advance_us(&clock, 1000);
    }
}

Test(id, same_clock_and_seed_give_the_same_id)
{
    struct clock_manual clock;
    struct entropy_seeded one, two;
    struct id first;

    clock_manual_init(&clock, 0, INT64_C(0x0193642f7a3c));
    entropy_seeded_init(&one, 1);
    entropy_seeded_init(&two, 1);
    first = id_make(&clock.clock, &one.entropy);
    cr_assert_str_eq(first.text, id_make(&clock.clock, &two.entropy).text);
    cr_assert_eq(strncmp(first.text, "0193642f-7a3c-7", 15), 0);
    cr_assert_str_neq(first.text, id_make(&clock.clock, &one.entropy).text);
}
