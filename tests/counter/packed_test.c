#include "counter/packed.h"

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

TestSuite(packed, .init = set_up, .fini = tear_down);

Test(packed, names_of_quotas_come_back)
{
    const struct {
        struct quota_ref ref;
        const char *name;
    } known[] = {
        {{7, 0}, "7:0"}, {{7, 60000}, "7:1"}, {{7, 60001}, "7:60001m"}, {{7, 1764072000000}, "7:29401200"}};

    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        char name[PACKED_REF_MAX];
        size_t len = packed_ref_write(known[i].ref, name);
        struct quota_ref ref;

        cr_assert(slice_equal_cstr(slice_of(name, len), known[i].name));
        cr_assert(packed_ref_read(slice_of(name, len), &ref));
        cr_assert(quota_ref_equal(ref, known[i].ref));
    }
}

Test(packed, what_is_no_name_or_no_quota_is_refused)
{
    const char *names[] = {"", "7", "7:", ":7", "7:m", "x:1", "7:1x", "7:-1", "7:99999999999999999999"};
    const char *quotas[] = {"", "1", "1 2 3", "1 2 3 4 5 6 7 8 9 10 x", "1 2 3 4 5 6 7 8 9 10 11 12",
                            "1 2 3 4 5 6 7 8 9 10 -1", "9007199254740992 2 3 4 5 6 7 8 9 10 11"};
    struct counter_quota quota;
    struct quota_ref ref;

    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        cr_assert(!packed_ref_read(slice_from_cstr(names[i]), &ref), "%s", names[i]);
    for (size_t i = 0; i < ARRAY_COUNT(quotas); i++)
        cr_assert(!packed_quota_read(slice_from_cstr(quotas[i]), &quota), "%s", quotas[i]);
}

static void expect_hold(const char *packed, const char *text)
{
    struct slice got;
    bool no_memory;

    cr_assert(packed_hold_read(&arena, slice_from_cstr(packed), &got, &no_memory), "%s", packed);
    cr_assert(slice_equal_cstr(got, text), "%.*s", SLICE_ARGS(got));
}

Test(packed, holds_become_the_texts_of_hold_h)
{
    expect_hold("3:1:451602447360001:60000;0:1:29401200:1:30:31|team/x|1|tokens=30",
                "3:1:1764072060000:1764072000000|team/x|1|tokens=30|0:1:1764072000000:3145729:30:31");
    expect_hold("3:1:451602447360001:60000;0:1:0:1:30:31;1:2:7m:9:4|s|2|a=30,b=4",
                "3:1:1764072060000:1764072000000|s|2|a=30,b=4|0:1:0:3145729:30:31;1:2:7:3145737:4");
    expect_hold("3:1:451602447360001:60000|s|2|a=30", "3:1:1764072060000:1764072000000|s|2|a=30|");
}

Test(packed, what_is_no_hold_is_refused)
{
    const char *const texts[] = {"", "|", "3:1:4:5", "3:1:4|s|1|a=1", "x:1:4:5|s|1|a=1",
                                 "3:1:4:5;|s|1|a=1", "3:1:4:5;0:1:2:3|s|1|a=1",
                                 "3:1:4:5;0:1:x:3:4:5|s|1|a=1"};
    struct slice got;
    bool no_memory;

    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        cr_assert(!packed_hold_read(&arena, slice_from_cstr(texts[i]), &got, &no_memory), "%s",
                  texts[i]);
}
