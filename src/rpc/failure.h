/*
 * From a failure to what the caller gets: gRPC code, message and details. The one table of it.
 *
 * Details: ErrorInfo always (reason, domain "holdfast", metadata "effect"); BadRequest with the
 * fields named; PreconditionFailure with FAILED_PRECONDITION; RetryInfo where the same call may
 * succeed later. Any thread.
 *
 * All of it stays below the 8 KiB of metadata that clients take by default: long texts are cut
 * ("..."), and fields that do not fit are counted in the last violation.
 */
#ifndef HOLDFAST_RPC_FAILURE_H
#define HOLDFAST_RPC_FAILURE_H

#include "op/op.h"
#include "stub/call.h"
#include "stub/server.h"

#include <stddef.h>

#define FAILURE_DOMAIN "holdfast"

/* enum stub_code, and the reason as in quota.proto. */
int failure_code(enum failure failure);
const char *failure_reason(enum failure failure);

/* One more key of ErrorInfo.metadata; both strings live as long as the call. */
struct failure_fact {
    const char *key;
    const char *value;
};

/* Ends the call with this error. An INTERNAL is in the log as well, once a second at most. */
void failure_answer(struct services *services, struct stub_call *call, const struct op_error *error,
                    const struct failure_fact *facts, size_t facts_count);

/* The hook for what the stub runtime refuses by itself; user: the struct rpc. */
void failure_reject(void *user, struct stub_call *call, const struct stub_reject *reject);

#endif
