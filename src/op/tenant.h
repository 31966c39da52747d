/*
 * The tenant of an op: its plan, from the cache of plans or from the database.
 */
#ifndef HOLDFAST_OP_TENANT_H
#define HOLDFAST_OP_TENANT_H

#include "op/op.h"
#include "op/stores.h"

#include <stdbool.h>

/*
 * True: the op has failed, INTERNAL with the tenant's name, because its rows contradict each other
 * (ledger/alarms.h). Any thread.
 */
bool op_fail_if_bad(struct op *op);

/*
 * True: the op has failed, READ_ONLY, because the database has lost something of its tenant. undone: what
 * did not happen, as "nothing was held". Any thread.
 */
bool op_fail_if_read_only(struct op *op, const char *undone);

/*
 * op->plan of op->tenant, from the cache or loaded now; may block. False: the op has failed
 * (UNKNOWN_TENANT, INTERNAL as above, or as the database's failure says), nothing was done.
 */
bool op_need_plan(struct op *op, struct stores *stores);

#endif
