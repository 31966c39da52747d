#include "ledger/queue.h"

#include <string.h>

static struct commit_item *item_of(struct mailbox_item *link)
{
    return container_of(link, struct commit_item, mailbox);
}

void queue_init(struct queue *queue)
{
    memset(queue, 0, sizeof(*queue));
    queue->last = &queue->first;
}

void queue_append(struct queue *queue, struct mailbox_item *items)
{
    *queue->last = items;
    while (*queue->last)
        queue->last = &(*queue->last)->next;
}

void queue_put_back(struct queue *queue, struct commit_item *const *items, size_t count)
{
    while (count-- > 0) {
        struct mailbox_item *link = &items[count]->mailbox;

        if (!queue->first)
            queue->last = &link->next;
        link->next = queue->first;
        queue->first = link;
    }
}

/* Takes the item that *at leads to. */
static struct commit_item *unlink_item(struct queue *queue, struct mailbox_item **at)
{
    struct commit_item *item = item_of(*at);

    *at = item->mailbox.next;
    if (!*at)
        queue->last = at;
    return item;
}

struct commit_item *queue_take_expired(struct queue *queue, int64_t now_us)
{
    for (struct mailbox_item **at = &queue->first; *at; at = &(*at)->next)
        if (item_of(*at)->give_up_us <= now_us)
            return unlink_item(queue, at);
    return NULL;
}

static bool is_left_out(const struct queue *queue, int64_t tenant_id, int64_t now_us)
{
    for (size_t i = 0; i < QUEUE_STUCK_MAX; i++)
        if (queue->stuck[i].until_us > now_us && queue->stuck[i].tenant_id == tenant_id)
            return true;
    return false;
}

size_t queue_take(struct queue *queue, size_t max, int64_t now_us,
                  bool (*busy)(void *user, int64_t tenant_id), void *user,
                  struct commit_item **items)
{
    struct mailbox_item **at = &queue->first;
    size_t count = 0;

    if (queue->suspects > 0 && queue->suspects_max < max)
        max = queue->suspects_max;
    while (*at && count < max) {
        int64_t tenant_id = item_of(*at)->settle.tenant_id;

        if (busy(user, tenant_id) || is_left_out(queue, tenant_id, now_us))
            at = &(*at)->next;
        else
            items[count++] = unlink_item(queue, at);
    }
    queue->suspects -= count < queue->suspects ? count : queue->suspects;
    return count;
}

void queue_suspect(struct queue *queue, size_t count, size_t at_a_time)
{
    CHECK(at_a_time > 0);
    queue->suspects += count;
    queue->suspects_max = at_a_time;
}

void queue_trust(struct queue *queue)
{
    if (queue->suspects > 0 && queue->suspects_max < SIZE_MAX / 2)
        queue->suspects_max *= 2;
}

void queue_leave_out(struct queue *queue, int64_t tenant_id, int64_t until_us)
{
    size_t first = 0;

    for (size_t i = 1; i < QUEUE_STUCK_MAX; i++)
        if (queue->stuck[i].until_us < queue->stuck[first].until_us)
            first = i;
    queue->stuck[first].tenant_id = tenant_id;
    queue->stuck[first].until_us = until_us;
}
