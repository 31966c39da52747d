#include "op/authority.h"

#include "base/check.h"

#include <stdlib.h>

enum { RECOVERY_LOCKS = 16 };

struct authority {
    pthread_mutex_t lock;
    struct shard_view views[SHARDS];
    bool known[SHARDS];
    pthread_mutex_t recovery[RECOVERY_LOCKS];
};

struct authority *authority_create(void)
{
    struct authority *authority = calloc(1, sizeof(*authority));

    CHECK(authority);
    CHECK(pthread_mutex_init(&authority->lock, NULL) == 0);
    for (int i = 0; i < RECOVERY_LOCKS; i++)
        CHECK(pthread_mutex_init(&authority->recovery[i], NULL) == 0);
    return authority;
}

void authority_destroy(struct authority *authority)
{
    if (!authority)
        return;
    for (int i = 0; i < RECOVERY_LOCKS; i++)
        pthread_mutex_destroy(&authority->recovery[i]);
    pthread_mutex_destroy(&authority->lock);
    free(authority);
}

bool authority_get(struct authority *authority, int shard, struct shard_view *ret_view)
{
    bool usable;

    CHECK(shard >= 0 && shard < SHARDS);
    pthread_mutex_lock(&authority->lock);
    usable = authority->known[shard] && authority->views[shard].active;
    if (usable)
        *ret_view = authority->views[shard];
    pthread_mutex_unlock(&authority->lock);
    return usable;
}

void authority_set(struct authority *authority, const struct shard_view *view)
{
    int shard = view->shard;
    const struct shard_view *old;

    CHECK(shard >= 0 && shard < SHARDS);
    pthread_mutex_lock(&authority->lock);
    old = &authority->views[shard];
    if (!authority->known[shard] || view->epoch > old->epoch ||
        (view->epoch == old->epoch && !old->active)) {
        authority->views[shard] = *view;
        authority->known[shard] = true;
    }
    pthread_mutex_unlock(&authority->lock);
}

size_t authority_active(struct authority *authority, int shards[SHARDS])
{
    size_t count = 0;

    pthread_mutex_lock(&authority->lock);
    for (int shard = 0; shard < SHARDS; shard++)
        if (authority->known[shard] && authority->views[shard].active)
            shards[count++] = shard;
    pthread_mutex_unlock(&authority->lock);
    return count;
}

pthread_mutex_t *authority_recovery_lock(struct authority *authority, int shard)
{
    return &authority->recovery[shard % RECOVERY_LOCKS];
}
