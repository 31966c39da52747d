/*
 * SHA-256, by OpenSSL.
 *
 * A struct digest is the machinery for one thread at a time: make one, and use it for any number of
 * messages.
 */
#ifndef HOLDFAST_BASE_DIGEST_H
#define HOLDFAST_BASE_DIGEST_H

#include "base/slice.h"

#include <stdint.h>

enum { DIGEST_BYTES = 32 };

struct digest;

struct digest *digest_create(void);

/* Accepts NULL. */
void digest_destroy(struct digest *digest);

/* A message in parts: begin, add as often as needed, end. */
void digest_begin(struct digest *digest);
void digest_add(struct digest *digest, struct slice part);
void digest_end(struct digest *digest, uint8_t out[DIGEST_BYTES]);

#endif
