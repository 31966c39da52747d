#include "quota/token_seal.h"

#include "base/entropy.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define KEY_A "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define KEY_B "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"

static const struct slice acme = {"acme", 4};
static const struct slice body = {"job\0seventeen", 13};

static struct token_keys *keys;
static struct token_seal *seal;
static char text[TOKEN_TEXT_MAX + 1];
static uint8_t raw[TOKEN_RAW_MAX];
static struct slice opened;

static struct token_keys *keys_from(const char *lines)
{
    struct token_keys *parsed = NULL;
    char error[256];

    cr_assert_eq(token_keys_parse(slice_from_cstr(lines), "test", &parsed, error, sizeof(error)),
                 STATUS_OK);
    return parsed;
}

static void set_up(void)
{
    keys = keys_from("1:" KEY_A);
    seal = token_seal_create(keys, TOKEN_OF_RESERVATION);
}

static void tear_down(void)
{
    token_seal_destroy(seal);
    token_keys_destroy(keys);
}

TestSuite(token_seal, .init = set_up, .fini = tear_down);

static bool opens(struct slice tenant, const char *sealed, size_t len)
{
    return token_seal_open(seal, tenant, slice_of(sealed, len), raw, &opened);
}

Test(token_seal, body_comes_back_from_a_short_text)
{
    size_t len = token_seal_close(seal, acme, body, text);

    cr_assert_eq(len, strlen(text));
    cr_assert_eq(strncmp(text, "hf1.", 4), 0);
    cr_assert_eq(len, 4 + BASE64URL_LEN(2 + body.len + 16));
    cr_assert(opens(acme, text, len));
    cr_assert(slice_equal(opened, body));
}

/* Tokens live over restarts and versions: this text may never stop opening. */
Test(token_seal, text_is_the_same_in_every_version)
{
    size_t len = token_seal_close(seal, acme, body, text);

    cr_assert_str_eq(text, "hf1.AQFqb2IAc2V2ZW50ZWVua8wmYyiWODJoT_Ppe4sc-w");
    cr_assert(opens(acme, text, len));
}

Test(token_seal, every_flipped_bit_is_refused)
{
    size_t len = token_seal_close(seal, acme, body, text);

    for (size_t bit = 0; bit < 8 * len; bit++) {
        text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
        cr_assert(!opens(acme, text, len), "bit %zu", bit);
        text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
    }
    cr_assert(opens(acme, text, len));
}

Test(token_seal, other_tenants_and_near_names_are_refused)
{
    const char *others[] = {"acm", "acmee", "Acme", "", "acme ", "tenant|acme"};
    size_t len = token_seal_close(seal, acme, body, text);

    for (size_t i = 0; i < ARRAY_COUNT(others); i++)
        cr_assert(!opens(slice_from_cstr(others[i]), text, len), "%s", others[i]);
    cr_assert(!opens(slice_of("acme\0", 5), text, len));
}

Test(token_seal, truncated_and_lengthened_texts_are_refused)
{
    size_t len = token_seal_close(seal, acme, body, text);
    static char longer[2 * TOKEN_TEXT_MAX];

    for (size_t shorter = 0; shorter < len; shorter++)
        cr_assert(!opens(acme, text, shorter));
    memset(longer, 'A', sizeof(longer));
    memcpy(longer, text, len);
    for (size_t more = len + 1; more < len + 20; more++)
        cr_assert(!opens(acme, longer, more));
    cr_assert(!opens(acme, longer, sizeof(longer)));
    cr_assert(!opens(acme, NULL, 0));
}

Test(token_seal, largest_body_fits_and_a_larger_one_is_a_bug, .signal = SIGABRT)
{
    static char large[TOKEN_BODY_MAX + 1];
    size_t len = token_seal_close(seal, acme, slice_of(large, TOKEN_BODY_MAX), text);

    cr_assert_eq(len, TOKEN_TEXT_MAX - 1); /* a receipt's prefix is longer by one */
    cr_assert(opens(acme, text, len));
    cr_assert_eq(opened.len, TOKEN_BODY_MAX);
    token_seal_close(seal, acme, slice_of(large, TOKEN_BODY_MAX + 1), text);
}

Test(token_seal, both_keys_open_while_they_are_rotated)
{
    struct token_keys *added = keys_from("1:" KEY_A "\n2:" KEY_B);
    struct token_keys *moved = keys_from("2:" KEY_B "\n1:" KEY_A);
    struct token_keys *gone = keys_from("2:" KEY_B);
    struct token_keys *all[] = {keys, added, moved, gone};
    /* By signer (row) and opener: a text of the next or previous step of a rotation opens. */
    const bool expected[4][4] = {{1, 1, 1, 0}, {1, 1, 1, 0}, {0, 1, 1, 1}, {0, 1, 1, 1}};

    for (int signer = 0; signer < 4; signer++) {
        struct token_seal *closes = token_seal_create(all[signer], TOKEN_OF_RESERVATION);
        size_t len = token_seal_close(closes, acme, body, text);

        for (int opener = 0; opener < 4; opener++) {
            struct token_seal *opens_it = token_seal_create(all[opener], TOKEN_OF_RESERVATION);

            cr_assert_eq(token_seal_open(opens_it, acme, slice_of(text, len), raw, &opened),
                         expected[signer][opener], "%d %d", signer, opener);
            token_seal_destroy(opens_it);
        }
        token_seal_destroy(closes);
    }
    token_keys_destroy(added);
    token_keys_destroy(moved);
    token_keys_destroy(gone);
}

Test(token_seal, same_kid_with_another_key_is_refused)
{
    struct token_keys *other = keys_from("1:" KEY_B);
    struct token_seal *closes = token_seal_create(other, TOKEN_OF_RESERVATION);
    size_t len = token_seal_close(closes, acme, body, text);

    cr_assert(!opens(acme, text, len));
    token_seal_destroy(closes);
    token_keys_destroy(other);
}

/* 150 short names and 150 that are too long to be remembered. */
static struct slice tenant_number(size_t i, char name[200])
{
    int len = snprintf(name, 200, "tenant-%zu", i % 150);

    memset(name + len, 'x', 200 - (size_t)len);
    return slice_of(name, i < 150 ? 12 : 200);
}

Test(token_seal, remembered_keys_do_not_get_mixed_up)
{
    static char texts[300][sizeof(text)];
    char name[200];

    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        token_seal_close(seal, tenant_number(i, name), body, texts[i]);
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        const char *other = texts[(i + 1) % ARRAY_COUNT(texts)];

        cr_assert(opens(tenant_number(i, name), texts[i], strlen(texts[i])), "%zu", i);
        cr_assert(!opens(tenant_number(i, name), other, strlen(other)), "%zu", i);
    }
}

Test(token_seal, random_bytes_never_open)
{
    struct entropy_seeded random;
    uint64_t seed = entropy_u64(entropy_real());

    entropy_seeded_init(&random, seed);
    for (int i = 0; i < 20000; i++) {
        size_t size = entropy_below(&random.entropy, 120);
        uint8_t bytes[120];

        entropy_fill(&random.entropy, bytes, size);
        if (size > 1 && i % 4) {
            bytes[0] = 1;
            bytes[1] = 1;
        }
        memcpy(text, TOKEN_PREFIX, 4);
        if (i % 2)
            size = 4 + base64url_encode(bytes, size, text + 4);
        else
            memcpy(text + 4, bytes, size);
        cr_assert(!opens(acme, text, size), "seed %llu round %d", (unsigned long long)seed, i);
    }
}
