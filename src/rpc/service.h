/*
 * The edge: gRPC requests become ops, and what the ops found out becomes replies. One file per
 * request; each decodes and validates, starts the op, and encodes in the op's `done`, on whichever
 * thread that comes. Nothing here waits.
 */
#ifndef HOLDFAST_RPC_SERVICE_H
#define HOLDFAST_RPC_SERVICE_H

#include "base/check.h"
#include "op/services.h"
#include "stub/server.h"

#include <pthread.h>
#include <stdbool.h>

struct token_seal;

/* Outlives the server. Fields are for rpc/ only. */
struct rpc {
    struct services *services;
    pthread_key_t seal_key, receipt_seal_key;
};

/* False: the process has no thread-specific key left. */
MUST_CHECK bool rpc_init(struct rpc *rpc, struct services *services);

/* After all threads that ran requests have been joined, this one excepted. */
void rpc_done(struct rpc *rpc);

/* Both services of holdfast.v1. False: registered already. */
MUST_CHECK bool rpc_register(struct rpc *rpc, struct stub_server *server);

/* The calling thread's own seals, made at their first use, freed when the thread ends. */
struct token_seal *rpc_seal(struct rpc *rpc);         /* of reservation ids */
struct token_seal *rpc_receipt_seal(struct rpc *rpc); /* of receipts */

#endif
