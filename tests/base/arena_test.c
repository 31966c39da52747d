#include "base/arena.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

Test(arena, pieces_are_aligned_and_do_not_overlap)
{
    struct arena arena;
    unsigned char *pieces[200];

    arena_init(&arena, 64, 1 << 20);
    for (size_t i = 0; i < ARRAY_COUNT(pieces); i++) {
        pieces[i] = arena_alloc(&arena, i);
        cr_assert_not_null(pieces[i]);
        cr_assert_eq((uintptr_t)pieces[i] % 16, 0);
        memset(pieces[i], (int)i, i);
    }
    for (size_t i = 0; i < ARRAY_COUNT(pieces); i++)
        for (size_t at = 0; at < i; at++)
            cr_assert_eq(pieces[i][at], (unsigned char)i);
    arena_done(&arena);
}

Test(arena, limit_answers_null_and_smaller_pieces_still_fit)
{
    struct arena arena;

    arena_init(&arena, 64, 256);
    cr_assert_not_null(arena_alloc(&arena, 200));
    cr_assert_null(arena_alloc(&arena, 64));
    cr_assert_not_null(arena_alloc(&arena, 48));
    cr_assert_null(arena_alloc(&arena, 0));
    cr_assert_eq(arena_used(&arena), 256);
    arena_done(&arena);
}

Test(arena, absurd_sizes_answer_null)
{
    struct arena arena;

    arena_init(&arena, 64, SIZE_MAX);
    cr_assert_null(arena_alloc(&arena, SIZE_MAX));
    cr_assert_null(arena_array(&arena, SIZE_MAX / 2, 3));
    cr_assert_null(arena_strndup(&arena, "", SIZE_MAX));
    arena_done(&arena);
}

Test(arena, reset_gives_the_same_first_chunk_again)
{
    struct arena arena;
    void *first;

    arena_init(&arena, 128, 1 << 20);
    first = arena_alloc(&arena, 16);
    for (int i = 0; i < 100; i++)
        cr_assert_not_null(arena_alloc(&arena, 100));
    arena_reset(&arena);
    cr_assert_eq(arena_used(&arena), 0);
    cr_assert_eq(arena_alloc(&arena, 16), first);
    arena_done(&arena);
}

Test(arena, reset_and_done_accept_an_unused_arena)
{
    struct arena arena;

    arena_init(&arena, 128, 1024);
    arena_reset(&arena);
    arena_done(&arena);
    arena_done(&arena);
    cr_assert_eq(arena_used(&arena), 0);
}

Test(arena, zalloc_clears_memory_that_was_used_before)
{
    struct arena arena;
    unsigned char *piece;

    arena_init(&arena, 128, 1024);
    piece = arena_alloc(&arena, 64);
    cr_assert_not_null(piece);
    memset(piece, 0xff, 64);
    arena_reset(&arena);
    piece = arena_zalloc(&arena, 64);
    cr_assert_not_null(piece);
    for (int i = 0; i < 64; i++)
        cr_assert_eq(piece[i], 0);
    arena_done(&arena);
}

Test(arena, long_texts_are_formatted_whole)
{
    struct arena arena;

    arena_init(&arena, 32, 65536);
    for (int width = 1; width < 300; width++) {
        char *text = arena_printf(&arena, "%*d", width, 7);

        cr_assert_eq(strlen(text), (size_t)width);
        cr_assert_eq(text[width - 1], '7');
    }
    arena_done(&arena);
}

Test(arena, strings_are_copied_and_formatted)
{
    struct arena arena;
    char *copy;
    char *text;

    arena_init(&arena, 32, 1024);
    copy = arena_strndup(&arena, "tokens-month", 6);
    text = arena_printf(&arena, "%s has %d of %d", copy, 3, 10);
    cr_assert_str_eq(copy, "tokens");
    cr_assert_str_eq(text, "tokens has 3 of 10");
    cr_assert_null(arena_printf(&arena, "%2000d", 1));
    arena_done(&arena);
}
