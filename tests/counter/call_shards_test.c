/* One script about several shards of a tag: reserve and notify of a worker. */
#include "tests/counter/fixture.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

enum { SHARDS_HERE = 3 };

static struct fixture f;
static struct shard_view views[SHARDS_HERE]; /* 17 at epoch 3, 18 at epoch 4, 31 at epoch 5 */

static int64_t lease_of(size_t shard)
{
    return views[shard].epoch * (INT64_C(1) << 20) + 1;
}

/* Tenant 7 is of shard 17, 8 of 18, 9 of 31. */
static void begin(size_t shard)
{
    struct counter_totals totals = totals_of(1, lease_of(shard), 100);

    totals.tenant_id = TENANT + (int64_t)shard;
    fixture_begin(&f, &views[shard], totals);
}

static void set_up(void)
{
    const int shards[SHARDS_HERE] = {17, 18, 31};

    fixture_set_up(&f);
    for (size_t i = 0; i < SHARDS_HERE; i++) {
        views[i] = f.view;
        views[i].shard = shards[i];
        views[i].epoch = EPOCH + (int64_t)i;
        memset(views[i].nonce, 'a' + (int)i, NONCE_CHARS);
        begin(i);
    }
}

static void tear_down(void)
{
    fixture_tear_down(&f);
}

TestSuite(call_shards, .init = set_up, .fini = tear_down);

static struct counter_call call_of(enum counter_kind kind)
{
    struct counter_call call = fixture_call(&f, kind);

    call.view = views[0];
    call.views = &views[1];
    call.views_count = SHARDS_HERE - 1;
    return call;
}

static struct counter_reserve reserve_all(struct counter_reserve_item items[SHARDS_HERE])
{
    struct counter_reserve reserve = {.call = call_of(COUNTER_RESERVE),
                                      .now_ms = NOW,
                                      .items_count = SHARDS_HERE,
                                      .items = items};

    for (size_t i = 0; i < SHARDS_HERE; i++) {
        items[i] = item_of(&f, "job", 30);
        items[i].tenant_id = TENANT + (int64_t)i;
        items[i].view = i;
        items[i].deadline_ms = DEADLINE + (int64_t)i;
    }
    return reserve;
}

static struct counter_quota quota_of(size_t shard)
{
    const struct quota_ref ref = {1, 0};
    struct counter_read read = {.call = fixture_call(&f, COUNTER_READ),
                                .tenant_id = TENANT + (int64_t)shard,
                                .refs_count = 1,
                                .refs = &ref};

    read.call.view = views[shard];
    fixture_run(&f, &read.call);
    return read.states[0];
}

static const char *entry_of(size_t shard)
{
    return fixture_cli(&f, "hget q:{1}:2:t:%zu %zu=job", TENANT + shard, TENANT + shard);
}

Test(call_shards, each_hold_is_of_its_shards_epoch_and_stands_in_its_list)
{
    const char *shards[SHARDS_HERE] = {"17", "18", "31"};
    struct counter_reserve_item items[SHARDS_HERE];
    struct counter_reserve reserve = reserve_all(items);

    fixture_run(&f, &reserve.call);
    for (size_t i = 0; i < SHARDS_HERE; i++) {
        cr_assert_eq(items[i].answer, RESERVED_ADMITTED);
        cr_assert_eq(items[i].attempt.epoch, views[i].epoch);
        cr_assert_eq(items[i].attempt.seq, (int64_t)i + 1);
        cr_assert_eq(items[i].states[0].lease_id, lease_of(i));
        cr_assert_eq(items[i].states[0].held, 30);
        cr_assert_eq(entry_of(i)[0], (char)('0' + views[i].epoch));
        cr_assert_str_eq(fixture_cli(&f, "zrange q:{1}:2:x:%s 0 -1", shards[i]),
                         fixture_cli(&f, "echo %zu", TENANT + i));
    }
}

Test(call_shards, a_lease_of_an_earlier_epoch_is_told_by_the_tenants_shard)
{
    struct counter_reserve_item items[SHARDS_HERE];
    struct counter_reserve reserve;
    struct counter_init init = {.call = fixture_call(&f, COUNTER_INIT)};

    views[1].epoch += 10;
    init.call.view = views[1];
    fixture_run(&f, &init.call);
    reserve = reserve_all(items);
    fixture_run(&f, &reserve.call);
    cr_assert_eq(items[0].answer, RESERVED_ADMITTED);
    cr_assert_eq(items[1].answer, RESERVED_STALE, "no version of this epoch yet");
    cr_assert_eq(items[2].answer, RESERVED_ADMITTED);
}

Test(call_shards, one_notify_ends_the_holds_of_all)
{
    struct counter_reserve_item items[SHARDS_HERE];
    struct counter_reserve reserve = reserve_all(items);
    struct counter_notify_job jobs[SHARDS_HERE];
    struct counter_notify notify = {.call = call_of(COUNTER_NOTIFY),
                                    .now_ms = NOW,
                                    .jobs_count = SHARDS_HERE,
                                    .jobs = jobs};

    fixture_run(&f, &reserve.call);
    for (size_t i = 0; i < SHARDS_HERE; i++)
        jobs[i] = (struct counter_notify_job){items[i].tenant_id, items[i].job_id, i != 1,
                                              items[i].attempt};
    fixture_run(&f, &notify.call);
    for (size_t i = 0; i < SHARDS_HERE; i++) {
        cr_assert_eq(quota_of(i).held, 0);
        cr_assert_str_eq(entry_of(i), "");
    }
    cr_assert_str_eq(fixture_cli(&f, "scard " KEY_MARKS), "2", "the second was released");
}

/* The guard's own shard, one of the further ones, or one that Redis has nothing of. */
Test(call_shards, one_that_differs_stops_all_before_the_first_write)
{
    struct counter_reserve_item items[SHARDS_HERE];
    struct counter_notify_job job = {TENANT, SLICE("job"), true, {0, 0}};

    for (size_t wrong = 0; wrong < SHARDS_HERE; wrong++) {
        struct shard_view right = views[wrong];
        struct counter_reserve reserve = reserve_all(items);
        struct counter_notify notify = {
            .call = call_of(COUNTER_NOTIFY), .now_ms = NOW, .jobs_count = 1, .jobs = &job};

        if (wrong == 2)
            fixture_cli(&f, "hdel " KEY_A " 31");
        else
            views[wrong].nonce[0] = 'z';
        reserve.call.view = notify.call.view = views[0];
        counter_add(f.counter, &reserve.call);
        counter_add(f.counter, &notify.call);
        counter_run(f.counter);
        cr_assert_eq(reserve.call.status, STATUS_OK, "%s", counter_last_error(f.counter));
        cr_assert_eq(notify.call.status, STATUS_OK, "%s", counter_last_error(f.counter));
        cr_assert_eq(reserve.call.guard, GUARD_LOST);
        cr_assert_eq(notify.call.guard, GUARD_LOST);
        views[wrong] = right;
        cr_assert_str_eq(entry_of(0), "");
        cr_assert_str_eq(fixture_cli(&f, "exists " KEY_MARKS), "0");
        cr_assert_eq(quota_of(0).held, 0);
    }
}
