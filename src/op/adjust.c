/*
 * Adjust: the record of a job is corrected (quota/adjust.h). One transaction of the ledger, on a desk, so a
 * tenant's corrections come one after another; then Redis is told what is used now. If that is lost, any
 * notify, grant or reap of the quotas brings it.
 */
#include "op/admin.h"

#include "base/fault.h"
#include "op/inbox.h"
#include "op/notify.h"
#include "op/queries.h"
#include "op/recall.h"
#include "op/services.h"
#include "op/tenant.h"
#include "op/trace.h"
#include "quota/lease.h"

/* Of one Adjust: what came back may be lent to somebody else before it is decided. */
enum { RECALLS_MAX = 3, TELL_MAX = COUNTER_LIST_MAX / 4 };

/* Each waits for a locked row for a moment; a tenant has one desk, so nobody else waits with it. */
enum { LOCKED_TRIES_MAX = 5 };

static bool is_touched(const struct adjust_item *item, struct quota_ref ref)
{
    for (size_t i = 0; i < item->changes_count; i++)
        for (size_t k = 0; k < item->rows[i].counted_count; k++)
            if (quota_ref_equal(item->rows[i].counted[k].ref, ref))
                return true;
    return false;
}

/* What Redis admits in; a period that is over is not filled again. */
static bool is_in_redis(const struct quota_row *quota, int64_t now_ms)
{
    return quota->lease_id != 0 && lease_epoch(quota->lease_id) == quota->epoch &&
           quota->period_end_ms > now_ms;
}

static void tell_redis(struct op_adjust *op, struct stores *stores)
{
    const struct ledger_adjusting *adjusting = &op->adjusting;
    struct counter_totals *totals = arena_array(op->op.arena, TELL_MAX, sizeof(*totals));
    struct counter_fill fill = {.call = {.kind = COUNTER_FILL, .arena = op->op.arena},
                                .now_ms = stores_now_ms(stores),
                                .totals = totals};
    struct counter_call *call = &fill.call;
    bool recovering;

    CHECK(totals);
    for (size_t i = 0; i < adjusting->quotas_count && fill.totals_count < TELL_MAX; i++)
        if (is_touched(&adjusting->item, adjusting->quotas[i].ref) &&
            is_in_redis(&adjusting->quotas[i], fill.now_ms))
            totals[fill.totals_count++] = totals_from_row(&adjusting->quotas[i]);
    if (fill.totals_count > 0 && !FAULT("adjust.between") &&
        !stores_run_shard(stores, op->op.plan->shard, &call, 1, &recovering))
        log_debug("admin", "adjust.untold tenant=%s", LOG_SLICE(op->op.tenant));
}

/* --- what the ledger says ---------------------------------------------------------------------- */

static void fail_below_zero(struct op_adjust *op)
{
    const struct adjust_item *item = &op->adjusting.item;
    struct op_error *error = &op->op.error;
    struct op_left *left = arena_array(op->op.arena, item->changes_count, sizeof(*left));

    CHECK(left);
    op_fail(&op->op, FAILURE_BELOW_ZERO, false,
            "of meter \"%.*s\" of job \"%.*s\" %lld units are left, and %lld were to be taken; "
            "nothing was changed",
            SLICE_ARGS(item->changes[item->bad].meter), SLICE_ARGS(item->job_id),
            (long long)item->left[item->bad], (long long)-item->changes[item->bad].delta);
    for (size_t i = 0; i < item->changes_count; i++)
        left[i] = (struct op_left){item->changes[i].meter, item->left[i]};
    error->left = left;
    error->left_count = item->changes_count;
}

static void fail_mismatch(struct op *base, const struct adjust_item *item)
{
    if (item->differs_job)
        op_fail_field(base, FAILURE_ADJUST_ID_REUSED, "job_id",
                      "this adjust_id was used for job \"%.*s\"; use a new one",
                      SLICE_ARGS(item->same_job_id));
    if (item->differs_changes)
        op_fail_field(base, FAILURE_ADJUST_ID_REUSED, "changes",
                      "this adjust_id was used with other changes; use a new one");
}

static const char *field_of(struct op *base, const struct adjust_item *item, const char *member)
{
    const char *text = arena_printf(base->arena, "changes[%zu].%s", item->bad, member);

    CHECK(text);
    return text;
}

