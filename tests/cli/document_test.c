#include "cli/document.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct item {
    int line;
    char *name;
    struct document_number units;
    struct document_flag open;
};

struct top {
    int line;
    char *title;
    struct document_list items;
};

static const struct document_key item_keys[] = {
    {.name = "name", .type = DOCUMENT_TEXT, .offset = offsetof(struct item, name), .required = true},
    {.name = "units", .type = DOCUMENT_NUMBER, .offset = offsetof(struct item, units), .max = 1000},
    {.name = "open", .type = DOCUMENT_FLAG, .offset = offsetof(struct item, open)},
};
static const struct document_map item_map = {
    item_keys, 3, sizeof(struct item), offsetof(struct item, line), offsetof(struct item, name), "name"};
static const struct document_key top_keys[] = {
    {.name = "items", .type = DOCUMENT_LIST, .offset = offsetof(struct top, items), .list = &item_map},
    {.name = "title", .type = DOCUMENT_TEXT, .offset = offsetof(struct top, title)},
};
static const struct document_map top_map = {
    top_keys, 2, sizeof(struct top), offsetof(struct top, line), 0, NULL};

static struct arena arena;
static struct top top;
static char error[DOCUMENT_ERROR_BYTES];

static void begin(void)
{
    arena_init(&arena, 4096, 1 << 20);
}

static void end(void)
{
    arena_done(&arena);
}

TestSuite(document, .init = begin, .fini = end);

static bool reads_bytes(const char *text, size_t len)
{
    arena_reset(&arena);
    return document_read(text, len, &top_map, &top, &arena, error);
}

static bool reads(const char *text)
{
    return reads_bytes(text, strlen(text));
}

static void refuses(const char *text, const char *says)
{
    cr_assert_not(reads(text), "accepted: %s", text);
    cr_assert(strstr(error, says), "%s\nis refused with: %s", text, error);
}

/* In the value of a key of the second item, which stands in line 3. */
static void refuses_units(const char *value, const char *says)
{
    char text[200];

    snprintf(text, sizeof(text), "items:\n  - name: a\n  - {name: b, units: %s}\n", value);
    refuses(text, says);
    cr_assert(strstr(error, "line 3: "), "%s", error);
}

static void refuses_open(const char *value)
{
    char text[200];

    snprintf(text, sizeof(text), "items:\n  - name: a\n  - {name: b, open: %s}\n", value);
    refuses(text, "line 3: open ");
}

Test(document, reads_what_is_said_and_leaves_the_rest_unsaid)
{
    const struct item *items;

    cr_assert(reads("title: \"\"\nitems:\n  - name: a\n    units: 0\n  - name: 007\n    open: false\n"
                    "  - {name: 'b c', units: 1000, open: true} # three\n"),
              "%s", error);
    items = top.items.items;
    cr_assert_str_eq(top.title, "");
    cr_assert_eq(top.items.count, 3);
    cr_assert_str_eq(items[0].name, "a");
    cr_assert_eq(items[0].line, 3);
    cr_assert(items[0].units.given);
    cr_assert_eq(items[0].units.value, 0);
    cr_assert_not(items[0].open.given);
    cr_assert_str_eq(items[1].name, "007");
    cr_assert_not(items[1].units.given);
    cr_assert(items[1].open.given);
    cr_assert_not(items[1].open.value);
    cr_assert_str_eq(items[2].name, "b c");
    cr_assert(items[2].open.value);
    cr_assert_eq(items[2].units.value, 1000);
    cr_assert(reads("items: []"), "%s", error);
    cr_assert(top.items.given);
    cr_assert(reads("---\ntitle: x\n...\n"), "%s", error);
    cr_assert_not(top.items.given);
    cr_assert(reads("\xef\xbb\xbftitle: x\r\n"), "a byte order mark does no harm: %s", error);
    cr_assert(reads("\xef\xbb\xbfitems:\r\n- name: a\r\n  units: 1\r\ntitle: x\r\n"),
              "nor does it move the first line: %s", error);
    cr_assert_eq(top.items.count, 1);
}

