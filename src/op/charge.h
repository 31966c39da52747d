/*
 * Charge: what is recorded of work that nobody reserved. It goes the way of a Commit by job_id (commit.h);
 * what is its own stands here: the hold of no units that it is decided with, on the quotas of its moment.
 *
 * What the plan refuses (no limit for a meter, too many of them) is asked about all the same: a repeat gets
 * its first answer, and a job that is held is committed. Only if the job is neither is the no told.
 */
#ifndef HOLDFAST_OP_CHARGE_H
#define HOLDFAST_OP_CHARGE_H

#include "base/check.h"
#include "op/op.h"

#include <stdbool.h>

/*
 * Chooses the quotas by op's plan. False: the plan does not let it, and op->item.settle.token is NULL; a
 * newer plan may. Any thread.
 */
MUST_CHECK bool charge_choose(struct op_commit *op);

/*
 * On a desk, with a plan that charge_choose said no to or none: loads it, gives meters without a limit their
 * implicit ones where the tenant admits them, and chooses. False: the op has failed, nothing was recorded.
 */
MUST_CHECK bool charge_plan(struct op_commit *op, struct stores *stores);

/* The no of the plan, as the op's error. */
void charge_refuse(struct op_commit *op);

#endif
