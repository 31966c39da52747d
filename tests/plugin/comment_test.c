#include "plugin/comment.h"

#include <criterion/criterion.h>

static void expect(const char *comment, const char *note, const char *wanted)
{
    struct text out = {0};

    comment_write(&out, "", comment, note);
    cr_assert_str_eq(out.data ? out.data : "", wanted);
    text_done(&out);
}

Test(comment, nothing_gives_nothing)
{
    expect(NULL, NULL, "");
    expect("", "", "");
}

Test(comment, the_note_stands_apart)
{
    expect(" One.\n Two.\n", "Three.", "/*\n * One.\n * Two.\n *\n * Three.\n */\n");
    expect(NULL, "Three.", "/*\n * Three.\n */\n");
}

Test(comment, nothing_ends_or_nests_it)
{
    expect("*/ /* /*/ **/", NULL, "/*\n * * / / * / * / ** /\n */\n");
}

/* A line that ends in a backslash goes on in the next, whose blank and star keep the end at bay. */
Test(comment, lines_do_not_join_to_an_end)
{
    expect("*\\\n/ x\n ?\?/\n", NULL, "/*\n * *\\\n * / x\n * ? ?/\n */\n");
}

Test(comment, what_cannot_be_seen_is_shown)
{
    expect("a\x01" "b\xe2\x80\xae" "c\xe2\x81\xa9" "d\x7f\xc2\x85", NULL, "/*\n * a?b?c?d??\n */\n");
    expect(" tab\there \r\n", NULL, "/*\n * tab\there\n */\n");
}

Test(comment, other_bytes_than_utf8_are_shown)
{
    expect(" \xc3\xa4 \xe4 \xff \xc3", NULL, "/*\n * \xc3\xa4 ? ? ?\n */\n");
    expect(" \xf0\x9f\x98\x80 \xf0\x9f\x98", NULL, "/*\n * \xf0\x9f\x98\x80 ???\n */\n");
    expect(" \xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80", NULL, "/*\n * ?? ??? ????\n */\n");
}

Test(comment, literals_are_one_word_of_c)
{
    struct text out = {0};

    comment_write_literal(&out, "a\"b\\c?\?/\n\x7f" "7");
    cr_assert_str_eq(out.data, "\"a\\\"b\\\\c\\?\\?/\\012\\1777\"");
    text_done(&out);
}
