#include "op/grant_pass.h"

void pass_fail_refused(struct op_reserve *op, enum status status, const char *sqlstate)
{
    op_fail_harmless(&op->op, status, sqlstate, "repeat with the same job_id when it is mended");
    reserve_step(op, RESERVE_ANSWERED);
}

void pass_fail_postgres(struct pass *pass, struct op_reserve *op, enum status status,
                        bool effect_unknown)
{
    if (stores_refused(pass->stores, status)) {
        pass_fail_refused(op, status, stores_sqlstate(pass->stores));
        op->op.error.effect_unknown = effect_unknown;
        return;
    }
    op_fail(&op->op, FAILURE_POSTGRES_UNAVAILABLE, effect_unknown,
            "the database cannot be reached; repeat with the same job_id in a moment");
    reserve_step(op, RESERVE_ANSWERED);
}

void pass_fail_redis(struct pass *pass, struct op_reserve *op, const struct counter_call *call,
                     enum recovery reason)
{
    bool unknown = status_may_have_happened(call->status) && call->status != STATUS_OK;

    if (stores_left_busy(pass->stores, call, reason)) {
        reserve_step(op, RESERVE_STUCK);
        return;
    }
    if (call->status == STATUS_CORRUPT) {
        op_fail(
            &op->op, FAILURE_INTERNAL, true,
            "what Redis has of tenant \"%.*s\" cannot be read, and is not put right yet; the hold "
            "may exist: repeat with the same job_id; the server's log says more",
            SLICE_ARGS(op->op.tenant));
        reserve_step(op, RESERVE_ANSWERED);
        return;
    }
    op->work->maybe_held |= unknown;
    if (reason == RECOVERY_NO_REDIS && !reserve_is(op, RESERVE_REFUSED)) {
        reserve_step(op, RESERVE_AWAY);
        return;
    }
    op_fail(&op->op,
            reason == RECOVERY_NO_REDIS      ? FAILURE_REDIS_UNAVAILABLE
            : reason == RECOVERY_NO_POSTGRES ? FAILURE_POSTGRES_UNAVAILABLE
                                             : FAILURE_SHARD_RECOVERING,
            unknown,
            unknown ? "Redis did not answer; the hold may exist: repeat with the same job_id"
                    : "the live balance cannot be used now; nothing was held: try again");
    reserve_step(op, RESERVE_ANSWERED);
}
