/*
 * Reservation ids: as text from anybody, and as bodies of any kind under a good signature (what an
 * older or newer server with the same key may have written). A genuine one, issued again, reads the
 * same.
 */
#include "quota/token.h"
#include "quota/token_keys.h"

#include <stdlib.h>
#include <string.h>

static struct token_seal *seal;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct token_keys *keys;
    char error[256];

    (void)argc, (void)argv;
    CHECK(token_keys_parse(
              SLICE("1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"), "fuzz",
              &keys, error, sizeof(error)) == STATUS_OK);
    seal = token_seal_create(keys, TOKEN_OF_RESERVATION);
    return 0;
}

static void read_text(struct arena *arena, struct slice text)
{
    struct slice tenant;
    struct token token;

    if (token_tenant(TOKEN_OF_RESERVATION, arena, text, &tenant))
        CHECK(tenant.len <= text.len);
    CHECK(token_verify(seal, arena, SLICE("acme"), text, &token) != TOKEN_NO_MEMORY);
}

static void read_body(struct arena *arena, struct slice body)
{
    static char text[TOKEN_TEXT_MAX + 1];
    struct token token, second;
    char *again;
    size_t bytes = token_seal_close(seal, SLICE("acme"), body, text);

    if (token_verify(seal, arena, SLICE("acme"), slice_of(text, bytes), &token) != TOKEN_GENUINE)
        return;
    CHECK(slice_equal(token.tenant, SLICE("acme")));
    again = token_issue(seal, arena, &token);
    CHECK(again);
    CHECK(token_verify(seal, arena, SLICE("acme"), slice_from_cstr(again), &second) ==
          TOKEN_GENUINE);
    CHECK(slice_equal(token.job_id, second.job_id));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct arena arena;

    if (bytes < 2)
        return 0;
    arena_init(&arena, 4096, SIZE_MAX / 2);
    if (data[0] & 1)
        read_text(&arena, slice_of(data + 1, bytes - 1));
    else if (bytes - 1 <= TOKEN_BODY_MAX)
        read_body(&arena, slice_of(data + 1, bytes - 1));
    arena_done(&arena);
    return 0;
}
