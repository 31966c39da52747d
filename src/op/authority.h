/*
 * What this server believes of each shard: a cache of the rows of shard_authority. Any thread.
 *
 * A belief may be old; the guard in every script finds that out. A newer epoch replaces an older
 * one, and within an epoch an active row replaces one that is being made ready. Epochs only rise: a
 * row that is behind what is believed means that the database went back (op/recover.h).
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

/* What was last set, active or not. False: nothing is known of the shard. */
bool authority_believed(struct authority *authority, int shard, struct shard_view *ret_view);

void authority_set(struct authority *authority, const struct shard_view *view);

/* Goes up whenever something else is believed. */
int64_t authority_changes(struct authority *authority);

/* Shards that are active now; returns the count. */
size_t authority_active(struct authority *authority, int shards[SHARDS]);

/*
 * May this server begin an epoch on a Redis with this replid? Not yet, if the shard was there before and
 * somebody has taken it elsewhere since: two Redis that both live would steal it from each other for
 * ever. The first time it waits WAY_BACK_FIRST_MS, then twice as long each time, up to WAY_BACK_MAX_MS;
 * after WAY_BACK_KEEP_MS without a try it begins with the first again.
 */
bool authority_may_begin_on(struct authority *authority, int shard, const char *replid,
                            int64_t mono_us);

/* Held while one thread of this server makes a shard ready (op/recover.c). */
pthread_mutex_t *authority_recovery_lock(struct authority *authority, int shard);

#endif
