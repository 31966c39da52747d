#include "base/hash.h"

#include <criterion/criterion.h>

/* The value may be stored, so it may never change: these are published XXH3 results. */
Test(hash, is_the_published_xxh3)
{
    cr_assert_eq(hash_bytes("", 0), UINT64_C(0x2d06800538d394c2));
    cr_assert_eq(hash_slice(SLICE("")), hash_bytes(NULL, 0));
}

Test(hash, combine_depends_on_order_and_on_the_borders)
{
    uint64_t ab_c = hash_combine(hash_combine(0, SLICE("ab")), SLICE("c"));
    uint64_t a_bc = hash_combine(hash_combine(0, SLICE("a")), SLICE("bc"));
    uint64_t c_ab = hash_combine(hash_combine(0, SLICE("c")), SLICE("ab"));

    cr_assert_neq(ab_c, a_bc);
    cr_assert_neq(ab_c, c_ab);
}
