/*
 * What this server believes of each shard: a cache of the rows of shard_authority. Any thread.
 *
 * A belief may be old; the guard in every script finds that out. A newer epoch replaces an older
 * one, and within an epoch an active row replaces one that is being made ready.
 */
#ifndef HOLDFAST_OP_AUTHORITY_H
#define HOLDFAST_OP_AUTHORITY_H

#include "quota/plan.h"
#include "quota/shard.h"

#include <pthread.h>
#include <stdbool.h>

struct authority;

struct authority *authority_create(void);
void authority_destroy(struct authority *authority); /* accepts NULL */

/* False: nothing is known of the shard, or it is not active. */
bool authority_get(struct authority *authority, int shard, struct shard_view *ret_view);

void authority_set(struct authority *authority, const struct shard_view *view);

/* Shards that are active now; returns the count. */
size_t authority_active(struct authority *authority, int shards[SHARDS]);

/* Held while one thread of this server makes a shard ready (op/recover.c). */
pthread_mutex_t *authority_recovery_lock(struct authority *authority, int shard);

#endif
