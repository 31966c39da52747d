/*
 * The granters: two threads for what Reserve, Extend and notifies need of both stores, each with its
 * own blocking connections.
 *
 * The quick one takes everything that has arrived in one turn: notifies first (they free capacity in
 * Redis; those that no worker has taken yet, and those that a worker could not bring), then recalls,
 * extends, and Reserves, all of them in as few transactions and round trips as there are steps
 * (op/grant.c). It waits for a locked row once and 30 ms at most: whoever's it is is set aside
 * (op/aside.h) and goes to the patient one. So does a Reserve that has many due holds to reap, one whose
 * tenant has very many limits, which are to be loaded, and one for which a limit is to be made; and
 * whatever is of a shard that another server or thread is making ready.
 *
 * The patient one takes one tenant at a time, whose pause is over, and goes round until each call is
 * answered or its deadline has passed.
 */
#ifndef HOLDFAST_OP_GRANTER_H
#define HOLDFAST_OP_GRANTER_H

#include "op/inbox.h"

struct granter;
struct services;

/* Starts the thread behind inbox_granter of this one. */
struct granter *granter_create(struct services *services, enum inbox_granter which);

/* Takes no more, answers everything queued and joins the thread; later pushes are refused. */
void granter_stop(struct granter *granter);

/* After granter_stop, when nobody can push any more. Accepts NULL. */
void granter_destroy(struct granter *granter);

#endif
