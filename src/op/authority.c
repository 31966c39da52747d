#include "op/authority.h"

#include "base/check.h"
#include "quota/times.h"

#include <stdlib.h>
#include <string.h>

enum { RECOVERY_LOCKS = 16 };

/* Where a shard was before, and when a server may take it back there. */
struct way_back {
    char replid[sizeof(((struct shard_view *)NULL)->replid)];
    int64_t until_us; /* 0: nobody has wanted to yet */
    int64_t pause_ms;
};

struct authority {
    pthread_mutex_t lock;
    struct shard_view views[SHARDS];
    bool known[SHARDS];
    struct way_back backs[SHARDS];
    int64_t changes;
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

bool authority_believed(struct authority *authority, int shard, struct shard_view *ret_view)
{
    bool known;

    CHECK(shard >= 0 && shard < SHARDS);
    pthread_mutex_lock(&authority->lock);
    known = authority->known[shard];
    if (known)
        *ret_view = authority->views[shard];
    pthread_mutex_unlock(&authority->lock);
    return known;
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
        if (authority->known[shard] && strcmp(old->replid, view->replid) != 0)
            memcpy(authority->backs[shard].replid, old->replid, sizeof(old->replid));
        authority->views[shard] = *view;
        authority->known[shard] = true;
        authority->changes++;
    }
    pthread_mutex_unlock(&authority->lock);
}

int64_t authority_changes(struct authority *authority)
{
    int64_t changes;

    pthread_mutex_lock(&authority->lock);
    changes = authority->changes;
    pthread_mutex_unlock(&authority->lock);
    return changes;
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

/* The lock is held. */
static bool may_go_back(struct way_back *back, int64_t mono_us)
{
    if (back->until_us == 0 || mono_us > back->until_us + WAY_BACK_KEEP_MS * INT64_C(1000)) {
        back->pause_ms = WAY_BACK_FIRST_MS;
        back->until_us = mono_us + back->pause_ms * 1000;
        return false;
    }
    if (mono_us < back->until_us)
        return false;
    back->pause_ms = 2 * back->pause_ms < WAY_BACK_MAX_MS ? 2 * back->pause_ms : WAY_BACK_MAX_MS;
    back->until_us = mono_us + back->pause_ms * 1000;
    return true;
}

bool authority_may_begin_on(struct authority *authority, int shard, const char *replid,
                            int64_t mono_us)
{
    struct way_back *back = &authority->backs[shard];
    bool may;

    pthread_mutex_lock(&authority->lock);
    may = !back->replid[0] || strcmp(back->replid, replid) != 0 || may_go_back(back, mono_us);
    pthread_mutex_unlock(&authority->lock);
    return may;
}

pthread_mutex_t *authority_recovery_lock(struct authority *authority, int shard)
{
    return &authority->recovery[shard % RECOVERY_LOCKS];
}
