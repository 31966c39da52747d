#include "tests/counter/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct fixture f;

static void set_up(void)
{
    struct counter_totals totals = totals_of(1, LEASE(1), 100000);

    fixture_set_up(&f);
    fixture_fill(&f, &totals, 1);
}

static void tear_down(void)
{
    fixture_tear_down(&f);
}

TestSuite(call_clean, .init = set_up, .fini = tear_down);

static size_t clean(void)
{
    static const int64_t tenants[] = {TENANT};
    struct counter_clean call = {
        .call = fixture_call(&f, COUNTER_CLEAN), .tenants_count = 1, .tenants = tenants};

    fixture_run(&f, &call.call);
    return call.removed;
}

/* Its call, as it came back. */
static struct counter_call reserve(struct counter_reserve_item *item)
{
    struct counter_reserve reserve = {
        .call = fixture_call(&f, COUNTER_RESERVE), .now_ms = NOW, .items_count = 1, .items = item};

    counter_add(f.counter, &reserve.call);
    counter_run(f.counter);
    return reserve.call;
}

static struct counter_check check(void)
{
    struct counter_check check = {
        .call = fixture_call(&f, COUNTER_CHECK), .now_ms = NOW, .max = 10, .cursor = "0"};

    fixture_run(&f, &check.call);
    return check;
}

/* A hold of three quotas, of which one warned, below a scope. */
static void admit_warned(const char *job)
{
    struct counter_reserve_item item = item_over(&f, job, 3, 5);
    struct hold_warning warnings[3] = {{.soft = 1, .amount = 2, .cap = 3, .limit_name = SLICE("l.1-x_y"),
                                        .scope_len = 6}};
    const struct hold_meter meters[] = {{SLICE("tokens"), 5}, {SLICE("a.b-c_d"), 0}};
    const int64_t softs[] = {1, 1000000, 1000000};

    item.warnings = warnings;
    item.softs = softs;
    item.identity = slice_from_cstr(hold_identity(&f.arena, SLICE("team-a/user.7"), 3, meters, 2));
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_ADMITTED);
}

Test(call_clean, what_scripts_wrote_stays)
{
    struct counter_totals more[] = {totals_of(2, LEASE(1), 100), totals_of(3, LEASE(2), 100)};
    const char *before, *after;

    fixture_fill(&f, more, 2);
    admit_warned("warned");
    for (int i = 0; i < 80; i++)
        fixture_admit(&f, arena_printf(&f.arena, "job-%d=with:signs;|/%d", i, i), i);
    fixture_notify(&f, "job-7=with:signs;|/7", NULL, NULL, 0);
    before = fixture_cli(&f, "hgetall " KEY_T);
    cr_assert_eq(clean(), 0);
    after = fixture_cli(&f, "hgetall " KEY_T);
    cr_assert_str_eq(before, after);
    cr_assert_eq(check().findings_count, 0);
}

