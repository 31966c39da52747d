/*
 * What a server believes of one shard: the copy of its row in shard_authority that goes with every
 * script (the guard compares it with what Redis is). A value, copied freely.
 */
#ifndef HOLDFAST_QUOTA_SHARD_H
#define HOLDFAST_QUOTA_SHARD_H

#include <stdbool.h>
#include <stdint.h>

enum { REPLID_CHARS = 40, NONCE_CHARS = 32 };

struct shard_view {
    int shard;
    int64_t epoch;
    char replid[REPLID_CHARS + 1]; /* the Redis incarnation that may serve the shard */
    char nonce[NONCE_CHARS + 1];   /* of the activation */
    bool active;                   /* state A; I: being made ready, nobody uses it */
};

#endif
