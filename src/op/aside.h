/*
 * Tenants that wait alone, because somebody keeps rows of theirs locked. Whatever serves many tenants at
 * once (granter, janitor) leaves them out. The patient granter serves them one by one, each after a pause
 * that grows with each try that fails, from 50 ms to 800 ms. Any thread.
 *
 * A belief with an expiry: a tenant that nobody has found stuck for two seconds is forgotten. The table is
 * small; when it is full, the tenant whose pause ends first is forgotten, which costs one lock_timeout more.
 */
#ifndef HOLDFAST_OP_ASIDE_H
#define HOLDFAST_OP_ASIDE_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ASIDE_MAX = 64 };

struct aside;

struct aside *aside_create(void);
void aside_destroy(struct aside *aside); /* accepts NULL */

/* A row of the tenant could not be locked. */
void aside_put(struct aside *aside, int64_t tenant_id, int64_t mono_us);

/* Its rows could be locked. */
void aside_forget(struct aside *aside, int64_t tenant_id);

/* Is it left out of what is done for many? One atomic load while no tenant is. */
MUST_CHECK bool aside_has(struct aside *aside, int64_t tenant_id, int64_t mono_us);

/* When it may be tried alone: at or before mono_us if now. */
int64_t aside_until_us(struct aside *aside, int64_t tenant_id, int64_t mono_us);

/* Those whose pause is not over; returns how many. */
size_t aside_waiting(struct aside *aside, int64_t mono_us, int64_t ret[ASIDE_MAX]);

#endif
