#include "op/refusals.h"

#include <criterion/criterion.h>

static struct quota_row row(int64_t tenant_id, int64_t limit_id, int64_t committed)
{
    return (struct quota_row){.tenant_id = tenant_id,
                              .ref = {.limit_id = limit_id},
                              .limit_name = SLICE("tokens"),
                              .committed = committed};
}

static struct refusal_key key(int64_t tenant_id, int64_t limit_id, int64_t version, int64_t lacks)
{
    return (struct refusal_key){.tenant_id = tenant_id,
                                .ref = {.limit_id = limit_id},
                                .config_version = version,
                                .lacks = lacks};
}

static bool is_refused(const struct refusals *refusals, struct refusal_key asked, int64_t mono_us)
{
    struct quota_row found;
    int64_t old_units;

    return refusals_get(refusals, &asked, mono_us, &found, &old_units);
}

Test(refusals, a_no_is_believed_for_20_ms)
{
    struct refusals *refusals = refusals_create();
    struct refusal_key asked = key(1, 2, 5, 10);
    struct quota_row no = row(1, 2, 1000), found;
    int64_t old_units = 0;

    cr_assert(!is_refused(refusals, asked, 0));
    refusals_put(refusals, &asked, &no, 7, 1000000);
    cr_assert(refusals_get(refusals, &asked, 1019999, &found, &old_units));
    cr_assert_eq(found.committed, 1000);
    cr_assert_eq(old_units, 7);
    cr_assert_eq(found.limit_name.len, 0, "names belong to whoever read the row");
    cr_assert(!is_refused(refusals, asked, 1020000));
    refusals_destroy(refusals);
}

Test(refusals, a_no_to_much_is_not_a_no_to_less)
{
    struct refusals *refusals = refusals_create();
    struct refusal_key asked = key(1, 2, 5, 111);
    struct quota_row no = row(1, 2, 0);

    refusals_put(refusals, &asked, &no, 0, 1000000);
    cr_assert(!is_refused(refusals, key(1, 2, 5, 89), 1000001));
    cr_assert(!is_refused(refusals, key(1, 2, 5, 110), 1000001));
    cr_assert(is_refused(refusals, key(1, 2, 5, 111), 1000001));
    cr_assert(is_refused(refusals, key(1, 2, 5, 112), 1000001));
    refusals_destroy(refusals);
}

Test(refusals, a_no_is_of_one_config_version)
{
    struct refusals *refusals = refusals_create();
    struct refusal_key asked = key(1, 2, 5, 1);
    struct quota_row no = row(1, 2, 1000);

    refusals_put(refusals, &asked, &no, 0, 1000000);
    cr_assert(!is_refused(refusals, key(1, 2, 6, 1), 1000001), "the limit was raised");
    cr_assert(!is_refused(refusals, key(1, 2, 4, 1), 1000001));
    cr_assert(is_refused(refusals, asked, 1000001));
    refusals_destroy(refusals);
}

Test(refusals, no_other_quota_is_refused)
{
    struct refusals *refusals = refusals_create();
    struct refusal_key asked = key(1, 2, 5, 1);
    struct quota_row no = row(1, 2, 1000);

    refusals_put(refusals, &asked, &no, 0, 1000000);
    for (int64_t other = 1; other < 3000; other++) {
        cr_assert(!is_refused(refusals, key(9, other, 5, 1), 1000001));
        if (other != 2)
            cr_assert(!is_refused(refusals, key(1, other, 5, 1), 1000001));
    }
    refusals_destroy(refusals);
}
