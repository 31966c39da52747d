/*
 * Tenants that this server serves from Postgres because Redis is away: whoever watches them is to be told
 * (EVENT_DEGRADED; ledger_degraded_note). Any thread.
 *
 * A bounded memory of what was told lately, so that the database is asked once per tenant and not once per
 * reservation. What is forgotten is told again, and the database knows. Where many tenants come at once,
 * some find no place: their next reservation tells.
 */
#ifndef HOLDFAST_OP_DEGRADED_H
#define HOLDFAST_OP_DEGRADED_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DEGRADED_PLACES = 4093 };

struct degraded;

struct degraded *degraded_create(void);
void degraded_destroy(struct degraded *degraded); /* accepts NULL */

/* The tenant was served from Postgres just now. It waits to be told, unless it was told lately. */
void degraded_note(struct degraded *degraded, int64_t tenant_id, int64_t mono_us);

/* Those that wait, into ret of max; they wait until they are told. */
size_t degraded_waiting(struct degraded *degraded, int64_t *ret, size_t max);

/* These were told: known for DEGRADED_TOLD_MS. */
void degraded_told(struct degraded *degraded, const int64_t *tenants, size_t count,
                   int64_t mono_us);

/* What was told is over: the next one that is served so is told again. */
void degraded_over(struct degraded *degraded);

/* When a tenant was served so last; 0: never. */
int64_t degraded_last_us(const struct degraded *degraded);

#endif
