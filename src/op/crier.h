/*
 * The crier: brings crossings of what is reserved (quota/reserved.h) from Redis to the database, where
 * watchers see them. A thread of its own with its own connections, so that watchers are told within
 * milliseconds; it sleeps while there are none.
 *
 *     Redis      what is counted and not told: of tags that were noted (crossings.h), and every
 *                CRIER_ROUND_MS of all that this server looks after, whoever counted it
 *     Postgres   events and levels, in one transaction, each change once (ledger_crossings_write)
 *     Redis      what the database has goes
 *
 * Whatever ends in between is done again by the next turn, here or on another server, and is not told twice.
 * Of a tenant whose rows are locked or cannot be written nothing is told for a while; the others go on.
 */
#ifndef HOLDFAST_OP_CRIER_H
#define HOLDFAST_OP_CRIER_H

#include "op/op.h"

struct crier;

/* services->crossings must be there. */
struct crier *crier_create(struct services *services);
void crier_destroy(struct crier *crier); /* accepts NULL; joins */

#endif
