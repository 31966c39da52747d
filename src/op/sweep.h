/*
 * Expiry as a story: the reap, protocol.md 3.6. Redis says which holds are past their deadline; the
 * database, under the quotas' locks, raises reaped_to and says what was spent and committed; only
 * then Redis lets go of the holds, with those totals. Any server may reap at any time.
 */
#ifndef HOLDFAST_OP_SWEEP_H
#define HOLDFAST_OP_SWEEP_H

#include "base/arena.h"
#include "counter/counter.h"
#include "ledger/database.h"
#include "op/services.h"

#include <stdbool.h>

/*
 * Reaps due holds of one tenant until none is left (bounded). False: a store did not answer.
 * *ret_removed: holds that Redis let go of.
 */
bool sweep_tenant(struct services *services, struct database *db, struct counter *counter,
                  struct arena *arena, int shard, int64_t tenant_id, size_t *ret_removed);

/* Every tenant of the shard with due holds. */
bool sweep_shard(struct services *services, struct database *db, struct counter *counter,
                 struct arena *arena, int shard, size_t *ret_removed);

#endif
