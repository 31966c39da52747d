/*
 * Tenants with holds in Postgres: whoever looks for a job of theirs asks pg_hold too. Any thread.
 *
 * A belief with an expiry. The beat brings the list of all of them, at most DIRTY_MAX; where there are more,
 * it is everybody. This server's own holds are added at once, until a beat that was asked later has them.
 * While the beat does not come, the database is away for this server: then nobody is, because it could not be
 * asked.
 * What a belief that is a beat old can do is in PROTOCOL.md 3.9.
 */
#ifndef HOLDFAST_OP_DIRTY_H
#define HOLDFAST_OP_DIRTY_H

#include "base/check.h"
#include "ledger/ledger.h"
#include "quota/times.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DIRTY_MAX = LEDGER_PLACED_MAX };

struct dirty;

struct dirty *dirty_create(void);
void dirty_destroy(struct dirty *dirty); /* accepts NULL */

/* A beat that was asked at asked_us has found these, sorted; count above DIRTY_MAX: more than it lists. */
void dirty_set(struct dirty *dirty, const int64_t *tenants, size_t count, int64_t asked_us);

/*
 * Redis was away, or is not the one that it was: others may have taken holds meanwhile that this server has
 * not heard of. Everybody is one, until a beat that is asked later.
 */
void dirty_doubt(struct dirty *dirty, int64_t mono_us);

/* This server has taken a hold of the tenant, by mono_us. */
void dirty_add(struct dirty *dirty, int64_t tenant_id, int64_t mono_us);

/* Is any tenant, as far as this server knows? One atomic load. */
bool dirty_any(const struct dirty *dirty);

/* One atomic load while no tenant is. */
MUST_CHECK bool dirty_has(struct dirty *dirty, int64_t tenant_id, int64_t mono_us);

#endif
