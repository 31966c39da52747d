/*
 * HMAC-SHA256, whole or cut to 128 bits, on OpenSSL.
 *
 * A struct hmac is the machinery (one OpenSSL context), kept because it is costly to make; it
 * belongs to one thread at a time and holds a key only between hmac_key and the next one. If
 * the library refuses SHA-256 or has no memory, the machine is broken: CHECK.
 */
#ifndef HOLDFAST_BASE_HMAC_H
#define HOLDFAST_BASE_HMAC_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HMAC_BYTES = 32, HMAC_TAG_BYTES = 16 };

struct hmac;

struct hmac *hmac_create(void);

/* Accepts NULL. */
void hmac_destroy(struct hmac *hmac);

/* Takes the key for the signatures that follow; the caller's copy may go. size >= 1. */
void hmac_key(struct hmac *hmac, const void *key, size_t size);

/* The whole code of one message, under the key that was set. */
void hmac_sign(struct hmac *hmac, struct slice message, uint8_t out[HMAC_BYTES]);

/* The same for a message in parts: begin, add as often as needed, end. */
void hmac_begin(struct hmac *hmac);
void hmac_add(struct hmac *hmac, struct slice part);
void hmac_end(struct hmac *hmac, uint8_t out[HMAC_BYTES]);

/* Its first 128 bits: enough to stop forgery, short enough for a token. */
void hmac_tag(struct hmac *hmac, struct slice message, uint8_t out[HMAC_TAG_BYTES]);

/* Takes the same time wherever the difference is. */
bool hmac_equal(const void *a, const void *b, size_t size);

/* Overwrites a key so that no compiler leaves the write out. */
void hmac_forget(void *key, size_t size);

#endif
