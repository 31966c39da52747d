/*
 * Bytes as text: hexadecimal and base64url (RFC 4648 section 5, without padding).
 *
 * Decoding is strict: one text per byte string, so that a signed text cannot be altered and still
 * mean the same. Pure functions; any thread.
 */
#ifndef HOLDFAST_BASE_HEX_H
#define HOLDFAST_BASE_HEX_H

#include "base/check.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>

/* Characters that n bytes become, without the NUL. */
#define HEX_LEN(n) (2 * (n))
#define BASE64URL_LEN(n) (((n)*4 + 2) / 3)

/* Writes HEX_LEN(size) lower-case digits and a NUL to out. */
void hex_encode(const void *data, size_t size, char *out);

/* Exactly size bytes from 2 * size digits of either case; false leaves out undefined. */
MUST_CHECK bool hex_decode(struct slice text, void *out, size_t size);

/* Writes BASE64URL_LEN(size) characters and a NUL to out; returns their number. */
size_t base64url_encode(const void *data, size_t size, char *out);

/*
 * Decodes into at most out_size bytes. False, with out undefined: a character outside the alphabet
 * (padding included), a length that cannot be, stray bits at the end, or no room.
 */
MUST_CHECK bool base64url_decode(struct slice text, void *out, size_t out_size, size_t *ret_size);

#endif
