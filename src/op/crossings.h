/*
 * Where Redis has crossings of what is reserved that are not told yet (quota/reserved.h): a thread that reads
 * so in an answer notes the shard, and the crier (crier.h) comes. Only a hint, in memory: what is
 * forgotten here, the crier's round finds.
 *
 * Any thread notes; one takes and waits.
 */
#ifndef HOLDFAST_OP_CROSSINGS_H
#define HOLDFAST_OP_CROSSINGS_H

#include "base/check.h"
#include "counter/counter.h"

#include <stdbool.h>
#include <stdint.h>

struct crossings;

struct crossings *crossings_create(void);
void crossings_destroy(struct crossings *crossings); /* accepts NULL */

/* [any thread] After a call was answered: does some quota in the answer have crossings? */
static inline bool crossings_in(const struct counter_call *call)
{
    return call->crossed && call->status == STATUS_OK && call->guard == GUARD_PASSED;
}

/* [any thread] The shard's tag has some. Wakes the crier, if nothing was noted yet. */
void crossings_note(struct crossings *crossings, int shard);

/* [any thread] Wakes the crier. */
void crossings_wake(struct crossings *crossings);

/* Bit n: tag n was noted since the last take. */
uint32_t crossings_take(struct crossings *crossings);

/* Until something is noted, or wait_ms have passed, or crossings_wake. */
void crossings_wait(struct crossings *crossings, int wait_ms);

#endif