/* Some script fails or counts wrongly on each of these; none does afterwards. */
Test(call_clean, what_no_script_wrote_goes)
{
    static const char *const hands[] = {
        "set " KEY_T " x",
        "set " KEY_C " x",
        "set " KEY_LEAF " x",
        "set " KEY_X " x",
        "set " KEY_MARKS " x",
        "set 'q:{1}:2:i:7' x",
        "hset " KEY_T " 1:0 garbage",
        "hset " KEY_T " 1:0 '1 2 3'",
        "hset " KEY_T " 1:0 '0 3145729 -5 0 0 1764072600000 0 0 0 0 0'",
        "hset " KEY_T " 1:0 '0 3145729 99999999999999999999 0 0 1764072600000 0 0 0 0 0'",
        "hset " KEY_T " 7=job 3:1",
        "hset " KEY_T " 7=job '3:1:451602447360001:60000;0:1:0:1:30'",
        "hset " KEY_T " 7=job '3:1:451602447360001:60000;0:1:0:1|x|0|tokens=30'",
        "hset " KEY_T " 7=job ''",
        "hset " KEY_T " 8=other '3:1:451602447360001:60000;0:1:0:1:30|x|0|tokens=30'",
        "hset " KEY_T " nobody x",
        "hset " KEY_T " 1:2:3 x",
        "hset " KEY_T " v x",
        "hset " KEY_T " q x",
        "hset " KEY_T " x x",
        "hset " KEY_T " x 9999999999999999:3:4",
        "hset " KEY_T " x 99999999999999999999:3:4",
        "hset " KEY_T " 1:0 '9007199254740991 3145729 100 0 0 1764072600000 0 0 0 0 0'",
        "hset " KEY_T " 1:0 '30 3145729 100 71 0 1764072600000 0 0 0 0 0'",
        "hset " KEY_T " 1:0 '30 3145729 100 0 101 1764072600000 0 0 0 0 0'",
        "hset " KEY_T " 1:0 '30 9007199254740991 100 0 0 1764072600000 0 0 0 0 0'",
        "hset " KEY_T " 1:0 '30 4194304 100 0 0 1764072600000 0 0 0 0 0'",
        "hset " KEY_T " 1:0 '30 3145729 9007199254740992 0 0 1764072600000 0 0 0 0 0'",
        "hset " KEY_C " 1:0 x",
        "hset " KEY_C " 1:0 4194304",
        "hset " KEY_C " x 1",
    };

    for (size_t i = 0; i < ARRAY_COUNT(hands); i++) {
        struct counter_totals totals = totals_of(1, LEASE(2 + (int64_t)i), 1000);
        struct counter_reserve_item item;
        size_t removed;

        fixture_cli(&f, "del " KEY_T " " KEY_C " " KEY_LEAF " " KEY_X " " KEY_MARKS " 'q:{1}:2:i:7'");
        fixture_fill(&f, &totals, 1);
        fixture_admit(&f, "job", 30);
        fixture_notify(&f, "marked", NULL, NULL, 0);
        fixture_cli(&f, "%s", hands[i]);
        removed = clean();
        cr_assert(removed > 0, "%s", hands[i]);
        cr_assert_eq(clean(), 0, "%s: once is enough", hands[i]);
        item = item_of(&f, "next", 1);
        cr_assert_eq(reserve(&item).status, STATUS_OK, "%s", hands[i]);
        fixture_notify(&f, "job", NULL, NULL, 0);
        (void)check();
        cr_assert_eq(clean(), 0, "%s", hands[i]);
    }
}

/* Fills the quota with its lease once more; cleans where the script says that something is missing. */
static enum counter_took fill_again(bool expect_cleaning)
{
    struct counter_totals totals = totals_of(1, LEASE(1), 1000);
    struct counter_fill fill = {.call = fixture_call(&f, COUNTER_FILL),
                                .now_ms = NOW,
                                .totals_count = 1,
                                .totals = &totals};

    counter_add(f.counter, &fill.call);
    counter_run(f.counter);
    cr_assert_eq(fill.call.status, expect_cleaning ? STATUS_CORRUPT : STATUS_OK);
    if (expect_cleaning) {
        cr_assert(clean() > 0);
        fixture_run(&f, &fill.call);
    }
    return totals.took;
}

/* What was held in it is nowhere any more but in the hold: filled anew it would be lent twice. */
Test(call_clean, a_quota_that_neither_key_has_was_filled_if_a_hold_names_it)
{
    struct counter_totals totals = totals_of(1, LEASE(1), 1000);

    fixture_fill(&f, &totals, 1);
    fixture_admit(&f, "job", 30);
    fixture_cli(&f, "hdel " KEY_T " 1:0");
    fixture_cli(&f, "hdel " KEY_C " 1:0");
    cr_assert_eq(fill_again(true), TOTALS_VANISHED);
    cr_assert_eq(fill_again(false), TOTALS_VANISHED);
}

/* An older hold of it says nothing about the lease that was filled last. */
Test(call_clean, of_the_leases_that_holds_name_the_newest_was_the_last)
{
    struct counter_totals totals = totals_of(1, LEASE(2), 1000);
    struct counter_fill fill = {
        .call = fixture_call(&f, COUNTER_FILL), .now_ms = NOW, .totals_count = 1, .totals = &totals};

    fixture_admit(&f, "older", 30);
    fixture_fill(&f, &totals, 1);
    fixture_admit(&f, "newer", 30);
    fixture_cli(&f, "hdel " KEY_T " 1:0");
    fixture_cli(&f, "hdel " KEY_C " 1:0");
    cr_assert(clean() > 0);
    fixture_run(&f, &fill.call);
    cr_assert_eq(totals.took, TOTALS_VANISHED);
}

