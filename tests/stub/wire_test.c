#include "stub/wire.h"

#include <criterion/criterion.h>
#include <echo/echo.pb-c.h>
#include <stdlib.h>
#include <string.h>

static struct wire_error error;

static enum wire_verdict check(const void *data, size_t bytes)
{
    return wire_check(&test__echo__v1__echo_request__descriptor, data, bytes, 1000, &error);
}

/* For literals: the closing NUL does not count. */
#define CHECK_BYTES(literal) check(literal, sizeof(literal) - 1)

/* A request with every kind of field, packed. */
static size_t pack_full(uint8_t *data)
{
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    Test__Echo__V1__Node node = TEST__ECHO__V1__NODE__INIT;
    char text[] = "h\xc3\xa9llo w\xc3\xb6rld, \xe2\x82\xac and \xf0\x9f\x98\x80", word[] = "word";
    char *words[] = {word, word};
    int32_t numbers[] = {1, -1, 1 << 30};

    request.text = text;
    request.count = -5;
    request.node = &node;
    node.name = word;
    request.n_words = 2;
    request.words = words;
    request.n_numbers = 3;
    request.numbers = numbers;
    request.ratio = 0.5;
    request.word = 7;
    return test__echo__v1__echo_request__pack(&request, data);
}

Test(wire, accepts_what_protobuf_c_packs)
{
    uint8_t data[512];

    cr_assert_eq(check(data, pack_full(data)), WIRE_OK, "%s", error.field);
    cr_assert_eq(check(NULL, 0), WIRE_OK);
}

Test(wire, refuses_every_prefix_that_cuts_a_field)
{
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;
    char text[] = "some text";
    uint8_t data[64];
    size_t bytes;

    request.text = text;
    bytes = test__echo__v1__echo_request__pack(&request, data);
    for (size_t cut = 1; cut < bytes; cut++)
        cr_assert_eq(check(data, cut), WIRE_MALFORMED, "%zu bytes", cut);
}

Test(wire, refuses_strings_that_are_not_utf8)
{
    cr_assert_eq(CHECK_BYTES("\x0a\x01\xff"), WIRE_UTF8);
    cr_assert_str_eq(error.field, "text");
    cr_assert_eq(CHECK_BYTES("\x0a\x02\xc0\x80"), WIRE_UTF8, "overlong");
    cr_assert_eq(CHECK_BYTES("\x0a\x03\xed\xa0\x80"), WIRE_UTF8, "surrogate");
    cr_assert_eq(CHECK_BYTES("\x0a\x04\xf4\x90\x80\x80"), WIRE_UTF8, "beyond Unicode");
    cr_assert_eq(CHECK_BYTES("\x0a\x02\xe2\x82"), WIRE_UTF8, "cut");
    cr_assert_eq(CHECK_BYTES("\x0a\x09" "01234567\xff"), WIRE_UTF8, "after the fast path");
    cr_assert_eq(CHECK_BYTES("\x12\x01\xff"), WIRE_OK, "bytes may hold anything");
}

Test(wire, refuses_a_nul_in_a_string)
{
    cr_assert_eq(CHECK_BYTES("\x0a\x03" "a\0b"), WIRE_NUL);
    cr_assert_str_eq(error.field, "text");
    cr_assert_eq(CHECK_BYTES("\x12\x03" "a\0b"), WIRE_OK, "bytes may");
}

Test(wire, names_the_field_inside_repeated_messages)
{
    /* node { children {} children { name: "\xff" } } */
    cr_assert_eq(CHECK_BYTES("\x2a\x07\x1a\x00\x1a\x03\x0a\x01\xff"), WIRE_UTF8);
    cr_assert_str_eq(error.field, "node.children[1].name");
    /* words: "a", words: "\xff" */
    cr_assert_eq(CHECK_BYTES("\x32\x01" "a\x32\x01\xff"), WIRE_UTF8);
    cr_assert_str_eq(error.field, "words[1]");
    /* labels { key: "\xff" } */
    cr_assert_eq(CHECK_BYTES("\x42\x03\x0a\x01\xff"), WIRE_UTF8);
    cr_assert_str_eq(error.field, "labels[0].key");
}

