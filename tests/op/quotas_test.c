#include "op/quotas.h"

#include "quota/lease.h"

#include <criterion/criterion.h>

enum { EPOCH = 3, LEASE = EPOCH * LEASE_IDS_PER_EPOCH, UNTIL_MS = 90000 };

/* A cap of 100, of which 80 are lent. */
static struct quota_row lent_row(void)
{
    return (struct quota_row){.stops = {.cap = 100, .amount = 100, .soft = 90},
                              .epoch = EPOCH,
                              .lease_id = LEASE,
                              .granted = 80,
                              .leased = 80,
                              .lease_deadline_ms = UNTIL_MS};
}

static struct op_quota shown(const struct quota_row *row, const struct counter_quota *state)
{
    struct op_quota quota;

    quota_from_row(&quota, NULL, row);
    quota_set_held(&quota, row, state);
    return quota;
}

Test(quotas, held_is_what_redis_holds_and_the_rest_of_the_lease_is_free)
{
    struct quota_row row = lent_row();
    struct counter_quota state = {.exists = true, .lease_id = LEASE, .granted = 80, .held = 30};
    struct op_quota quota = shown(&row, &state);

    cr_assert_eq(quota.held, 30);
    cr_assert_eq(quota.set_aside, 0);
    cr_assert(!quota.held_is_upper_bound);
}

/* Nobody knows what was held: it can be committed, and cannot be had. */
Test(quotas, what_a_lost_key_was_lent_is_set_aside)
{
    struct quota_row row = lent_row();
    struct counter_quota gone = {.lease_id = LEASE};
    struct op_quota quota = shown(&row, &gone);

    cr_assert_eq(quota.held, 0);
    cr_assert_eq(quota.set_aside, 80);
    cr_assert_eq(quota.set_aside_until_ms, UNTIL_MS);
    cr_assert_eq(op_quota_taken(&quota), 80);
}

/* Lent, and Redis was not told yet: no hold can be under it. */
Test(quotas, a_lease_that_redis_never_had_is_free)
{
    struct quota_row row = lent_row();
    struct counter_quota none = {0};
    struct op_quota quota = shown(&row, &none);

    cr_assert_eq(quota.held, 0);
    cr_assert_eq(quota.set_aside, 0);
}
