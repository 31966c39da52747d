/*
 * The keys that sign reservation ids, receipts and seals, from a file that all servers share and keep
 * over restarts.
 *
 *     # newest first: the first line signs, all verify
 *     7:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
 *     6:ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100
 *
 * A line is `kid:64 hexadecimal digits`, kid from 1 to 255; lines that are empty or begin with '#'
 * are skipped. To rotate: add the new key as the last line on every server, then move it to the
 * front on every server, and take the old one away when its last reservation is too old to commit. A
 * receipt or a seal that an old key signed can be verified as long as the key is here: leave it where
 * they are to count, or keep it elsewhere and add it again when one is to be verified.
 *
 * Read at start, then never changed: any thread may read. Whoever holds these keys can make holds
 * for any tenant, inside what is lent to that tenant.
 */
#ifndef HOLDFAST_QUOTA_TOKEN_KEYS_H
#define HOLDFAST_QUOTA_TOKEN_KEYS_H

#include "base/check.h"
#include "base/slice.h"
#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

enum { TOKEN_KEY_BYTES = 32, TOKEN_KEYS_MAX = 16 };

struct token_key {
    uint8_t kid;
    uint8_t key[TOKEN_KEY_BYTES];
};

struct token_keys;

/*
 * Reads the file. On failure `error` (error_size bytes) gets a sentence with path and line, never a
 * key:
 *   STATUS_UNAVAILABLE  it cannot be opened or read
 *   STATUS_REFUSED      others than its owner may write it, or everyone may read it
 *   STATUS_INVALID      a malformed line, a kid twice, no key, or too many
 */
MUST_CHECK enum status token_keys_load(const char *path, struct token_keys **ret_keys, char *error,
                                       size_t error_size);

/* The same from text; `name` is what errors call it. */
MUST_CHECK enum status token_keys_parse(struct slice text, const char *name,
                                        struct token_keys **ret_keys, char *error,
                                        size_t error_size);

/* Overwrites the keys. Accepts NULL. */
void token_keys_destroy(struct token_keys *keys);

/* The key that signs. */
const struct token_key *token_keys_first(const struct token_keys *keys);

/* The key with this kid, or NULL. */
const struct token_key *token_keys_find(const struct token_keys *keys, uint8_t kid);

#endif