Test(wire, refuses_a_wrong_wire_type)
{
    cr_assert_eq(CHECK_BYTES("\x08\x01"), WIRE_MALFORMED);
    cr_assert_str_eq(error.field, "text");
    cr_assert_eq(CHECK_BYTES("\x1a\x01\x01"), WIRE_MALFORMED, "count as bytes");
    cr_assert_str_eq(error.field, "count");
    cr_assert_eq(CHECK_BYTES("\x0b\x0c"), WIRE_MALFORMED, "a group");
    cr_assert_eq(CHECK_BYTES("\x00\x01"), WIRE_MALFORMED, "field number 0");
}

Test(wire, accepts_packed_and_unpacked_numbers)
{
    cr_assert_eq(CHECK_BYTES("\x3a\x03\x01\x02\x03"), WIRE_OK);
    cr_assert_eq(CHECK_BYTES("\x38\x01\x38\x02"), WIRE_OK);
    cr_assert_eq(CHECK_BYTES("\x3a\x02\x01\x80"), WIRE_MALFORMED, "a varint is cut");
    cr_assert_str_eq(error.field, "numbers[0]");
}

Test(wire, refuses_varints_of_more_than_64_bits)
{
    cr_assert_eq(CHECK_BYTES("\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), WIRE_OK);
    cr_assert_eq(CHECK_BYTES("\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), WIRE_MALFORMED);
    cr_assert_eq(CHECK_BYTES("\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), WIRE_MALFORMED);
}

/* A node with `depth` levels in all, built from the inside. */
static size_t nest(uint8_t *data, size_t room, int depth)
{
    size_t at = room;

    for (int i = 0; i < depth; i++) {
        size_t bytes = room - at;

        if (bytes >= 128) {
            data[--at] = (uint8_t)(bytes >> 7);
            data[--at] = (uint8_t)((bytes & 0x7f) | 0x80);
        } else {
            data[--at] = (uint8_t)bytes;
        }
        data[--at] = i == depth - 1 ? 0x2a : 0x12; /* node outside, child inside */
    }
    memmove(data, data + at, room - at);
    return room - at;
}

Test(wire, bounds_the_depth)
{
    uint8_t data[4096];

    cr_assert_eq(check(data, nest(data, sizeof(data), WIRE_DEPTH_MAX - 1)), WIRE_OK);
    cr_assert_eq(check(data, nest(data, sizeof(data), WIRE_DEPTH_MAX)), WIRE_DEPTH);
    cr_assert(strncmp(error.field, "node.child.child", 16) == 0, "%s", error.field);
    cr_assert_eq(check(data, nest(data, sizeof(data), 500)), WIRE_DEPTH);
}

Test(wire, bounds_the_elements)
{
    uint8_t data[2002];

    for (size_t i = 0; i < sizeof(data); i += 2) {
        data[i] = 0x32; /* words: "" */
        data[i + 1] = 0;
    }
    cr_assert_eq(check(data, 2000), WIRE_OK);
    cr_assert_eq(check(data, 2002), WIRE_ELEMENTS);
    cr_assert_str_eq(error.field, "words[1000]");
    for (size_t i = 0; i < sizeof(data); i += 2)
        data[i] = 0x7a; /* field 15 is not known */
    cr_assert_eq(check(data, 2002), WIRE_ELEMENTS);
}

/* Whatever the check lets through, protobuf-c takes. */
Test(wire, agrees_with_protobuf_c_on_mutated_bytes)
{
    unsigned seed = 1;
    uint8_t good[512], data[512];
    size_t bytes = pack_full(good);
    int passed = 0;

    for (int i = 0; i < 20000; i++) {
        Test__Echo__V1__EchoRequest *unpacked;

        memcpy(data, good, bytes);
        for (int j = rand_r(&seed) % 3; j >= 0; j--)
            data[(size_t)rand_r(&seed) % bytes] = (uint8_t)rand_r(&seed);
        if (check(data, bytes) != WIRE_OK)
            continue;
        passed++;
        unpacked = test__echo__v1__echo_request__unpack(NULL, bytes, data);
        cr_assert(unpacked, "round %d", i);
        test__echo__v1__echo_request__free_unpacked(unpacked, NULL);
    }
    cr_assert(passed > 1000, "only %d were let through", passed);
}

Test(wire, has_a_sentence_for_every_verdict)
{
    for (int verdict = WIRE_OK; verdict <= WIRE_ELEMENTS; verdict++)
        cr_assert_neq(wire_verdict_text((enum wire_verdict)verdict)[0], '\0');
}
