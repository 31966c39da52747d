#include "quota/hold.h"

#include "base/amount.h"

#include <criterion/criterion.h>

static struct arena arena;

static void set_up(void)
{
    arena_init(&arena, 4096, 1 << 20);
}

static void tear_down(void)
{
    arena_done(&arena);
}

TestSuite(hold, .init = set_up, .fini = tear_down);

static const char text[] = "7:15:1000:900|team-a/user-7|1|tokens=50,requests=1|"
                           "0:2:60000:7340033:50;1:7:0:7340034:1";

static bool parses(const char *candidate)
{
    struct hold *hold;

    return hold_parse(&arena, slice_from_cstr(candidate), &hold);
}

Test(hold, text_comes_back_as_it_was)
{
    struct hold *hold = NULL;

    cr_assert(hold_parse(&arena, slice_from_cstr(text), &hold));
    cr_assert_eq(hold->attempt.epoch, 7);
    cr_assert_eq(hold->attempt.seq, 15);
    cr_assert_eq(hold->deadline_ms, 1000);
    cr_assert_eq(hold->created_ms, 900);
    cr_assert(slice_equal_cstr(hold->scope, "team-a/user-7"));
    cr_assert_eq(hold->mode, 1);
    cr_assert_eq(hold->meters_count, 2);
    cr_assert(slice_equal_cstr(hold->meters[0].meter, "tokens"));
    cr_assert_eq(hold->meters[0].units, 50);
    cr_assert_eq(hold->quotas_count, 2);
    cr_assert_eq(hold->quotas[0].quota.period_start_ms, 60000);
    cr_assert_eq(hold->quotas[0].lease_id, 7340033);
    cr_assert_eq(hold->quotas[1].meter, 1);
    cr_assert_eq(hold->quotas[1].units, 1);
    cr_assert_str_eq(hold_text(&arena, hold), text);
}

Test(hold, may_have_no_quota_and_no_scope)
{
    struct hold *hold = NULL;

    cr_assert(hold_parse(&arena, SLICE("1:2:3:0||0|seats=0|"), &hold));
    cr_assert_eq(hold->quotas_count, 0);
    cr_assert_eq(hold->scope.len, 0);
    cr_assert_str_eq(hold_text(&arena, hold), "1:2:3:0||0|seats=0|");
}

Test(hold, everything_cut_short_is_refused)
{
    size_t quotas_at = strlen("7:15:1000:900|team-a/user-7|1|tokens=50,requests=1|");
    struct hold *hold;

    for (size_t len = 0; len < quotas_at; len++)
        cr_assert_not(hold_parse(&arena, slice_of(text, len), &hold), "%zu bytes", len);
}

Test(hold, malformed_text_is_refused)
{
    cr_assert(parses("1:2:3:4|a|1|m=1|0:1:0:0:1"));
    cr_assert_not(parses("1:2:3:4|a|1|m=1|0:1:0:0:1;"));
    cr_assert_not(parses("1:2:3:4|a|1|m=1|0:1:0:0:1|"));
    cr_assert_not(parses("1:2:3:4|a|1|m=1|0:1:0:0"));
    cr_assert_not(parses("1:2:3:4|a|1|m=1|0:1:0:0:1:1:1"));
    cr_assert_not(parses("1:2:3:4|a|1|m=1|1:1:0:0:1"));
    cr_assert_not(parses("1:2:3:4|a|1|m=1|0:1:0:0:-1"));
    cr_assert_not(parses("1:2:3:4|a|1|m=9007199254740992|0:1:0:0:1"));
    cr_assert_not(parses("1:2:3:4|a|1||"));
    cr_assert_not(parses("1:2:3:4|a|1|m=1,|"));
    cr_assert_not(parses("1:2:3:4|a|1|=1|"));
    cr_assert_not(parses("1:2:3:4|a|1|M=1|"));
    cr_assert_not(parses("1:2:3:4|A|1|m=1|"));
    cr_assert_not(parses("1:2:3:4|a|x|m=1|"));
    cr_assert_not(parses("1:2:3|a|1|m=1|"));
    cr_assert_not(parses("1:2:3:4:5|a|1|m=1|"));
    cr_assert_not(parses("-1:2:3:4|a|1|m=1|"));
    cr_assert_not(parses("01:2:3:4|a|1|m=1|"));
}

