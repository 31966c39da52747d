/*
 * The janitor: one thread that does what nobody waits for, a duty at a time (duty.h). Every server
 * has one.
 */
#ifndef HOLDFAST_OP_JANITOR_H
#define HOLDFAST_OP_JANITOR_H

#include "op/services.h"

struct janitor;

struct janitor *janitor_create(struct services *services);

/* Ends after the turn at hand, which takes as long as a store lets it wait. Accepts NULL. */
void janitor_destroy(struct janitor *janitor);

#endif
