#include "base/hmac.h"

#include "base/check.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>

struct hmac {
    EVP_MAC_CTX *context;
    bool keyed;
};

struct hmac *hmac_create(void)
{
    struct hmac *hmac = calloc(1, sizeof(*hmac));
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };

    CHECK(hmac && mac);
    hmac->context = EVP_MAC_CTX_new(mac);
    CHECK(hmac->context);
    CHECK(EVP_MAC_CTX_set_params(hmac->context, params) == 1);
    EVP_MAC_free(mac);
    return hmac;
}

void hmac_destroy(struct hmac *hmac)
{
    if (!hmac)
        return;
    EVP_MAC_CTX_free(hmac->context);
    free(hmac);
}

void hmac_key(struct hmac *hmac, const void *key, size_t size)
{
    CHECK(size > 0);
    CHECK(EVP_MAC_init(hmac->context, key, size, NULL) == 1);
    hmac->keyed = true;
}

void hmac_begin(struct hmac *hmac)
{
    CHECK(hmac->keyed);
    /* Without a key this starts the next message under the same one. */
    CHECK(EVP_MAC_init(hmac->context, NULL, 0, NULL) == 1);
}

void hmac_add(struct hmac *hmac, struct slice part)
{
    const unsigned char *data = (const unsigned char *)(part.data ? part.data : "");

    CHECK(EVP_MAC_update(hmac->context, data, part.len) == 1);
}

void hmac_end(struct hmac *hmac, uint8_t out[HMAC_BYTES])
{
    size_t size = 0;

    CHECK(EVP_MAC_final(hmac->context, out, &size, HMAC_BYTES) == 1);
    CHECK(size == HMAC_BYTES);
}

void hmac_sign(struct hmac *hmac, struct slice message, uint8_t out[HMAC_BYTES])
{
    hmac_begin(hmac);
    hmac_add(hmac, message);
    hmac_end(hmac, out);
}

void hmac_tag(struct hmac *hmac, struct slice message, uint8_t out[HMAC_TAG_BYTES])
{
    uint8_t whole[HMAC_BYTES];

    hmac_sign(hmac, message, whole);
    memcpy(out, whole, HMAC_TAG_BYTES);
}

bool hmac_equal(const void *a, const void *b, size_t size)
{
    return CRYPTO_memcmp(a, b, size) == 0;
}

void hmac_forget(void *key, size_t size)
{
    OPENSSL_cleanse(key, size);
}