/* What the database lends nothing for any more is no loss, and no reason to end the shard's epoch. */
Test(call_clean, a_tenant_of_which_nothing_is_lent_any_more_is_forgotten)
{
    const struct counter_lost lost = {.ref = {.limit_id = 1}, .lease_id = LEASE(1)};
    struct counter_forget forget = {.call = fixture_call(&f, COUNTER_FORGET),
                                    .tenant_id = TENANT,
                                    .quotas_count = 1,
                                    .quotas = &lost};

    fixture_admit(&f, "job", 30);
    fixture_cli(&f, "del " KEY_T);
    fixture_run(&f, &forget.call);
    cr_assert_eq(check().findings_count, 0);
    cr_assert_str_eq(fixture_cli(&f, "exists " KEY_C " " KEY_LEAF), "0");
    cr_assert_eq(clean(), 0);
}

/* Nor does anything tell what was lent where both keys are gone; the shard's list says that they were. */
static void expect_end_of_epoch(void)
{
    struct counter_reserve_item item = item_of(&f, "next", 1);

    cr_assert(clean() > 0);
    cr_assert_eq(reserve(&item).guard, GUARD_LOST);
    cr_assert_str_eq(fixture_cli(&f, "exists " KEY_LEAF " 'q:{1}:2:i:7'"), "0");
}

Test(call_clean, a_fill_finds_that_both_keys_are_gone)
{
    const struct counter_version version = {TENANT, VERSION};
    struct counter_totals totals = totals_of(1, LEASE(1), 1000);
    struct counter_fill fill = {
        .call = fixture_call(&f, COUNTER_FILL), .now_ms = NOW, .totals_count = 1, .totals = &totals};
    struct counter_fill fill_version = {.call = fixture_call(&f, COUNTER_FILL),
                                        .now_ms = NOW,
                                        .versions_count = 1,
                                        .versions = &version};

    fixture_admit(&f, "job", 30);
    fixture_cli(&f, "del " KEY_T " " KEY_C);
    counter_add(f.counter, &fill.call);
    counter_add(f.counter, &fill_version.call);
    counter_run(f.counter);
    cr_assert_eq(fill.call.status, STATUS_CORRUPT);
    cr_assert_eq(fill_version.call.status, STATUS_CORRUPT);
    expect_end_of_epoch();
}

Test(call_clean, a_look_finds_that_both_keys_are_gone)
{
    struct counter_check found;

    fixture_admit(&f, "job", 30);
    fixture_cli(&f, "del " KEY_T " " KEY_C);
    found = check();
    cr_assert_eq(found.findings_count, 1);
    cr_assert_eq(found.findings[0].kind, FINDING_UNREADABLE);
    expect_end_of_epoch();
}

/* A number that one more is not added to: a loop up to it would keep Redis for ever. */
Test(call_clean, leaves_that_nobody_can_count_end_the_script)
{
    struct counter_rebuild rebuild = {
        .call = fixture_call(&f, COUNTER_REBUILD), .tenant_id = TENANT, .max = 100, .cursor = "0"};

    fixture_admit(&f, "job", 30);
    fixture_cli(&f, "hset " KEY_T " x 99999999999999999999:3:4");
    counter_add(f.counter, &rebuild.call);
    counter_run(f.counter);
    cr_assert_eq(rebuild.call.status, STATUS_CORRUPT);
    cr_assert_eq(clean(), 1);
    fixture_run(&f, &rebuild.call);
    cr_assert_eq(check().findings_count, 0);
}

/* Numbers that no script wrote are found where they are used, and not believed. */
Test(call_clean, a_quota_that_contradicts_itself_admits_nothing)
{
    static const char *const texts[] = {
        "9007199254740991 3145729 100000 0 0", "30 3145729 100000 99999 0",
        "30 3145729 100000 0 100001",          "30 4194304 100000 0 0",
    };

    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        struct counter_totals totals = totals_of(1, LEASE(2 + (int64_t)i), 100000);
        struct counter_reserve_item item = item_of(&f, "next", 1);

        fixture_fill(&f, &totals, 1);
        fixture_cli(&f, "hset " KEY_T " 1:0 '%s 1764072600000 0 0 0 0 0'", texts[i]);
        cr_assert_eq(reserve(&item).status, STATUS_CORRUPT, "%s", texts[i]);
        cr_assert_eq(clean(), 1, "%s", texts[i]);
        cr_assert_eq(reserve(&item).status, STATUS_OK);
        cr_assert_eq(item.answer, RESERVED_SHORT);
        cr_assert_eq(item.shortfalls[0], SHORT_VANISHED);
    }
}