Test(hold, what_is_named_twice_is_refused)
{
    cr_assert_not(parses("1:2:3:4|a|1|m=1|0:1:0:0:1;0:1:0:0:1"));
    cr_assert_not(parses("1:2:3:4|a|1|m=1|0:1:0:0:1;0:2:0:0:1;0:1:60000:0:1"), "a limit has one period");
    cr_assert_not(parses("1:2:3:4|a|1|m=1,n=1,m=1|0:1:0:0:1"));
    cr_assert(parses("1:2:3:4|a|1|m=1,n=1|0:1:0:0:1;0:2:0:0:1;1:3:0:0:1"));
}

Test(hold, stops_of_a_warning_are_amounts)
{
    cr_assert(parses("1:2:3:4|a|1|m=1|0:1:0:0:1:9:1:2:9007199254740991:l:0"));
    cr_assert_not(parses("1:2:3:4|a|1|m=1|0:1:0:0:1:9:1:2:9007199254740992:l:0"));
    cr_assert_not(parses("1:2:3:4|a|1|m=1|0:1:0:0:1:9:1:9007199254740992:2:l:0"));
    cr_assert_not(parses("1:2:3:4|a|1|m=1|0:1:0:0:1:9:9007199254740992:1:2:l:0"));
}

Test(hold, text_past_the_bound_is_not_made)
{
    char name[NAME_BYTES_MAX], names[HOLD_METERS_MAX][NAME_BYTES_MAX], scope[HOLD_TEXT_MAX];
    struct hold_meter meters[HOLD_METERS_MAX];
    struct hold_quota quotas[HOLD_QUOTAS_MAX];
    struct hold_warning warnings[HOLD_QUOTAS_MAX];
    struct hold hold = {.meters_count = HOLD_METERS_MAX, .meters = meters,
                        .quotas_count = HOLD_QUOTAS_MAX, .quotas = quotas};
    struct hold *again = NULL;

    memset(name, 'm', sizeof(name));
    memset(scope, 's', sizeof(scope));
    for (int i = 0; i < HOLD_METERS_MAX; i++) {
        memset(names[i], 'a' + i % 26, sizeof(names[i]));
        names[i][0] = (char)('0' + i / 26);
        meters[i] = (struct hold_meter){slice_of(names[i], NAME_BYTES_MAX), AMOUNT_MAX};
    }
    for (int i = 0; i < HOLD_QUOTAS_MAX; i++)
        quotas[i] = (struct hold_quota){0, {1 + i, 1764000000000}, 7340033, AMOUNT_MAX};
    cr_assert(hold_parse(&arena, slice_from_cstr(hold_text(&arena, &hold)), &again));
    cr_assert_eq(again->quotas_count, HOLD_QUOTAS_MAX);
    for (int i = 0; i < HOLD_QUOTAS_MAX; i++)
        quotas[i] = (struct hold_quota){31, {INT64_MAX, INT64_MAX}, INT64_MAX, AMOUNT_MAX};
    for (int i = 0; i < HOLD_QUOTAS_MAX; i++)
        warnings[i] = (struct hold_warning){slice_of(name, NAME_BYTES_MAX), SCOPE_BYTES_MAX, AMOUNT_MAX,
                                            AMOUNT_MAX, AMOUNT_MAX, AMOUNT_MAX};
    hold.warnings = warnings;
    hold.scope = slice_of(scope, SCOPE_BYTES_MAX);
    cr_assert_not_null(hold_text(&arena, &hold), "every lawful hold fits");
    hold.scope = slice_of(scope, HOLD_TEXT_MAX);
    cr_assert_null(hold_text(&arena, &hold));
}

