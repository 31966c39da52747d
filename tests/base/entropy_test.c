#include "base/entropy.h"

#include <criterion/criterion.h>
#include <string.h>

Test(entropy, real_bytes_differ_each_time)
{
    char a[32] = {0};
    char b[32] = {0};

    entropy_fill(entropy_real(), a, sizeof(a));
    entropy_fill(entropy_real(), b, sizeof(b));
    cr_assert_neq(memcmp(a, b, sizeof(a)), 0);
}

Test(entropy, seed_repeats_itself_and_another_differs)
{
    struct entropy_seeded one, two, other;

    entropy_seeded_init(&one, 7);
    entropy_seeded_init(&two, 7);
    entropy_seeded_init(&other, 8);
    for (int i = 0; i < 100; i++) {
        uint64_t value = entropy_u64(&one.entropy);

        cr_assert_eq(value, entropy_u64(&two.entropy));
        cr_assert_neq(value, entropy_u64(&other.entropy));
    }
}

Test(entropy, fill_writes_exactly_the_size)
{
    struct entropy_seeded seeded;
    char bytes[16];

    for (size_t size = 0; size < sizeof(bytes); size++) {
        memset(bytes, 0, sizeof(bytes));
        entropy_seeded_init(&seeded, 1);
        entropy_fill(&seeded.entropy, bytes, size);
        for (size_t i = size; i < sizeof(bytes); i++)
            cr_assert_eq(bytes[i], 0);
    }
}

Test(entropy, below_reaches_every_value_and_no_other)
{
    struct entropy_seeded seeded;
    int seen[7] = {0};

    entropy_seeded_init(&seeded, 3);
    for (int i = 0; i < 7000; i++) {
        uint64_t value = entropy_below(&seeded.entropy, 7);

        cr_assert_lt(value, 7);
        seen[value]++;
    }
    for (int i = 0; i < 7; i++)
        cr_assert(seen[i] > 800 && seen[i] < 1200, "%d: %d", i, seen[i]);
    cr_assert_eq(entropy_below(&seeded.entropy, 1), 0);
}
