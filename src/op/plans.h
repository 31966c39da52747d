/*
 * Plans of the tenants seen so far, by name. Any thread may use everything.
 *
 * A plan here may be old: the guard in every script compares its config version with Redis' own, so
 * an old plan is found out (RESERVED_STALE), forgotten and loaded anew; and the janitor forgets what
 * changed every 500 ms.
 */
#ifndef HOLDFAST_OP_PLANS_H
#define HOLDFAST_OP_PLANS_H

#include "base/slice.h"
#include "quota/plan.h"

struct plans;

struct plans *plans_create(void);
void plans_destroy(struct plans *plans); /* accepts NULL */

/* A reference for the caller, or NULL. */
struct plan *plans_get(struct plans *plans, struct slice tenant);

/* Keeps a reference of its own, unless a newer version of the tenant is there already. */
void plans_put(struct plans *plans, struct plan *plan);

void plans_forget(struct plans *plans, struct slice tenant);

/* Forgets the tenant's plan if its version is below config_version. */
void plans_forget_older(struct plans *plans, struct slice tenant, int64_t config_version);

#endif
