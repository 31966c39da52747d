#include "base/hex.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

Test(hex, bytes_become_lower_case_digits_and_come_back)
{
    uint8_t bytes[256];
    uint8_t back[256];
    char text[HEX_LEN(256) + 1];

    for (int i = 0; i < 256; i++)
        bytes[i] = (uint8_t)i;
    hex_encode(bytes, 256, text);
    cr_assert_eq(strlen(text), 512);
    cr_assert_eq(strncmp(text, "000102", 6), 0);
    cr_assert(hex_decode(slice_from_cstr(text), back, 256));
    cr_assert_eq(memcmp(bytes, back, 256), 0);
    cr_assert(hex_decode(SLICE("aAfF"), back, 2));
    cr_assert_eq(back[0], 0xaa);
    cr_assert_eq(back[1], 0xff);
}

Test(hex, wrong_length_or_digit_is_refused)
{
    uint8_t out[4];

    cr_assert(!hex_decode(SLICE("00112233"), out, 3));
    cr_assert(!hex_decode(SLICE("0011223"), out, 3));
    cr_assert(!hex_decode(SLICE("0011223344"), out, 4));
    cr_assert(!hex_decode(SLICE("001122g3"), out, 4));
    cr_assert(!hex_decode(SLICE("0011 233"), out, 4));
    cr_assert(hex_decode(SLICE(""), out, 0));
}

static void expect_base64url(const char *bytes, const char *expected)
{
    char text[64];
    char back[64];
    size_t size = 0;

    cr_assert_eq(base64url_encode(bytes, strlen(bytes), text), strlen(expected));
    cr_assert_str_eq(text, expected);
    cr_assert(base64url_decode(slice_from_cstr(text), back, sizeof(back), &size));
    cr_assert_eq(size, strlen(bytes));
    cr_assert_eq(memcmp(back, bytes, size), 0);
}

Test(hex, base64url_agrees_with_the_rfc)
{
    expect_base64url("", "");
    expect_base64url("f", "Zg");
    expect_base64url("fo", "Zm8");
    expect_base64url("foo", "Zm9v");
    expect_base64url("foob", "Zm9vYg");
    expect_base64url("foobar", "Zm9vYmFy");
    expect_base64url("\xfb\xff\xbf", "-_-_");
}

Test(hex, base64url_length_is_what_the_macro_says)
{
    char text[BASE64URL_LEN(100) + 1];
    uint8_t bytes[100] = {0};

    for (size_t n = 0; n <= sizeof(bytes); n++)
        cr_assert_eq(base64url_encode(bytes, n, text), BASE64URL_LEN(n));
}

/* Every byte at every place of a group, at every length; and it comes back. */
Test(hex, base64url_returns_what_it_was_given)
{
    char text[BASE64URL_LEN(9) + 1];
    uint8_t bytes[9], back[9];
    size_t size;

    for (size_t n = 1; n <= sizeof(bytes); n++)
        for (unsigned first = 0; first <= UINT8_MAX; first++) {
            for (size_t i = 0; i < n; i++)
                bytes[i] = (uint8_t)(first + 85 * i);
            cr_assert_eq(base64url_encode(bytes, n, text), BASE64URL_LEN(n));
            cr_assert(base64url_decode(slice_from_cstr(text), back, n, &size));
            cr_assert_eq(size, n);
            cr_assert_eq(memcmp(back, bytes, n), 0);
        }
}

/* The alphabet is 64 characters, wherever in a group they stand. */
Test(hex, base64url_knows_its_characters)
{
    for (size_t place = 0; place < 7; place++) {
        int good = 0;

        for (int c = 0; c <= UINT8_MAX; c++) {
            char text[] = "AAAAAAA", out[8];
            size_t size;

            text[place] = (char)c;
            good += base64url_decode(slice_of(text, 7), out, sizeof(out), &size);
        }
        cr_assert_eq(good, place < 6 ? 64 : 16, "%zu: %d", place, good); /* stray bits at the end */
    }
}

Test(hex, base64url_accepts_one_text_only)
{
    const char *bad[] = {"Zg==", "Zh", "Zm9", "Z", "Zm9vY", "Zm 8", "Zm+8",
                         "Zm/8", "Zm9v\n", "Zm9v="};
    char out[64];
    size_t size = 99;

    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        cr_assert(!base64url_decode(slice_from_cstr(bad[i]), out, sizeof(out), &size), "%s",
                  bad[i]);
    cr_assert(!base64url_decode(slice_of("Zm\0v", 4), out, sizeof(out), &size));
    cr_assert_eq(size, 99);
}

Test(hex, base64url_never_writes_past_the_room)
{
    char out[3] = "..";
    size_t size = 0;

    cr_assert(!base64url_decode(SLICE("Zm9v"), out, 2, &size));
    cr_assert(base64url_decode(SLICE("Zm8"), out, 2, &size));
    cr_assert_eq(size, 2);
    cr_assert_eq(out[2], '\0');
}
