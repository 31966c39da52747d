/*
 * Extend, on the granter: ledger and fence first, then the script; a lease that ends too early is
 * pushed once. A hold whose leases are not the current ones any more (Redis lost them) keeps its
 * expiry, and the answer says so; its commit is honoured all the same.
 */
#ifndef HOLDFAST_OP_EXTEND_H
#define HOLDFAST_OP_EXTEND_H

#include "op/grant.h"

/* Answers all; at most GRANT_OPS_MAX at a time. */
void extend_ops(struct grant_context *context, struct op_extend **ops, size_t count);

#endif
