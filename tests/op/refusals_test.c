#include "op/refusals.h"

#include <criterion/criterion.h>

static struct settle_quota row(int64_t tenant_id, int64_t limit_id, int64_t committed)
{
    return (struct settle_quota){.tenant_id = tenant_id,
                                 .ref = {.limit_id = limit_id},
                                 .limit_name = SLICE("tokens"),
                                 .committed = committed};
}

Test(refusals, a_no_is_believed_for_20_ms)
{
    struct refusals *refusals = refusals_create();
    struct settle_quota no = row(1, 2, 1000), found;
    int64_t old_units = 0;

    cr_assert(!refusals_get(refusals, 1, no.ref, 0, &found, &old_units));
    refusals_put(refusals, &no, 7, 1000000);
    cr_assert(refusals_get(refusals, 1, no.ref, 1019999, &found, &old_units));
    cr_assert_eq(found.committed, 1000);
    cr_assert_eq(old_units, 7);
    cr_assert_eq(found.limit_name.len, 0, "names belong to whoever read the row");
    cr_assert(!refusals_get(refusals, 1, no.ref, 1020000, &found, &old_units));
    refusals_destroy(refusals);
}

Test(refusals, no_other_quota_is_refused)
{
    struct refusals *refusals = refusals_create();
    struct settle_quota no = row(1, 2, 1000), found;
    int64_t old_units;

    refusals_put(refusals, &no, 0, 1000000);
    for (int64_t other = 1; other < 3000; other++) {
        struct quota_ref ref = {.limit_id = other};

        cr_assert(!refusals_get(refusals, 9, ref, 1000001, &found, &old_units));
        if (other != 2)
            cr_assert(!refusals_get(refusals, 1, ref, 1000001, &found, &old_units));
    }
    refusals_destroy(refusals);
}
