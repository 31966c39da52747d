#include "rpc/page.h"

#include "holdfast/v1/quota.pb-c.h"

#include <criterion/criterion.h>
#include <string.h>

static struct arena arena;
static struct op op;
static const struct page_list list = {"limits", {{"acme", 4}}};

static void set_up(void)
{
    arena_init(&arena, 4096, 1 << 20);
    op = (struct op){.arena = &arena};
}

static void tear_down(void)
{
    arena_done(&arena);
}

TestSuite(page, .init = set_up, .fini = tear_down);

Test(page, position_comes_back)
{
    struct page page = {.number = 1764072000123, .name = SLICE("a job of 255 bytes at most")};
    struct page again = page_decode(&op, &list, page_token(&arena, &list, &page));

    cr_assert_eq(op.error.failure, FAILURE_NONE);
    cr_assert_eq(again.number, page.number);
    cr_assert(slice_equal(again.name, page.name));
}

static void expect_refused(const struct page_list *asked, const char *token, const char *says)
{
    struct page page;

    op.error = (struct op_error){0};
    page = page_decode(&op, asked, token);
    cr_assert_eq(op.error.failure, FAILURE_INVALID_FIELD);
    cr_assert_str_eq(op.error.fields[0].field, "page_token");
    cr_assert(strstr(op.error.fields[0].description, says), "%s", op.error.fields[0].description);
    cr_assert_eq(page.number, -1);
    cr_assert_eq(page.name.len, 0);
}

Test(page, a_token_of_another_list_is_named)
{
    char *token = page_token(&arena, &list, &(struct page){.name = SLICE("limit-1")});
    const struct page_list others[] = {
        {"usage", {SLICE("acme")}},
        {"limits", {SLICE("acme2")}},
        {"limits", {SLICE("acme"), SLICE("team-a")}},
        {"limits", {SLICE(""), SLICE("acme")}},
    };

    for (size_t i = 0; i < ARRAY_COUNT(others); i++)
        expect_refused(&others[i], token, "of another list");
}

Test(page, a_position_that_no_list_has_is_damaged)
{
    const struct page made_up[] = {
        {.name = SLICE("caf\xe9")}, {.name = SLICE("a\0b")},      {.name = SLICE("\x1b[2J")},
        {.number = -2},             {.number = INT64_C(1) << 53},
    };

    for (size_t i = 0; i < ARRAY_COUNT(made_up); i++)
        expect_refused(&list, page_token(&arena, &list, &made_up[i]), "damaged");
}

Test(page, empty_token_is_the_beginning)
{
    struct page page = page_decode(&op, &list, "");

    cr_assert_eq(op.error.failure, FAILURE_NONE);
    cr_assert_eq(page.number, -1);
    cr_assert_eq(page.name.len, 0);
}

Test(page, damaged_tokens_are_named)
{
    char *token = page_token(&arena, &list, &(struct page){.number = 17, .name = SLICE("job-1")});
    size_t len = strlen(token);

    for (size_t cut = 1; cut < len; cut++) {
        op.error = (struct op_error){0};
        (void)page_decode(&op, &list, arena_strndup(&arena, token, cut));
        cr_assert_eq(op.error.failure, FAILURE_INVALID_FIELD, "cut at %zu", cut);
        cr_assert_str_eq(op.error.fields[0].field, "page_token");
    }
    op.error = (struct op_error){0};
    (void)page_decode(&op, &list, "not a token!");
    cr_assert_eq(op.error.failure, FAILURE_INVALID_FIELD);
    token[len / 2] = token[len / 2] == 'A' ? 'B' : 'A';
    op.error = (struct op_error){0};
    (void)page_decode(&op, &list, token);
    cr_assert_eq(op.error.failure, FAILURE_INVALID_FIELD, "altered");
}

Test(page, ends_where_the_next_entry_would_pass_the_bytes_of_a_reply)
{
    enum { ENTRIES = 40, ENTRY_BYTES = 60000 };
    static char text[ENTRY_BYTES + 1];
    Holdfast__V1__Amount entry = HOLDFAST__V1__AMOUNT__INIT, *entries[ENTRIES];
    size_t fit;

    memset(text, 'x', ENTRY_BYTES);
    entry.meter = text;
    for (size_t i = 0; i < ENTRIES; i++)
        entries[i] = &entry;
    fit = PAGE_FIT(entries, ENTRIES);
    cr_assert(fit > 1 && fit < ENTRIES);
    cr_assert_leq(fit * ENTRY_BYTES, REPLY_BYTES_MAX);
    cr_assert_gt((fit + 1) * (ENTRY_BYTES + 100) + 4096, REPLY_BYTES_MAX);
    cr_assert_eq(PAGE_FIT(entries, 3), 3, "what fits is not cut");
    cr_assert_eq(PAGE_FIT(entries, 0), 0);
}

Test(page, has_one_entry_at_least_so_that_a_list_gets_on)
{
    Holdfast__V1__Amount entry = HOLDFAST__V1__AMOUNT__INIT, *entries[] = {&entry, &entry};
    static char large[2 * REPLY_BYTES_MAX];

    memset(large, 'x', sizeof(large) - 1);
    entry.meter = large;
    cr_assert_eq(PAGE_FIT(entries, 2), 1);
}