/* The user of the server may not run a command: that is no word about the key. */
Test(call_clean, an_error_that_is_not_of_the_keys_type_takes_nothing)
{
    static const char *const commands[] = {"hlen", "zcard", "scard"};
    static const int64_t tenants[] = {TENANT};
    const char *before;

    fixture_admit(&f, "job", 30);
    fixture_notify(&f, "marked", NULL, NULL, 0);
    before = fixture_cli(&f, "hgetall " KEY_T);
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        struct counter_clean call = {
            .call = fixture_call(&f, COUNTER_CLEAN), .tenants_count = 1, .tenants = tenants};

        cr_assert_str_eq(fixture_cli(&f, "acl setuser default -%s", commands[i]), "OK");
        counter_add(f.counter, &call.call);
        counter_run(f.counter);
        cr_assert_str_eq(fixture_cli(&f, "acl setuser default +%s", commands[i]), "OK");
        cr_assert(call.call.status != STATUS_OK || call.removed == 0, "%s", commands[i]);
        cr_assert_str_eq(fixture_cli(&f, "hgetall " KEY_T), before, "%s", commands[i]);
        cr_assert_str_eq(fixture_cli(&f, "exists " KEY_C " " KEY_X " " KEY_LEAF " " KEY_MARKS), "4",
                         "%s", commands[i]);
    }
    cr_assert_eq(check().findings_count, 0);
}

Test(call_clean, with_a_hold_the_quotas_are_lost)
{
    struct counter_reserve_item item = item_of(&f, "next", 1);
    struct counter_check found;

    fixture_admit(&f, "job", 30);
    fixture_cli(&f, "hset " KEY_T " 7=job 3:1");
    cr_assert_eq(reserve(&item).status, STATUS_OK);
    cr_assert_eq(clean(), 2, "the hold and the quota: %s",
                 fixture_cli(&f, "hgetall " KEY_T));
    item = item_of(&f, "after", 1);
    cr_assert_eq(reserve(&item).status, STATUS_OK);
    cr_assert_eq(item.answer, RESERVED_SHORT);
    cr_assert_eq(item.shortfalls[0], SHORT_VANISHED);
    found = check();
    cr_assert_eq(found.findings[0].kind, FINDING_LOST);
}

/* What it held is set aside with its lease; a name in the index alone holds nothing. */
Test(call_clean, with_a_hold_that_only_the_index_names_its_quotas_are_lost)
{
    struct counter_totals other = totals_of(2, LEASE(1), 100);

    fixture_fill(&f, &other, 1);
    fixture_admit(&f, "job", 30);
    fixture_admit(&f, "beside", 12);
    fixture_cli(&f, "zadd " KEY_LEAF " 5 7=nobody");
    cr_assert_eq(clean(), 0);
    fixture_cli(&f, "hdel " KEY_T " 7=job");
    cr_assert_eq(clean(), 1, "the quota that it was held in");
    cr_assert_str_eq(fixture_cli(&f, "hmget " KEY_T " 1:0 q"), "\n1");
    cr_assert_eq(check().findings[0].kind, FINDING_LOST);
    cr_assert_eq(clean(), 0);
}

Test(call_clean, a_look_tells_who_cannot_be_read)
{
    struct counter_due due = {.call = fixture_call(&f, COUNTER_DUE), .now_ms = DEADLINE, .max = 5};
    struct counter_check found;

    fixture_admit(&f, "job", 30);
    fixture_cli(&f, "set " KEY_T " x");
    found = check();
    cr_assert_eq(found.findings_count, 1);
    cr_assert_eq(found.findings[0].kind, FINDING_UNREADABLE);
    cr_assert_eq(found.findings[0].tenant_id, TENANT);
    fixture_run(&f, &due.call);
    cr_assert_eq(due.tenants_count, 1, "others are not kept from being asked for");
}

