/*
 * What waits for the committer, in order of arrival, and who of it may go next.
 *
 * One caller must not spoil it for the others:
 *   - a batch that the database refused for its data comes back as suspects, which leave in smaller
 *     parts, until the item that it cannot take is alone (each success lets twice as many go);
 *   - a tenant with a row that somebody keeps locked is left out for a while;
 *   - a tenant that is in a batch already waits for it, while later ones of other tenants pass.
 *
 * Private to the committer's thread. No I/O.
 */
#ifndef HOLDFAST_LEDGER_QUEUE_H
#define HOLDFAST_LEDGER_QUEUE_H

#include "base/check.h"
#include "ledger/committer.h"
#include "work/mailbox.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QUEUE_STUCK_MAX = 8 };

/* Fields are private. */
struct queue {
    struct mailbox_item *first, **last; /* linked by the items' mailbox.next, oldest first */
    size_t suspects;                    /* items in front that are suspected */
    size_t suspects_max;                /* so many at a time, while there are suspects */
    struct {
        int64_t tenant_id;
        int64_t until_us;
    } stuck[QUEUE_STUCK_MAX];
};

/* The struct must stay where it is. */
void queue_init(struct queue *queue);

static inline bool queue_is_empty(const struct queue *queue)
{
    return !queue->first;
}

/* Any number of items, as a mailbox gives them. */
void queue_append(struct queue *queue, struct mailbox_item *items);

/* To the front again, in the order given. */
void queue_put_back(struct queue *queue, struct commit_item *const *items, size_t count);

/* Takes the oldest item whose deadline has passed; NULL: none. */
MUST_CHECK struct commit_item *queue_take_expired(struct queue *queue, int64_t now_us);

/* Takes at most max of the oldest items that may go. busy: tells whether a tenant is in a batch. */
size_t queue_take(struct queue *queue, size_t max, int64_t now_us,
                  bool (*busy)(void *user, int64_t tenant_id), void *user,
                  struct commit_item **items);

/* The next `count` items, which were just put back, go at most `at_a_time` together. */
void queue_suspect(struct queue *queue, size_t count, size_t at_a_time);

/* A batch went through. */
void queue_trust(struct queue *queue);

/* Leaves the tenant out until then. The table is small: the one that is over first is forgotten. */
void queue_leave_out(struct queue *queue, int64_t tenant_id, int64_t until_us);

#endif
