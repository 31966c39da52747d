/*
 * From the numbers of the quotas to a decision with its reasons. Pure; any thread.
 *
 * projected = committed + debt + held + what is asked for
 *
 *     decision   by each limit                              reason
 *     ALLOW      projected < soft
 *     WARN       soft <= projected <= limit                 SOFT_STOP
 *                limit < projected <= cap                   OVERAGE
 *     REJECT     amount > cap                               NEVER_SATISFIABLE, no retry
 *                projected > cap, but not without the debt  DEBT
 *                projected > cap                            HARD_CAP
 *                deferrable and projected > soft            DEFERRED
 *
 * An unlimited quota gives no reason. Every limit that falls short has a reason of its own.
 */
#ifndef HOLDFAST_OP_VERDICT_H
#define HOLDFAST_OP_VERDICT_H

#include "base/arena.h"
#include "op/op.h"
#include "quota/hold.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * ALLOW or WARN, for what is admitted. projected_units[i] is use + held of quotas[i], this hold included.
 * A repeat must get the same decision, so a Reserve decides by what its hold keeps (struct hold_warning):
 * only the quotas that warned then, with the stops that they had then. Reasons are in the arena and point
 * to quotas.
 */
enum decision verdict_admitted(struct arena *arena, const struct op_quota *quotas,
                               const int64_t *projected_units, size_t count,
                               struct op_reason **ret_reasons, size_t *ret_reasons_count);

/*
 * The reasons of a REJECT: at least one, unless count is 0. quotas[i] is what wanted[i] asks of;
 * `held` does not include it. earliest_free_ms and latest_free_ms: first and last deadline among
 * the tenant's live holds, -1 if unknown or none. *ret_retry_after_ms: when the last of the limits that
 * fall short may admit; -1 if that cannot be told, or never.
 */
void verdict_rejected(struct arena *arena, const struct op_quota *quotas,
                      const struct hold_quota *wanted, size_t count, bool deferrable,
                      int64_t now_ms, int64_t earliest_free_ms, int64_t latest_free_ms,
                      struct op_reason **ret_reasons, size_t *ret_reasons_count,
                      int64_t *ret_retry_after_ms);

/*
 * Would it be admitted? For a question without a hold: `held` does not include what is wanted.
 * False: verdict_rejected says why.
 */
bool verdict_fits(const struct op_quota *quotas, const struct hold_quota *wanted, size_t count,
                  bool deferrable);

#endif
