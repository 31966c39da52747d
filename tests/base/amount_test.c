#include "base/amount.h"

#include <criterion/criterion.h>

Test(amount, range_is_zero_to_2_to_the_53_less_1)
{
    cr_assert_eq(AMOUNT_MAX, INT64_C(9007199254740991));
    cr_assert(amount_valid(0) && amount_valid(AMOUNT_MAX));
    cr_assert(!amount_valid(-1) && !amount_valid(AMOUNT_MAX + 1));
}

Test(amount, add_refuses_to_leave_the_range)
{
    int64_t sum = 42;

    cr_assert(!amount_add(AMOUNT_MAX, 1, &sum));
    cr_assert(!amount_add(-1, 1, &sum));
    cr_assert(!amount_add(1, INT64_MAX, &sum));
    cr_assert(!amount_add(INT64_MIN, INT64_MIN, &sum));
    cr_assert_eq(sum, 42);
    cr_assert(amount_add(AMOUNT_MAX - 1, 1, &sum));
    cr_assert_eq(sum, AMOUNT_MAX);
}

Test(amount, saturated_sum_stops_at_the_largest)
{
    cr_assert_eq(amount_add_saturated(AMOUNT_MAX, AMOUNT_MAX), AMOUNT_MAX);
    cr_assert_eq(amount_add_saturated(3, 4), 7);
}

Test(amount, percent_agrees_with_wide_arithmetic)
{
    const int64_t limits[] = {0, 1, 3, 99, 100, 101, 1000, 1234567890123,
                              AMOUNT_MAX - 1, AMOUNT_MAX};

    for (size_t i = 0; i < ARRAY_COUNT(limits); i++) {
        for (int64_t percent = 0; percent <= AMOUNT_PERCENT_MAX; percent += 7) {
            __extension__ __int128 wide = (__int128)limits[i] * percent;
            __extension__ __int128 up = (wide + 99) / 100;
            __extension__ __int128 down = wide / 100;

            cr_assert_eq(amount_mul_percent_ceil(limits[i], percent),
                         (int64_t)(up > AMOUNT_MAX ? AMOUNT_MAX : up));
            cr_assert_eq(amount_mul_percent_floor(limits[i], percent),
                         (int64_t)(down > AMOUNT_MAX ? AMOUNT_MAX : down));
        }
    }
    cr_assert_eq(amount_mul_percent_ceil(11, 90), 10);
    cr_assert_eq(amount_mul_percent_floor(11, 90), 9);
}
