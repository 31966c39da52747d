/*
 * A bounded queue into one thread that also polls sockets.
 *
 * Any thread pushes, exactly one (the consumer) takes. Items are intrusive: put a struct
 * mailbox_item into the job and find the job again with container_of. A successful push gives the
 * item away; a refused push leaves it with the caller. Items leave in the order they came in, all
 * at once, which is what makes batches.
 *
 * The eventfd is written only when the consumer sleeps, so a busy consumer costs its producers no
 * system call. The consumer's loop:
 *
 *     for (;;) {
 *         take all, work, mailbox_done;
 *         if (mailbox_will_sleep(m)) {            // false: something came in, go round again
 *             poll({mailbox_fd(m), sockets}, timeout);
 *             mailbox_awake(m);                   // always, whatever ended the poll
 *         } else {
 *             poll({sockets}, 0);                 // if it has any
 *         }
 *     }
 *
 * No wake-up is lost: will_sleep looks at the queue and notes the sleep under the lock that push
 * holds, so a push is either seen by will_sleep or sees the sleeper. A wake-up without items may
 * happen and is harmless.
 */
#ifndef HOLDFAST_WORK_MAILBOX_H
#define HOLDFAST_WORK_MAILBOX_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>

struct mailbox;

struct mailbox_item {
    struct mailbox_item *next;
};

/*
 * Room for items_max items, at least 1. Items count until the consumer calls mailbox_done for them, so
 * a consumer with lists of its own is bounded too. NULL: no file descriptor left (errno is set).
 */
MUST_CHECK struct mailbox *mailbox_create(size_t items_max);

/* No thread may use the mailbox any more and it must be empty. Accepts NULL. */
void mailbox_destroy(struct mailbox *mailbox);

/* Gives the item away. False: full or closed; the item is still the caller's. */
MUST_CHECK bool mailbox_push(struct mailbox *mailbox, struct mailbox_item *item);

/* Consumer only: all items, oldest first, linked by next; NULL when there are none. */
MUST_CHECK struct mailbox_item *mailbox_take_all(struct mailbox *mailbox);

/* This many of the items taken are answered, or given to somebody else. Any thread. */
void mailbox_done(struct mailbox *mailbox, size_t count);

/* Becomes readable when the consumer should wake; only to be polled. */
int mailbox_fd(const struct mailbox *mailbox);

/* Consumer only: true, and noted as asleep, if the mailbox is empty and open. */
MUST_CHECK bool mailbox_will_sleep(struct mailbox *mailbox);

/* Consumer only: after each poll that followed a true mailbox_will_sleep. */
void mailbox_awake(struct mailbox *mailbox);

/* Refuses pushes from here on and wakes the consumer, who still takes the rest. Repeatable. */
void mailbox_close(struct mailbox *mailbox);
bool mailbox_is_closed(struct mailbox *mailbox);

/* Items inside now, without those taken; for the status page and for admission, not for decisions. */
size_t mailbox_count(struct mailbox *mailbox);

#endif