Test(document, a_number_is_digits_alone)
{
    static const char *const wrong[] = {"1_0", "10k", "1e2", "1.0", "+1", "0x10", "0o7", "010", "-0",
                                        "1,000", "10 0", ".5", "many", "1 # 2 :x", "0999999999999999999999"};

    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        if (!strchr(wrong[i], '#') && !strchr(wrong[i], ','))
            refuses_units(wrong[i], "must be a whole number");
    refuses_units("\"10\"", "without quotes");
    refuses_units("'10'", "without quotes");
    refuses_units("1001", "must be from 0 to 1000");
    refuses_units("-1", "must be from 0 to 1000");
    refuses_units("99999999999999999999", "units is 99999999999999999999; it must be from 0 to 1000");
    refuses_units("-99999999999999999999", "must be from 0 to 1000");
    refuses_units("", "has no value");
    refuses_units("~", "has no value");
    refuses_units("null", "has no value");
    refuses_units("[1]", "must be one value");
    refuses_units("{a: 1}", "must be one value");
}

Test(document, a_flag_is_true_or_false)
{
    static const char *const wrong[] = {"flase", "True", "TRUE", "yes", "no", "on", "off", "1", "0",
                                        "\"true\"", "'false'", "~", "null", "", "[true]", "t"};

    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        refuses_open(wrong[i]);
}

Test(document, what_gives_a_value_another_meaning_is_refused)
{
    refuses_units("&a 5", "anchors (&a)");
    refuses("items:\n  - &x {name: a}\n  - *x\n", "line 2: anchors");
    refuses("title: *x\n", "line 1: aliases (*x)");
    refuses_units("!!int 5", "tags");
    refuses_units("!!str 5", "tags");
    refuses("items: !!seq []\n", "tags");
    refuses("title: x\n<<: {title: y}\n", "line 2: there is no key \"<<\"");
}

Test(document, keys_are_known_and_stand_once)
{
    refuses("items:\n  - name: a\n    unist: 5\n",
            "line 3: there is no key \"unist\" here; did you mean units?");
    refuses("tenants: []\n", "there is no key \"tenants\" here\0");
    refuses("items:\n  - name: a\n    units: 5\n    name: b\n",
            "line 4: the key name stands here a second time, first in line 2");
    refuses("title: a\ntitle: a\n", "line 2: the key title");
    refuses("items:\n  - units: 5\n", "line 2: the key name is missing");
    refuses("? [a, b]\n: c\n", "a key must be one word");
    refuses("items:\n  - {name: a}\n  - {name: b}\n  - {name: a}\n",
            "line 4: the name \"a\" stands here a second time, first in line 2");
}

Test(document, is_one_mapping_and_nothing_after_it)
{
    refuses("", "there is nothing in it");
    refuses("# only a remark\n", "there is nothing in it");
    refuses("---\n", "here must be keys");
    refuses("title\n", "here must be keys");
    refuses("- title: x\n", "here must be keys");
    refuses("title: x\n---\ntitle: y\n", "line 2: a second document");
    refuses("title: x\n...\n---\n", "a second document");
    refuses("items: 5\n", "line 1: items must be a list");
    refuses("items:\n", "items must be a list");
    refuses("items: {name: a}\n", "items must be a list");
    refuses("items: [5]\n", "here must be keys");
    refuses("items: [[[[[[[[[[[[[[[[", "here must be keys");
    refuses("title: ~\n", "title has no value");
    refuses("title: [x]\n", "must be one value");
}

Test(document, what_is_no_yaml_is_refused_with_its_line)
{
    refuses("title: x\n\titems: []\n", "line 2: ");
    refuses("title: x\n  items: []\n", "line 2: ");
    refuses("title: \"x\n", "line ");
    refuses("items: [\n", "line 2: ");
    refuses("title: x\nitems: []\n# \xff\xfe\n", "line 3: ");
    refuses("title: \"a\\0b\"\n", "NUL");
    refuses("\"title\\0\": x\n", "line 1: a key has a NUL");
    cr_assert_not(reads_bytes("title: a\0b\n", 11));
    cr_assert(strstr(error, "line 1: "), "%s", error);
}

Test(document, more_than_the_arena_holds_is_refused)
{
    size_t used = 0, size = 4 << 20;
    char *text = malloc(size);

    used += (size_t)snprintf(text, size, "items:\n");
    for (int i = 0; i < 60000; i++)
        used += (size_t)snprintf(text + used, size - used, "- {name: n%d}\n", i);
    cr_assert_not(reads_bytes(text, used));
    cr_assert(strstr(error, "too large"), "%s", error);
    free(text);
}