Test(hold, a_warning_is_part_of_the_text_with_the_stops_of_then)
{
    const char *with = "3:1:60:0|team/a|1|tokens=5|0:1:0:31:5:905:900:1000:1100:l-1:4;0:2:0:31:5;"
                       "0:3:9:31:5:0:0:0:0:m.2:0";
    struct hold *hold = NULL;

    cr_assert(hold_parse(&arena, slice_from_cstr(with), &hold));
    cr_assert(slice_equal(hold->warnings[0].limit_name, SLICE("l-1")));
    cr_assert_eq(hold->warnings[0].scope_len, 4);
    cr_assert_eq(hold->warnings[0].projected, 905);
    cr_assert_eq(hold->warnings[0].soft, 900);
    cr_assert_eq(hold->warnings[0].amount, 1000);
    cr_assert_eq(hold->warnings[0].cap, 1100);
    cr_assert_eq(hold->warnings[1].limit_name.len, 0);
    cr_assert_eq(hold->warnings[2].limit_name.len, 3);
    cr_assert_str_eq(hold_text(&arena, hold), with);
    cr_assert_not(parses("3:1:60:0|a|1|tokens=5|0:1:0:31:5:905:1"));
    cr_assert_not(parses("3:1:60:0|a|1|tokens=5|0:1:0:31:5:905:1:2:3"));
    cr_assert_not(parses("3:1:60:0|a|1|tokens=5|0:1:0:31:5:905:1:2:3::0"));
    cr_assert_not(parses("3:1:60:0|a|1|tokens=5|0:1:0:31:5:905:1:2:3:L:0"));
    cr_assert_not(parses("3:1:60:0|a|1|tokens=5|0:1:0:31:5:905:1:2:3:l:2"), "scope of 1 byte");
    cr_assert_not(parses("3:1:60:0|a|1|tokens=5|0:1:0:31:5:905:1:2:3:l:1:9"));
    cr_assert_not(parses("3:1:60:0|a|1|tokens=5|0:1:0:31:5:x"));
    cr_assert_not(parses("3:1:60:0|a|1|tokens=5|0:1:0:31:5:"));
}

Test(hold, a_text_of_an_earlier_version_is_read)
{
    struct hold *hold = NULL;

    cr_assert(hold_parse(&arena, SLICE("3:1:60:0|a|1|tokens=5|0:1:0:31:5:905"), &hold));
    cr_assert_null(hold->warnings);
    cr_assert_eq(hold->quotas[0].units, 5);
    cr_assert_str_eq(hold_text(&arena, hold), "3:1:60:0|a|1|tokens=5|0:1:0:31:5");
}

Test(hold, identity_is_scope_mode_and_amounts)
{
    struct hold_meter meters[] = {{SLICE("tokens"), 50}, {SLICE("requests"), 1}};

    cr_assert_str_eq(hold_identity(&arena, SLICE("team-a"), 1, meters, 2),
                     "team-a|1|tokens=50,requests=1");
}

Test(hold, quotas_sort_by_limit_then_period)
{
    cr_assert_lt(quota_ref_compare((struct quota_ref){1, 9}, (struct quota_ref){2, 0}), 0);
    cr_assert_gt(quota_ref_compare((struct quota_ref){2, 9}, (struct quota_ref){2, 8}), 0);
    cr_assert_eq(quota_ref_compare((struct quota_ref){2, 9}, (struct quota_ref){2, 9}), 0);
    cr_assert(quota_ref_equal((struct quota_ref){2, 9}, (struct quota_ref){2, 9}));
    cr_assert_not(quota_ref_equal((struct quota_ref){2, 9}, (struct quota_ref){2, 8}));
}
