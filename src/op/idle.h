/*
 * Idle capacity comes back, so that it is there for whoever needs it, and so that little of a limit is set
 * aside when Redis is lost. For the rows of the root that have something lent, a page of them a turn:
 *
 *     nothing has moved for IDLE_STILL_MS    what is more than a quarter of what is free goes back, and the
 *                                            lease's deadline falls to the end of its longest live hold, or
 *                                            to LEASE_MIN_MS from now
 *     the same, and that hold is live for    all that is idle goes back: else it would be set aside for as
 *     longer than LEASE_MIN_MS, or the       long as the hold lasts
 *     lease is over
 *     it moves, and the lease's deadline     that falls, if need be with a unit that goes back
 *     is far behind
 *     its lease is of an earlier epoch       it is set aside, and closes when it is over
 *
 * A quota that nobody uses is looked at until nothing is lent any more; then it costs nothing.
 *
 * Capacity comes back as in recall.h. How a deadline may fall while others raise it: PROTOCOL.md 3.8.
 * Whether something has moved is seen by its row, so what is only held and released does not count; it keeps
 * its quarter. Two servers that look at once, or one that forgets, do no harm. Memory of one thread, with a
 * bound: what is pushed out of it counts as moving.
 */
#ifndef HOLDFAST_OP_IDLE_H
#define HOLDFAST_OP_IDLE_H

#include "base/check.h"
#include "op/stores.h"

#include <stdbool.h>

struct idle;

struct idle *idle_create(void);
void idle_destroy(struct idle *idle); /* accepts NULL */

/*
 * A page. *ret_more: there are rows behind it; else the next page is the first one. A failure is the
 * database's.
 */
MUST_CHECK enum status idle_turn(struct idle *idle, struct stores *stores, bool *ret_more);

#endif
