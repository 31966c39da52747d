/*
 * What Commit and Charge have in common: amounts that were used, and a record of them. On the thread of the
 * handler, or on that of the op's done.
 */
#ifndef HOLDFAST_RPC_RECORD_H
#define HOLDFAST_RPC_RECORD_H

#include "op/op.h"

#include "holdfast/v1/quota.pb-c.h"
#include "holdfast/v1/quota_service.pb-c.h"

#include <stddef.h>

/*
 * Field "actual" into the op: each meter once, units, policies. What is wrong becomes the op's error. Whether
 * the meters are those that are held is seen under the locks.
 */
void record_actual(struct op_commit *op, size_t count, Holdfast__V1__ActualAmount *const *said);

/* The receipt of the op's record, in its arena; "" if the record is one that no receipt can tell. */
char *record_receipt(struct op_commit *op);

#endif
