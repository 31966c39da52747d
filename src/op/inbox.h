/*
 * The doors to the threads: one push for each. A story hands its op over here and knows nothing of the
 * loop behind the door.
 *
 * A push gives the op away, unless it is refused: then the op stays with the caller, who answers
 * OVERLOADED, definite. Each door is bounded.
 */
#ifndef HOLDFAST_OP_INBOX_H
#define HOLDFAST_OP_INBOX_H

#include "base/check.h"
#include "op/desk_queue.h"
#include "op/op.h"

#include <stdbool.h>
#include <stddef.h>

struct stores;

struct inbox;

enum inbox_granter { GRANTER_QUICK, GRANTER_PATIENT, GRANTERS };

struct inbox *inbox_create(void);
void inbox_destroy(struct inbox *inbox); /* when all threads have ended; accepts NULL */

/* For the threads behind the doors. */
struct mailbox *inbox_granter(struct inbox *inbox, enum inbox_granter granter);
struct desk_queue *inbox_desks(struct inbox *inbox);

/* --- granter, desk, committer: from any thread --------------------------------------------------- */

/*
 * op->errand becomes errand: op is the op_reserve, op_extend or op_commit of that errand. Tenants that
 * are set aside (op/aside.h) go to the patient granter, the others to the quick one. The bound counts
 * what a granter has taken out and not answered (mailbox_done).
 */
MUST_CHECK bool inbox_to_granter(struct op *op, enum op_errand errand);

/* From the quick granter: an op that would keep the others waiting. */
MUST_CHECK bool inbox_to_patient(struct op *op, enum op_errand errand);

/*
 * run is called on a desk's thread with its stores; it may block for a moment and must end in
 * op_finish(op), or give the op to another door. If the desks are full, the op fails OVERLOADED and is
 * finished at once.
 */
void inbox_to_desk(struct op *op, void (*run)(struct op *op, struct stores *stores));

MUST_CHECK bool inbox_to_committer(struct op_commit *op);

/* --- a worker: on its own thread ----------------------------------------------------------------- */

/* Ops in order of arrival, linked by their mailbox items. */
struct inbox_list {
    struct mailbox_item *first, **tail;
};

void inbox_list_init(struct inbox_list *list);
void inbox_list_add(struct inbox_list *list, struct op *op);
struct op *inbox_list_take(struct inbox_list *list); /* the first, or NULL */

/* What goes with a worker's next batch; the worker owns it and its thread alone uses it. */
struct inbox_worker {
    struct inbox_list reserves, lookups;
    size_t pending; /* of both */
};

/* What a thread serves calls with. */
void inbox_worker_init(struct inbox_worker *worker);

/* A Reserve or the look-up of a Commit. If the list is full, the op is answered OVERLOADED. */
void inbox_to_worker(struct inbox_worker *worker, struct op *op, enum op_errand errand);

#endif
