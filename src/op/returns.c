#include "op/returns.h"

#include "base/check.h"

#include <pthread.h>
#include <stdlib.h>

struct returns {
    pthread_mutex_t lock; /* the fields below */
    struct commit_item *first, **tail;
    bool called; /* somebody is on the way */
};

struct returns *returns_create(void)
{
    struct returns *returns = calloc(1, sizeof(*returns));

    CHECK(returns);
    CHECK(pthread_mutex_init(&returns->lock, NULL) == 0);
    returns->tail = &returns->first;
    return returns;
}

void returns_destroy(struct returns *returns)
{
    if (!returns)
        return;
    CHECK(!returns->first);
    pthread_mutex_destroy(&returns->lock);
    free(returns);
}

bool returns_add(struct returns *returns, struct commit_item *const *items, size_t count)
{
    bool call;

    pthread_mutex_lock(&returns->lock);
    for (size_t i = 0; i < count; i++) {
        items[i]->next = NULL;
        *returns->tail = items[i];
        returns->tail = &items[i]->next;
    }
    call = count > 0 && !returns->called;
    returns->called = returns->called || call;
    pthread_mutex_unlock(&returns->lock);
    return call;
}

struct commit_item *returns_take(struct returns *returns)
{
    struct commit_item *first;

    pthread_mutex_lock(&returns->lock);
    first = returns->first;
    returns->first = NULL;
    returns->tail = &returns->first;
    returns->called = false;
    pthread_mutex_unlock(&returns->lock);
    return first;
}
