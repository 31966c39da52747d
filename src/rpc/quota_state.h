/*
 * Quotas, reasons, amounts and records as messages, in an arena. What they point to lives there, or
 * is what the op points to. Lists are NULL when empty. Any thread.
 */
#ifndef HOLDFAST_RPC_QUOTA_STATE_H
#define HOLDFAST_RPC_QUOTA_STATE_H

#include "base/arena.h"
#include "op/op.h"
#include "quota/hold.h"
#include "quota/settle.h"

#include "holdfast/v1/quota.pb-c.h"

#include <stdbool.h>
#include <stddef.h>

/* A NUL-terminated copy. */
char *text_copy(struct arena *arena, struct slice text);

/* "epoch.seq" */
char *attempt_text(struct arena *arena, struct attempt attempt);

/* "ALLOW", as in the metadata holdfast-decision. Static. */
const char *decision_name(enum decision decision);

void quota_state_fill(struct arena *arena, const struct op_quota *quota,
                      Holdfast__V1__QuotaState *state);
Holdfast__V1__QuotaState **quota_states(struct arena *arena, const struct op_quota *quotas,
                                        size_t count);

Holdfast__V1__Reason **reason_messages(struct arena *arena, const struct op_reason *reasons,
                                       size_t count);

/* What a hold holds, one entry per meter. */
Holdfast__V1__Amount **amount_messages(struct arena *arena, const struct hold_meter *meters,
                                       size_t count);

/* What was recorded, one entry per meter. */
Holdfast__V1__CommittedAmount **committed_messages(struct arena *arena,
                                                   const struct settle_record *record);
bool record_is_over_limit(const struct settle_record *record);

#endif
