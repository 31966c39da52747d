/*
 * The janitor: one thread that does what nobody waits for. Every server has one; all of them may do
 * everything at once.
 *
 *     every 250 ms   reaps due holds of every shard that this server believes active
 *     every 500 ms   the database's clock; authority and tenant versions of other servers' making;
 *                    recall flags that nobody served
 *     every 1 s      closes old leases and periods that are over
 *     every 60 s     retention
 */
#ifndef HOLDFAST_OP_JANITOR_H
#define HOLDFAST_OP_JANITOR_H

#include "op/services.h"

struct janitor;

struct janitor *janitor_create(struct services *services);
void janitor_destroy(struct janitor *janitor); /* accepts NULL */

#endif
