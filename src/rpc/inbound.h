/*
 * What all requests have in common: their beginning and their end. On the thread of the handler,
 * or on that of the op's done.
 */
#ifndef HOLDFAST_RPC_INBOUND_H
#define HOLDFAST_RPC_INBOUND_H

#include "base/check.h"
#include "op/op.h"
#include "quota/settle.h"
#include "quota/token.h"
#include "rpc/service.h"
#include "stub/call.h"

#include <stdbool.h>

/*
 * Fills the op: services, arena, clock, done, the call as user; sends "holdfast-server".
 * False: the server drains or the deadline is over; the call has been answered.
 */
MUST_CHECK bool inbound_begin(struct rpc *rpc, struct stub_call *call, struct op *op,
                              void (*done)(struct op *op));

/* The same without the refusal when draining, for reads that tell about it. */
void inbound_fill(struct rpc *rpc, struct stub_call *call, struct op *op,
                  void (*done)(struct op *op));

static inline struct stub_call *inbound_call(const struct op *op)
{
    return op->user;
}

static inline struct rpc *inbound_rpc(const struct op *op)
{
    return stub_call_user(inbound_call(op));
}

/*
 * Before the op is started: the call stays alive until the op is released, because op/ may use its
 * memory after the answer.
 */
void inbound_hold(struct op *op);

/* Sends the error of a failed op. */
void inbound_fail(struct op *op);

/* True if the op failed, and then the error has been sent. */
MUST_CHECK bool inbound_failed(struct op *op);

/* server_time of the reply. */
int64_t inbound_now_ms(const struct op *op);

/*
 * The job that tenant and job_id, or reservation_id, or both name; asks auth_tenant. False: the op
 * has failed. *ret_token NULL: there was no reservation_id.
 */
MUST_CHECK bool inbound_job(struct op *op, const char *tenant, const char *job_id,
                            const char *reservation_id, const struct token **ret_token,
                            struct slice *ret_job_id);

#endif
