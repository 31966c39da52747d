#include "rpc/page.h"

#include <criterion/criterion.h>
#include <string.h>

static struct arena arena;
static struct op op;

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
    struct page again = page_decode(&op, page_token(&arena, &page));

    cr_assert_eq(op.error.failure, FAILURE_NONE);
    cr_assert_eq(again.number, page.number);
    cr_assert(slice_equal(again.name, page.name));
}

Test(page, empty_token_is_the_beginning)
{
    struct page page = page_decode(&op, "");

    cr_assert_eq(op.error.failure, FAILURE_NONE);
    cr_assert_eq(page.number, -1);
    cr_assert_eq(page.name.len, 0);
}

Test(page, damaged_tokens_are_named)
{
    char *token = page_token(&arena, &(struct page){.number = 17, .name = SLICE("job-1")});
    size_t len = strlen(token);

    for (size_t cut = 1; cut < len; cut++) {
        op.error = (struct op_error){0};
        (void)page_decode(&op, arena_strndup(&arena, token, cut));
        cr_assert_eq(op.error.failure, FAILURE_INVALID_FIELD, "cut at %zu", cut);
        cr_assert_str_eq(op.error.fields[0].field, "page_token");
    }
    op.error = (struct op_error){0};
    (void)page_decode(&op, "not a token!");
    cr_assert_eq(op.error.failure, FAILURE_INVALID_FIELD);
    token[len / 2] = token[len / 2] == 'A' ? 'B' : 'A';
    op.error = (struct op_error){0};
    (void)page_decode(&op, token);
    cr_assert_eq(op.error.failure, FAILURE_INVALID_FIELD, "altered");
}
