#include "base/hmac.h"

#include "base/hex.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

static struct hmac *hmac;

static void set_up(void)
{
    hmac = hmac_create();
}

static void tear_down(void)
{
    hmac_destroy(hmac);
}

TestSuite(hmac, .init = set_up, .fini = tear_down);

static void expect_code(struct slice message, const char *expected)
{
    uint8_t code[HMAC_BYTES];
    char text[HEX_LEN(HMAC_BYTES) + 1];

    hmac_sign(hmac, message, code);
    hex_encode(code, sizeof(code), text);
    cr_assert_str_eq(text, expected);
}

/* RFC 4231, test cases 2 and 6. */
Test(hmac, agrees_with_the_rfc_and_keeps_its_key)
{
    const char *jefe = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    uint8_t long_key[131];

    hmac_key(hmac, "Jefe", 4);
    expect_code(SLICE("what do ya want for nothing?"), jefe);
    expect_code(SLICE("what do ya want for nothing?"), jefe);
    memset(long_key, 0xaa, sizeof(long_key));
    hmac_key(hmac, long_key, sizeof(long_key));
    expect_code(SLICE("Test Using Larger Than Block-Size Key - Hash Key First"),
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    hmac_key(hmac, "Jefe", 4);
    expect_code(SLICE("what do ya want for nothing?"), jefe);
}

Test(hmac, tag_is_the_front_of_the_code)
{
    uint8_t code[HMAC_BYTES];
    uint8_t tag[HMAC_TAG_BYTES];

    hmac_key(hmac, "k", 1);
    hmac_sign(hmac, slice_of(NULL, 0), code);
    hmac_tag(hmac, SLICE(""), tag);
    cr_assert(hmac_equal(code, tag, HMAC_TAG_BYTES));
    tag[HMAC_TAG_BYTES - 1] ^= 1;
    cr_assert(!hmac_equal(code, tag, HMAC_TAG_BYTES));
}

Test(hmac, message_in_parts_is_the_message)
{
    uint8_t whole[HMAC_BYTES];
    uint8_t parts[HMAC_BYTES];

    hmac_key(hmac, "k", 1);
    hmac_sign(hmac, SLICE("tenant|acme"), whole);
    hmac_begin(hmac);
    hmac_add(hmac, SLICE("tenant|"));
    hmac_add(hmac, slice_of(NULL, 0));
    hmac_add(hmac, SLICE("acme"));
    hmac_end(hmac, parts);
    cr_assert(hmac_equal(whole, parts, HMAC_BYTES));
}

Test(hmac, forgotten_key_is_overwritten)
{
    char key[8] = "secret!";
    const char nothing[8] = {0};

    hmac_forget(key, sizeof(key));
    cr_assert_eq(memcmp(key, nothing, sizeof(key)), 0);
}

Test(hmac, signing_without_a_key_is_a_bug, .signal = SIGABRT)
{
    uint8_t code[HMAC_BYTES];

    hmac_sign(hmac, SLICE("x"), code);
}

Test(hmac, destroy_accepts_null)
{
    hmac_destroy(NULL);
    cr_assert_not_null(hmac);
}
