/*
 * Whose call it is: the one place that decides whether a caller may act for a tenant.
 *
 * In this version there are no credentials: the server listens on loopback or a unix socket, and
 * whoever reaches it may act for every tenant.
 */
#ifndef HOLDFAST_RPC_AUTH_H
#define HOLDFAST_RPC_AUTH_H

#include "base/check.h"
#include "base/slice.h"
#include "op/op.h"
#include "stub/call.h"

#include <stdbool.h>

/* Sets op->tenant. False: the op has failed, and the call is to be refused. */
MUST_CHECK bool auth_tenant(struct op *op, struct stub_call *call, struct slice tenant);

#endif
