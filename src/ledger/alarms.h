/*
 * What the ledger has met that an operator must see, for GetStatus and for threads that ask before they
 * work for a tenant:
 *
 *   faults    the database answered an error that is no lost connection (SQLSTATE of another class
 *             than those of connections, shutdown and too many clients): counted, logged at most once
 *             a second
 *   aside     tenants whose rows contradict each other, or cannot be read. Nothing is decided for
 *             them; they are looked at again ALARMS_ASIDE_MS later, by themselves
 *
 * One for the whole server; any thread. Functions accept NULL: then nothing is kept.
 */
#ifndef HOLDFAST_LEDGER_ALARMS_H
#define HOLDFAST_LEDGER_ALARMS_H

#include "base/check.h"
#include "base/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SQLSTATE_BYTES = 6, /* five characters and the end */
    ALARMS_TEXT_BYTES = 160,
    ALARMS_ASIDE_MAX = 64, /* more: the one that is over first is forgotten, and found again */
};

struct alarms;

struct alarms *alarms_create(const struct clock *clock);
void alarms_destroy(struct alarms *alarms); /* accepts NULL */

/* The database answered with this error. */
void alarms_fault(struct alarms *alarms, const char *sqlstate, const char *error);

/* The tenant's rows contradict each other; `what` says where. */
void alarms_set_aside(struct alarms *alarms, int64_t tenant_id, const char *what);

/* Is the tenant set aside now? One atomic load while no tenant is. */
MUST_CHECK bool alarms_is_aside(struct alarms *alarms, int64_t tenant_id);

struct alarms_state {
    uint64_t faults;               /* since the start */
    char sqlstate[SQLSTATE_BYTES]; /* of the last one; "" if none */
    char fault[ALARMS_TEXT_BYTES];
    uint64_t set_aside; /* times that a tenant was set aside since the start */
    size_t aside_count; /* tenants that are so now */
    int64_t aside[ALARMS_ASIDE_MAX];
};

void alarms_read(struct alarms *alarms, struct alarms_state *ret);

#endif
