/*
 * Desks: a few threads with blocking connections for reads and admin changes (inbox_to_desk), on one
 * queue (op/desk_queue.h).
 */
#ifndef HOLDFAST_OP_DESK_H
#define HOLDFAST_OP_DESK_H

#include "op/op.h"

struct desks;

/* count: as many as services->inbox was made for. */
struct desks *desks_create(struct services *services, size_t count);

/* Finishes what is queued, joins, frees. Later pushes are refused. Accepts NULL. */
void desks_destroy(struct desks *desks);

#endif
