/*
 * Handles that cancel calls. A handle's lock guards its list; it is held while Core is told, which
 * only puts completions into queues, so that no call can leave the list and be freed meanwhile.
 */
#include "stub/channel.h"

#include "stub/core.h"

#include <stdlib.h>

struct stub_cancel {
    pthread_mutex_t lock;
    atomic_int refs; /* the owner's, and one for each call in the list */
    bool fired;
    struct client_link live; /* head of a ring, by cancel_next and cancel_previous */
};

struct stub_cancel *stub_cancel_create(void)
{
    struct stub_cancel *cancel = calloc(1, sizeof(*cancel));

    CHECK(cancel);
    CHECK(pthread_mutex_init(&cancel->lock, NULL) == 0);
    atomic_store(&cancel->refs, 1);
    cancel->live.cancel_next = cancel->live.cancel_previous = &cancel->live;
    return cancel;
}

void stub_cancel_destroy(struct stub_cancel *cancel)
{
    if (!cancel || atomic_fetch_sub(&cancel->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&cancel->lock);
    free(cancel);
}

void stub_cancel_fire(struct stub_cancel *cancel)
{
    CHECK(cancel);
    if (core_is_forked()) /* its calls are the parent's */
        return;
    pthread_mutex_lock(&cancel->lock);
    cancel->fired = true;
    for (struct client_link *link = cancel->live.cancel_next; link != &cancel->live;
         link = link->cancel_next)
        grpc_call_cancel(link->core, NULL);
    pthread_mutex_unlock(&cancel->lock);
}

void cancel_join(struct stub_cancel *cancel, struct client_link *link)
{
    atomic_fetch_add(&cancel->refs, 1);
    link->cancel = cancel;
    pthread_mutex_lock(&cancel->lock);
    link->cancel_next = &cancel->live;
    link->cancel_previous = cancel->live.cancel_previous;
    link->cancel_previous->cancel_next = link;
    cancel->live.cancel_previous = link;
    if (cancel->fired)
        grpc_call_cancel(link->core, NULL);
    pthread_mutex_unlock(&cancel->lock);
}

void cancel_leave(struct client_link *link)
{
    struct stub_cancel *cancel = link->cancel;

    link->cancel = NULL;
    pthread_mutex_lock(&cancel->lock);
    link->cancel_previous->cancel_next = link->cancel_next;
    link->cancel_next->cancel_previous = link->cancel_previous;
    pthread_mutex_unlock(&cancel->lock);
    stub_cancel_destroy(cancel);
}
