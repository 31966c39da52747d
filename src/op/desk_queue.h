/*
 * The one queue of all desks, and which op may go next. Any thread pushes, each desk takes.
 *
 * A tenant has at most one op at a desk, and at most a share of the queue. So a tenant whose rows are
 * locked, or whose reads are long, keeps one desk busy, and the others serve everybody else. Ops that
 * name no tenant take any free desk.
 */
#ifndef HOLDFAST_OP_DESK_QUEUE_H
#define HOLDFAST_OP_DESK_QUEUE_H

#include "base/check.h"
#include "op/op.h"

#include <stdbool.h>
#include <stddef.h>

enum { DESKS_MAX = 8 };

struct desk_queue;

struct desk_queue *desk_queue_create(void);
void desk_queue_destroy(struct desk_queue *queue); /* empty; accepts NULL */

/* [any thread] Gives the op away. False: full, or closed; it stays with the caller. */
MUST_CHECK bool desk_queue_push(struct desk_queue *queue, struct op *op);

/*
 * [desk] Waits for the first op whose tenant is at no desk; desk is 0 .. DESKS_MAX - 1. What the desk
 * took before is done. NULL: the queue is closed and empty.
 */
struct op *desk_queue_take(struct desk_queue *queue, size_t desk);

/* Refuses pushes from here on. */
void desk_queue_close(struct desk_queue *queue);

#endif
