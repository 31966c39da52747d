/*
 * Stories on one thread over stores that a test makes up: services with what stories believe, and a
 * table of which a test fills in what its story calls. Whatever it calls beside is a crash.
 *
 * Redis is there already: each round trip is counted, and each call of it is answered by `redis`, after
 * its status and guard were set to success. All shards are active, and this server's.
 */
#ifndef HOLDFAST_TESTS_OP_PRETEND_H
#define HOLDFAST_TESTS_OP_PRETEND_H

#include "base/estimate.h"
#include "op/services.h"
#include "op/stores.h"

#include <stddef.h>

struct pretend {
    struct services services; /* op->services, stores->services */
    struct store_table table; /* the test's to fill in */
    struct stores *stores;
    struct estimate estimate;
    size_t round_trips; /* to Redis */
    void (*redis)(struct counter_call *call);
};

/* One at a time. */
struct pretend *pretend_begin(void);
/* The next op that waits for a desk is run at one; there is one. */
void pretend_desk(struct pretend *pretend);

void pretend_end(struct pretend *pretend);

#endif
