/*
 * Is Redis asked at all? The breaker of this server's Redis (base/breaker.h), and what opens it. Any thread.
 *
 * Opens it: a connection that is refused or breaks, silence (counter/counter.h), an error that Redis gives
 * instead of running a script (LOADING, BUSY ...). Does not: a Redis that answers and will not write (OOM,
 * MISCONF), where nobody waits, and which must still be told what frees its memory; one that is not the Redis
 * it was (recover.h). While it is open, a call to Redis is answered UNAVAILABLE at once; the janitor asks for
 * all (duty_probe.c).
 */
#ifndef HOLDFAST_OP_REDIS_H
#define HOLDFAST_OP_REDIS_H

#include "base/status.h"
#include "op/stores.h"

#include <stdbool.h>

struct breaker *redis_breaker_create(const struct service_options *options);

/* Nobody asks it now. */
bool redis_is_away(const struct services *services);

/* A call to it ended so. */
void redis_note(struct stores *stores, enum status status);

#endif
