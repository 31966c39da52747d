/*
 * Signed text: a prefix that says of what, "hf1." of a reservation or "hfr1." of a receipt, and
 * base64url of
 *
 *     version (1 byte, 1) | kid (1 byte) | body | HMAC-SHA256 of all that, cut to 128 bits
 *
 * under a key of the tenant's own, HMAC-SHA256(key of the file, label + name), where the label is
 * "tenant|" for reservations and "receipt|" for receipts: the text of one tenant never opens for
 * another, nor that of one purpose for the other. It is signed, not encrypted.
 *
 * A struct token_seal holds the machinery and the keys of the tenants seen last, because deriving
 * one costs more than signing. It belongs to one thread at a time; make one for each.
 * The keys of the file are only read and must outlive it.
 */
#ifndef HOLDFAST_QUOTA_TOKEN_SEAL_H
#define HOLDFAST_QUOTA_TOKEN_SEAL_H

#include "base/check.h"
#include "base/hex.h"
#include "base/hmac.h"
#include "base/slice.h"
#include "quota/token_keys.h"

#include <stdbool.h>
#include <stddef.h>

#define TOKEN_PREFIX "hf1."
#define TOKEN_RECEIPT_PREFIX "hfr1."

enum {
    TOKEN_BODY_MAX = 28672,
    TOKEN_RAW_MAX = 2 + TOKEN_BODY_MAX + HMAC_TAG_BYTES,
    TOKEN_TEXT_MAX =
        sizeof(TOKEN_RECEIPT_PREFIX) - 1 + BASE64URL_LEN(TOKEN_RAW_MAX), /* without the NUL */
};

enum token_purpose { TOKEN_OF_RESERVATION, TOKEN_OF_RECEIPT };

struct token_seal;

struct token_seal *token_seal_create(const struct token_keys *keys, enum token_purpose purpose);

/* Accepts NULL. */
void token_seal_destroy(struct token_seal *seal);

/* Writes the NUL-terminated text and returns its length; body.len is 1 to TOKEN_BODY_MAX. */
size_t token_seal_close(struct token_seal *seal, struct slice tenant, struct slice body,
                        char out[TOKEN_TEXT_MAX + 1]);

/*
 * The body of a genuine text of this tenant, as a slice of raw. False for everything else: another
 * prefix, length or alphabet, a wrong version, an unknown key, a wrong code, another tenant.
 */
MUST_CHECK bool token_seal_open(struct token_seal *seal, struct slice tenant, struct slice text,
                                uint8_t raw[TOKEN_RAW_MAX], struct slice *ret_body);

/* The body without any check of who signed it; false if the text has not even the shape. */
MUST_CHECK bool token_seal_peek(enum token_purpose purpose, struct slice text,
                                uint8_t raw[TOKEN_RAW_MAX], struct slice *ret_body);

#endif
