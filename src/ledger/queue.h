/*
 * What waits for the committer, in order of arrival, and what of it may go next.
 *
 * One caller must not hold up the others:
 *   - a batch that the database refused for its data comes back as suspects, which leave in smaller
 *     parts, until the item that it cannot take is alone (each success lets twice as many go);
 *   - a tenant with a row that somebody keeps locked is stuck: its items wait in a line of their own
 *     and leave by queue_take_stuck only, with a pause that grows with each try that fails;
 *   - a tenant that is in a batch already waits for it, while later ones of other tenants pass.
 *
 * That a tenant is stuck is a belief with an expiry: some seconds after it was last found so, it is let
 * in again. Its pauses are 20 to 320 ms.
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

enum { QUEUE_STUCK_MAX = 512 };

/* Items linked by mailbox.next, oldest first. */
struct queue_line {
    struct mailbox_item *first, **last;
};

/* A tenant that waits alone; nothing is believed of it after keep_us. */
struct queue_stuck {
    struct queue_line line;
    int64_t until_us; /* of its pause */
    int64_t pause_us;
    int64_t keep_us;
    int64_t tried_us; /* when it last waited in line for its locks */
};

/* Fields are private. */
struct queue {
    struct queue_line line;
    size_t suspects;                        /* items in front that are suspected */
    size_t suspects_max;                    /* so many at a time, while there are suspects */
    size_t stuck_end;                       /* all places from here on are free */
    int64_t stuck_tenants[QUEUE_STUCK_MAX]; /* 0: the place is free */
    struct queue_stuck stuck[QUEUE_STUCK_MAX];
};

/* The struct must stay where it is. */
void queue_init(struct queue *queue);

bool queue_is_empty(const struct queue *queue);

/* Any number of items, as a mailbox gives them. */
void queue_append(struct queue *queue, struct mailbox_item *items);

/* To the front again, in the order given; those of a stuck tenant to the front of its line. */
void queue_put_back(struct queue *queue, struct commit_item *const *items, size_t count);

/* Takes the oldest item whose deadline has passed; NULL: none. */
MUST_CHECK struct commit_item *queue_take_expired(struct queue *queue, int64_t now_us);

/*
 * Takes at most max of the oldest items that may go, none of a stuck tenant. busy: tells whether a
 * tenant is in a batch.
 */
size_t queue_take(struct queue *queue, size_t max, bool (*busy)(void *user, int64_t tenant_id),
                  void *user, struct commit_item **items);

/* The next `count` items, which were just put back, go at most `at_a_time` together. */
void queue_suspect(struct queue *queue, size_t count, size_t at_a_time);

/* A batch went through. */
void queue_trust(struct queue *queue);

/*
 * The tenant was found stuck: it is left out from now on, and pauses. When the table is full the one
 * whose pause is over first is let in.
 */
void queue_leave_out(struct queue *queue, int64_t tenant_id, int64_t now_us);

/*
 * It went through: no pause, but alone until the belief ends. Does nothing for a tenant that is not stuck.
 */
void queue_went_through(struct queue *queue, int64_t tenant_id);

/* It is no longer taken for stuck; its items go to the front. */
void queue_let_in(struct queue *queue, int64_t tenant_id);

/*
 * Takes items of stuck tenants whose pause is over, each tenant's oldest, at most max in all; the tenant
 * that has not waited in line for longest comes first. Tenants for which nothing is believed any more are
 * let in.
 */
size_t queue_take_stuck(struct queue *queue, size_t max, int64_t now_us,
                        struct commit_item **items);

/* The tenant waits in line for its locks now, so others come first the next time. */
void queue_tries(struct queue *queue, int64_t tenant_id, int64_t now_us);

#endif