/* Also where only its index cannot be read: the list is that of the shard. */
Test(call_clean, a_tenant_whose_index_cannot_be_read_stops_nobody_in_the_due_list)
{
    static const char *const hands[] = {"garbage", "0:0", "5:x:1", "9999999999999999:3:4"};
    struct counter_totals totals = totals_of(1, LEASE(1), 100);
    struct counter_reserve_item item = item_of(&f, "job", 1);

    totals.tenant_id = item.tenant_id = TENANT + 1;
    fixture_fill(&f, &totals, 1);
    fixture_cli(&f, "hset 'q:{1}:2:t:8' v 3.5");
    fixture_reserve(&f, &item, 1);
    cr_assert_eq(item.answer, RESERVED_ADMITTED);
    fixture_admit(&f, "job", 30);
    for (size_t i = 0; i < ARRAY_COUNT(hands); i++) {
        struct counter_due due = {
            .call = fixture_call(&f, COUNTER_DUE), .now_ms = DEADLINE + 1, .max = 5};

        fixture_cli(&f, "hset " KEY_T " x %s", hands[i]);
        fixture_run(&f, &due.call);
        cr_assert(due.tenants_count >= 1 && due.tenants_count <= 2, "%s", hands[i]);
        cr_assert_eq(due.tenants[due.tenants_count - 1], TENANT + 1, "%s", hands[i]);
    }
}

Test(call_clean, where_nothing_tells_what_was_lent_the_epoch_ends)
{
    struct counter_reserve_item item = item_of(&f, "job", 1);

    fixture_cli(&f, "set " KEY_T " x");
    fixture_cli(&f, "set " KEY_C " x");
    cr_assert_eq(clean(), 3, "both, and what the authority has of the shard");
    cr_assert_eq(reserve(&item).guard, GUARD_LOST);
}

Test(call_clean, an_authority_that_cannot_be_read_is_lost_and_gives_way)
{
    static const char *const hands[] = {
        "set " KEY_A " x",           "hset " KEY_A " seq x",      "hset " KEY_A " 17 x",
        "hset " KEY_A " l x",        "hset " KEY_A " l -3",       "hset " KEY_A " 17 3:",
        "hset " KEY_A " 17 99999999999999999999:aa", "hset " KEY_A " f x",
        "hset " KEY_A " 17 999999999999999:aa", "hset " KEY_A " 17 1099511627776:aa",
        "hset " KEY_A " seq 99999999999999999999", "hset " KEY_A " f 99999999999999999999:5",
    };

    for (size_t i = 0; i < ARRAY_COUNT(hands); i++) {
        struct counter_init init;
        struct counter_observe observe = {.call = fixture_call(&f, COUNTER_OBSERVE)};
        struct counter_reserve_item item = item_of(&f, "job", 1);
        bool marks = strstr(hands[i], " f ");

        fixture_cli(&f, "%s", hands[i]);
        cr_assert_eq(reserve(&item).status, STATUS_OK, "%s", hands[i]);
        cr_assert_eq(reserve(&item).guard, marks ? GUARD_PASSED : GUARD_LOST, "%s", hands[i]);
        counter_add(f.counter, &observe.call);
        counter_run(f.counter);
        cr_assert_eq(observe.call.status, STATUS_OK, "%s", hands[i]);
        f.view.epoch++;
        init = (struct counter_init){.call = fixture_call(&f, COUNTER_INIT)};
        fixture_run(&f, &init.call);
        cr_assert_eq(reserve(&item).guard, GUARD_PASSED, "%s", hands[i]);
        fixture_notify(&f, "job", NULL, NULL, 0);
    }
}

Test(call_clean, tenants_of_a_call_are_named)
{
    struct counter_reserve_item items[] = {item_of(&f, "a", 1), item_of(&f, "b", 1)};
    struct counter_reserve reserve = {.call.kind = COUNTER_RESERVE, .items = items, .items_count = 2};
    struct counter_check check = {.call.kind = COUNTER_CHECK};
    struct counter_lookup lookup = {.call.kind = COUNTER_LOOKUP, .tenant_id = 9};
    int64_t tenants[COUNTER_LIST_MAX];

    cr_assert_eq(counter_tenants(&reserve.call, tenants), 1);
    cr_assert_eq(tenants[0], TENANT);
    cr_assert_eq(counter_tenants(&check.call, tenants), 0);
    cr_assert_eq(counter_tenants(&lookup.call, tenants), 1);
    cr_assert_eq(tenants[0], 9);
}
