/*
 * Desks: a few threads with blocking connections for reads and admin changes (op_desk_start).
 */
#ifndef HOLDFAST_OP_DESK_H
#define HOLDFAST_OP_DESK_H

#include "op/op.h"

struct desks;

struct desks *desks_create(struct services *services, int count);

/* Finishes what is queued, joins, frees. No op may follow. Accepts NULL. */
void desks_destroy(struct desks *desks);

#endif
