#include "base/digest.h"

#include "base/hex.h"

#include <criterion/criterion.h>

static void expect(struct slice whole, const char *hex)
{
    struct digest *digest = digest_create();
    uint8_t out[DIGEST_BYTES];
    char text[HEX_LEN(DIGEST_BYTES) + 1];

    for (size_t cut = 0; cut <= whole.len; cut++) {
        digest_begin(digest);
        digest_add(digest, slice_of(whole.data, cut));
        digest_add(digest, slice_skip(whole, cut));
        digest_end(digest, out);
        hex_encode(out, sizeof(out), text);
        cr_assert_str_eq(text, hex);
    }
    digest_destroy(digest);
}

Test(digest, is_sha_256_however_the_message_is_cut)
{
    expect(slice_of(NULL, 0), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    expect(SLICE("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

Test(digest, destroying_none_is_fine)
{
    digest_destroy(NULL);
}
