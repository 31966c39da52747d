/*
 * Notifies that Redis has yet to hear of, and those that are on their way to it.
 *
 * A caller who has been answered may reserve again at once, through any worker, and must find the
 * capacity that his commit or release gave back. So a notify is added before the answer goes out, and
 * the granter, before it says that there is nothing left, waits until everything that was added by
 * then has landed. The worker that answers takes the notify along with its next batch; with several
 * workers another one may be quicker.
 *
 * If a notify is given up, the reap does what is left of it when it finds the hold. Of a hold that was
 * reaped before, nothing is left but the job's FINAL mark, which no reap would bring: such marks are kept
 * here until Redis has them (notify_marks).
 */
#ifndef HOLDFAST_OP_NOTIFIES_H
#define HOLDFAST_OP_NOTIFIES_H

#include "op/op.h"

#include "quota/hold.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct notifies;

/* Notifies that one thread has taken and Redis has not answered yet. Zeroed at first. */
struct notify_flight {
    struct notify_flight *next;
    uint64_t number; /* of takes so far; 0: not under way */
};

struct notifies *notifies_create(void);
void notifies_destroy(struct notifies *notifies); /* accepts NULL; nothing may be left */

/* [any thread] Before the caller is answered. Whoever adds one must make sure that it is taken. */
void notifies_add(struct notifies *notifies, struct op_commit *op);

/* [any thread] Without a lock: what this thread has added itself is seen for certain. */
bool notifies_pending(const struct notifies *notifies);

/*
 * [any thread] Takes up to `max`, in order; they are under way as *flight, which has landed before,
 * until notifies_landed. 0: there are none, and nothing is under way.
 */
size_t notifies_take(struct notifies *notifies, struct notify_flight *flight,
                     struct op_commit **ops, size_t max);

/* Redis has heard of them, or they have been given to the granter. */
void notifies_landed(struct notifies *notifies, struct notify_flight *flight);

enum { NOTIFIES_MARKS_MAX = 4096 };

/* A committed job that Redis does not know to be so. */
struct notify_mark {
    struct notify_mark *next;
    int64_t tenant_id;
    int shard;
    int64_t until_us; /* of the monotonic clock: a mark would be forgotten by then */
    size_t job_len;
    char job_id[JOB_ID_BYTES_MAX];
};

/* [any thread] Of NOTIFIES_MARKS_MAX the oldest goes, unmarked. until_us as above. */
void notifies_keep_mark(struct notifies *notifies, int64_t tenant_id, int shard,
                        struct slice job_id, int64_t until_us);

/* [any thread] Up to max, the oldest first; the caller frees each, or gives it back. */
size_t notifies_take_marks(struct notifies *notifies, struct notify_mark **marks, size_t max);
void notifies_give_back_mark(struct notifies *notifies, struct notify_mark *mark);

/* [granter] Waits until all that others have taken so far has landed, or for wait_ms at most. */
void notifies_wait(struct notifies *notifies, int64_t wait_ms);

#endif
