#include "op/authority.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct shard_view view(int shard, int64_t epoch, bool active, const char *nonce)
{
    struct shard_view view = {.shard = shard, .epoch = epoch, .active = active};

    snprintf(view.replid, sizeof(view.replid), "redis-%lld", (long long)epoch);
    snprintf(view.nonce, sizeof(view.nonce), "%s", nonce);
    return view;
}

static void set(struct authority *authority, int shard, int64_t epoch, bool active)
{
    struct shard_view one = view(shard, epoch, active, "n");

    authority_set(authority, &one);
}

Test(authority, only_active_shards_are_given_out)
{
    struct authority *authority = authority_create();
    struct shard_view found;

    cr_assert(!authority_get(authority, 17, &found));
    set(authority, 17, 2, false);
    cr_assert(!authority_get(authority, 17, &found));
    set(authority, 17, 2, true);
    cr_assert(authority_get(authority, 17, &found));
    cr_assert_eq(found.epoch, 2);
    cr_assert_str_eq(found.replid, "redis-2");
    cr_assert(!authority_get(authority, 18, &found));
    authority_destroy(authority);
}

Test(authority, an_earlier_epoch_never_comes_back)
{
    struct authority *authority = authority_create();
    struct shard_view found;

    set(authority, 3, 5, true);
    set(authority, 3, 4, true);
    cr_assert(authority_get(authority, 3, &found));
    cr_assert_eq(found.epoch, 5);
    set(authority, 3, 6, false);
    cr_assert(!authority_get(authority, 3, &found), "a shard in between is used by nobody");
    set(authority, 3, 5, true);
    cr_assert(!authority_get(authority, 3, &found));
    authority_destroy(authority);
}

Test(authority, an_active_view_is_not_undone_by_a_late_reading_of_its_own_epoch)
{
    struct authority *authority = authority_create();
    struct shard_view late = view(9, 2, false, ""), found;

    set(authority, 9, 2, true);
    authority_set(authority, &late);
    cr_assert(authority_get(authority, 9, &found));
    cr_assert_str_eq(found.nonce, "n");
    authority_destroy(authority);
}

Test(authority, lists_the_active_shards_in_order)
{
    struct authority *authority = authority_create();
    int shards[SHARDS];

    set(authority, 200, 1, true);
    set(authority, 0, 1, true);
    set(authority, 100, 1, false);
    cr_assert_eq(authority_active(authority, shards), 2);
    cr_assert_eq(shards[0], 0);
    cr_assert_eq(shards[1], 200);
    authority_destroy(authority);
}

Test(authority, a_shard_goes_back_to_its_earlier_redis_ever_more_slowly)
{
    enum { SECOND = 1000000 };
    struct authority *authority = authority_create();
    int64_t now_us = 5 * SECOND;

    set(authority, 17, 1, true);
    cr_assert(authority_may_begin_on(authority, 17, "redis-1", now_us), "it is there");
    cr_assert(authority_may_begin_on(authority, 17, "redis-2", now_us), "it was never there");
    set(authority, 17, 2, true);
    for (int64_t pause_s = 1; pause_s <= 64; pause_s *= 2) {
        int64_t wait_us = (pause_s < 60 ? pause_s : 60) * SECOND;

        cr_assert(!authority_may_begin_on(authority, 17, "redis-1", now_us));
        cr_assert(!authority_may_begin_on(authority, 17, "redis-1", now_us + wait_us - 1));
        now_us += wait_us;
        cr_assert(authority_may_begin_on(authority, 17, "redis-1", now_us), "after %d s", (int)pause_s);
    }
    cr_assert(authority_may_begin_on(authority, 17, "redis-3", now_us));
    cr_assert(authority_may_begin_on(authority, 18, "redis-1", now_us));
    now_us += 300 * (int64_t)SECOND;
    cr_assert(!authority_may_begin_on(authority, 17, "redis-1", now_us), "as at first");
    cr_assert(authority_may_begin_on(authority, 17, "redis-1", now_us + SECOND));
    authority_destroy(authority);
}
