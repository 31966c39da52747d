#include "base/digest.h"

#include "base/check.h"

#include <openssl/evp.h>
#include <stdlib.h>

struct digest {
    EVP_MD *type;
    EVP_MD_CTX *context;
};

struct digest *digest_create(void)
{
    struct digest *digest = calloc(1, sizeof(*digest));

    CHECK(digest);
    digest->type = EVP_MD_fetch(NULL, "SHA256", NULL);
    digest->context = EVP_MD_CTX_new();
    CHECK(digest->type && digest->context);
    return digest;
}

void digest_destroy(struct digest *digest)
{
    if (!digest)
        return;
    EVP_MD_CTX_free(digest->context);
    EVP_MD_free(digest->type);
    free(digest);
}

void digest_begin(struct digest *digest)
{
    CHECK(EVP_DigestInit_ex2(digest->context, digest->type, NULL) == 1);
}

void digest_add(struct digest *digest, struct slice part)
{
    CHECK(EVP_DigestUpdate(digest->context, part.data ? part.data : "", part.len) == 1);
}

void digest_end(struct digest *digest, uint8_t out[DIGEST_BYTES])
{
    unsigned size = 0;

    CHECK(EVP_DigestFinal_ex(digest->context, out, &size) == 1);
    CHECK(size == DIGEST_BYTES);
}
