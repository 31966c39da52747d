/*
 * Whose call it is: the one place that decides whether a caller may act for a tenant.
 *
 * In this version whoever reaches the server may act for every tenant: on loopback and unix sockets
 * everybody who can log in to the machine, by mTLS everybody with a certificate of --tls-client-ca. A
 * rule of who may act for which tenant would go here, by stub_call_peer_identities.
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
