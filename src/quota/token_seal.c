#include "quota/token_seal.h"

#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

enum {
    VERSION = 1,
    HEADER_BYTES = 2, /* version and kid */
    CACHE_SLOTS = 64,
    TENANT_CACHED_MAX = 128,
};

/* How texts of a purpose begin, and what their keys are derived with. */
static const struct purpose {
    struct slice prefix, derivation;
} purposes[] = {
    [TOKEN_OF_RESERVATION] = {{TOKEN_PREFIX, sizeof(TOKEN_PREFIX) - 1}, {"tenant|", 7}},
    [TOKEN_OF_RECEIPT] = {{TOKEN_RECEIPT_PREFIX, sizeof(TOKEN_RECEIPT_PREFIX) - 1},
                          {"receipt|", 8}},
};

/* The key of one tenant, ready to sign. */
struct slot {
    struct hmac *hmac; /* NULL while the slot is empty */
    uint8_t kid;
    size_t tenant_len;
    char tenant[TENANT_CACHED_MAX];
};

struct token_seal {
    const struct token_keys *keys;
    enum token_purpose purpose;
    struct hmac *deriver;  /* has the key of the file */
    struct hmac *uncached; /* for names too long for a slot */
    struct slot slots[CACHE_SLOTS];
};

struct token_seal *token_seal_create(const struct token_keys *keys, enum token_purpose purpose)
{
    struct token_seal *seal = calloc(1, sizeof(*seal));

    CHECK(seal);
    seal->keys = keys;
    seal->purpose = purpose;
    seal->deriver = hmac_create();
    seal->uncached = hmac_create();
    return seal;
}

void token_seal_destroy(struct token_seal *seal)
{
    if (!seal)
        return;
    for (size_t i = 0; i < CACHE_SLOTS; i++)
        hmac_destroy(seal->slots[i].hmac);
    hmac_destroy(seal->uncached);
    hmac_destroy(seal->deriver);
    free(seal);
}

static void derive(struct token_seal *seal, const struct token_key *key, struct slice tenant,
                   struct hmac *into)
{
    uint8_t derived[HMAC_BYTES];

    hmac_key(seal->deriver, key->key, sizeof(key->key));
    hmac_begin(seal->deriver);
    hmac_add(seal->deriver, purposes[seal->purpose].derivation);
    hmac_add(seal->deriver, tenant);
    hmac_end(seal->deriver, derived);
    hmac_key(into, derived, sizeof(derived));
    hmac_forget(derived, sizeof(derived));
}

/* Machinery with the tenant's key in it, good until the next call. */
static struct hmac *tenant_hmac(struct token_seal *seal, const struct token_key *key,
                                struct slice tenant)
{
    struct slot *slot = &seal->slots[hash_combine(key->kid, tenant) % CACHE_SLOTS];

    if (tenant.len > TENANT_CACHED_MAX) {
        derive(seal, key, tenant, seal->uncached);
        return seal->uncached;
    }
    if (slot->hmac && slot->kid == key->kid &&
        slice_equal(slice_of(slot->tenant, slot->tenant_len), tenant))
        return slot->hmac;
    if (!slot->hmac)
        slot->hmac = hmac_create();
    derive(seal, key, tenant, slot->hmac);
    slot->kid = key->kid;
    slot->tenant_len = tenant.len;
    if (tenant.len)
        memcpy(slot->tenant, tenant.data, tenant.len);
    return slot->hmac;
}

size_t token_seal_close(struct token_seal *seal, struct slice tenant, struct slice body,
                        char out[TOKEN_TEXT_MAX + 1])
{
    const struct token_key *key = token_keys_first(seal->keys);
    struct slice prefix = purposes[seal->purpose].prefix;
    size_t signed_size = HEADER_BYTES + body.len;
    uint8_t raw[TOKEN_RAW_MAX];

    CHECK(body.len > 0 && body.len <= TOKEN_BODY_MAX);
    raw[0] = VERSION;
    raw[1] = key->kid;
    memcpy(raw + HEADER_BYTES, body.data, body.len);
    hmac_tag(tenant_hmac(seal, key, tenant), slice_of(raw, signed_size), raw + signed_size);
    memcpy(out, prefix.data, prefix.len);
    return prefix.len + base64url_encode(raw, signed_size + HMAC_TAG_BYTES, out + prefix.len);
}

/* The bytes of a text of the right shape; at least one of them is the body's. */
static bool decode(enum token_purpose purpose, struct slice text, uint8_t raw[TOKEN_RAW_MAX],
                   size_t *ret_size)
{
    struct slice prefix = purposes[purpose].prefix;

    return slice_starts_with(text, prefix) &&
           base64url_decode(slice_skip(text, prefix.len), raw, TOKEN_RAW_MAX, ret_size) &&
           *ret_size > HEADER_BYTES + HMAC_TAG_BYTES && raw[0] == VERSION;
}

bool token_seal_peek(enum token_purpose purpose, struct slice text, uint8_t raw[TOKEN_RAW_MAX],
                     struct slice *ret_body)
{
    size_t size;

    if (!decode(purpose, text, raw, &size))
        return false;
    *ret_body = slice_of(raw + HEADER_BYTES, size - HEADER_BYTES - HMAC_TAG_BYTES);
    return true;
}

bool token_seal_open(struct token_seal *seal, struct slice tenant, struct slice text,
                     uint8_t raw[TOKEN_RAW_MAX], struct slice *ret_body)
{
    const struct token_key *key;
    uint8_t tag[HMAC_TAG_BYTES];
    size_t signed_size;
    size_t size;

    if (!decode(seal->purpose, text, raw, &size))
        return false;
    key = token_keys_find(seal->keys, raw[1]);
    if (!key)
        return false;
    signed_size = size - HMAC_TAG_BYTES;
    hmac_tag(tenant_hmac(seal, key, tenant), slice_of(raw, signed_size), tag);
    if (!hmac_equal(tag, raw + signed_size, HMAC_TAG_BYTES))
        return false;
    *ret_body = slice_of(raw + HEADER_BYTES, signed_size - HEADER_BYTES);
    return true;
}