static void judge(struct op_adjust *op)
{
    const struct adjust_item *item = &op->adjusting.item;
    struct op *base = &op->op;

    switch (item->outcome) {
    case ADJUST_MADE:
    case ADJUST_REPLAYED:
        return;
    case ADJUST_MISMATCH:
        fail_mismatch(base, item);
        return;
    case ADJUST_NOT_FINAL:
        op_fail(base, FAILURE_NOT_FINAL, false,
                "job \"%.*s\" of tenant \"%.*s\" has no record that could be adjusted; commit or "
                "charge it first",
                SLICE_ARGS(item->job_id), SLICE_ARGS(base->tenant));
        return;
    case ADJUST_BAD_METER:
        op_fail_field(base, FAILURE_INVALID_FIELD, field_of(base, item, "meter"),
                      "was not recorded of the job");
        return;
    case ADJUST_BELOW_ZERO:
        fail_below_zero(op);
        return;
    case ADJUST_TOO_LARGE:
        op_fail(base, FAILURE_AMOUNT_BOUND, false,
                "with it a sum of meter \"%.*s\" would pass 9007199254740991 (2^53-1); nothing was "
                "changed",
                SLICE_ARGS(item->changes[item->bad].meter));
        return;
    case ADJUST_NO_LIMIT:
        op_fail_no_limit(base, field_of(base, item, "meter"), item->changes[item->bad].meter);
        return;
    case ADJUST_TOO_MANY:
        op_fail(base, FAILURE_LIMITS_FULL, false,
                "it would touch more than %d limits and periods; nothing was changed",
                ADJUST_QUOTAS_MAX);
        return;
    case ADJUST_INCONSISTENT:
        op_fail(base, FAILURE_INTERNAL, false,
                "the rows of tenant \"%.*s\" contradict what is recorded of the job; nothing was "
                "changed; \"holdfast verify\" says more",
                SLICE_ARGS(base->tenant));
        return;
    case ADJUST_UNDECIDED:
    case ADJUST_WANTS_RECALL:
        break;
    }
    UNREACHABLE();
}

/* --- the story --------------------------------------------------------------------------------- */

static enum status try_it(struct op_adjust *op, struct stores *stores)
{
    enum status status = STATUS_CONFLICT;

    for (int i = 0; i < LOCKED_TRIES_MAX && status == STATUS_CONFLICT; i++) {
        op->adjusting.now_ms = stores_now_ms(stores);
        trace_adjusting(op->op.services->trace, op->adjusting.now_ms, &op->adjusting.item);
        status = stores->table->adjust(stores->db, op->op.arena, &op->adjusting);
    }
    return status;
}

static enum status decide(struct op_adjust *op, struct stores *stores)
{
    struct ledger_adjusting *adjusting = &op->adjusting;
    struct adjust_item *item = &adjusting->item;
    enum status status = STATUS_OK;

    for (int recalls = 0; status == STATUS_OK; recalls++) {
        status = try_it(op, stores);
        if (status != STATUS_OK || item->outcome != ADJUST_WANTS_RECALL)
            break;
        item->recall_done = !recall_tenant(stores, adjusting->quotas, adjusting->quotas_count) ||
                            recalls + 1 >= RECALLS_MAX;
    }
    return status;
}

static void decide_and_tell(struct op_adjust *op, struct stores *stores)
{
    struct adjust_item *item = &op->adjusting.item;
    enum status status = STATUS_UNAVAILABLE;

    op->adjusting.plan = op->op.plan;
    item->tenant_id = op->op.plan->tenant_id;
    if (stores_know_the_time(stores))
        status = decide(op, stores);
    if (status != STATUS_OK) {
        op_fail_status(&op->op, status, stores_sqlstate(stores), "nothing was changed");
        return;
    }
    judge(op);
    if (item->outcome == ADJUST_MADE) {
        trace_rows(op->op.services->trace, op->adjusting.now_ms, op->adjusting.quotas,
                   op->adjusting.quotas_count);
        tell_redis(op, stores);
    }
}

static void adjust(struct op *base, struct stores *stores)
{
    struct op_adjust *op = container_of(base, struct op_adjust, op);

    if (query_plan(base, stores) && !op_fail_if_read_only(base, "nothing was changed"))
        decide_and_tell(op, stores);
    op_finish(base);
}

void op_adjust_start(struct op_adjust *op)
{
    inbox_to_desk(&op->op, adjust);
}
