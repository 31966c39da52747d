/*
 * Settles that Redis has yet to hear of, and those that are on their way to it.
 *
 * A caller who has been answered may reserve again at once, through any worker, and must find the
 * capacity that his commit or release gave back. So a settle is added before the answer goes out, and
 * the granter, before it says that there is nothing left, waits until everything that was added by
 * then has landed. The worker that answers takes the settle along with its next batch; with several
 * workers another one may be quicker.
 */
#ifndef HOLDFAST_OP_SETTLES_H
#define HOLDFAST_OP_SETTLES_H

#include "op/op.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct settles;

/* Settles that one thread has taken and Redis has not answered yet. Zeroed at first. */
struct settle_flight {
    struct settle_flight *next;
    uint64_t number; /* of takes so far; 0: not under way */
};

struct settles *settles_create(void);
void settles_destroy(struct settles *settles); /* accepts NULL; nothing may be left */

/* [any thread] Before the caller is answered. Whoever adds one must see to it that it is taken. */
void settles_add(struct settles *settles, struct op_commit *op);

/* [any thread] Without a lock: what this thread has added itself is seen for certain. */
bool settles_pending(const struct settles *settles);

/*
 * [any thread] Takes up to `max`, in order; they are under way as *flight, which has landed before,
 * until settles_landed. 0: there are none, and nothing is under way.
 */
size_t settles_take(struct settles *settles, struct settle_flight *flight, struct op_commit **ops,
                    size_t max);

/* Redis has heard of them, or they have been given to the granter. */
void settles_landed(struct settles *settles, struct settle_flight *flight);

/* [granter] Waits until all that others have taken so far has landed, or for wait_ms at most. */
void settles_wait(struct settles *settles, int64_t wait_ms);

#endif
