/*
 * counter/counter.h over the stand-in: the real requests and answers of src/counter, another connection.
 * It replaces counter/redis.c in this program.
 */
#ifndef HOLDFAST_TESTS_SIM_TRANSPORT_H
#define HOLDFAST_TESTS_SIM_TRANSPORT_H

#include "tests/sim/chaos.h"
#include "tests/sim/redis.h"

/* Where counter_create connects to from here on; a connection stays with the node it was made to. */
void transport_use(struct redis *node, struct chaos *chaos);

#endif
