#include "rpc/handlers.h"

#include "base/amount.h"
#include "base/check.h"
#include "op/admin.h"
#include "rpc/auth.h"
#include "rpc/inbound.h"
#include "rpc/quota_state.h"
#include "rpc/timestamps.h"
#include "rpc/validate.h"

#include "holdfast/v1/admin_service.stub.h"

enum { ADJUST_REASON_BYTES_MAX = 1024 };

/* --- the answer ------------------------------------------------------------------------------- */

/* Empty: it is gone. */
static struct slice name_of(const struct op_adjust *op, int64_t limit_id)
{
    const struct limit *limit = plan_limit(op->op.plan, limit_id);

    for (size_t i = 0; i < op->adjusting.quotas_count; i++)
        if (op->adjusting.quotas[i].ref.limit_id == limit_id)
            return op->adjusting.quotas[i].limit_name;
    return limit ? limit->name : slice_of(NULL, 0);
}

static Holdfast__V1__AdjustedQuota *quota_message(const struct op_adjust *op, struct quota_ref ref)
{
    Holdfast__V1__AdjustedQuota *message = arena_alloc(op->op.arena, sizeof(*message));

    CHECK(message);
    holdfast__v1__adjusted_quota__init(message);
    message->limit_id = text_copy(op->op.arena, name_of(op, ref.limit_id));
    if (ref.period_start_ms > 0)
        message->period_start = timestamp_of(op->op.arena, ref.period_start_ms);
    return message;
}

static Holdfast__V1__AdjustedMeter *meter_message(const struct op_adjust *op,
                                                  const struct adjust_row *row)
{
    struct arena *arena = op->op.arena;
    Holdfast__V1__AdjustedMeter *message = arena_alloc(arena, sizeof(*message));

    CHECK(message);
    holdfast__v1__adjusted_meter__init(message);
    message->meter = text_copy(arena, row->meter);
    message->delta = row->delta;
    message->left = row->left;
    message->number = row->number;
    message->quotas = arena_array(arena, row->counted_count + row->closed_count + 1,
                                  sizeof(Holdfast__V1__AdjustedQuota *));
    CHECK(message->quotas);
    for (size_t i = 0; i < row->counted_count; i++) {
        Holdfast__V1__AdjustedQuota *quota = quota_message(op, row->counted[i].ref);

        quota->committed = row->counted[i].amount;
        quota->debt = row->counted[i].debt;
        message->quotas[message->n_quotas++] = quota;
    }
    for (size_t i = 0; i < row->closed_count; i++) {
        Holdfast__V1__AdjustedQuota *quota = quota_message(op, row->closed[i]);

        quota->closed_period = 1;
        message->quotas[message->n_quotas++] = quota;
    }
    return message;
}

static void adjust_done(struct op *base)
{
    struct op_adjust *op = container_of(base, struct op_adjust, op);
    const struct adjust_item *item = &op->adjusting.item;
    Holdfast__V1__AdjustResponse reply = HOLDFAST__V1__ADJUST_RESPONSE__INIT;

    if (inbound_failed(base))
        return;
    reply.changes =
        arena_array(base->arena, item->changes_count, sizeof(Holdfast__V1__AdjustedMeter *));
    CHECK(reply.changes);
    for (size_t i = 0; i < item->changes_count; i++)
        reply.changes[reply.n_changes++] = meter_message(op, &item->rows[i]);
    reply.replayed = item->outcome == ADJUST_REPLAYED;
    reply.adjust_time = timestamp_of(base->arena, item->rows[0].at_ms);
    holdfast_v1_admin_service_adjust_reply(inbound_call(base), &reply);
}

/* --- the request ------------------------------------------------------------------------------ */

static int64_t valid_delta(struct op *op, struct field field, int64_t delta)
{
    if (delta == 0)
        invalid(op, field, "is 0: nothing would be changed");
    else if (delta > AMOUNT_MAX || delta < -AMOUNT_MAX)
        invalid(op, field, "is beyond 9007199254740991 (2^53-1)");
    return delta;
}

static void decode_changes(struct op_adjust *op, size_t count, Holdfast__V1__Change *const *said)
{
    struct op *base = &op->op;
    struct adjust_change *changes;

    if (count == 0)
        invalid(base, FIELD("changes"), "is required");
    if (count > HOLD_METERS_MAX) {
        invalid(base, FIELD("changes"), "has %zu entries, more than %d", count, HOLD_METERS_MAX);
        count = HOLD_METERS_MAX;
    }
    changes = arena_array(base->arena, count + 1, sizeof(*changes));
    CHECK(changes);
    for (size_t i = 0; i < count; i++) {
        changes[i] = (struct adjust_change){
            .meter = valid_name(base, FIELD_AT("changes", i, "meter"), said[i]->meter, true),
            .delta = valid_delta(base, FIELD_AT("changes", i, "delta"), said[i]->delta),
        };
        for (size_t k = 0; k < i; k++) {
            if (changes[i].meter.len == 0 || !slice_equal(changes[k].meter, changes[i].meter))
                continue;
            invalid(base, FIELD_AT("changes", i, "meter"), "is the meter of changes[%zu] again", k);
            break;
        }
    }
    op->adjusting.item.changes = changes;
    op->adjusting.item.changes_count = count;
}

void rpc_adjust(void *user, struct stub_call *call, const Holdfast__V1__AdjustRequest *request)
{
    struct op_adjust *op = stub_call_alloc(call, sizeof(*op));
    struct op *base = &op->op;
    struct adjust_item *item = &op->adjusting.item;

    if (!inbound_begin(user, call, base, adjust_done))
        return;
    base->tenant = valid_name(base, FIELD("tenant"), request->tenant, true);
    item->adjust_id = valid_job_id(base, FIELD("adjust_id"), request->adjust_id, true);
    item->job_id = valid_job_id(base, FIELD("job_id"), request->job_id, true);
    decode_changes(op, request->n_changes, request->changes);
    op->adjusting.reason =
        valid_text(base, FIELD("reason"), request->reason, ADJUST_REASON_BYTES_MAX);
    if (!valid(base) || !auth_tenant(base, call, base->tenant)) {
        inbound_fail(base);
        return;
    }
    inbound_hold(base);
    op_adjust_start(op);
}
