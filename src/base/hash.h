/*
 * A fast 64-bit hash (XXH3) for tables in memory and for spreading names.
 *
 * The value is the same on every machine and in every version, so it may be stored. It is no
 * protection against forgery: see hmac.h for that.
 */
#ifndef HOLDFAST_BASE_HASH_H
#define HOLDFAST_BASE_HASH_H

#include "base/slice.h"

#include <stdint.h>
#include <xxhash.h>

static inline uint64_t hash_bytes(const void *data, size_t len)
{
    return XXH3_64bits(data, len);
}

static inline uint64_t hash_slice(struct slice s)
{
    return XXH3_64bits(s.data, s.len);
}

/* For a hash of several parts in a row: start with 0 and pass the previous value on. */
static inline uint64_t hash_combine(uint64_t seed, struct slice s)
{
    return XXH3_64bits_withSeed(s.data, s.len, seed);
}

#endif
