/*
 * Plans of the tenants seen lately, by name. Any thread may use everything.
 *
 * A plan here may be old. What it admits is looked at again: the guard in every script compares its
 * config version with Redis' own, so an old plan is found out (RESERVED_STALE), forgotten and loaded
 * anew. Nobody checks what it refuses, so only a young plan is believed for that
 * (plans_may_refuse). Every second the janitor forgets the plans that changed; one that it missed ends after
 * PLANS_LAST_MS.
 *
 * All plans together have a bound. When it is reached, the hand of a clock goes round and drops those that
 * nobody has asked for since it last came by.
 */
#ifndef HOLDFAST_OP_PLANS_H
#define HOLDFAST_OP_PLANS_H

#include "base/check.h"
#include "base/clock.h"
#include "base/slice.h"
#include "quota/plan.h"
#include "quota/times.h"

#include <stdbool.h>
#include <stddef.h>

struct plans;

enum {
    PLANS_BYTES_MAX = 128 << 20, /* for plans_create: half a million small tenants */
};

/* bytes_max: of all plans together; the last one that was put stays, whatever its size. */
struct plans *plans_create(const struct clock *clock, size_t bytes_max);
void plans_destroy(struct plans *plans); /* accepts NULL */

/* A reference for the caller, or NULL: there is none, or it is too old. */
struct plan *plans_get(struct plans *plans, struct slice tenant);

/* Keeps a reference of its own, unless a newer version of the tenant is there already. */
void plans_put(struct plans *plans, struct plan *plan);

/*
 * For a plan from plans_get, before a request is refused because of what it says: true if it was put
 * within the last PLANS_REFUSE_MS. False: it is forgotten, and the caller loads it anew.
 */
MUST_CHECK bool plans_may_refuse(struct plans *plans, const struct plan *plan);

/* Of all plans, names and the table included. */
size_t plans_bytes(struct plans *plans);

void plans_forget(struct plans *plans, struct slice tenant);

/* For when the database is another one. */
void plans_forget_all(struct plans *plans);

#endif
