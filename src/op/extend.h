/*
 * Extend, on the granter: ledger and fence first, then the script; a lease that ends too early is
 * pushed once. A hold that Redis lost, or that stands under leases of an earlier epoch, cannot be
 * extended, because those leases end; a new attempt is taken under current ones, by the same steps as
 * any Reserve. If that falls short the old expiry stands, and the answer says so. Either way the old
 * reservation id commits until its own deadline, from what was set aside for it.
 */
#ifndef HOLDFAST_OP_EXTEND_H
#define HOLDFAST_OP_EXTEND_H

#include "op/grant.h"

/* Answers all; at most GRANT_OPS_MAX at a time. */
void extend_ops(struct grant_context *context, struct op_extend **ops, size_t count);

#endif
